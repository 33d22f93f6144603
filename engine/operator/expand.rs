//! Steps that make any number of rows of each.
//!
//! Comes in: a batch. Goes out: a batch whose rows are repeated, once for each row made of them, with the columns that the step adds.
//! Fails: expressions, and more rows than a batch can hold.

use super::clock::BatchClock;
use super::partial::{compile, evaluate};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::join::{StaticJoin, StaticJoinKind};
use crate::plan::lower::{Expand, ExpandKind};
use crate::plan::session::LateWatermark;
use crate::plan::spark_function::normalize;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, UInt32Builder};
use arrow::compute::{filter, take};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};
use arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use std::fmt;
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
    Join {
        keys: Vec<Arc<dyn PhysicalExpr>>,
        rest: Option<Arc<dyn PhysicalExpr>>,
        table: Arc<TableIndex>,
    },
}

/// A table's rows by their keys.
pub struct TableIndex {
    kind: StaticJoinKind,
    rows: RecordBatch,
    converter: RowConverter,
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
}

impl ExpandExec {
    /// Compiles the step over `input`.
    pub fn new(expand: &Expand, input: &SchemaRef, clock: &BatchClock) -> Result<Self> {
        let added = expand.columns.iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type.clone(), true)));
        let fields: Vec<Arc<Field>> = input.fields().iter().cloned().chain(added).collect();
        let schema = Arc::new(Schema::new(fields));
        let kind = match &expand.kind {
            ExpandKind::Generate { generator, outer } => {
                KindExec::Generate { generator: compile(generator, input, clock)?, outer: *outer }
            }
            ExpandKind::Sessions { keys, time, gap, late } => KindExec::Sessions {
                keys: keys.iter().map(|key| compile(key, input, clock)).collect::<Result<_>>()?,
                time: compile(time, input, clock)?,
                gap: compile(gap, input, clock)?,
                late: late.clone(),
            },
            ExpandKind::Join { keys, rest, table } => KindExec::Join {
                keys: keys.iter().map(|key| compile(key, input, clock)).collect::<Result<_>>()?,
                rest: rest.as_ref().map(|rest| compile(rest, &schema, clock)).transpose()?,
                table: TableIndex::of(table, clock)?,
            },
        };
        Ok(Self { kind, schema })
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
            KindExec::Join { keys, rest, table } => self.join(batch, keys, rest.as_ref(), table),
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

    fn join(
        &self,
        batch: &RecordBatch,
        keys: &[Arc<dyn PhysicalExpr>],
        rest: Option<&Arc<dyn PhysicalExpr>>,
        table: &TableIndex,
    ) -> Result<RecordBatch> {
        let (mut own, mut theirs) = table.partners(batch, keys)?;
        if let Some(rest) = rest {
            let pairs = self.joined(batch, &own, table.take(&theirs)?)?;
            let truth = evaluate(rest, &pairs)?;
            let truth = truth.as_boolean_opt().ok_or_else(|| Error::internal("a condition that is not boolean"))?;
            own = filter(&own, truth)?.as_primitive::<UInt32Type>().clone();
            theirs = filter(&theirs, truth)?.as_primitive::<UInt32Type>().clone();
        }
        match table.kind {
            StaticJoinKind::Inner => {}
            StaticJoinKind::Outer => {
                let (mut rows, mut partners) = (UInt32Builder::new(), UInt32Builder::new());
                let mut at = 0;
                for row in 0..batch.num_rows() as u32 {
                    let first = at;
                    while at < own.len() && own.value(at) == row {
                        rows.append_value(row);
                        partners.append_value(theirs.value(at));
                        at += 1;
                    }
                    if first == at {
                        rows.append_value(row);
                        partners.append_null();
                    }
                }
                (own, theirs) = (rows.finish(), partners.finish());
            }
            StaticJoinKind::Semi | StaticJoinKind::Anti => {
                let mut found = vec![false; batch.num_rows()];
                own.values().iter().for_each(|row| found[*row as usize] = true);
                let wanted = table.kind == StaticJoinKind::Semi;
                own = (0..batch.num_rows() as u32).filter(|row| found[*row as usize] == wanted).collect();
                theirs = std::iter::repeat_n(None, own.len()).collect();
            }
        }
        self.joined(batch, &own, table.take(&theirs)?)
    }

    fn joined(&self, batch: &RecordBatch, rows: &UInt32Array, added: Vec<ArrayRef>) -> Result<RecordBatch> {
        let repeated = batch.columns().iter().map(|column| Ok(take(column, rows, None)?));
        let mut columns: Vec<ArrayRef> = repeated.collect::<Result<_>>()?;
        columns.extend(added);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl fmt::Debug for TableIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of {} keys", self.rows.num_rows(), self.by_key.len())
    }
}

impl TableIndex {
    /// The index of a table that is joined; made once.
    fn of(table: &StaticJoin, clock: &BatchClock) -> Result<Arc<Self>> {
        let mut index = table.index.lock();
        match &*index {
            Some(index) => Ok(index.clone()),
            None => Ok(index.insert(Arc::new(Self::new(table, clock)?)).clone()),
        }
    }

    fn new(table: &StaticJoin, clock: &BatchClock) -> Result<Self> {
        let rows = table.rows.get().ok_or_else(|| Error::internal("a table that was not loaded"))?.clone();
        let schema = rows.schema();
        let keys = table.table_keys.iter().map(|key| compile(key, &schema, clock)).collect::<Result<Vec<_>>>()?;
        let fields = keys.iter().map(|key| Ok(SortField::new(key.data_type(&schema)?))).collect::<Result<_>>()?;
        let mut table = Self {
            kind: table.kind,
            rows: rows.clone(),
            converter: RowConverter::new(fields)?,
            by_key: HashMap::new(),
        };
        for (row, key) in table.keys(&rows, &keys)?.into_iter().enumerate() {
            if let Some(key) = key {
                table.by_key.entry(key).or_default().push(row as u32);
            }
        }
        Ok(table)
    }

    /// Keys as comparable bytes; None where one is NULL, which equals nothing.
    fn keys(&self, batch: &RecordBatch, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<Option<Box<[u8]>>>> {
        if keys.is_empty() {
            return Ok(vec![Some(Box::default()); batch.num_rows()]);
        }
        let columns = keys.iter().map(|key| Ok(normalize(&evaluate(key, batch)?))).collect::<Result<Vec<_>>>()?;
        let rows = self.converter.convert_columns(&columns)?;
        let key = |row: usize| columns.iter().all(|c| c.is_valid(row)).then(|| rows.row(row).data().into());
        Ok((0..batch.num_rows()).map(key).collect())
    }

    /// Pairs of a batch's row and a table's row with equal keys, in the order of the batch.
    fn partners(&self, batch: &RecordBatch, keys: &[Arc<dyn PhysicalExpr>]) -> Result<(UInt32Array, UInt32Array)> {
        let (mut own, mut theirs) = (UInt32Builder::new(), UInt32Builder::new());
        for (row, key) in self.keys(batch, keys)?.into_iter().enumerate() {
            for partner in key.and_then(|key| self.by_key.get(&key)).into_iter().flatten() {
                own.append_value(row as u32);
                theirs.append_value(*partner);
            }
        }
        Ok((own.finish(), theirs.finish()))
    }

    fn take(&self, rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.rows.columns().iter().map(|column| Ok(take(column, rows, None)?)).collect()
    }
}
