//! Functions that their place gives a meaning: in an aggregation by grouping sets, or in front of `OVER`.
//!
//! Comes in: a call by name. Goes out: its types, by which expressions around it are analysed; the frame that it is written for replaces it
//! before anything is computed. Fails: a call that stands elsewhere ([`misplaced`]).

use super::builtin::{ANY, Builtin, Call, Typed, typed};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::sequence::Sequence;
use crate::plan::spark_function::{Kind, SparkFunction};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

fn never(call: &Call) -> Result<ArrayRef> {
    Err(Error::internal(format!("{} was not replaced by its meaning", call.name)))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("grouping", (1, 1), |a| Typed::new(a.types, DataType::Int8), never),
    typed("grouping_id", (0, ANY), |a| Typed::new(a.types, DataType::Int64), never),
    typed("row_number", (0, 0), |a| Typed::new(a.types, DataType::Int32), never),
    typed("rank", (0, 0), |a| Typed::new(a.types, DataType::Int32), never),
    typed("dense_rank", (0, 0), |a| Typed::new(a.types, DataType::Int32), never),
    typed("percent_rank", (0, 0), |a| Typed::new(a.types, DataType::Float64), never),
    typed("cume_dist", (0, 0), |a| Typed::new(a.types, DataType::Float64), never),
    typed("ntile", (0, 1), |a| Typed::new(a.types, DataType::Int32), never),
    typed("lag", (1, 4), |a| Typed::new(a.types, a.of(0).clone()), never),
    typed("lead", (1, 4), |a| Typed::new(a.types, a.of(0).clone()), never),
    typed("nth_value", (2, 3), |a| Typed::new(a.types, a.of(0).clone()), never),
    typed("rand", (0, 1), |a| Typed::new(a.types, DataType::Float64), never),
    typed("randn", (0, 1), |a| Typed::new(a.types, DataType::Float64), never),
    typed("uuid", (0, 1), |a| Typed::new(a.types, DataType::Utf8), never),
    typed("randstr", (1, 2), |a| Typed::new(a.types, DataType::Utf8), never),
    typed(
        "uniform",
        (2, 3),
        |a| Sequence::range(a.types).map(|to| Typed { arguments: a.types.to_vec(), returns: to }),
        never,
    ),
    typed("monotonically_increasing_id", (0, 0), |a| Typed::new(a.types, DataType::Int64), never),
    typed("spark_partition_id", (0, 0), |a| Typed::new(a.types, DataType::Int32), never),
];

/// The function that numbers the rows of a table.
pub(super) fn row_number_of_table() -> Result<&'static Builtin> {
    let found = FUNCTIONS.iter().find(|function| function.name == "monotonically_increasing_id");
    found.ok_or_else(|| Error::internal("no function numbers rows"))
}

/// The name and arguments of a call of one of these.
pub(crate) fn placed(expr: &Expr) -> Option<(&'static str, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let name = name_of(call)?;
    FUNCTIONS.iter().any(|function| function.name == name).then_some((name, call.args.as_slice()))
}

fn name_of(call: &ScalarFunction) -> Option<&'static str> {
    match SparkFunction::of(call).map(|function| &function.kind) {
        Some(Kind::Scalar(function)) => Some(function.name),
        _ => None,
    }
}

/// Whether the function is told about grouping sets.
pub(crate) fn is_grouping(name: &str) -> bool {
    matches!(name, "grouping" | "grouping_id")
}

/// Why a call of one of these cannot stand where rows are looked at one by one.
pub(crate) fn misplaced(name: &str) -> Error {
    match name {
        "grouping" | "grouping_id" => Error::new(
            ErrorCode::UnsupportedGrouping,
            format!("{name}() can only be used with rollup, cube or grouping sets; aggregate by one of them"),
        ),
        "rand" | "randn" | "uuid" | "randstr" | "uniform" | "monotonically_increasing_id" | "spark_partition_id" => {
            Error::new(
                ErrorCode::UnsupportedOperation,
                format!("{name}() stands in a selection or a filter only; select it under a name first"),
            )
        }
        _ => Error::new(
            ErrorCode::InvalidExpression,
            format!("{name}() is a function over a window of rows; add over(...), or OVER (...) in SQL"),
        ),
    }
}
