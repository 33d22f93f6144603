//! Functions whose place gives them a meaning: the group that a row is in ([`DataFrame::rollup`](crate::frame::DataFrame::rollup) and its
//! like), the window that it is in ([`Column::over`]), its place among the rows.
//!
//! Comes in: columns and constants. Goes out: [`Column`]s. Fails: where a frame takes the column, if it has no such place.

use super::lit;
use crate::error::Result;
use crate::frame::column::{Column, IntoColumn, Operand};
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

macro_rules! without_arguments {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        pub fn $name() -> Column {
            call(stringify!($name), Ok(vec![]))
        }
    )*};
}
without_arguments!(
    /// The row's number in its window, from 1.
    row_number,
    /// One more than the rows before the row's peers.
    rank,
    /// One more than the distinct keys before the row's.
    dense_rank,
    /// `(rank - 1) / (rows - 1)`.
    percent_rank,
    /// The share of rows up to the row's last peer.
    cume_dist,
    /// A number that is greater for each row; on tables.
    monotonically_increasing_id,
    /// The partition that the row is in: a table has one, 0.
    spark_partition_id,
);

/// The number of the row's share, of `n` shares of the window as equal as they can be.
pub fn ntile(n: i32) -> Column {
    call("ntile", Ok(vec![datafusion::prelude::lit(n)]))
}

fn shifted(name: &str, column: Column, offset: i32, default: Option<Column>) -> Column {
    let arguments = [column.0, lit(offset).0].into_iter().chain(default.map(|default| default.0));
    call(name, arguments.collect())
}

/// The value `offset` rows before the row, or NULL.
pub fn lag(column: impl IntoColumn, offset: i32) -> Column {
    shifted("lag", column.into_column(), offset, None)
}

/// [`lag`] with a value in place of a row that is not there.
pub fn lag_or(column: impl IntoColumn, offset: i32, default: impl Operand) -> Column {
    shifted("lag", column.into_column(), offset, Some(default.operand()))
}

/// The value `offset` rows after the row, or NULL.
pub fn lead(column: impl IntoColumn, offset: i32) -> Column {
    shifted("lead", column.into_column(), offset, None)
}

/// [`lead`] with a value in place of a row that is not there.
pub fn lead_or(column: impl IntoColumn, offset: i32, default: impl Operand) -> Column {
    shifted("lead", column.into_column(), offset, Some(default.operand()))
}

/// The value of the `n`th row of the frame, from 1.
pub fn nth_value(column: impl IntoColumn, n: i32) -> Column {
    shifted("nth_value", column.into_column(), n, None)
}

/// A random number in [0, 1) for each row; on tables.
pub fn rand(seed: i64) -> Column {
    call("rand", lit(seed).0.map(|seed| vec![seed]))
}

/// A random number of the standard normal distribution for each row; on tables.
pub fn randn(seed: i64) -> Column {
    call("randn", lit(seed).0.map(|seed| vec![seed]))
}
