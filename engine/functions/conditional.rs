//! Functions that are other expressions: those that look at an argument only where they need it, and shorthands.
//!
//! Comes in: resolved arguments. Goes out: an expression over them. Fails: numbers of arguments that a function does not take.

use super::builtin::{ANY, Builtin, Call, Typed, typed};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::SparkFunction;
use arrow::array::{ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion::prelude::lit;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function that stands for another expression.
pub struct Rewrite {
    /// Spark's name.
    pub name: &'static str,
    /// Least and greatest number of arguments.
    pub count: (usize, usize),
    /// The expression.
    pub expand: fn(Vec<Expr>) -> Expr,
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rewrite {}

impl Hash for Rewrite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn rewrite(name: &'static str, count: (usize, usize), expand: fn(Vec<Expr>) -> Expr) -> Rewrite {
    Rewrite { name, count, expand }
}

/// FALSE, or an error where a query as a value has this many rows.
pub(super) static ONE_ROW: Builtin = typed(
    "one_row",
    (1, 1),
    |a| Typed::new(a.types, DataType::Boolean),
    |call| {
        let counts = call.arguments.first().and_then(|counts| counts.as_primitive_opt::<Int64Type>());
        if counts.is_some_and(|counts| counts.iter().flatten().all(|count| count <= 1)) {
            return Ok(Arc::new(BooleanArray::from(vec![false; call.rows])));
        }
        Err(Error::new(
            ErrorCode::ScalarSubqueryTooManyRows,
            "more than one row was returned by a query as a value; aggregate it, or add LIMIT 1",
        ))
    },
);

/// A condition that is FALSE, and ends the query where it is looked at for a count of more than one.
pub(crate) fn too_many_rows(count: Expr) -> Expr {
    SparkFunction::scalar(&ONE_ROW).call(vec![count])
}

pub(super) static REWRITES: &[Rewrite] = &[
    rewrite("coalesce", (1, ANY), coalesce),
    rewrite("ifnull", (2, 2), coalesce),
    rewrite("nvl", (2, 2), coalesce),
    rewrite("zeroifnull", (1, 1), |mut args| {
        args.push(lit(0i32));
        coalesce(args)
    }),
    rewrite("nvl2", (3, 3), |args| match <[Expr; 3]>::try_from(args) {
        Ok([tested, given, null]) => case(vec![(tested.is_not_null(), given)], Some(null)),
        Err(_) => null(),
    }),
    rewrite("nullif", (2, 2), |args| match <[Expr; 2]>::try_from(args) {
        Ok([left, right]) => case(vec![(left.clone().eq(right), null())], Some(left)),
        Err(_) => null(),
    }),
    rewrite("nullifzero", (1, 1), |args| match <[Expr; 1]>::try_from(args) {
        Ok([value]) => case(vec![(value.clone().eq(lit(0i32)), null())], Some(value)),
        Err(_) => null(),
    }),
    rewrite("if", (3, 3), |mut args| {
        // Unlike CASE, it takes NULL for its condition.
        if let Some(condition) = args.first_mut() {
            *condition = truth(condition);
        }
        cases(args)
    }),
    rewrite("case", (2, ANY), cases),
    rewrite("isnull", (1, 1), |args| args.into_iter().next().map_or_else(null, Expr::is_null)),
    rewrite("isnotnull", (1, 1), |args| args.into_iter().next().map_or_else(null, Expr::is_not_null)),
    rewrite("decode", (3, ANY), |args| {
        let mut args = args.into_iter();
        let value = args.next().unwrap_or_else(null);
        let mut rest: Vec<Expr> = args.collect();
        let other = if rest.len() % 2 == 1 { rest.pop() } else { None };
        let pairs = rest.chunks(2).filter_map(|pair| match pair {
            [wanted, result] => {
                let same = binary_expr(value.clone(), Operator::IsNotDistinctFrom, wanted.clone());
                Some((same, result.clone()))
            }
            _ => None,
        });
        case(pairs.collect(), other)
    }),
    rewrite("assert_true", (1, 2), |args| {
        let mut args = args.into_iter();
        let condition = truth(&args.next().unwrap_or_else(null));
        let text = format!("'{condition}' is not true!");
        let message = args.next().unwrap_or_else(|| lit(text));
        case(vec![(condition, null())], Some(SparkFunction::scalar(&RAISE_ERROR).call(vec![message])))
    }),
];

/// `raise_error(message)`: ends the query where it is evaluated.
pub(super) static RAISE_ERROR: Builtin = typed(
    "raise_error",
    (1, 1),
    |_| Ok(Typed { arguments: vec![DataType::Utf8], returns: DataType::Null }),
    raise_error,
);

fn raise_error(call: &Call) -> Result<ArrayRef> {
    if call.rows == 0 {
        return Ok(new_null_array(&DataType::Null, 0));
    }
    let message = call.text(0)?.get(0).unwrap_or("null").to_string();
    Err(Error::new(ErrorCode::UserRaisedException, message))
}

fn null() -> Expr {
    Expr::Literal(ScalarValue::Null, None)
}

/// A condition: NULL of no type is one that is not known.
fn truth(condition: &Expr) -> Expr {
    match condition {
        Expr::Literal(ScalarValue::Null, _) => Expr::Literal(ScalarValue::Boolean(None), None),
        other => other.clone(),
    }
}

fn case(branches: Vec<(Expr, Expr)>, other: Option<Expr>) -> Expr {
    let branches = branches.into_iter().map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Expr::Case(Case::new(None, branches, other.map(Box::new)))
}

fn coalesce(mut args: Vec<Expr>) -> Expr {
    let last = args.pop().unwrap_or_else(null);
    if args.is_empty() {
        return last;
    }
    case(args.into_iter().map(|e| (e.clone().is_not_null(), e)).collect(), Some(last))
}

/// Conditions and values in turn, and what holds otherwise.
fn cases(mut args: Vec<Expr>) -> Expr {
    let other = if args.len() % 2 == 1 { args.pop() } else { None };
    let pairs = args.chunks(2).filter_map(|pair| match pair {
        [condition, value] => Some((condition.clone(), value.clone())),
        _ => None,
    });
    case(pairs.collect(), other)
}
