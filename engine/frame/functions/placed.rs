//! Functions that ask about the group that a row is in, for [`DataFrame::rollup`](crate::frame::DataFrame::rollup) and its like.
//!
//! Comes in: grouping columns. Goes out: [`Column`]s for `agg`. Fails: where the frame aggregates, for columns that it does not group by.

use crate::error::Result;
use crate::frame::column::{Column, IntoColumn};
use crate::plan::spark_function::SparkFunction;
use datafusion::logical_expr::Expr;

pub(super) fn call(name: &str, arguments: Result<Vec<Expr>>) -> Column {
    Column(arguments.and_then(|arguments| Ok(SparkFunction::named(name)?.call(arguments))))
}

/// Whether the group is made without the column: 1, or 0.
pub fn grouping(column: impl IntoColumn) -> Column {
    call("grouping", column.into_column().0.map(|column| vec![column]))
}

/// The number of the group's set of columns: a bit for each grouping column, the last the lowest, which is set where the group is made
/// without it.
pub fn grouping_id() -> Column {
    call("grouping_id", Ok(vec![]))
}
