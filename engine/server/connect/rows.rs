//! Rows on their way to a client: Arrow, in pieces that a message can hold.
//!
//! Comes in: record batches. Goes out: for each piece a whole Arrow stream, in the layouts that Spark sends. Fails: memory that Arrow cannot write.

use crate::error::Result;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use spark_connect_proto::execute_plan_response::ArrowBatch;
use std::sync::Arc;

/// Bytes of rows in a message, about: Spark's `spark.connect.grpc.arrow.maxBatchSize` less what Arrow adds.
const BATCH_BYTES: usize = 4 << 20;

/// Writes batches of one schema, with the number of each row.
pub struct Encoder {
    schema: SchemaRef,
    offset: i64,
}

impl Encoder {
    /// For rows of this schema.
    pub fn new(schema: &SchemaRef) -> Self {
        let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
        Self { schema: Arc::new(Schema::new(fields)), offset: 0 }
    }

    /// A message without rows, by which a client learns the schema.
    ///
    /// # Errors
    /// As the module says.
    pub fn empty(&mut self) -> Result<ArrowBatch> {
        self.message(&RecordBatch::new_empty(self.schema.clone()))
    }

    /// The rows in one piece.
    ///
    /// # Errors
    /// As the module says.
    pub fn whole(&mut self, rows: &RecordBatch) -> Result<ArrowBatch> {
        let rows = self.plain(rows)?;
        self.message(&rows)
    }

    /// The rows in pieces.
    ///
    /// # Errors
    /// As the module says.
    pub fn batches(&mut self, rows: &RecordBatch) -> Result<Vec<ArrowBatch>> {
        let rows = self.plain(rows)?;
        let row_bytes = rows.get_array_memory_size() / rows.num_rows().max(1);
        let step = (BATCH_BYTES / row_bytes.max(1)).max(1);
        let starts = (0..rows.num_rows()).step_by(step);
        starts.map(|start| self.message(&rows.slice(start, step.min(rows.num_rows() - start)))).collect()
    }

    fn plain(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = rows.columns().iter().zip(self.schema.fields());
        let columns: Vec<ArrayRef> = columns.map(|(column, field)| plain(column, field)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn message(&mut self, rows: &RecordBatch) -> Result<ArrowBatch> {
        let mut data = Vec::new();
        let mut writer = StreamWriter::try_new(&mut data, &self.schema)?;
        // Also without rows: a client that reads no batch at all has no table.
        writer.write(rows)?;
        writer.finish()?;
        drop(writer);
        let row_count = rows.num_rows() as i64;
        let start_offset = Some(self.offset);
        self.offset += row_count;
        Ok(ArrowBatch { row_count, data: data.into(), start_offset, chunk_index: None, num_chunks_in_batch: None })
    }
}

fn plain(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    match column.data_type() == field.data_type() {
        true => Ok(column.clone()),
        false => Ok(cast(column, field.data_type())?),
    }
}

/// A field that may hold NULL whatever the engine knows, without the engine's own marks, in a layout that Spark sends.
fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), true))
}

/// The layout in which Spark sends a type: no dictionaries, views and large offsets.
fn plain_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            DataType::List(inner(element))
        }
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Fields>()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    use arrow::ipc::reader::StreamReader;

    fn decoded(batch: &ArrowBatch) -> Vec<RecordBatch> {
        StreamReader::try_new(batch.data.as_ref(), None).unwrap().map(|b| b.unwrap()).collect()
    }

    #[test]
    fn rows_come_in_plain_layouts_in_pieces_that_know_their_place() {
        let numbers = Int64Array::from_iter_values(0..600_000);
        let words: DictionaryArray<Int32Type> = (0..600_000).map(|i| if i % 2 == 0 { "even" } else { "odd" }).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![("n", Arc::new(numbers)), ("w", Arc::new(words))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut encoder = Encoder::new(&rows.schema());
        let pieces = encoder.batches(&rows).unwrap();
        assert!(pieces.len() > 1 && pieces.iter().all(|p| p.data.len() < 2 * BATCH_BYTES), "{}", pieces.len());
        let mut next = 0;
        for piece in &pieces {
            assert_eq!(piece.start_offset, Some(next));
            let [batch] = decoded(piece).try_into().unwrap();
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), next);
            assert_eq!(batch.column(1).as_string::<i32>().value(1), if next % 2 == 0 { "odd" } else { "even" });
            next += piece.row_count;
        }
        assert_eq!(next, 600_000);
    }

    #[test]
    fn no_rows_still_have_a_schema() {
        let rows = RecordBatch::try_from_iter([("s", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
        let mut encoder = Encoder::new(&rows.schema());
        let empty = encoder.empty().unwrap();
        let [batch] = decoded(&empty).try_into().unwrap();
        assert_eq!((empty.row_count, batch.num_rows(), batch.schema().field(0).name().as_str()), (0, 0, "s"));
    }
}
