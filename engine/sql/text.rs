//! An expression given as SQL text, or as a call by name: a marker until a frame, which knows its session's functions, reads it.
//!
//! Comes in: text, names. Goes out: an expression in its place. Fails: text that is no expression, names that no function has.

use super::expression::{expression, select_item};
use crate::error::{Error, Result};
use crate::functions::registry::FunctionRegistry;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Written {
    /// A text that stands for an expression.
    Text(String),
    /// The name of a function, which the marker's arguments are for.
    Call(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Marker {
    written: Written,
    signature: Signature,
}

impl Marker {
    fn over(written: Written, arguments: Vec<Expr>) -> Expr {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(Self { written, signature })), arguments))
    }

    fn of(expr: &Expr) -> Option<&Written> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let implementation: &dyn Any = call.func.inner().as_ref();
        implementation.downcast_ref::<Marker>().map(|marker| &marker.written)
    }
}

/// The marker of a text.
pub(crate) fn marker(text: &str) -> Expr {
    Marker::over(Written::Text(text.to_string()), vec![])
}

/// The marker of a call.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Marker::over(Written::Call(name.to_string()), arguments)
}

/// `expr` with what its texts and calls stand for. A text that is all of it may name its column with AS, or be a star.
///
/// # Errors
/// Texts that are no expressions, and names that no function has.
pub(crate) fn expand(expr: Expr, registry: &FunctionRegistry) -> Result<Expr> {
    if let Some(Written::Text(text)) = Marker::of(&expr) {
        return select_item(text, registry);
    }
    let expanded = expr.transform_up(|e| match (Marker::of(&e), &e) {
        (Some(Written::Text(text)), _) => Ok(Transformed::yes(expression(text, registry)?)),
        (Some(Written::Call(name)), Expr::ScalarFunction(marker)) => {
            Ok(Transformed::yes(registry.call(name, marker.args.clone(), false)?))
        }
        _ => match crate::functions::lambda::with_body(&e, |body| expand(body.clone(), registry))? {
            Some(lambda) => Ok(Transformed::yes(lambda)),
            None => Ok(Transformed::no(e)),
        },
    });
    Ok(expanded?.data)
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        match &self.written {
            Written::Text(_) => "expr",
            Written::Call(name) => name,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(Error::internal("an expression by its text or name has not been read").into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(Error::internal("an expression by its text or name has not been read").into())
    }
}
