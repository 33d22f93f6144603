//! Steps that make any number of rows of each.
//!
//! Comes in: a batch. Goes out: a batch whose rows are repeated, once for each row made of them, with the columns that the step adds.
//! Fails: expressions, and more rows than a batch can hold.

use super::partial::{compile, evaluate};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::lower::{Expand, ExpandKind};
use crate::plan::session::LateWatermark;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, UInt32Builder};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Executable form of an [`Expand`].
pub struct ExpandExec {
    kind: KindExec,
    schema: SchemaRef,
}

enum KindExec {
    Generate {
        generator: Arc<dyn PhysicalExpr>,
        outer: bool,
    },
    Sessions {
        keys: Vec<Arc<dyn PhysicalExpr>>,
        time: Arc<dyn PhysicalExpr>,
        gap: Arc<dyn PhysicalExpr>,
        late: LateWatermark,
    },
}

impl ExpandExec {
    /// Compiles the step over `input`.
    pub fn new(expand: &Expand, input: &SchemaRef) -> Result<Self> {
        let kind = match &expand.kind {
            ExpandKind::Generate { generator, outer } => {
                KindExec::Generate { generator: compile(generator, input)?, outer: *outer }
            }
            ExpandKind::Sessions { keys, time, gap, late } => KindExec::Sessions {
                keys: keys.iter().map(|key| compile(key, input)).collect::<Result<_>>()?,
                time: compile(time, input)?,
                gap: compile(gap, input)?,
                late: late.clone(),
            },
        };
        let added = expand.columns.iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type.clone(), true)));
        let fields: Vec<Arc<Field>> = input.fields().iter().cloned().chain(added).collect();
        Ok(Self { kind, schema: Arc::new(Schema::new(fields)) })
    }

    /// Columns after the step.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes the rows.
    pub fn run(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match &self.kind {
            KindExec::Generate { generator, outer } => self.generate(batch, &evaluate(generator, batch)?, *outer),
            KindExec::Sessions { keys, time, gap, late } => {
                let keys: Vec<ArrayRef> = keys.iter().map(|key| evaluate(key, batch)).collect::<Result<_>>()?;
                let (time, gap) = (evaluate(time, batch)?, evaluate(gap, batch)?);
                let (rows, bounds) = super::session::of_chunk(&keys, &time, &gap, late.get())?;
                self.joined(batch, &rows, bounds)
            }
        }
    }

    fn generate(&self, batch: &RecordBatch, made: &ArrayRef, outer: bool) -> Result<RecordBatch> {
        let lists = made
            .as_list_opt::<i32>()
            .ok_or_else(|| Error::internal(format!("a generator that gives {}", made.data_type())))?;
        let structs = lists
            .values()
            .as_struct_opt()
            .ok_or_else(|| Error::internal(format!("a generator that gives {}", made.data_type())))?;
        let (mut parents, mut children) = (UInt32Builder::new(), UInt32Builder::new());
        for row in 0..batch.num_rows() {
            let (from, to) = match lists.is_valid(row) {
                true => (lists.value_offsets()[row], lists.value_offsets()[row + 1]),
                false => (0, 0),
            };
            for child in from..to {
                parents.append_value(row as u32);
                children.append_value(child as u32);
            }
            if from == to && outer {
                parents.append_value(row as u32);
                children.append_null();
            }
        }
        let (parents, children) = (parents.finish(), children.finish());
        if u32::try_from(parents.len()).is_err() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "a generator makes more than 2^32 rows of one chunk; lower maxFilesPerTrigger or maxOffsetsPerTrigger",
            ));
        }
        let added = structs.columns().iter().map(|column| {
            let column = take(column, &children, None)?;
            // A struct that is NULL has fields that are.
            Ok(match structs.nulls() {
                None => column,
                Some(nulls) => {
                    let gone = arrow::array::BooleanArray::new(!nulls.inner(), None);
                    arrow::compute::nullif(&column, take(&gone, &children, None)?.as_boolean())?
                }
            })
        });
        self.joined(batch, &parents, added.collect::<Result<_>>()?)
    }

    fn joined(&self, batch: &RecordBatch, rows: &UInt32Array, added: Vec<ArrayRef>) -> Result<RecordBatch> {
        let repeated = batch.columns().iter().map(|column| Ok(take(column, rows, None)?));
        let mut columns: Vec<ArrayRef> = repeated.collect::<Result<_>>()?;
        columns.extend(added);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}
