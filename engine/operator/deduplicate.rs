//! The stateful deduplication: the first row of each key passes, and its key is remembered until the watermark makes it safe to forget.
//!
//! Comes in: rows in the order of the input. Goes out: those that are first of their key, in that order, and the remembered keys. Fails:
//! event times of another type, which the plan rules out.

use super::clock::BatchClock;
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::{Error, Result};
use crate::plan::deduplicate::{DeduplicatePlan, Expiry};
use crate::plan::spark_function::normalize;
use crate::sink::OutputMode;
use crate::state::rows::{Key, RowStore};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use std::collections::BTreeMap;

/// The deadline of a key that is never forgotten.
const NEVER: i64 = i64::MAX;

impl OperatorPlan for DeduplicatePlan {
    fn kind(&self) -> &'static str {
        "deduplicate"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| self.schema.field(*key).name().as_str()).collect();
        let kept = match self.expiry {
            Expiry::Never => "for ever".to_string(),
            Expiry::AtTime(time) => format!("until the watermark passes {}", self.schema.field(time).name()),
            Expiry::After(time, delay) => {
                format!("until the watermark passes {} by {} ms", self.schema.field(time).name(), delay / 1000)
            }
        };
        format!("first row of each [{}], remembered {kept}", keys.join(", "))
    }

    fn unbounded(&self) -> Option<String> {
        let why = "drop_duplicates remembers every key for ever; name the event time among its columns after with_watermark, or use \
                   drop_duplicates_within_watermark, to bound its state";
        (self.expiry == Expiry::Never).then(|| why.to_string())
    }

    fn create(&self, _mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        let types = self.keys.iter().map(|key| self.schema.field(*key).data_type().clone()).collect();
        Ok(Box::new(Deduplicate {
            plan: self.clone(),
            store: RowStore::new(types)?,
            deadlines: BTreeMap::new(),
            indexed: true,
            passed: vec![],
            metrics: Metrics::default(),
            late_us: 0,
            ended_us: 0,
        }))
    }
}

/// Executable form of a [`DeduplicatePlan`], owner of its state.
struct Deduplicate {
    plan: DeduplicatePlan,
    /// The deadline of each key.
    store: RowStore<i64>,
    /// Keys by deadline, without those that are never forgotten.
    deadlines: BTreeMap<i64, Vec<Key>>,
    /// Whether `deadlines` knows all of the store.
    indexed: bool,
    passed: Vec<RecordBatch>,
    metrics: Metrics,
    late_us: i64,
    ended_us: i64,
}

impl Deduplicate {
    fn index(&mut self) {
        if !std::mem::replace(&mut self.indexed, true) {
            self.deadlines.clear();
            for (key, deadline) in self.store.iter().filter(|(_, deadline)| **deadline != NEVER) {
                self.deadlines.entry(*deadline).or_default().push(key.clone());
            }
        }
    }
}

impl StatefulOperator for Deduplicate {
    fn name(&self) -> &'static str {
        if self.plan.within_watermark() { "dedupeWithinWatermark" } else { "dedupe" }
    }

    fn begin(&mut self, clock: OperatorClock) {
        self.index();
        self.store.begin();
        self.passed.clear();
        self.metrics = Metrics::default();
        self.late_us = clock.late_ms.saturating_mul(1000);
        self.ended_us = clock.watermark_ms.saturating_mul(1000);
    }

    fn rows(&mut self, _port: usize, rows: &RecordBatch) -> Result<()> {
        let times = self.plan.event_time.map(|column| event_times(rows.column(column))).transpose()?;
        let deadlines = match self.plan.expiry {
            Expiry::Never => None,
            Expiry::AtTime(column) | Expiry::After(column, _) => Some(event_times(rows.column(column))?),
        };
        let columns: Vec<ArrayRef> = self.plan.keys.iter().map(|key| normalize(rows.column(*key))).collect();
        let keys = self.store.keys().rows(&columns)?;
        let mut first: Vec<u32> = Vec::new();
        for row in 0..rows.num_rows() {
            if times.as_ref().is_some_and(|times| times.is_valid(row) && times.value(row) <= self.late_us) {
                self.metrics.rows_dropped_by_watermark += 1;
                self.metrics.late_input_rows += 1;
                continue;
            }
            let key = keys.row(row);
            if self.store.get(key.data()).is_some() {
                continue;
            }
            let time = deadlines.as_ref().map(|times| times.is_valid(row).then(|| times.value(row)));
            let deadline = match (self.plan.expiry, time) {
                (Expiry::After(_, delay), Some(time)) => {
                    // As in Spark, a row without a time is one of the epoch.
                    time.unwrap_or(0).saturating_add(delay)
                }
                (Expiry::AtTime(_), Some(Some(time))) => time,
                _ => NEVER,
            };
            let key = self.store.insert(key.data(), deadline);
            if deadline != NEVER {
                self.deadlines.entry(deadline).or_default().push(key);
            }
            first.push(row as u32);
        }
        self.metrics.rows_updated += first.len() as u64;
        if !first.is_empty() {
            self.passed.push(take_record_batch(rows, &UInt32Array::from(first))?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        while let Some(entry) = self.deadlines.first_entry() {
            if *entry.key() > self.ended_us {
                break;
            }
            for key in entry.remove() {
                self.store.remove(&key);
                self.metrics.rows_removed += 1;
            }
        }
        self.metrics.rows_total = self.store.len();
        self.metrics.memory_bytes = self.store.memory();
        Ok(std::mem::take(&mut self.passed))
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, moved: bool, _now_ms: i64) -> bool {
        // As in Spark, also where nothing is ever forgotten.
        moved
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        self.store.delta()
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.store.snapshot()
    }

    fn restore(&mut self, bytes: &[u8], snapshot: bool) -> Result<()> {
        self.indexed = false;
        self.store.apply(bytes, snapshot)
    }
}

/// The instants of an event-time column; a window stands for its end.
pub(super) fn event_times(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let wrong = || Error::internal(format!("an event time of type {}", column.data_type()));
    if let Some(windows) = column.as_struct_opt() {
        let ends = windows.column_by_name("end").ok_or_else(wrong)?;
        let ends = ends.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?;
        let nulls = NullBuffer::union(windows.nulls(), ends.nulls());
        return Ok(TimestampMicrosecondArray::try_new(ends.values().clone(), nulls)?);
    }
    column.as_primitive_opt::<TimestampMicrosecondType>().cloned().ok_or_else(wrong)
}
