//! The join of two streams: every row waits in state for partners, until none can come.
//!
//! Comes in: rows of the left stream (port 0) and of the right one (port 1), and the batch's watermarks. Goes out: pairs as they are found;
//! rows without a partner when they leave the state, where the join keeps them. Fails: conditions that fail.
//!
//! Within a batch the left rows meet the right rows of earlier batches, then the right rows meet all left rows: every pair once. NULL
//! keys meet nothing.

mod side;

use super::clock::BatchClock;
use super::partial::{compile, evaluate};
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::join::{Bound, StreamJoinPlan, event_time_of};
use crate::plan::logical::JoinType;
use crate::plan::scope::distinct_names;
use crate::sink::OutputMode;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use datafusion::physical_expr::PhysicalExpr;
use side::{Change, Key, Side};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Pairs that are looked at together.
const PAIRS: usize = 1 << 15;

impl OperatorPlan for StreamJoinPlan {
    fn kind(&self) -> &'static str {
        "join"
    }

    fn describe(&self) -> String {
        let kept = |bound: &Option<Bound>| match bound {
            Some(bound) if bound.inclusive && bound.offset == 0 => {
                format!("until the watermark reaches {}", bound.time)
            }
            Some(bound) if bound.inclusive => {
                format!("until the watermark reaches {} {:+} us", bound.time, bound.offset)
            }
            Some(bound) => format!("until the watermark passes {} {:+} us", bound.time, bound.offset),
            None => "for ever".to_string(),
        };
        let [left, right] = [&self.condition.left_bound, &self.condition.right_bound].map(kept);
        format!("{} join, left rows kept {left}, right rows {right}", self.join_type.name())
    }

    fn unbounded(&self) -> Option<String> {
        let sides = [("left", &self.condition.left_bound), ("right", &self.condition.right_bound)];
        let for_ever: Vec<&str> = sides.iter().filter(|(_, bound)| bound.is_none()).map(|(side, _)| *side).collect();
        (!for_ever.is_empty()).then(|| {
            format!(
                "the join keeps the rows of its {} side for ever; watermarks on both sides and a condition that bounds one event time by the other (or an equal event time) would bound its state",
                for_ever.join(" and ")
            )
        })
    }

    fn create(&self, _mode: OutputMode, clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        Ok(Box::new(JoinOperator::new(self, clock)?))
    }
}

/// Executable form of a [`StreamJoinPlan`], owner of its state.
struct JoinOperator {
    plan: StreamJoinPlan,
    inputs: [Input; 2],
    sides: [Side; 2],
    rest: Option<Arc<dyn PhysicalExpr>>,
    /// Turns keys of either side into comparable bytes.
    keys: RowConverter,
    clock: OperatorClock,
    metrics: Metrics,
    output: Vec<RecordBatch>,
}

/// What is evaluated on the rows of one side.
struct Input {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Decides what is late.
    event_time: Option<Arc<dyn PhysicalExpr>>,
    bound: Option<(Arc<dyn PhysicalExpr>, i64, bool)>,
    /// Whether rows without a partner are part of the result.
    outer: bool,
    /// Whether a row is done with at its first partner.
    semi: bool,
    /// Whether rows with a NULL key may be forgotten at once.
    needs_key: bool,
}

impl JoinOperator {
    fn new(plan: &StreamJoinPlan, clock: &BatchClock) -> Result<Self> {
        let condition = &plan.condition;
        let input = |side: usize| -> Result<Input> {
            let schema = named(&plan.sides[side]);
            let (keys, bound) = match side {
                0 => (&condition.left_keys, &condition.left_bound),
                _ => (&condition.right_keys, &condition.right_bound),
            };
            let outer = match plan.join_type {
                JoinType::LeftOuter => side == 0,
                JoinType::RightOuter => side == 1,
                JoinType::FullOuter => true,
                _ => false,
            };
            let bound =
                bound.as_ref().map(|b| Ok::<_, Error>((compile(&b.time, &schema, clock)?, b.offset, b.inclusive)));
            Ok(Input {
                keys: keys.iter().map(|key| compile(key, &schema, clock)).collect::<Result<_>>()?,
                event_time: event_time_of(&plan.sides[side]).map(|time| compile(&time, &schema, clock)).transpose()?,
                bound: bound.transpose()?,
                outer,
                semi: plan.join_type == JoinType::LeftSemi && side == 0,
                needs_key: !outer,
                schema,
            })
        };
        if matches!(plan.join_type, JoinType::LeftAnti | JoinType::Cross) {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "{} join of two streams is not supported; use an inner, outer or left_semi join",
                    plan.join_type.name()
                ),
            ));
        }
        let inputs = [input(0)?, input(1)?];
        let key_types = inputs[0].keys.iter().map(|key| key.data_type(&inputs[0].schema));
        let fields = key_types.map(|t| Ok(SortField::new(t?))).collect::<Result<Vec<_>>>()?;
        let rest = condition.rest.iter().cloned().reduce(datafusion::logical_expr::Expr::and);
        Ok(Self {
            sides: [Side::new(&inputs[0].schema)?, Side::new(&inputs[1].schema)?],
            inputs,
            rest: rest.map(|rest| compile(&rest, &plan.pairs, clock)).transpose()?,
            keys: RowConverter::new(fields)?,
            clock: OperatorClock { late_ms: 0, watermark_ms: 0, timestamp_ms: 0 },
            metrics: Metrics::default(),
            output: vec![],
            plan: plan.clone(),
        })
    }

    /// Keys of a side's rows; None where a key is NULL.
    fn keys_of(&self, side: usize, batch: &RecordBatch) -> Result<Vec<Key>> {
        let columns: Vec<ArrayRef> = self.inputs[side]
            .keys
            .iter()
            .map(|key| Ok(crate::plan::spark_function::normalize(&evaluate(key, batch)?)))
            .collect::<Result<_>>()?;
        let rows = self.keys.convert_columns(&columns)?;
        let key = |row: usize| columns.iter().all(|c| c.is_valid(row)).then(|| rows.row(row).data().into());
        Ok((0..batch.num_rows()).map(key).collect())
    }

    /// The time up to which each row is kept, where the side has a bound.
    fn expiries(&self, side: usize, batch: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some((time, offset, _)) = &self.inputs[side].bound else { return Ok(None) };
        let times = ends(&evaluate(time, batch)?)?;
        Ok(Some(times.unary(|t| t.saturating_add(*offset))))
    }

    /// Meets the rows of `side`, whose keys are `keys`, with the stored rows of the other: marks and emits what belongs together.
    fn meet(&mut self, side: usize, rows: &RecordBatch, keys: &[Key], matched: &mut [bool]) -> Result<()> {
        let other = 1 - side;
        let mut pairs: (Vec<u32>, Vec<u64>) = (vec![], vec![]);
        for (row, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            for id in self.sides[other].with_key(key) {
                pairs.0.push(row as u32);
                pairs.1.push(id);
            }
            if pairs.0.len() >= PAIRS {
                self.pair(side, rows, std::mem::take(&mut pairs), matched)?;
            }
        }
        self.pair(side, rows, pairs, matched)
    }

    fn pair(
        &mut self,
        side: usize,
        rows: &RecordBatch,
        pairs: (Vec<u32>, Vec<u64>),
        matched: &mut [bool],
    ) -> Result<()> {
        if pairs.0.is_empty() {
            return Ok(());
        }
        let own = take_record_batch(rows, &UInt32Array::from(pairs.0.clone()))?;
        let theirs = self.sides[1 - side].rows(&pairs.1)?;
        let (left, right) = if side == 0 { (&own, &theirs) } else { (&theirs, &own) };
        let columns = left.columns().iter().chain(right.columns()).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(own.num_rows()));
        let all = RecordBatch::try_new_with_options(self.plan.pairs.clone(), columns, &options)?;
        let passes: BooleanArray = match &self.rest {
            None => vec![true; all.num_rows()].into(),
            Some(rest) => {
                let truth = evaluate(rest, &all)?;
                let truth = truth.as_boolean_opt().ok_or_else(|| Error::internal("a condition that is not boolean"))?;
                truth.iter().map(|t| Some(t == Some(true))).collect()
            }
        };
        let mut semi: BTreeSet<u64> = BTreeSet::new();
        for (index, (row, id)) in pairs.0.iter().zip(&pairs.1).enumerate() {
            if passes.value(index) {
                matched[*row as usize] = true;
                match self.inputs[1 - side].semi {
                    true => drop(semi.insert(*id)),
                    false => self.sides[1 - side].matched(*id),
                }
            }
        }
        if self.plan.join_type == JoinType::LeftSemi {
            // Left rows that were waiting go out with their first partner.
            if !semi.is_empty() {
                let ids: Vec<u64> = semi.into_iter().collect();
                let gone = self.sides[1 - side].rows(&ids)?;
                self.emit(gone.columns().to_vec(), gone.num_rows())?;
                self.forget(1 - side, &ids, true);
            }
            return Ok(());
        }
        let found = filter_record_batch(&all, &passes)?;
        self.emit(found.columns().to_vec(), found.num_rows())
    }

    /// Removes rows from the state. Of rows that came in this batch, Spark counts neither the coming nor the going where it does not
    /// store them at all: left rows of a semi join that find a partner, and right rows that the watermark has passed.
    fn forget(&mut self, side: usize, ids: &[u64], never_stored: bool) {
        let passing = ids.iter().filter(|id| never_stored && self.sides[side].is_new(**id)).count() as u64;
        self.metrics.rows_updated -= passing;
        self.metrics.rows_removed += ids.len() as u64 - passing;
        ids.iter().for_each(|id| self.sides[side].remove(*id));
    }

    fn emit(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        if rows > 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            self.output.push(RecordBatch::try_new_with_options(nullable(&self.plan.schema), columns, &options)?);
        }
        Ok(())
    }

    /// Emits rows of `side` beside NULLs.
    fn emit_alone(&mut self, side: usize, rows: &RecordBatch) -> Result<()> {
        let other = &self.inputs[1 - side].schema;
        let nulls = other.fields().iter().map(|f| new_null_array(f.data_type(), rows.num_rows()));
        let columns = match side {
            0 => rows.columns().iter().cloned().chain(nulls).collect(),
            _ => nulls.chain(rows.columns().iter().cloned()).collect(),
        };
        self.emit(columns, rows.num_rows())
    }
}

impl StatefulOperator for JoinOperator {
    fn name(&self) -> &'static str {
        "symmetricHashJoin"
    }

    fn begin(&mut self, clock: OperatorClock) {
        self.clock = clock;
        self.metrics = Metrics::default();
        self.output.clear();
        self.sides.iter_mut().for_each(Side::begin);
    }

    fn rows(&mut self, port: usize, rows: &RecordBatch) -> Result<()> {
        let Some(input) = self.inputs.get(port) else { return Err(Error::internal("a join has two inputs")) };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let mut rows = RecordBatch::try_new_with_options(input.schema.clone(), rows.columns().to_vec(), &options)?;
        if let Some(time) = &input.event_time {
            let (times, late_us) = (ends(&evaluate(time, &rows)?)?, self.clock.late_ms.saturating_mul(1000));
            let timely: BooleanArray = times.iter().map(|t| Some(t.is_none_or(|t| t > late_us))).collect();
            let late = (rows.num_rows() - timely.true_count()) as u64;
            self.metrics.rows_dropped_by_watermark += late;
            self.metrics.late_input_rows += late;
            rows = filter_record_batch(&rows, &timely)?;
        }
        let mut matched = vec![false; rows.num_rows()];
        let keys = self.keys_of(port, &rows)?;
        self.meet(port, &rows, &keys, &mut matched)?;
        let input = &self.inputs[port];
        let (semi, needs_key) = (input.semi, input.needs_key);
        if semi {
            let done = BooleanArray::from(matched.clone());
            let found = filter_record_batch(&rows, &done)?;
            self.emit(found.columns().to_vec(), found.num_rows())?;
        }
        let goes = |row: usize| (semi && matched[row]) || (needs_key && keys[row].is_none());
        let waiting: Vec<bool> = (0..rows.num_rows()).map(|row| !goes(row)).collect();
        let kept = filter_record_batch(&rows, &BooleanArray::from(waiting.clone()))?;
        let flags: Vec<bool> = matched.iter().zip(&waiting).filter(|(_, w)| **w).map(|(m, _)| *m).collect();
        let keys = keys.into_iter().zip(&waiting).filter(|(_, w)| **w).map(|(key, _)| key).collect();
        let expiries = self.expiries(port, &kept)?;
        self.sides[port].insert(&kept, keys, expiries.as_ref(), &flags)?;
        self.metrics.rows_updated += kept.num_rows() as u64;
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let watermark_us = self.clock.watermark_ms.saturating_mul(1000);
        for side in 0..2 {
            let Some((_, _, inclusive)) = &self.inputs[side].bound else { continue };
            let before = if *inclusive { watermark_us } else { watermark_us.saturating_sub(1) };
            let gone = self.sides[side].expired(before);
            if self.inputs[side].outer {
                let alone: Vec<u64> = gone.iter().copied().filter(|id| !self.sides[side].is_matched(*id)).collect();
                let rows = self.sides[side].rows(&alone)?;
                self.emit_alone(side, &rows)?;
            }
            self.forget(side, &gone, side == 1);
        }
        self.metrics.rows_total = self.sides.iter().map(Side::len).sum();
        self.metrics.memory_bytes = self.sides.iter().map(Side::memory).sum();
        if self.output.is_empty() {
            self.output.push(RecordBatch::new_empty(nullable(&self.plan.schema)));
        }
        let schema = self.output[0].schema();
        Ok(vec![concat_batches(&schema, &std::mem::take(&mut self.output))?])
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, moved: bool, _now_ms: i64) -> bool {
        moved && self.inputs.iter().any(|input| input.bound.is_some())
    }

    fn output_watermark_ms(&self, input_ms: i64) -> i64 {
        // Rows come out as old as the state keeps them: with a range that includes its end, one whose sum equals the watermark is still there.
        let age = |(_, offset, inclusive): &(_, i64, bool)| match *offset >= 0 {
            true => (offset.saturating_add(999) / 1000).saturating_add(i64::from(!inclusive)),
            false => 0,
        };
        let oldest = self.inputs.iter().filter_map(|input| input.bound.as_ref()).map(age).max();
        input_ms.saturating_sub(oldest.unwrap_or_default())
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        side::write(&self.sides, false)
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        side::write(&self.sides, true)
    }

    fn restore(&mut self, bytes: &[u8], _snapshot: bool) -> Result<()> {
        let schemas = [self.inputs[0].schema.clone(), self.inputs[1].schema.clone()];
        for (side, change) in side::read(bytes, &schemas)?.into_iter().enumerate() {
            let Change { rows, ids, matched, removed, marked } = change;
            let (keys, expiries) = (self.keys_of(side, &rows)?, self.expiries(side, &rows)?);
            self.sides[side].put(&rows, keys, expiries.as_ref(), &matched, &ids)?;
            marked.into_iter().for_each(|id| self.sides[side].matched(id));
            removed.into_iter().for_each(|id| self.sides[side].remove(id));
        }
        Ok(())
    }
}

/// Times in microseconds: of a window, its end.
fn ends(array: &ArrayRef) -> Result<Int64Array> {
    let times = match array.as_struct_opt() {
        Some(window) => {
            window.column_by_name("end").cloned().ok_or_else(|| Error::internal("a window without an end"))?
        }
        None => array.clone(),
    };
    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
        Error::new(ErrorCode::EventTimeNotTimestamp, format!("a join over time compares {}", array.data_type()))
    })?;
    Ok(times.reinterpret_cast::<Int64Type>())
}

/// The schema under distinct names, as expressions over one side use them.
fn named(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().zip(distinct_names(schema));
    let fields = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
