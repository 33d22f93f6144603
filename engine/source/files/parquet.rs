//! Parquet files as chunks of row groups.
//!
//! Comes in: files, the source's schema, the columns wanted. Goes out: deferred batches, each of one or more row groups,
//! with the wanted columns by name: a column the file lacks is NULL throughout. Only the footer is read when chunks are
//! handed out; a worker then reads the bytes of its columns at once. Fails: a file that is not Parquet or damaged, a
//! column whose type is not the schema's.

mod conform;

use super::reader::FileReader;
use crate::error::{Error, ErrorCode, Result};
use crate::source::{Chunk, Chunks, Origin, ReadRequest};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, SchemaRef};
use bytes::{Buf, Bytes};
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
    chunk_bytes: u64,
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
    /// For every field, the name of the file's column; None where there is none.
    names: Vec<Option<String>>,
}

impl ParquetChunks {
    pub fn new(files: Vec<FileReader>, schema: SchemaRef, request: &ReadRequest) -> Result<Self> {
        let schema = Arc::new(schema.project(&request.projection)?);
        Ok(Self { files: files.into_iter(), schema, chunk_bytes: request.chunk_bytes as u64, current: None })
    }

    fn open(&self, file: FileReader) -> Result<Current> {
        // Types come from Parquet's own, so that dictionaries and views of the writer's Arrow schema stay out.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|cause| damaged(&file, cause))?;
        let found = metadata.schema();
        let mut roots = Vec::new();
        let mut names = Vec::new();
        for field in self.schema.fields() {
            let column = column_of(found.fields(), field, &file)?;
            roots.extend(column);
            names.push(column.map(|index| found.field(index).name().clone()));
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
        let columns = Arc::new(Columns { metadata, mask, schema: self.schema.clone(), names });
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
                self.current = Some(self.open(file)?);
            }
        }
    }
}

impl Columns {
    fn offset(&self, groups: &[usize]) -> u64 {
        let first = groups.first().and_then(|group| self.metadata.metadata().row_groups().get(*group));
        first.and_then(|group| group.columns().first()).map_or(0, |column| column.byte_range().0)
    }

    /// The rows of `groups` in the projected schema.
    fn read(&self, file: &FileReader, groups: Vec<usize>) -> Result<RecordBatch> {
        let all = self.metadata.metadata().row_groups();
        let chosen = groups.iter().filter_map(|group| all.get(*group));
        let rows = chosen.clone().map(|group| group.num_rows().unsigned_abs() as usize).sum::<usize>();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = if self.names.iter().all(Option::is_none) {
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
        let columns = self.names.iter().zip(self.schema.fields()).map(|(name, field)| {
            match name.as_deref().and_then(|name| batch.column_by_name(name)) {
                Some(column) => {
                    conform::conform(column, field.data_type()).map_err(|reason| mismatch(file, field, reason))
                }
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
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
