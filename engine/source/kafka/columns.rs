//! Kafka records to columns: the schema of the source, and the builder of one chunk.
//!
//! Comes in: records of one partition. Goes out: the projected columns, each payload byte copied once, and the
//! [`Origin`] of the rows. Fails: a header key that is not UTF-8.

use crate::error::{Error, ErrorCode, Result};
use crate::source::{Chunk, Origin};
use crate::types;
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use rdkafka::Timestamp;
use rdkafka::message::{Headers, Message};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const KEY: usize = 0;
const VALUE: usize = 1;
const TOPIC: usize = 2;
const PARTITION: usize = 3;
const OFFSET: usize = 4;
const TIMESTAMP: usize = 5;
const TIMESTAMP_TYPE: usize = 6;
const HEADERS: usize = 7;

/// What a row costs beside its payload, so that chunks of empty records end as well.
const ROW_BYTES: usize = 32;

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)])
}

fn header_item() -> Field {
    Field::new("element", DataType::Struct(header_fields()), true)
}

/// Spark's columns of a Kafka source.
pub(super) fn schema(include_headers: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", types::timestamp(), true),
        Field::new("timestampType", DataType::Int32, true),
    ];
    if include_headers {
        fields.push(Field::new("headers", DataType::List(Arc::new(header_item())), true));
    }
    Arc::new(Schema::new(fields))
}

/// The columns of a chunk in the making: rows of one partition.
pub(super) struct ChunkBuilder {
    schema: SchemaRef,
    projection: Arc<[usize]>,
    key: Option<BinaryBuilder>,
    value: Option<BinaryBuilder>,
    offsets: Vec<i64>,
    timestamps: Option<Vec<i64>>,
    timestamp_types: Option<Vec<i32>>,
    headers: Option<ListBuilder<StructBuilder>>,
    bytes: usize,
}

impl ChunkBuilder {
    /// A builder of the projected columns of `schema`, with room for `bytes` of payload.
    pub(super) fn new(schema: &SchemaRef, projection: &Arc<[usize]>, bytes: usize) -> Self {
        let wants = |column| projection.contains(&column);
        let rows = bytes / 256;
        let binary = |column, room| wants(column).then(|| BinaryBuilder::with_capacity(rows, room));
        Self {
            schema: schema.clone(),
            projection: projection.clone(),
            key: binary(KEY, rows * 8),
            value: binary(VALUE, bytes),
            offsets: Vec::with_capacity(rows),
            timestamps: wants(TIMESTAMP).then(Vec::new),
            timestamp_types: wants(TIMESTAMP_TYPE).then(Vec::new),
            headers: wants(HEADERS).then(|| {
                let fields = StructBuilder::from_fields(header_fields(), 0);
                ListBuilder::new(fields).with_field(header_item())
            }),
            bytes: 0,
        }
    }

    /// Bytes of the rows so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Appends a record.
    pub(super) fn append<M: Message>(&mut self, record: &M) -> Result<()> {
        self.bytes += ROW_BYTES;
        for (builder, bytes) in [(&mut self.key, record.key()), (&mut self.value, record.payload())] {
            if let Some(builder) = builder {
                self.bytes += bytes.map_or(0, <[u8]>::len);
                builder.append_option(bytes);
            }
        }
        self.offsets.push(record.offset());
        if self.timestamps.is_some() || self.timestamp_types.is_some() {
            // Spark passes Kafka's "no timestamp", -1 ms of type -1, through as it is.
            let (millis, kind) = match record.timestamp() {
                Timestamp::CreateTime(millis) => (millis, 0),
                Timestamp::LogAppendTime(millis) => (millis, 1),
                Timestamp::NotAvailable => (-1, -1),
            };
            if let Some(timestamps) = &mut self.timestamps {
                timestamps.push(millis.saturating_mul(1_000));
            }
            if let Some(types) = &mut self.timestamp_types {
                types.push(kind);
            }
        }
        match &mut self.headers {
            Some(list) => append_headers(list, record),
            None => Ok(()),
        }
    }

    /// The chunk, or None without rows.
    pub(super) fn finish(mut self, topic: &Arc<str>, partition: i32) -> Result<Option<Chunk>> {
        let rows = self.offsets.len();
        if rows == 0 {
            return Ok(None);
        }
        let schema = Arc::new(self.schema.project(&self.projection)?);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.projection.len());
        for column in self.projection.iter() {
            let array: Option<ArrayRef> = match *column {
                KEY => self.key.as_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef),
                VALUE => self.value.as_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef),
                TOPIC => Some(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic.as_ref(), rows)))),
                PARTITION => Some(Arc::new(Int32Array::from_value(partition, rows))),
                OFFSET => Some(Arc::new(Int64Array::from(self.offsets.clone()))),
                TIMESTAMP => self.timestamps.take().map(|values| {
                    Arc::new(TimestampMicrosecondArray::from(values).with_timezone(types::UTC)) as ArrayRef
                }),
                TIMESTAMP_TYPE => {
                    self.timestamp_types.take().map(|values| Arc::new(Int32Array::from(values)) as ArrayRef)
                }
                HEADERS => self.headers.as_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef),
                _ => None,
            };
            columns.push(array.ok_or_else(|| Error::internal(format!("the Kafka source has no column {column}")))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let origin = Origin::Kafka { topic: topic.clone(), partition, offsets: self.offsets.into() };
        Ok(Some(Chunk::Columns { batch, origin }))
    }
}

/// Appends a record's headers: NULL when it has none, as Spark does.
fn append_headers<M: Message>(list: &mut ListBuilder<StructBuilder>, record: &M) -> Result<()> {
    let Some(headers) = record.headers().filter(|headers| headers.count() > 0) else {
        list.append_null();
        return Ok(());
    };
    for index in 0..headers.count() {
        // The client library panics on a key that is not UTF-8, and any producer can write one.
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(index))).map_err(|_| {
            Error::new(
                ErrorCode::MalformedRecord,
                format!(
                    "header {index} of the record at topic {}, partition {}, offset {} has a key that is not UTF-8; \
                     read without includeHeaders to pass it",
                    record.topic(),
                    record.partition(),
                    record.offset()
                ),
            )
        })?;
        let entry = list.values();
        if let Some(keys) = entry.field_builder::<StringBuilder>(0) {
            keys.append_value(header.key);
        }
        if let Some(values) = entry.field_builder::<BinaryBuilder>(1) {
            values.append_option(header.value);
        }
        entry.append(true);
    }
    list.append(true);
    Ok(())
}
