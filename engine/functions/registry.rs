//! Names of Spark's functions.
use crate::error::{Error, ErrorCode, Result};
use crate::frame::functions as f;
use crate::frame::Column;
use datafusion::logical_expr::Expr;

/// Functions by name.
#[derive(Debug, Default, Clone)]
pub struct FunctionRegistry {}

impl FunctionRegistry {
    /// A call of the function `name`.
    ///
    /// # Errors
    /// No such function.
    pub fn call(&self, name: &str, args: Vec<Expr>, distinct: bool) -> Result<Expr> {
        let columns: Vec<Column> = args.iter().cloned().map(Column::from).collect();
        let text = |at: usize| match args.get(at) {
            Some(Expr::Literal(v, _)) => v.try_as_str().flatten().unwrap_or_default().to_string(),
            _ => String::new(),
        };
        let first = || columns.first().cloned().ok_or_else(|| Error::internal("no argument"));
        let column = match (name, distinct) {
            ("count", false) => f::count(first()?),
            ("count", true) => f::count_distinct(first()?),
            ("sum", _) => f::sum(first()?),
            ("avg", _) => f::avg(first()?),
            ("min", _) => f::min(first()?),
            ("max", _) => f::max(first()?),
            ("approx_count_distinct", _) => f::approx_count_distinct(first()?),
            ("window", _) if args.len() == 2 => f::window(first()?, &text(1)),
            ("window", _) => f::window_sliding(first()?, &text(1), &text(2)),
            ("from_json", _) => f::from_json(first()?, text(1).as_str()),
            ("to_json", _) => f::to_json(first()?),
            ("struct", _) => f::r#struct(columns),
            ("coalesce", _) => f::coalesce(columns),
            ("hour", _) => f::hour(first()?),
            ("upper", _) => return Ok(datafusion::functions::expr_fn::upper(args[0].clone())),
            ("concat", _) => return Ok(datafusion::functions::expr_fn::concat(args)),
            _ => {
                return Err(Error::new(ErrorCode::InvalidExpression, format!("there is no function named {name}")));
            }
        };
        column.try_into()
    }
}
