//! Parquet files as chunks of row groups.
//!
//! Comes in: files, the source's schema, the columns wanted. Goes out: deferred batches, each of one or more row groups,
//! with the wanted columns by name: a column the file lacks is NULL throughout, one of the file's directories has their value. Only the footer is read when chunks are
//! handed out; a worker then reads the bytes of its columns at once. Fails: a file that is not Parquet or damaged, a
//! column whose type is not the schema's; under `ignoreCorruptFiles` a damaged file is left out, with a warning.

mod conform;

use super::reader::FileReader;
use crate::decode::repeat;
use crate::error::{Error, ErrorCode, Result};
use crate::source::{Chunk, Chunks, Origin, ReadRequest};
use crate::types::{DataType, StructField, StructType};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType as ArrowType, FieldRef, SchemaRef, TimeUnit};
use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::collections::VecDeque;
use std::sync::Arc;

/// Hands out the row groups of files in order.
pub(super) struct ParquetChunks {
    files: std::vec::IntoIter<FileReader>,
    schema: SchemaRef,
    /// Indices of the projected schema's columns in the source's.
    projection: Vec<usize>,
    chunk_bytes: u64,
    ignore_corrupt: bool,
    current: Option<Current>,
}

/// The file being cut.
struct Current {
    file: FileReader,
    columns: Arc<Columns>,
    groups: VecDeque<Vec<usize>>,
}

/// How a file's columns become the projected schema's.
struct Columns {
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    /// The projected schema.
    schema: SchemaRef,
    /// For every field, where it comes from.
    from: Vec<From>,
    ignore_corrupt: bool,
}

/// Where a column of the projected schema comes from.
enum From {
    /// The file's column of this name.
    File(String),
    /// The names of the file's directories.
    Directory(ScalarValue),
    /// Nowhere: it is NULL.
    Nowhere,
}

impl ParquetChunks {
    pub fn new(files: Vec<FileReader>, schema: SchemaRef, request: &ReadRequest, ignore_corrupt: bool) -> Result<Self> {
        let schema = Arc::new(schema.project(&request.projection)?);
        let (projection, chunk_bytes) = (request.projection.clone(), request.chunk_bytes as u64);
        Ok(Self { files: files.into_iter(), schema, projection, chunk_bytes, ignore_corrupt, current: None })
    }

    fn open(&self, file: FileReader) -> Result<Current> {
        let metadata = footer(&file)?;
        let found = metadata.schema();
        let mut roots = Vec::new();
        let mut from = Vec::new();
        for (field, index) in self.schema.fields().iter().zip(&self.projection) {
            if let Some(value) = file.partition.as_deref().and_then(|partition| partition.get(*index)) {
                from.push(From::Directory(value.clone()));
                continue;
            }
            let column = column_of(found.fields(), field, &file)?;
            roots.extend(column);
            from.push(column.map_or(From::Nowhere, |index| From::File(found.field(index).name().clone())));
        }
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let mut groups = VecDeque::new();
        let mut group = Vec::new();
        let mut bytes = 0u64;
        for (index, row_group) in metadata.metadata().row_groups().iter().enumerate() {
            let columns = row_group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
            let size = columns.map(|(_, column)| column.uncompressed_size().unsigned_abs()).sum::<u64>();
            if !group.is_empty() && bytes.saturating_add(size) > self.chunk_bytes {
                groups.push_back(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            group.push(index);
        }
        if !group.is_empty() {
            groups.push_back(group);
        }
        let (schema, ignore_corrupt) = (self.schema.clone(), self.ignore_corrupt);
        let columns = Arc::new(Columns { metadata, mask, schema, from, ignore_corrupt });
        Ok(Current { file, columns, groups })
    }
}

impl Chunks for ParquetChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(current) = &mut self.current
                && let Some(groups) = current.groups.pop_front()
            {
                let (file, columns) = (current.file.clone(), current.columns.clone());
                let origin = Origin::File { path: file.path.clone(), offset: columns.offset(&groups) };
                return Ok(Some(Chunk::Deferred(Box::new(move || Ok((columns.read(&file, groups)?, origin))))));
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            // An empty file has no footer; it is a batch of no rows, as in every other format.
            if file.size > 0 {
                let path = file.path.clone();
                self.current = match self.open(file) {
                    Err(error) if self.ignore_corrupt && error.code() == ErrorCode::Io => {
                        left_out(&path, &error);
                        None
                    }
                    opened => Some(opened?),
                };
            }
        }
    }
}

impl Columns {
    fn offset(&self, groups: &[usize]) -> u64 {
        let first = groups.first().and_then(|group| self.metadata.metadata().row_groups().get(*group));
        first.and_then(|group| group.columns().first()).map_or(0, |column| column.byte_range().0)
    }

    /// The rows of `groups` in the projected schema; none of a damaged file that does not matter.
    fn read(&self, file: &FileReader, groups: Vec<usize>) -> Result<RecordBatch> {
        match self.read_all(file, groups) {
            Err(error) if self.ignore_corrupt && error.code() == ErrorCode::Io => {
                left_out(&file.path, &error);
                Ok(RecordBatch::new_empty(self.schema.clone()))
            }
            read => read,
        }
    }

    fn read_all(&self, file: &FileReader, groups: Vec<usize>) -> Result<RecordBatch> {
        let all = self.metadata.metadata().row_groups();
        let chosen = groups.iter().filter_map(|group| all.get(*group));
        let rows = chosen.clone().map(|group| group.num_rows().unsigned_abs() as usize).sum::<usize>();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = if !self.from.iter().any(|from| matches!(from, From::File(_))) {
            RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()))
        } else {
            let ranges: Vec<_> = chosen
                .flat_map(|group| group.columns().iter().enumerate())
                .filter(|(leaf, _)| self.mask.leaf_included(*leaf))
                .map(|(_, column)| column.byte_range())
                .map(|(start, length)| start..start.saturating_add(length))
                .collect();
            let mut parts: Vec<_> = ranges.iter().map(|range| range.start).zip(file.ranges(&ranges)?).collect();
            parts.sort_by_key(|(start, _)| *start);
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
                Fetched { size: file.size, parts },
                self.metadata.clone(),
            )
            .with_projection(self.mask.clone())
            .with_row_groups(groups)
            .with_batch_size(rows)
            .build()
            .map_err(|cause| damaged(file, cause))?;
            let schema = reader.schema();
            let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|cause| damaged(file, cause.into()))?;
            concat_batches(&schema, &batches).map_err(|cause| damaged(file, cause.into()))?
        };
        let columns = self.from.iter().zip(self.schema.fields()).map(|(from, field)| match from {
            From::File(name) => {
                let column = batch
                    .column_by_name(name)
                    .ok_or_else(|| Error::internal(format!("the column '{name}' of {} was not read", file.path)))?;
                conform::conform(column, field.data_type()).map_err(|reason| mismatch(file, field, reason))
            }
            From::Directory(value) => repeat(value, false, rows),
            From::Nowhere => Ok(new_null_array(field.data_type(), rows)),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

fn footer(file: &FileReader) -> Result<ArrowReaderMetadata> {
    // Types come from Parquet's own, so that dictionaries and views of the writer's Arrow schema stay out.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ArrowReaderMetadata::load(file, options).map_err(|cause| damaged(file, cause))
}

fn left_out(path: &str, error: &Error) {
    tracing::warn!(file = path, %error, "a corrupt file is left out, as ignoreCorruptFiles says");
}

/// The columns of all files, in the order in which they first appear.
///
/// # Errors
/// A file that is not Parquet; columns that two files give different types; types that have no column type here.
pub(super) fn schema(files: Vec<FileReader>, ignore_corrupt: bool) -> Result<StructType> {
    let mut merged = StructType::default();
    for file in files {
        let metadata = match footer(&file) {
            Err(error) if ignore_corrupt && error.code() == ErrorCode::Io => {
                left_out(&file.path, &error);
                continue;
            }
            read => read?,
        };
        for field in metadata.schema().fields() {
            let data_type = type_of(field.data_type()).ok_or_else(|| {
                Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!(
                        "column '{}' of {} is {}, which has no column type; leave it out of a schema of your own",
                        field.name(),
                        file.path,
                        field.data_type()
                    ),
                )
            })?;
            match merged.fields.iter().find(|known| known.name == *field.name()) {
                None => merged.fields.push(StructField::new(field.name(), data_type, true)),
                Some(known) if known.data_type == data_type => {}
                Some(known) => {
                    return Err(Error::new(
                        ErrorCode::DatatypeMismatch,
                        format!(
                            "column '{}' is {:?} in {} and {:?} in files before it; give the source a schema that fits",
                            field.name(),
                            data_type,
                            file.path,
                            known.data_type
                        ),
                    ));
                }
            }
        }
    }
    Ok(merged)
}

/// The engine's type for a type that Parquet files have.
pub(super) fn type_of(found: &ArrowType) -> Option<DataType> {
    Some(match found {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 => DataType::Byte,
        ArrowType::Int16 => DataType::Short,
        ArrowType::Int32 => DataType::Integer,
        ArrowType::Int64 => DataType::Long,
        ArrowType::Float32 => DataType::Float,
        ArrowType::Float64 => DataType::Double,
        ArrowType::Utf8 => DataType::String,
        ArrowType::Binary => DataType::Binary,
        ArrowType::Date32 => DataType::Date,
        ArrowType::Timestamp(unit, _) if *unit != TimeUnit::Second => DataType::Timestamp,
        ArrowType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal(*precision, *scale),
        ArrowType::List(element) => DataType::Array(Box::new(type_of(element.data_type())?)),
        ArrowType::Map(entries, _) => match entries.data_type() {
            ArrowType::Struct(pair) => match pair.as_ref() {
                [key, value] => {
                    DataType::Map(Box::new(type_of(key.data_type())?), Box::new(type_of(value.data_type())?))
                }
                _ => return None,
            },
            _ => return None,
        },
        ArrowType::Struct(fields) => {
            let fields =
                fields.iter().map(|field| Some(StructField::new(field.name(), type_of(field.data_type())?, true)));
            DataType::Struct(StructType { fields: fields.collect::<Option<_>>()? })
        }
        _ => return None,
    })
}

/// The file's column for `field`: by the same name, or else by the only name that differs in case alone.
fn column_of(found: &[FieldRef], field: &FieldRef, file: &FileReader) -> Result<Option<usize>> {
    if let Some(exact) = found.iter().position(|column| column.name() == field.name()) {
        return Ok(Some(exact));
    }
    let mut similar =
        found.iter().enumerate().filter(|(_, column)| column.name().to_lowercase() == field.name().to_lowercase());
    let first = similar.next().map(|(index, _)| index);
    if similar.next().is_some() {
        return Err(Error::new(
            ErrorCode::AmbiguousReference,
            format!("{} has more than one column that differs from '{}' in case alone", file.path, field.name()),
        ));
    }
    Ok(first)
}

fn mismatch(file: &FileReader, field: &FieldRef, reason: String) -> Error {
    Error::new(
        ErrorCode::DatatypeMismatch,
        format!("column '{}' of {}: {reason}; give the source a schema that fits", field.name(), file.path),
    )
}

fn damaged(file: &FileReader, cause: ParquetError) -> Error {
    match cause {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::new(ErrorCode::Io, format!("cannot read {} as Parquet: {other}", file.path)),
        },
        other => Error::new(ErrorCode::Io, format!("cannot read {} as Parquet: {other}", file.path)),
    }
}

/// The parts of a file that a worker has fetched, in ascending order.
struct Fetched {
    size: u64,
    parts: Vec<(u64, Bytes)>,
}

impl Fetched {
    fn from(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let before = self.parts.partition_point(|(at, _)| *at <= start);
        let part = before.checked_sub(1).and_then(|index| self.parts.get(index));
        part.filter(|(at, bytes)| start - at <= bytes.len() as u64)
            .map(|(at, bytes)| bytes.slice((start - at) as usize..))
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} lies in no column that is read")))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Fetched {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} pass the end of their column")));
        }
        Ok(bytes.slice(..length))
    }
}
