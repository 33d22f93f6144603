//! Output rows as Kafka records: the columns a sink reads, their checks, and the records themselves.
//!
//! Comes in: record batches with columns `value` and optionally `key`, `topic`, `partition`, `headers`. Goes out: rows
//! that are ready to send, their count and digest. Fails: a column of the wrong type, a row without a topic, and a
//! record that is larger than the client may send; all before anything is sent.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{
    Array, ArrayRef, BinaryArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray, as_list_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use rdkafka::message::{Header, OwnedHeaders};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Which columns of the output are what.
pub(super) struct Layout {
    key: Option<usize>,
    value: usize,
    topic: Option<usize>,
    partition: Option<usize>,
    headers: Option<usize>,
    /// The option `topic`, which goes before the column, as in Spark.
    default_topic: Option<Arc<str>>,
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    is_text(data_type) || matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_headers(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item)) = data_type else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    matches!(fields.as_ref(), [key, value] if is_text(key.data_type()) && is_bytes(value.data_type()))
}

fn header_list() -> DataType {
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]);
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)))
}

impl Layout {
    /// Finds and checks the columns.
    pub(super) fn of(schema: &Schema, default_topic: Option<Arc<str>>) -> Result<Self> {
        let find = |name: &str, fits: fn(&DataType) -> bool, wanted: &str| match schema.index_of(name) {
            Err(_) => Ok(None),
            Ok(index) if fits(schema.field(index).data_type()) => Ok(Some(index)),
            Ok(index) => Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!(
                    "Kafka sink: column {name} must be {wanted}, not {}; cast it, or make it text with to_json",
                    schema.field(index).data_type()
                ),
            )),
        };
        let text_or_bytes = "STRING or BINARY";
        let layout = Self {
            key: find("key", is_bytes, text_or_bytes)?,
            value: find("value", is_bytes, text_or_bytes)?.ok_or_else(|| {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::new(
                    ErrorCode::UnresolvedColumn,
                    format!(
                        "Kafka sink: the output has no column value; its columns are {}. Select one as value, for \
                         example to_json(struct(...)) AS value",
                        names.join(", ")
                    ),
                )
            })?,
            topic: find("topic", is_text, "STRING")?,
            partition: find("partition", |found| *found == DataType::Int32, "INT")?,
            headers: find("headers", is_headers, "ARRAY<STRUCT<key: STRING, value: BINARY>>")?,
            default_topic,
        };
        if layout.topic.is_none() && layout.default_topic.is_none() {
            return Err(crate::kafka::invalid(
                "Kafka sink: option topic is required when the output has no column topic".into(),
            ));
        }
        Ok(layout)
    }

    /// The records of a batch. Text is taken as its UTF-8 bytes, without a copy.
    fn records(&self, batch: &RecordBatch) -> Result<Records> {
        let column = |index: usize, data_type: &DataType| -> Result<ArrayRef> {
            let column = batch
                .columns()
                .get(index)
                .ok_or_else(|| Error::internal("a batch of the Kafka sink has fewer columns than its schema"))?;
            Ok(cast(column, data_type)?)
        };
        let bytes = |index| -> Result<BinaryArray> { downcast(&column(index, &DataType::Binary)?) };
        Ok(Records {
            key: self.key.map(bytes).transpose()?,
            value: bytes(self.value)?,
            topic: match (&self.default_topic, self.topic) {
                (None, Some(index)) => Some(downcast(&column(index, &DataType::Utf8)?)?),
                _ => None,
            },
            default_topic: self.default_topic.clone(),
            partition: self.partition.map(|index| downcast(&column(index, &DataType::Int32)?)).transpose()?,
            headers: match self.headers {
                Some(index) => Some(as_list_array(&column(index, &header_list())?).clone()),
                None => None,
            },
        })
    }
}

fn downcast<T: Array + Clone + 'static>(array: &ArrayRef) -> Result<T> {
    array
        .as_any()
        .downcast_ref::<T>()
        .cloned()
        .ok_or_else(|| Error::internal(format!("a column of the Kafka sink became {}", array.data_type())))
}

/// The columns of one output batch.
struct Records {
    key: Option<BinaryArray>,
    value: BinaryArray,
    topic: Option<StringArray>,
    default_topic: Option<Arc<str>>,
    partition: Option<Int32Array>,
    headers: Option<ListArray>,
}

/// A record to send.
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl Record<'_> {
    /// Headers in the client's form.
    pub(super) fn owned_headers(&self) -> Option<OwnedHeaders> {
        (!self.headers.is_empty()).then(|| {
            self.headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }))
        })
    }

    /// The size that the client's limit is about. Lengths are counted at their largest.
    fn size(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self.headers.iter().map(|(key, value)| key.len() + length(*value) + 10).sum();
        length(self.key) + length(self.value) + headers
    }

    fn digest(&self, hash: &mut Xxh3) {
        let mut field = |bytes: Option<&[u8]>| {
            hash.update(&bytes.map_or(-1, |bytes| bytes.len() as i64).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        field(Some(self.topic.as_bytes()));
        field(self.key);
        field(self.value);
        for (key, value) in &self.headers {
            field(Some(key.as_bytes()));
            field(*value);
        }
        hash.update(&self.partition.unwrap_or(-1).to_le_bytes());
    }
}

impl Records {
    fn record(&self, row: usize) -> Result<Record<'_>> {
        fn at(array: &BinaryArray, row: usize) -> Option<&[u8]> {
            array.is_valid(row).then(|| array.value(row))
        }
        let column = self.topic.as_ref().filter(|topics| topics.is_valid(row)).map(|topics| topics.value(row));
        let topic = self.default_topic.as_deref().or(column).ok_or_else(|| {
            Error::new(
                ErrorCode::Kafka,
                "Kafka sink: a row has NULL in its column topic; fill it, or give the option topic",
            )
        })?;
        let mut headers = Vec::new();
        if let Some(list) = self.headers.as_ref().filter(|list| list.is_valid(row)) {
            let entries: &StructArray =
                list.values().as_any().downcast_ref().ok_or_else(|| Error::internal("headers are not structs"))?;
            let wrong = || Error::internal("headers are not keys and values");
            let keys: &StringArray = entries.column(0).as_any().downcast_ref().ok_or_else(wrong)?;
            let values: &BinaryArray = entries.column(1).as_any().downcast_ref().ok_or_else(wrong)?;
            let offsets = list.value_offsets();
            let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
            headers = (from..to).map(|index| (keys.value(index), at(values, index))).collect();
        }
        Ok(Record {
            topic,
            partition: self.partition.as_ref().filter(|p| p.is_valid(row)).map(|p| p.value(row)),
            key: self.key.as_ref().and_then(|keys| at(keys, row)),
            value: at(&self.value, row),
            headers,
        })
    }
}

/// The rows of a staged batch, kept as the columns they came in.
pub(super) struct Staged {
    batches: Vec<Records>,
    pub(super) rows: u64,
    pub(super) digest: String,
}

impl Staged {
    /// Takes the output of a batch and checks every record: its size, and by `check` its topic and partition.
    pub(super) fn new(
        layout: &Layout,
        batches: &[RecordBatch],
        max_bytes: usize,
        mut check: impl FnMut(&str, Option<i32>) -> Result<()>,
    ) -> Result<Self> {
        let mut hash = Xxh3::new();
        let mut staged = Self { batches: Vec::with_capacity(batches.len()), rows: 0, digest: String::new() };
        for batch in batches {
            let records = layout.records(batch)?;
            for row in 0..batch.num_rows() {
                let record = records.record(row)?;
                let size = record.size();
                if size > max_bytes {
                    let key = record.key.map(|key| String::from_utf8_lossy(&key[..key.len().min(64)]).into_owned());
                    return Err(Error::new(
                        ErrorCode::Kafka,
                        format!(
                            "Kafka sink: the record with key {} for topic {} has {size} bytes, more than the {max_bytes} \
                             of kafka.message.max.bytes; raise it together with the topic's max.message.bytes, or make \
                             the rows smaller. Nothing of the batch was sent",
                            key.as_deref().unwrap_or("NULL"),
                            record.topic,
                        ),
                    ));
                }
                check(record.topic, record.partition)?;
                record.digest(&mut hash);
            }
            staged.rows += batch.num_rows() as u64;
            staged.batches.push(records);
        }
        staged.digest = format!("{:032x}", hash.digest128());
        Ok(staged)
    }

    /// Calls `send` with every record, in order.
    pub(super) fn each<E: From<Error>>(&self, mut send: impl FnMut(&Record<'_>) -> Result<(), E>) -> Result<(), E> {
        for records in &self.batches {
            for row in 0..records.value.len() {
                send(&records.record(row)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
    }

    fn refusal(fields: &[(&str, DataType)], topic: Option<&str>) -> String {
        Layout::of(&schema(fields), topic.map(Arc::from)).err().map_or_else(|| "accepted".into(), |e| e.to_string())
    }

    #[test]
    fn schemas_are_checked_by_column() {
        assert_eq!(refusal(&[("value", DataType::Utf8), ("extra", DataType::Date32)], Some("t")), "accepted");
        assert_eq!(
            refusal(
                &[
                    ("value", DataType::BinaryView),
                    ("key", DataType::Utf8View),
                    ("topic", DataType::Utf8),
                    ("partition", DataType::Int32),
                    ("headers", header_list()),
                ],
                None
            ),
            "accepted"
        );
        assert_eq!(
            refusal(&[("value", DataType::Int64)], Some("t")),
            "[DATATYPE_MISMATCH] Kafka sink: column value must be STRING or BINARY, not Int64; cast it, or make it text \
             with to_json"
        );
        assert_eq!(
            refusal(&[("city", DataType::Utf8)], Some("t")),
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] Kafka sink: the output has no column value; its columns are city. \
             Select one as value, for example to_json(struct(...)) AS value"
        );
        assert_eq!(
            refusal(&[("value", DataType::Utf8)], None),
            "[INVALID_OPTION] Kafka sink: option topic is required when the output has no column topic"
        );
        assert!(refusal(&[("value", DataType::Utf8), ("partition", DataType::Int64)], Some("t")).contains("INT, not"));
        assert!(refusal(&[("value", DataType::Utf8), ("headers", DataType::Utf8)], Some("t")).contains("ARRAY<STRUCT"));
    }

    #[test]
    fn rows_are_staged_with_their_digest_and_refused_by_size() {
        let schema = Arc::new(schema(&[("key", DataType::Utf8), ("value", DataType::Utf8)]));
        let batch = |values: Vec<Option<&str>>| {
            let keys = StringArray::from(vec![Some("k"); values.len()]);
            RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(StringArray::from(values))]).unwrap()
        };
        let layout = Layout::of(&schema, Some("t".into())).unwrap();
        let stage = |batches: &[RecordBatch]| Staged::new(&layout, batches, 10, |_, _| Ok(()));
        let whole = stage(&[batch(vec![Some("a"), None, Some("")])]).unwrap();
        let split = stage(&[batch(vec![Some("a")]), batch(vec![None, Some("")])]).unwrap();
        let other = stage(&[batch(vec![Some("a"), Some(""), None])]).unwrap();
        assert_eq!((whole.rows, &whole.digest), (3, &split.digest));
        assert_ne!(whole.digest, other.digest);
        let mut seen = Vec::new();
        let all: Result<()> = split.each(|record| {
            seen.push(record.value.map(<[u8]>::to_vec));
            Ok(())
        });
        all.unwrap();
        assert_eq!(seen, [Some(b"a".to_vec()), None, Some(Vec::new())]);
        let error = stage(&[batch(vec![Some("0123456789")])]).err().unwrap().to_string();
        assert!(error.contains("the record with key k for topic t has 11 bytes, more than the 10"), "{error}");
    }
}
