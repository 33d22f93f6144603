//! State of the user's own: runs a processor for each key of a batch, then for each timer that has expired.
//!
//! Comes in: rows in the order of the input. Goes out: what the processor gives, and each key's state and timers. Fails: what the
//! processor refuses, with its message, and a processor that panics.

use super::clock::BatchClock;
use super::deduplicate::event_times;
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::processor::KeyState;
use crate::frame::{InputRow, StateHandle, StatefulProcessor, TimeMode, TimerValues};
use crate::plan::custom::CustomPlan;
use crate::plan::spark_function::normalize;
use crate::sink::OutputMode;
use crate::state::rows::{Key, RowStore};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

impl OperatorPlan for CustomPlan {
    fn kind(&self) -> &'static str {
        "custom"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| self.input.field(*key).name().as_str()).collect();
        format!("{} for each [{}], time mode {:?}", self.processor.name(), keys.join(", "), self.time_mode)
    }

    fn create(&self, _mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        let types = self.keys.iter().map(|key| self.input.field(*key).data_type().clone()).collect();
        let fields: Vec<_> = self.keys.iter().map(|key| self.input.fields()[*key].clone()).collect();
        Ok(Box::new(Custom {
            processor: self.processor.make(),
            plan: self.clone(),
            key_schema: Arc::new(Schema::new(fields)),
            store: RowStore::new(types)?,
            timers: BTreeSet::new(),
            expiries: BTreeSet::new(),
            rows: vec![],
            keys: FxHashMap::default(),
            order: vec![],
            emitted: vec![],
            metrics: Metrics::default(),
            clock: OperatorClock { late_ms: 0, watermark_ms: 0, timestamp_ms: 0 },
        }))
    }
}

/// Executable form of a [`CustomPlan`], owner of its state.
struct Custom {
    processor: Box<dyn StatefulProcessor>,
    plan: CustomPlan,
    key_schema: SchemaRef,
    /// Each key's [`KeyState`] as JSON.
    store: RowStore<Vec<u8>>,
    /// Timers and keys.
    timers: BTreeSet<(i64, Key)>,
    /// When the first value of a key expires.
    expiries: BTreeSet<(i64, Key)>,
    /// The batch's input.
    rows: Vec<RecordBatch>,
    /// Rows of each key: part of the input and row there.
    keys: FxHashMap<Key, Vec<(u32, u32)>>,
    /// Keys in the order in which they came.
    order: Vec<Key>,
    emitted: Vec<Vec<ScalarValue>>,
    metrics: Metrics,
    clock: OperatorClock,
}

impl Custom {
    /// Finds the timers and expiries of a restored store.
    fn index(&mut self) -> Result<()> {
        (self.timers, self.expiries) = (BTreeSet::new(), BTreeSet::new());
        for (key, bytes) in self.store.iter() {
            let state = decoded(bytes)?;
            self.timers.extend(state.timers.iter().map(|time| (*time, key.clone())));
            self.expiries.extend(state.next_expiry_ms().map(|time| (time, key.clone())));
        }
        Ok(())
    }

    fn times(&self) -> TimerValues {
        TimerValues { processing_time_ms: self.clock.timestamp_ms, watermark_ms: self.clock.watermark_ms }
    }

    /// The time that timers are compared with.
    fn now_ms(&self) -> Option<i64> {
        match self.plan.time_mode {
            TimeMode::None => None,
            TimeMode::ProcessingTime => Some(self.clock.timestamp_ms),
            TimeMode::EventTime => Some(self.clock.watermark_ms),
        }
    }

    /// Calls the processor for a key, and keeps what it leaves.
    fn call(
        &mut self,
        key: &Key,
        run: impl FnOnce(&mut dyn StatefulProcessor, &InputRow<'_>, TimerValues, &mut StateHandle<'_>) -> Result<()>,
    ) -> Result<()> {
        let times = self.times();
        let mut state = self.store.get(key).map(|bytes| decoded(bytes)).transpose()?.unwrap_or_default();
        let before = state.clone();
        state.expire(times.processing_time_ms);
        let columns = self.store.keys().columns(std::iter::once(key.as_ref()))?;
        let key_row = RecordBatch::try_new(self.key_schema.clone(), columns)?;
        let mut handle = StateHandle {
            state: &mut state,
            times,
            mode: self.plan.time_mode,
            schema: &self.plan.schema,
            emitted: &mut self.emitted,
        };
        run(self.processor.as_mut(), &InputRow::new(&key_row, 0), times, &mut handle)
            .map_err(|error| error.within(format!("transform_with_state ({})", self.plan.processor.name())))?;
        self.keep(key, &before, &state)
    }

    fn keep(&mut self, key: &Key, before: &KeyState, state: &KeyState) -> Result<()> {
        if before == state {
            return Ok(());
        }
        for time in before.timers.difference(&state.timers) {
            self.timers.remove(&(*time, key.clone()));
        }
        self.timers.extend(state.timers.difference(&before.timers).map(|time| (*time, key.clone())));
        if let Some(expiry) = before.next_expiry_ms() {
            self.expiries.remove(&(expiry, key.clone()));
        }
        self.expiries.extend(state.next_expiry_ms().map(|time| (time, key.clone())));
        if state.is_empty() {
            self.metrics.rows_removed += u64::from(self.store.remove(key).is_some());
            return Ok(());
        }
        let bytes = serde_json::to_vec(state)
            .map_err(|e| Error::caused_by(ErrorCode::UserCode, format!("state cannot be kept: {e}"), e))?;
        self.store.insert(key, bytes);
        Ok(())
    }

    /// Calls for timers up to now, also those that are set meanwhile, and forgets values that have expired.
    fn expire(&mut self) -> Result<()> {
        let Some(now) = self.now_ms() else { return Ok(()) };
        while let Some((time, key)) = self.timers.first().filter(|(time, _)| *time <= now).cloned() {
            self.call(&key, |processor, row, times, handle| {
                // Deleted first: the processor may set it anew, for later.
                handle.state.timers.remove(&time);
                processor.handle_expired_timer(row, time, times, handle)?;
                if handle.state.timers.contains(&time) {
                    return Err(Error::new(
                        ErrorCode::UserCode,
                        format!("handle_expired_timer registers the timer {time} that has just expired, which would never end"),
                    ));
                }
                Ok(())
            })?;
        }
        let wall = self.clock.timestamp_ms;
        while let Some((_, key)) = self.expiries.first().filter(|(time, _)| *time <= wall).cloned() {
            self.call(&key, |_, _, _, _| Ok(()))?;
        }
        Ok(())
    }

    fn output(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.emitted);
        let count = rows.len();
        let mut columns: Vec<Vec<ScalarValue>> =
            self.plan.schema.fields().iter().map(|_| Vec::with_capacity(count)).collect();
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let arrays =
            columns.into_iter().zip(self.plan.schema.fields()).map(|(values, field)| match values.is_empty() {
                true => Ok(arrow::array::new_empty_array(field.data_type())),
                false => Ok(ScalarValue::iter_to_array(values)?),
            });
        crate::state::rows::table(&self.plan.schema, arrays.collect::<Result<_>>()?, count)
    }
}

impl StatefulOperator for Custom {
    fn name(&self) -> &'static str {
        "transformWithStateExec"
    }

    fn begin(&mut self, clock: OperatorClock) {
        self.store.begin();
        self.rows.clear();
        self.keys.clear();
        self.order.clear();
        self.emitted.clear();
        self.metrics = Metrics::default();
        self.clock = clock;
    }

    fn rows(&mut self, _port: usize, rows: &RecordBatch) -> Result<()> {
        let times = self.plan.event_time.map(|column| event_times(rows.column(column))).transpose()?;
        let late_us = self.clock.late_ms.saturating_mul(1000);
        let columns: Vec<ArrayRef> = self.plan.keys.iter().map(|key| normalize(rows.column(*key))).collect();
        let keys = self.store.keys().rows(&columns)?;
        let part = self.rows.len() as u32;
        for row in 0..rows.num_rows() {
            if times.as_ref().is_some_and(|times| times.is_valid(row) && times.value(row) <= late_us) {
                self.metrics.rows_dropped_by_watermark += 1;
                self.metrics.late_input_rows += 1;
                continue;
            }
            let key = keys.row(row);
            match self.keys.get_mut(key.data()) {
                Some(places) => places.push((part, row as u32)),
                None => {
                    let key = Key::from(key.data());
                    self.order.push(key.clone());
                    self.keys.insert(key, vec![(part, row as u32)]);
                }
            }
        }
        self.rows.push(rows.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let (rows, keys) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.keys));
        for key in std::mem::take(&mut self.order) {
            let places = keys.get(&key).map(Vec::as_slice).unwrap_or_default();
            let row_at = |(part, row): &(u32, u32)| Some(InputRow::new(rows.get(*part as usize)?, *row as usize));
            let mut input = places.iter().filter_map(row_at);
            self.call(&key, |processor, row, times, handle| {
                processor.handle_input_rows(row, &mut input, times, handle)
            })?;
        }
        self.expire()?;
        self.metrics.rows_total = self.store.len();
        self.metrics.rows_updated = self.store.changes();
        self.metrics.memory_bytes = self.store.memory();
        Ok(vec![self.output()?])
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, moved: bool, now_ms: i64) -> bool {
        let due = |times: &BTreeSet<(i64, Key)>| times.first().is_some_and(|(time, _)| *time <= now_ms);
        match self.plan.time_mode {
            TimeMode::None => false,
            TimeMode::EventTime => moved,
            TimeMode::ProcessingTime => due(&self.timers) || due(&self.expiries),
        }
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        self.store.delta()
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.store.snapshot()
    }

    fn restore(&mut self, bytes: &[u8], snapshot: bool) -> Result<()> {
        self.store.apply(bytes, snapshot)?;
        self.index()
    }
}

fn decoded(bytes: &[u8]) -> Result<KeyState> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::caused_by(ErrorCode::CheckpointCorrupt, format!("the state of a processor does not parse: {e}"), e)
    })
}
