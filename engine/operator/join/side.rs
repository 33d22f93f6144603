//! One side of a join's state: rows by key, by age and by number; and what of it a state file holds.
//!
//! Comes in: rows with their keys. Goes out: rows by number, and files of what has changed. Fails: bytes that are not such a file.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A row's key as comparable bytes; None where it is NULL.
pub(super) type Key = Option<Box<[u8]>>;

/// Rows that wait for partners.
pub(super) struct Side {
    schema: SchemaRef,
    /// Turns whole rows into bytes and back.
    rows: RowConverter,
    stored: BTreeMap<u64, Stored>,
    by_key: HashMap<Box<[u8]>, Vec<u64>>,
    by_expiry: BTreeSet<(i64, u64)>,
    next: u64,
    bytes: u64,
    inserted: BTreeSet<u64>,
    marked: BTreeSet<u64>,
    removed: Vec<u64>,
}

struct Stored {
    row: Box<[u8]>,
    key: Key,
    expiry: Option<i64>,
    matched: bool,
}

/// What a state file says of one side.
pub(super) struct Change {
    pub rows: RecordBatch,
    pub ids: Vec<u64>,
    pub matched: Vec<bool>,
    pub removed: Vec<u64>,
    pub marked: Vec<u64>,
}

/// Bytes of bookkeeping for a row, roughly.
const OVERHEAD: u64 = 120;

impl Side {
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Self {
            schema: schema.clone(),
            rows: RowConverter::new(fields)?,
            stored: BTreeMap::new(),
            by_key: HashMap::new(),
            by_expiry: BTreeSet::new(),
            next: 0,
            bytes: 0,
            inserted: BTreeSet::new(),
            marked: BTreeSet::new(),
            removed: vec![],
        })
    }

    /// Starts a batch: nothing has changed.
    pub fn begin(&mut self) {
        self.inserted.clear();
        self.marked.clear();
        self.removed.clear();
    }

    /// Stores rows under new numbers.
    pub fn insert(
        &mut self,
        rows: &RecordBatch,
        keys: Vec<Key>,
        expiries: Option<&Int64Array>,
        matched: &[bool],
    ) -> Result<()> {
        let ids: Vec<u64> = (self.next..self.next + rows.num_rows() as u64).collect();
        self.put(rows, keys, expiries, matched, &ids)?;
        self.inserted.extend(&ids);
        Ok(())
    }

    /// Stores rows under the numbers that they have.
    pub fn put(
        &mut self,
        rows: &RecordBatch,
        keys: Vec<Key>,
        expiries: Option<&Int64Array>,
        matched: &[bool],
        ids: &[u64],
    ) -> Result<()> {
        let encoded = self.rows.convert_columns(rows.columns())?;
        for (index, ((key, matched), id)) in keys.into_iter().zip(matched).zip(ids).enumerate() {
            let expiry = expiries.filter(|e| e.is_valid(index)).map(|e| e.value(index));
            let row: Box<[u8]> = encoded.row(index).data().into();
            self.bytes += row.len() as u64 + key.as_ref().map_or(0, |k| k.len() as u64) + OVERHEAD;
            if let Some(key) = &key {
                self.by_key.entry_ref(key.as_ref()).or_default().push(*id);
            }
            if let Some(expiry) = expiry {
                self.by_expiry.insert((expiry, *id));
            }
            self.stored.insert(*id, Stored { row, key, expiry, matched: *matched });
            self.next = self.next.max(id + 1);
        }
        Ok(())
    }

    /// Numbers of the rows with a key, in the order in which they came.
    pub fn with_key(&self, key: &[u8]) -> Vec<u64> {
        self.by_key.get(key).cloned().unwrap_or_default()
    }

    /// Rows by their numbers.
    pub fn rows(&self, ids: &[u64]) -> Result<RecordBatch> {
        let parser = self.rows.parser();
        let stored = ids.iter().filter_map(|id| self.stored.get(id)).map(|stored| parser.parse(&stored.row));
        let columns = self.rows.convert_rows(stored)?;
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Notes that a row has had a partner.
    pub fn matched(&mut self, id: u64) {
        if let Some(stored) = self.stored.get_mut(&id)
            && !stored.matched
        {
            stored.matched = true;
            if !self.inserted.contains(&id) {
                self.marked.insert(id);
            }
        }
    }

    pub fn is_matched(&self, id: u64) -> bool {
        self.stored.get(&id).is_some_and(|stored| stored.matched)
    }

    /// Whether a row came in this batch.
    pub fn is_new(&self, id: u64) -> bool {
        self.inserted.contains(&id)
    }

    /// Numbers of the rows that expire at `until` or before, oldest first.
    pub fn expired(&self, until: i64) -> Vec<u64> {
        self.by_expiry.range(..=(until, u64::MAX)).map(|(_, id)| *id).collect()
    }

    pub fn remove(&mut self, id: u64) {
        let Some(stored) = self.stored.remove(&id) else { return };
        self.bytes -= stored.row.len() as u64 + stored.key.as_ref().map_or(0, |k| k.len() as u64) + OVERHEAD;
        if let Some(expiry) = stored.expiry {
            self.by_expiry.remove(&(expiry, id));
        }
        if let Some(key) = &stored.key
            && let Some(ids) = self.by_key.get_mut(key)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(key);
            }
        }
        self.marked.remove(&id);
        if !self.inserted.remove(&id) {
            self.removed.push(id);
        }
    }

    pub fn len(&self) -> u64 {
        self.stored.len() as u64
    }

    pub fn memory(&self) -> u64 {
        self.bytes
    }

    /// The file's rows: number, whether it had a partner, columns; `removed` and `marked` in the schema's metadata.
    fn encode(&self, whole: bool) -> Result<(Vec<u8>, u64)> {
        let ids: Vec<u64> = match whole {
            true => self.stored.keys().copied().collect(),
            false => self.inserted.iter().copied().collect(),
        };
        let rows = self.rows(&ids)?;
        let matched: BooleanArray = ids.iter().map(|id| Some(self.is_matched(*id))).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(ids.clone())), Arc::new(matched)];
        columns.extend(rows.columns().iter().cloned());
        let schema = state_schema(&self.schema);
        let listed = |ids: &mut dyn Iterator<Item = u64>| ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let (removed, marked) = match whole {
            true => (String::new(), String::new()),
            false => (listed(&mut self.removed.iter().copied()), listed(&mut self.marked.iter().copied())),
        };
        let metadata = [(REMOVED.to_string(), removed), (MARKED.to_string(), marked)].into();
        let schema = Arc::new(schema.with_metadata(metadata));
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
        Ok((writer.into_inner()?, ids.len() as u64))
    }
}

const REMOVED: &str = "tidemill.removed";
const MARKED: &str = "tidemill.matched";

fn state_schema(schema: &Schema) -> Schema {
    let own = [Field::new("#id", DataType::UInt64, false), Field::new("#matched", DataType::Boolean, false)];
    let fields = own.into_iter().map(Arc::new).chain(schema.fields().iter().cloned());
    Schema::new(fields.collect::<Vec<_>>())
}

/// A state file: for each side, the length of its Arrow stream in eight bytes, little end first, and the stream.
pub(super) fn write(sides: &[Side; 2], whole: bool) -> Result<(Bytes, u64)> {
    let (mut bytes, mut rows) = (Vec::new(), 0);
    for side in sides {
        let (part, own) = side.encode(whole)?;
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&part);
        rows += own;
    }
    Ok((Bytes::from(bytes), rows))
}

/// What a state file says of each side.
pub(super) fn read(bytes: &[u8], schemas: &[SchemaRef; 2]) -> Result<Vec<Change>> {
    let mut rest = bytes;
    schemas
        .iter()
        .map(|schema| {
            let (length, after) = rest.split_first_chunk::<8>().ok_or_else(|| corrupt("it ends early"))?;
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let part = after.get(..length).ok_or_else(|| corrupt("it ends early"))?;
            rest = &after[length..];
            change(part, schema)
        })
        .collect()
}

fn change(bytes: &[u8], schema: &SchemaRef) -> Result<Change> {
    let unreadable = |e: arrow::error::ArrowError| {
        Error::caused_by(ErrorCode::CheckpointCorrupt, format!("a join's state file: {e}"), e)
    };
    let reader = StreamReader::try_new(bytes, None).map_err(unreadable)?;
    let found = reader.schema();
    let expected = state_schema(schema);
    let types = |schema: &Schema| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    if types(&found) != types(&expected) {
        return Err(corrupt(&format!("its columns are {:?}, expected {:?}", types(&found), types(&expected))));
    }
    let ids = |key: &str| -> Result<Vec<u64>> {
        let text = found.metadata().get(key).map(String::as_str).unwrap_or_default();
        let numbers = text.split(',').filter(|part| !part.is_empty()).map(str::parse);
        numbers.collect::<std::result::Result<_, _>>().map_err(|_| corrupt(&format!("{key} is {text:?}")))
    };
    let (removed, marked) = (ids(REMOVED)?, ids(MARKED)?);
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
    let all = arrow::compute::concat_batches(&found, &batches)?;
    let columns = all.columns().get(2..).unwrap_or_default().to_vec();
    let options = RecordBatchOptions::new().with_row_count(Some(all.num_rows()));
    let numbers = all.column(0).as_primitive::<UInt64Type>();
    let flags = all.column(1).as_boolean();
    Ok(Change {
        rows: RecordBatch::try_new_with_options(schema.clone(), columns, &options)?,
        ids: numbers.values().to_vec(),
        matched: (0..flags.len()).map(|row| flags.value(row)).collect(),
        removed,
        marked,
    })
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorCode::CheckpointCorrupt, format!("a join's state file is damaged: {what}"))
}
