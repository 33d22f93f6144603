//! Python functions from rows to rows: `mapInPandas`, `mapInArrow`, `applyInPandas`, `applyInArrow`.
//!
//! Comes in: the rows of a table, or of a micro-batch; for the last two, a batch for each group, or two of relations that are grouped together. Goes out: the rows that the function returns.
//! Fails: a function of another kind, what it raises, rows that do not have the declared columns.

use super::convert;
use super::kind::{self, refuse};
use super::task::{Function, Task};
use super::workers::Workers;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use spark_connect_proto::PythonUdf;
use std::sync::Arc;

/// The rows that a function of `mapInPandas` or `mapInArrow` makes of `rows`, all of the schema `input`. It waits for the worker, so that it
/// belongs on a thread that may wait.
///
/// ```no_run
/// use tidemill::arrow::{array::RecordBatch, datatypes::SchemaRef};
/// use tidemill::server::python::{Workers, map_batches};
/// # fn run(workers: &Workers, udf: spark_connect_proto::PythonUdf, rows: Vec<RecordBatch>, output: SchemaRef) -> Result<(), tidemill::Error> {
/// let input = rows[0].schema();
/// let returned: Vec<RecordBatch> = map_batches(workers, "doubled", &udf, &input, &rows, &output)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorCode::UnsupportedOperation`] for another kind of function; [`ErrorCode::PythonNotFound`]; [`ErrorCode::PythonException`].
pub fn map_batches(
    workers: &Workers,
    name: &str,
    udf: &PythonUdf,
    input: &SchemaRef,
    rows: &[RecordBatch],
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    if ![kind::MAP_PANDAS, kind::MAP_ARROW].contains(&udf.eval_type) {
        return Err(refuse(name, udf.eval_type));
    }
    let schema = convert::schema(input.fields())?;
    let mut parts = Vec::new();
    for rows in rows {
        parts.extend(convert::batches(&schema, rows.columns(), rows.num_rows(), workers.rows_per_batch())?);
    }
    let parts = parts.into_iter().map(wrapped).collect::<Result<Vec<_>>>()?;
    run(workers, name, udf, vec![(0, None)], None, &wrapped_schema(&schema), &parts, output)
}

/// A relation that a function is given in groups: its columns, the numbers of those that rows are grouped by, and of those that the function
/// is given.
#[derive(Debug, Clone)]
pub struct GroupedInput {
    /// The columns.
    pub schema: SchemaRef,
    /// Numbers of the keys.
    pub keys: Vec<usize>,
    /// Numbers of the columns that the function sees.
    pub values: Vec<usize>,
}

impl GroupedInput {
    /// What the worker is told: how many numbers follow, how many of them are keys, and the numbers.
    fn offsets(&self) -> impl Iterator<Item = (usize, Option<&'static str>)> {
        let counts = [1 + self.keys.len() + self.values.len(), self.keys.len()];
        counts
            .into_iter()
            .chain(self.keys.iter().copied())
            .chain(self.values.iter().copied())
            .map(|offset| (offset, None))
    }
}

/// The rows that a function of `applyInPandas` or `applyInArrow` makes of `groups`, each a batch of `input`. It waits for the worker, as
/// [`map_batches`].
///
/// # Errors
/// As [`map_batches`].
pub fn map_groups(
    workers: &Workers,
    name: &str,
    udf: &PythonUdf,
    input: &GroupedInput,
    groups: &[RecordBatch],
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let in_structs = match udf.eval_type {
        kind::GROUPED_MAP_PANDAS | kind::GROUPED_MAP_PANDAS_ITER => false,
        kind::GROUPED_MAP_ARROW | kind::GROUPED_MAP_ARROW_ITER => true,
        other => return Err(refuse(name, other)),
    };
    let mut schema = convert::schema(input.schema.fields())?;
    let mut parts = Vec::new();
    for group in groups {
        parts.extend(convert::batches(&schema, group.columns(), group.num_rows(), usize::MAX)?);
    }
    if in_structs {
        parts = parts.into_iter().map(wrapped).collect::<Result<_>>()?;
        schema = wrapped_schema(&schema);
    }
    run(workers, name, udf, input.offsets().collect(), Some(1), &schema, &parts, output)
}

/// The rows that a function of `cogroup(...).applyInPandas` or `applyInArrow` makes of `groups`, each the rows of one key in the one input
/// and in the other. It waits for the worker, as [`map_batches`].
///
/// # Errors
/// As [`map_batches`].
pub fn map_cogroups(
    workers: &Workers,
    name: &str,
    udf: &PythonUdf,
    inputs: [&GroupedInput; 2],
    groups: &[[RecordBatch; 2]],
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    if ![kind::COGROUPED_MAP_PANDAS, kind::COGROUPED_MAP_ARROW].contains(&udf.eval_type) {
        return Err(refuse(name, udf.eval_type));
    }
    let schemas = [convert::schema(inputs[0].schema.fields())?, convert::schema(inputs[1].schema.fields())?];
    let mut parts = Vec::new();
    for group in groups {
        for (side, schema) in group.iter().zip(&schemas) {
            // A side without rows is a frame all the same.
            let frames = convert::batches(schema, side.columns(), side.num_rows(), usize::MAX)?;
            parts.push(frames.into_iter().next().unwrap_or_else(|| RecordBatch::new_empty(schema.clone())));
        }
    }
    let offsets = inputs.iter().flat_map(|input| input.offsets()).collect();
    run(workers, name, udf, offsets, Some(2), &schemas[0], &parts, output)
}

#[allow(clippy::too_many_arguments)]
fn run(
    workers: &Workers,
    name: &str,
    udf: &PythonUdf,
    arguments: Vec<(usize, Option<&str>)>,
    grouped: Option<usize>,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    workers.interpreter()?.check(&udf.python_ver)?;
    let task = Task {
        eval_type: udf.eval_type,
        python_version: &udf.python_ver,
        number: workers.number(),
        properties: &[],
        conf: workers.conf(),
        settings: &[],
        function: Function::Columns { command: &udf.command, arguments },
        grouped,
    };
    workers.run(&task, schema, batches)?.iter().map(|batch| unwrapped(name, batch, output)).collect()
}

fn wrapped_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("struct", DataType::Struct(schema.fields().clone()), false)]))
}

/// The rows as one column of structs.
fn wrapped(rows: RecordBatch) -> Result<RecordBatch> {
    let (schema, count) = (rows.schema(), rows.num_rows());
    let (fields, columns) = (schema.fields().clone(), rows.columns().to_vec());
    let column: ArrayRef = Arc::new(StructArray::try_new_with_length(fields, columns, None, count)?);
    Ok(RecordBatch::try_new(wrapped_schema(&schema), vec![column])?)
}

/// The rows of a column of structs, with the declared columns.
fn unwrapped(name: &str, batch: &RecordBatch, output: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.columns().first().and_then(|column| column.as_struct_opt());
    let rows = rows.ok_or_else(|| Error::internal(format!("a Python worker returned {} as rows", batch.schema())))?;
    let declared = |what: String| {
        let text = format!("the Python function {name} returned {what}, and declares {}", names(output));
        Error::new(ErrorCode::PythonException, text)
    };
    if rows.num_columns() != output.fields().len() {
        return Err(declared(format!("{} columns", rows.num_columns())));
    }
    let mut columns = Vec::new();
    for ((column, found), field) in rows.columns().iter().zip(rows.column_names()).zip(output.fields()) {
        let alike = match (column.data_type(), field.data_type()) {
            (DataType::Timestamp(_, one), DataType::Timestamp(_, other)) => one.is_some() == other.is_some(),
            (one, other) => convert::layout(one)?.equals_datatype(&convert::layout(other)?),
        };
        if !alike {
            return Err(declared(format!("a column {found} of the type {}", column.data_type())));
        }
        columns.push(convert::fit(column, field.data_type())?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(output.clone(), columns, &options)?)
}

fn names(schema: &SchemaRef) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}
