//! Rows that come with the plan, or came before it.
//!
//! Comes in: Arrow IPC streams, with or without a schema in Spark's words. Goes out: tables. Fails: bytes that are no Arrow stream, values
//! that the schema's types cannot hold, blocks that the client has not sent.

use super::Resources;
use super::relation::schema;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataFrame;
use crate::functions::cast::{CastOptions, cast};
use crate::session::Session;
use crate::types::{StructType, UTC};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use prost::Message;
use spark_connect_proto as proto;
use std::sync::Arc;

/// The table of a local relation.
pub(super) fn relation(session: &Session, rows: &proto::LocalRelation) -> Result<DataFrame> {
    let declared = rows.schema.as_deref().filter(|text| !text.is_empty()).map(schema).transpose()?;
    table(session, rows.data.as_ref().into_iter(), declared.as_ref())
}

/// The table of a local relation that was sent before.
pub(super) fn cached(resources: &dyn Resources, cached: &proto::CachedLocalRelation) -> Result<DataFrame> {
    let block = block(resources, &cached.hash)?;
    let rows = proto::LocalRelation::decode(block).map_err(|cause| {
        Error::caused_by(
            ErrorCode::ParseSyntaxError,
            format!("the block {} is no local relation: {cause}", cached.hash),
            cause,
        )
    })?;
    relation(resources.session(), &rows)
}

/// The table of several Arrow streams and a schema, which were sent before.
pub(super) fn chunked(resources: &dyn Resources, cached: &proto::ChunkedCachedLocalRelation) -> Result<DataFrame> {
    let declared = match &cached.schema_hash {
        Some(hash) => {
            let bytes = block(resources, hash)?;
            let text = std::str::from_utf8(&bytes).map_err(|cause| {
                Error::caused_by(ErrorCode::ParseSyntaxError, format!("the block {hash} is no schema: {cause}"), cause)
            })?;
            Some(schema(text)?)
        }
        None => None,
    };
    let blocks = cached.data_hashes.iter().map(|hash| block(resources, hash)).collect::<Result<Vec<_>>>()?;
    table(resources.session(), blocks.iter(), declared.as_ref())
}

fn block(resources: &dyn Resources, hash: &str) -> Result<Bytes> {
    resources.artifact(hash).ok_or_else(|| {
        Error::new(ErrorCode::Io, format!("the block {hash} is not here; send it as an artifact before the plan"))
    })
}

fn table<'b>(
    session: &Session,
    streams: impl Iterator<Item = &'b Bytes>,
    declared: Option<&StructType>,
) -> Result<DataFrame> {
    let environment = session.conf().environment()?;
    let options = CastOptions { ansi: environment.ansi, time_zone: environment.time_zone };
    let mut given: Option<SchemaRef> = None;
    let mut batches = Vec::new();
    for bytes in streams {
        let refuse = |cause: arrow::error::ArrowError| {
            Error::caused_by(ErrorCode::ParseSyntaxError, format!("local rows are no Arrow stream: {cause}"), cause)
        };
        let reader = StreamReader::try_new(bytes.as_ref(), None).map_err(refuse)?;
        given.get_or_insert_with(|| reader.schema());
        for batch in reader {
            batches.push(batch.map_err(refuse)?);
        }
    }
    let wanted = match (declared, &given) {
        (Some(declared), _) => declared_schema(declared),
        (None, Some(given)) => plain_schema(given),
        (None, None) => {
            return Err(Error::new(ErrorCode::InvalidExpression, "a local relation has neither rows nor a schema"));
        }
    };
    if let Some(given) = given.filter(|given| given.fields().len() != wanted.fields().len()) {
        return Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!(
                "local rows have {} columns, but their schema names {}",
                given.fields().len(),
                wanted.fields().len()
            ),
        ));
    }
    let batches = batches.iter().map(|batch| conform(batch, &wanted, options)).collect::<Result<Vec<_>>>()?;
    DataFrame::from_batches(session, wanted, batches)
}

/// The Arrow schema of a declared one, with the columns that are NOT NULL.
pub(super) fn declared_schema(declared: &StructType) -> SchemaRef {
    let schema = declared.to_arrow_schema();
    let fields = schema.fields().iter().zip(&declared.fields);
    let fields = fields.map(|(field, declared)| field.as_ref().clone().with_nullable(declared.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The batch's columns by position, under the names and in the types of `wanted`.
fn conform(batch: &RecordBatch, wanted: &SchemaRef, options: CastOptions) -> Result<RecordBatch> {
    let column = |(column, field): (&ArrayRef, &FieldRef)| -> Result<ArrayRef> {
        let plain = plain_type(column.data_type());
        let column = match *column.data_type() == plain {
            true => column.clone(),
            false => arrow::compute::cast(column, &plain)?,
        };
        cast(&column, field.data_type(), options)
    };
    let columns = batch.columns().iter().zip(wanted.fields()).map(column).collect::<Result<Vec<_>>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(wanted.clone(), columns, &rows)?)
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| Field::new(field.name(), plain_type(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The engine's layout of what an Arrow type holds.
fn plain_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef, name: &str| Arc::new(Field::new(name, plain_type(field.data_type()), true));
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => DataType::List(inner(element, "element")),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| inner(field, field.name())).collect()),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(parts) => match parts.as_ref() {
                [key, value] => {
                    let key = Arc::new(Field::new("key", plain_type(key.data_type()), false));
                    let parts = DataType::Struct(vec![key, inner(value, "value")].into());
                    DataType::Map(Arc::new(Field::new("entries", parts, false)), *sorted)
                }
                _ => data_type.clone(),
            },
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

/// One row without columns, for a selection of constants.
pub(super) fn one_row(session: &Session) -> Result<DataFrame> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    DataFrame::from_batches(session, row.schema(), vec![row])
}

/// A table without rows and columns: what a command answers.
pub(super) fn nothing(session: &Session) -> Result<DataFrame> {
    let schema: SchemaRef = Arc::new(Schema::empty());
    DataFrame::from_batches(session, schema.clone(), vec![RecordBatch::new_empty(schema)])
}

/// A table of these columns.
pub(super) fn columns(session: &Session, columns: Vec<(&str, ArrayRef)>) -> Result<DataFrame> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))?;
    DataFrame::from_batches(session, batch.schema(), vec![batch])
}

/// The last rows of a table.
pub(super) async fn tail(frame: &DataFrame, rows: u64) -> Result<DataFrame> {
    let batches = frame.collect().await?;
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut skip = total.saturating_sub(usize::try_from(rows).unwrap_or(usize::MAX));
    let mut kept = Vec::new();
    for batch in batches {
        let passed = skip.min(batch.num_rows());
        skip -= passed;
        if passed < batch.num_rows() {
            kept.push(batch.slice(passed, batch.num_rows() - passed));
        }
    }
    DataFrame::from_batches(frame.session(), frame.schema().clone(), kept)
}
