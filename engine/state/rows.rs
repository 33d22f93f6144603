//! [`RowStore`]: one value a key, in memory and in state files; and the form of those files.
//!
//! Comes in: keys as columns or as comparable bytes, values to keep, keys to forget. Goes out: values, and what has changed since
//! [`RowStore::begin`] as bytes. Fails: bytes that are not a state file of these keys and values.
//!
//! A file is a number of tables, each an Arrow IPC stream behind its length (u64, little endian). Keys are stored as the columns that they
//! come from, because their comparable form belongs to the running version of Arrow.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// A key as comparable bytes.
pub type Key = Arc<[u8]>;

/// Bytes of a key beside its own, roughly.
const KEY_OVERHEAD: usize = 48;

/// What a [`RowStore`] keeps for a key.
pub trait Value: Sized {
    /// The type of its column.
    fn data_type() -> DataType;

    /// The values as a column.
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;

    /// Row `row` of a column.
    ///
    /// # Errors
    /// `CheckpointCorrupt` for a column of another type.
    fn decode(column: &ArrayRef, row: usize) -> Result<Self>;

    /// Bytes held, roughly.
    fn memory(&self) -> usize;
}

impl Value for i64 {
    fn data_type() -> DataType {
        DataType::Int64
    }

    fn encode<'a>(values: impl Iterator<Item = &'a i64>) -> ArrayRef {
        Arc::new(values.copied().map(Some).collect::<Int64Array>())
    }

    fn decode(column: &ArrayRef, row: usize) -> Result<Self> {
        column.as_primitive_opt::<Int64Type>().map(|column| column.value(row)).ok_or_else(another_shape)
    }

    fn memory(&self) -> usize {
        8
    }
}

impl Value for Vec<u8> {
    fn data_type() -> DataType {
        DataType::Binary
    }

    fn encode<'a>(values: impl Iterator<Item = &'a Vec<u8>>) -> ArrayRef {
        Arc::new(BinaryArray::from_iter_values(values))
    }

    fn decode(column: &ArrayRef, row: usize) -> Result<Self> {
        column.as_binary_opt::<i32>().map(|column| column.value(row).to_vec()).ok_or_else(another_shape)
    }

    fn memory(&self) -> usize {
        24 + self.len()
    }
}

/// Keys as columns and as comparable bytes.
pub struct Keys {
    types: Vec<DataType>,
    converter: RowConverter,
}

impl Keys {
    /// Keys of these types, of which there is at least one.
    ///
    /// # Errors
    /// Types that cannot be compared.
    pub fn new(types: Vec<DataType>) -> Result<Self> {
        let converter = RowConverter::new(types.iter().map(|t| SortField::new(t.clone())).collect())?;
        Ok(Self { types, converter })
    }

    /// Comparable bytes of each row.
    ///
    /// # Errors
    /// Columns of other types.
    pub fn rows(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The columns of keys.
    ///
    /// # Errors
    /// Bytes that are not such keys.
    pub fn columns<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    /// Fields of the columns, `k0` and on.
    pub fn fields(&self) -> Vec<Field> {
        self.types.iter().enumerate().map(|(i, t)| Field::new(format!("k{i}"), t.clone(), true)).collect()
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.types.len()
    }
}

/// One value a key.
pub struct RowStore<V> {
    keys: Keys,
    rows: FxHashMap<Key, V>,
    /// Keys whose value is another than before the batch.
    changed: FxHashSet<Key>,
    bytes: usize,
}

impl<V: Value> RowStore<V> {
    /// An empty store.
    ///
    /// # Errors
    /// Types that cannot be compared.
    pub fn new(key_types: Vec<DataType>) -> Result<Self> {
        let keys = Keys::new(key_types)?;
        Ok(Self { keys, rows: FxHashMap::default(), changed: FxHashSet::default(), bytes: 0 })
    }

    /// Starts a batch: nothing is changed.
    pub fn begin(&mut self) {
        self.changed.clear();
    }

    /// The keys' forms.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.rows.get(key)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: &[u8], value: V) -> Key {
        let key = self.rows.get_key_value(key).map_or_else(|| Key::from(key), |(own, _)| own.clone());
        self.bytes += value.memory();
        match self.rows.insert(key.clone(), value) {
            Some(before) => self.bytes -= before.memory(),
            None => self.bytes += key.len() + KEY_OVERHEAD,
        }
        self.changed.insert(key.clone());
        key
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (key, value) = self.rows.remove_entry(key)?;
        self.bytes -= value.memory() + key.len() + KEY_OVERHEAD;
        self.changed.insert(key);
        Some(value)
    }

    /// Every key and value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.rows.iter()
    }

    /// Number of keys.
    pub fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of keys set or forgotten in this batch.
    pub fn changes(&self) -> u64 {
        self.changed.len() as u64
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> u64 {
        self.bytes as u64
    }

    /// What has changed in this batch, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    pub fn delta(&self) -> Result<(Bytes, u64)> {
        let (kept, gone): (Vec<&Key>, Vec<&Key>) = self.changed.iter().partition(|key| self.rows.contains_key(*key));
        self.file(gone, kept)
    }

    /// Everything, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    pub fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.file(vec![], self.rows.keys().collect())
    }

    /// Applies a file: everything, or a change.
    ///
    /// # Errors
    /// `CheckpointCorrupt` for a file of other keys or values.
    pub fn apply(&mut self, bytes: &[u8], snapshot: bool) -> Result<()> {
        if snapshot {
            self.rows.clear();
            self.bytes = 0;
        }
        let [gone_schema, kept_schema] = self.schemas();
        let tables = read(bytes, &[gone_schema, kept_schema])?;
        let [gone, kept] = tables.as_slice() else { return Err(another_shape()) };
        let keys = self.keys.rows(gone.columns())?;
        for key in keys.iter() {
            self.remove(key.data());
        }
        let (columns, values) = kept.columns().split_at(self.keys.width());
        let [values] = values else { return Err(another_shape()) };
        let keys = self.keys.rows(columns)?;
        for (row, key) in keys.iter().enumerate() {
            self.insert(key.data(), V::decode(values, row)?);
        }
        self.changed.clear();
        Ok(())
    }

    /// The table of forgotten keys, and that of rows.
    fn schemas(&self) -> [SchemaRef; 2] {
        let (keys, mut rows) = (self.keys.fields(), self.keys.fields());
        rows.push(Field::new("value", V::data_type(), false));
        [Arc::new(Schema::new(keys)), Arc::new(Schema::new(rows))]
    }

    fn file(&self, mut gone: Vec<&Key>, mut kept: Vec<&Key>) -> Result<(Bytes, u64)> {
        // The same state gives the same bytes.
        gone.sort_unstable();
        kept.sort_unstable();
        let [gone_schema, kept_schema] = self.schemas();
        let gone_columns = self.keys.columns(gone.iter().map(|key| key.as_ref()))?;
        let mut columns = self.keys.columns(kept.iter().map(|key| key.as_ref()))?;
        columns.push(V::encode(kept.iter().filter_map(|key| self.rows.get(*key))));
        let gone = table(&gone_schema, gone_columns, gone.len())?;
        let rows = kept.len();
        Ok((write(&[gone, table(&kept_schema, columns, rows)?])?, rows as u64))
    }
}

/// A table of `rows` rows, of which there may be none and which may have no columns.
///
/// # Errors
/// Columns that do not fit.
pub fn table(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// Tables as a state file.
///
/// # Errors
/// Tables that do not encode.
pub fn write(tables: &[RecordBatch]) -> Result<Bytes> {
    let mut file = Vec::new();
    for table in tables {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &table.schema(), options)?;
        writer.write(table)?;
        let stream = writer.into_inner()?;
        file.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        file.extend_from_slice(&stream);
    }
    Ok(file.into())
}

/// The tables of a state file, which have these schemas.
///
/// # Errors
/// `CheckpointCorrupt` where they have others.
pub fn read(mut file: &[u8], schemas: &[SchemaRef]) -> Result<Vec<RecordBatch>> {
    let unreadable = |e: arrow::error::ArrowError| {
        Error::caused_by(ErrorCode::CheckpointCorrupt, format!("a state file is not an Arrow stream: {e}"), e)
    };
    let mut tables = Vec::new();
    for schema in schemas {
        let (length, rest) = file.split_first_chunk::<8>().ok_or_else(another_shape)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| another_shape())?;
        let (stream, rest) = rest.split_at_checked(length).ok_or_else(another_shape)?;
        file = rest;
        let reader = StreamReader::try_new(stream, None).map_err(unreadable)?;
        if reader.schema().fields() != schema.fields() {
            return Err(Error::new(
                ErrorCode::CheckpointCorrupt,
                format!("a state file has columns {:?}, expected {:?}", reader.schema().fields(), schema.fields()),
            ));
        }
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        tables.push(concat_batches(schema, &batches)?);
    }
    match file {
        [] => Ok(tables),
        _ => Err(another_shape()),
    }
}

fn another_shape() -> Error {
    Error::new(ErrorCode::CheckpointCorrupt, "a state file has another shape than the operator's state")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    fn keys(texts: &[Option<&str>]) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from(texts.to_vec()))]
    }

    fn store() -> RowStore<i64> {
        RowStore::new(vec![DataType::Utf8]).unwrap()
    }

    fn set(store: &mut RowStore<i64>, texts: &[Option<&str>], value: i64) {
        let rows = store.keys().rows(&keys(texts)).unwrap();
        for row in rows.iter() {
            store.insert(row.data(), value);
        }
    }

    fn contents(store: &RowStore<i64>) -> Vec<(Key, i64)> {
        let mut rows: Vec<_> = store.iter().map(|(key, value)| (key.clone(), *value)).collect();
        rows.sort();
        rows
    }

    #[test]
    fn a_snapshot_and_its_deltas_give_the_store_again() {
        let mut own = store();
        set(&mut own, &[Some("a"), Some("b"), None], 1);
        let (snapshot, rows) = own.snapshot().unwrap();
        assert_eq!(rows, 3);
        own.begin();
        set(&mut own, &[Some("c"), Some("b")], 2);
        let gone = own.keys().rows(&keys(&[Some("a")])).unwrap();
        assert_eq!(own.remove(gone.row(0).data()), Some(1));
        assert_eq!(own.remove(gone.row(0).data()), None);
        assert_eq!(own.changes(), 3);
        let (delta, rows) = own.delta().unwrap();
        assert_eq!(rows, 2);
        let mut restored = store();
        set(&mut restored, &[Some("z")], 9);
        restored.apply(&snapshot, true).unwrap();
        restored.apply(&delta, false).unwrap();
        assert_eq!(contents(&restored), contents(&own));
        assert_eq!(restored.memory(), own.memory());
        assert_eq!((restored.len(), restored.changes()), (3, 0));
    }

    #[test]
    fn memory_returns_to_nothing() {
        let mut own = store();
        set(&mut own, &[Some("a"), None], 1);
        set(&mut own, &[Some("a")], 2);
        let rows = own.keys().rows(&keys(&[Some("a"), None])).unwrap();
        for row in rows.iter() {
            assert!(own.remove(row.data()).is_some());
        }
        assert_eq!((own.memory(), own.is_empty()), (0, true));
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        let mut own = store();
        set(&mut own, &[Some("a")], 1);
        let (file, _) = own.snapshot().unwrap();
        let mut other: RowStore<i64> = RowStore::new(vec![DataType::Int64]).unwrap();
        let mut bytes: RowStore<Vec<u8>> = RowStore::new(vec![DataType::Utf8]).unwrap();
        for error in [
            other.apply(&file, true).unwrap_err(),
            bytes.apply(&file, true).unwrap_err(),
            own.apply(&file[..file.len() - 1], true).unwrap_err(),
            own.apply(&[&file[..], &[0]].concat(), true).unwrap_err(),
            own.apply(&[], true).unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::CheckpointCorrupt, "{error}");
        }
    }
}
