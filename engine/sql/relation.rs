//! What SQL asks of frames, one function for each operation.
//!
//! Comes in: frames and unresolved expressions. Goes out: frames. Fails: as the frame's methods do.

use crate::error::{Error, ErrorCode, Result};
use super::table::TableDefinition;
use crate::batch::Trigger;
use crate::frame::{Column, DataFrame, DataStreamWriter};
use crate::plan::logical::LogicalPlan;
use crate::types::StructType;
use crate::session::Session;
use datafusion::logical_expr::Expr;

/// A key to sort by.
#[derive(Debug, Clone)]
pub(super) struct SortKey {
    pub expr: Expr,
    pub ascending: bool,
    pub nulls_first: bool,
}

/// How rows of two sides find each other.
#[derive(Debug, Clone)]
pub(super) enum JoinOn {
    Condition(Expr),
    Columns(Vec<String>),
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    LeftSemi,
    LeftAnti,
    Cross,
}

fn missing<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorCode::UnsupportedOperation, format!("{what} is not there in this version")))
}

pub(super) fn select(frame: &DataFrame, expressions: Vec<Expr>) -> Result<DataFrame> {
    frame.select(expressions.into_iter().map(Column::from))
}

pub(super) fn filter(frame: &DataFrame, predicate: Expr) -> Result<DataFrame> {
    frame.filter(Column::from(predicate))
}

pub(super) fn aggregate(frame: &DataFrame, keys: Vec<Expr>, calls: Vec<Expr>) -> Result<DataFrame> {
    frame.group_by(keys.into_iter().map(Column::from))?.agg(calls.into_iter().map(Column::from))
}

pub(super) fn alias(frame: &DataFrame, _name: &str) -> Result<DataFrame> {
    Ok(frame.clone())
}

pub(super) fn distinct(_frame: &DataFrame) -> Result<DataFrame> {
    missing("DISTINCT")
}

pub(super) fn sort(_frame: &DataFrame, _keys: Vec<SortKey>) -> Result<DataFrame> {
    missing("ORDER BY")
}

pub(super) fn limit(_frame: &DataFrame, _rows: usize) -> Result<DataFrame> {
    missing("LIMIT")
}

pub(super) fn offset(_frame: &DataFrame, _rows: usize) -> Result<DataFrame> {
    missing("OFFSET")
}

pub(super) fn join(_left: &DataFrame, _right: &DataFrame, _on: JoinOn, _kind: JoinKind) -> Result<DataFrame> {
    missing("JOIN")
}

/// The columns that `t.*` stands for in a join.
pub(super) fn columns_of(_frame: &DataFrame, _name: &str) -> Result<Vec<Expr>> {
    missing("t.* EXCEPT (...) of a join")
}

/// A generator with names for the columns it makes.
pub(super) fn generator_names(_call: Expr, _names: &[String]) -> Result<Expr> {
    missing("explode(...) AS (a, b)")
}

/// All columns of `frame` and those that a generator makes.
pub(super) fn generate(_frame: &DataFrame, _call: Expr, _names: &[String]) -> Result<DataFrame> {
    missing("LATERAL VIEW")
}

pub(super) fn values(_session: &Session, _rows: Vec<Vec<Expr>>) -> Result<DataFrame> {
    missing("VALUES")
}

/// One row, for a SELECT without FROM.
pub(super) fn one_row(_session: &Session) -> Result<DataFrame> {
    missing("SELECT without FROM")
}

pub(super) fn range(_session: &Session, _start: i64, _end: i64, _step: i64) -> Result<DataFrame> {
    missing("range()")
}

/// The rows of a table that does not grow.
pub(super) async fn read(
    _session: &Session,
    _format: &str,
    _columns: Option<StructType>,
    _options: Vec<(String, String)>,
) -> Result<DataFrame> {
    missing("a table that is not a stream")
}

/// A trigger of epochs every `interval`.
pub(super) fn continuous(_interval: &str) -> Result<Trigger> {
    missing("the continuous trigger")
}

pub(super) fn partition_by(writer: DataStreamWriter, columns: &[String]) -> Result<DataStreamWriter> {
    match columns {
        [] => Ok(writer),
        _ => missing("PARTITIONED BY of a table that is written"),
    }
}

/// All rows of a bounded frame, as a table for people.
pub(super) async fn show(_frame: &DataFrame) -> Result<String> {
    missing("a SELECT over tables that are not streams")
}

/// Whether rows of the frame never end.
pub(super) fn is_streaming(frame: &DataFrame) -> bool {
    frame.plan().any(&|plan| matches!(plan, LogicalPlan::Source { .. }))
}

/// Writes a bounded frame to a table.
pub(super) async fn write(_frame: &DataFrame, _table: &TableDefinition) -> Result<()> {
    missing("INSERT INTO of a query over tables that are not streams")
}

/// No rows and no columns: what a definition gives.
pub(super) fn nothing(_session: &Session) -> Result<DataFrame> {
    missing("a frame without columns, which definitions give; use Script for definitions alone")
}
