//! What SQL asks of frames, one function for each operation.
//!
//! Comes in: frames and unresolved expressions. Goes out: frames. Fails: as the frame's methods do.

use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use crate::functions;
use crate::plan::resolve::{df_schema, expand_star, resolve};
use crate::plan::scope::Scope;
use crate::session::Session;
use crate::types::StructType;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::create_physical_expr;
use std::sync::Arc;

pub(super) fn select(frame: &DataFrame, expressions: Vec<Expr>) -> Result<DataFrame> {
    frame.select(expressions.into_iter().map(Column::from))
}

pub(super) fn filter(frame: &DataFrame, predicate: Expr) -> Result<DataFrame> {
    frame.filter(Column::from(predicate))
}

pub(super) fn aggregate(frame: &DataFrame, keys: Vec<Expr>, calls: Vec<Expr>) -> Result<DataFrame> {
    frame.group_by(keys.into_iter().map(Column::from))?.agg(calls.into_iter().map(Column::from))
}

/// An aggregation by the keys at the positions of each set.
pub(super) fn aggregate_sets(
    frame: &DataFrame,
    keys: Vec<Expr>,
    sets: Vec<Vec<usize>>,
    calls: Vec<Expr>,
) -> Result<DataFrame> {
    let keys = keys.into_iter().map(Column::from).collect();
    frame.grouped_by_sets(keys, sets)?.agg(calls.into_iter().map(Column::from))
}

/// The columns that `name.*` stands for.
pub(super) fn columns_of(frame: &DataFrame, name: &str) -> Result<Vec<Expr>> {
    expand_star(super::expression::column(&format!("{name}.*")), &frame.plan().scope())
}

/// A table of rows that are written down. A column has the type that all its values fit.
pub(super) fn values(session: &Session, rows: Vec<Vec<Expr>>) -> Result<DataFrame> {
    let width = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != width) {
        return Err(Error::new(ErrorCode::InvalidExpression, "the rows of VALUES need the same number of columns"));
    }
    let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(rows.len()); width];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(constant(session, value)?);
        }
    }
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (index, column) in columns.into_iter().enumerate() {
        let types: Vec<DataType> = column.iter().map(ScalarValue::data_type).collect();
        let data_type = type_union_resolution(&types).ok_or_else(|| {
            let message = format!("column {} of VALUES has values of types that do not fit together", index + 1);
            Error::new(ErrorCode::DatatypeMismatch, message)
        })?;
        let cast: std::result::Result<Vec<ScalarValue>, _> = column.iter().map(|v| v.cast_to(&data_type)).collect();
        fields.push(Field::new(format!("col{}", index + 1), data_type, true));
        arrays.push(ScalarValue::iter_to_array(cast?)?);
    }
    let schema = Arc::new(Schema::new(fields));
    local(session, RecordBatch::try_new(schema, arrays)?)
}

/// The value of an expression without columns.
fn constant(session: &Session, expr: Expr) -> Result<ScalarValue> {
    let schema: SchemaRef = Arc::new(Schema::empty());
    let resolved = resolve(expr, &Scope::of(&schema), &session.conf().environment()?)?;
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let physical = create_physical_expr(&resolved, df_schema(&schema)?.as_ref(), &properties, &context)?;
    Ok(match physical.evaluate(&one_empty_row()?)? {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0)?,
    })
}

/// One row, for a SELECT without FROM.
pub(super) fn one_row(session: &Session) -> Result<DataFrame> {
    local(session, one_empty_row()?)
}

fn one_empty_row() -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?)
}

/// A table of rows that are there.
fn local(session: &Session, rows: RecordBatch) -> Result<DataFrame> {
    DataFrame::from_batches(session, rows.schema(), vec![rows])
}

/// The rows of a table that does not grow.
pub(super) async fn read(
    session: &Session,
    format: &str,
    columns: Option<StructType>,
    options: Vec<(String, String)>,
) -> Result<DataFrame> {
    let mut reader = session.read().format(format);
    if let Some(columns) = columns {
        reader = reader.schema(columns);
    }
    for (key, value) in options {
        reader = reader.option(&key, value);
    }
    reader.load().await
}

/// All rows of a bounded frame, as a table for people.
pub(super) async fn show(frame: &DataFrame) -> Result<String> {
    let rows = frame.collect().await?;
    let count = rows.iter().map(RecordBatch::num_rows).sum();
    let time_zone = frame.session().conf().environment()?.time_zone;
    let text = functions::show::show(&rows, frame.schema(), count, 0, time_zone)?;
    Ok(format!("{}\n", text.trim_end_matches('\n')))
}

/// No rows and no columns: what a definition gives.
pub(super) fn nothing(session: &Session) -> Result<DataFrame> {
    local(session, RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// Keys of the configuration and their values: what `SET` gives.
pub(super) fn settings(session: &Session, settings: Vec<(String, String)>) -> Result<DataFrame> {
    let (keys, values): (Vec<String>, Vec<String>) = settings.into_iter().unzip();
    let fields = ["key", "value"].map(|name| Field::new(name, DataType::Utf8, false));
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(keys)), Arc::new(StringArray::from(values))];
    local(session, RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns)?)
}
