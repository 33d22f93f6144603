//! The stateful aggregation: merges partials into windows, drops what is late, emits by output mode, evicts what has ended.
//!
//! Comes in: partials of any number of chunks, and the batch's two watermarks: the previous batch's decides what is late, the
//! current one what has ended. Goes out: the operator's rows and its state. Fails: sums outside their type.

use super::clock::BatchClock;
use super::partial::Partials;
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::Result;
use crate::plan::aggregate::{AggregatePlan, WindowKey};
use crate::plan::spark_function::window_array;
use crate::sink::OutputMode;
use crate::state::file;
use crate::state::table::{NO_WINDOW, Selection, Table};
use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use bytes::Bytes;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Executable form of an [`AggregatePlan`], owner of its state.
struct AggregateOperator {
    plan: AggregatePlan,
    mode: OutputMode,
    table: Table,
    late: FxHashSet<(i64, Box<[u8]>)>,
    metrics: Metrics,
    late_us: i64,
    ended_us: i64,
}

impl OperatorPlan for AggregatePlan {
    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn describe(&self) -> String {
        let bounded = if self.evicts() { "until the watermark passes the window" } else { "for ever" };
        format!("{} aggregates a group, kept {bounded}", self.calls.len())
    }

    fn unbounded(&self) -> Option<String> {
        let grows = !self.evicts() && (self.window.is_some() || !self.key_types.is_empty());
        let why =
            "the aggregation keeps a group for every key for ever; a watermark and a window would bound its state";
        grows.then(|| why.to_string())
    }

    fn create(&self, mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        Ok(Box::new(AggregateOperator::new(self, mode)?))
    }
}

impl AggregateOperator {
    fn new(plan: &AggregatePlan, mode: OutputMode) -> Result<Self> {
        let table = Table::new(plan.key_types.clone(), plan.calls.clone(), plan.texts.clone())?;
        let metrics = Metrics::default();
        Ok(Self { plan: plan.clone(), mode, table, late: FxHashSet::default(), metrics, late_us: 0, ended_us: 0 })
    }

    fn output(&self, selections: &[Selection]) -> Result<RecordBatch> {
        let mut columns = self.table.keys(selections)?;
        if let Some(window) = &self.plan.window {
            columns.insert(window.index.min(columns.len()), window_column(window, selections)?);
        }
        for index in 0..self.plan.calls.len() {
            columns.push(self.table.results(index, selections)?);
        }
        let rows = selections.iter().map(|s| s.groups.len()).sum();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)?)
    }

    fn encoded(&self, selections: Vec<Selection>, dropped: &[i64]) -> Result<(Bytes, u64)> {
        let rows = selections.iter().map(|s| s.groups.len() as u64).sum();
        Ok((file::write(&self.table, &selections, dropped)?, rows))
    }
}

impl StatefulOperator for AggregateOperator {
    fn name(&self) -> &'static str {
        "stateStoreSave"
    }

    fn restore(&mut self, bytes: &[u8], _snapshot: bool) -> Result<()> {
        file::apply(&mut self.table, bytes)
    }

    fn begin(&mut self, clock: OperatorClock) {
        self.table.begin();
        self.late.clear();
        self.metrics = Metrics::default();
        self.late_us = clock.late_ms.saturating_mul(1000);
        self.ended_us = clock.watermark_ms.saturating_mul(1000);
    }

    fn partials_in_order(&self) -> bool {
        self.plan.ordered()
    }

    fn partials(&mut self, partials: &Partials) -> Result<()> {
        let keys = self.table.encode_keys(&partials.keys, partials.rows.len())?;
        let drops = self.plan.evicts() && self.mode != OutputMode::Complete;
        for group in 0..partials.rows.len() {
            let Some((window, pane)) = self.plan.window.as_ref().zip(partials.pane_start.get(group)) else {
                self.table.merge(NO_WINDOW, &keys, partials, group)?;
                continue;
            };
            // Partials by window are merged into that window alone.
            let only = partials.windowed.then_some(*pane);
            for start in only.into_iter().chain(windows_over(window, *pane).filter(|_| only.is_none())) {
                if drops && has_ended(window, start, self.late_us) {
                    self.late.insert((start, keys.get(group).into()));
                    self.metrics.late_input_rows += partials.rows[group];
                } else {
                    self.table.merge(start, &keys, partials, group)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let window = self.plan.window.clone();
        let global = self.plan.key_types.is_empty() && window.is_none();
        if global {
            self.table.touch_global();
        }
        self.table.settle()?;
        let evicts = self.plan.evicts() && self.mode != OutputMode::Complete;
        let ended_us = self.ended_us;
        let ended = |start: i64| evicts && window.as_ref().is_some_and(|w| has_ended(w, start, ended_us));
        let touched = self.table.touched();
        self.metrics.rows_updated = touched.iter().map(|s| s.groups.len() as u64).sum();
        let rows = match self.mode {
            OutputMode::Update => self.output(&touched)?,
            OutputMode::Append => self.output(&self.table.ended(ended))?,
            OutputMode::Complete => self.output(&self.table.all())?,
        };
        self.metrics.rows_removed = self.table.drop_windows(ended);
        self.metrics.rows_dropped_by_watermark = self.late.len() as u64;
        self.metrics.rows_total = self.table.len();
        self.metrics.memory_bytes = self.table.memory();
        Ok(vec![rows])
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, moved: bool, _now_ms: i64) -> bool {
        // As in Spark, also where no key has a time and so nothing is ever evicted.
        moved && self.mode != OutputMode::Complete
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        self.encoded(self.table.touched(), self.table.dropped())
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.encoded(self.table.all(), &[])
    }
}

/// Whether the watermark has passed the window that starts at `start`. A bare event-time key ends where it starts; without a
/// time it never does.
fn has_ended(window: &WindowKey, start: i64, watermark_us: i64) -> bool {
    start != NO_WINDOW && start.saturating_add(window.duration) <= watermark_us
}

/// Starts of the windows that cover the pane, or the time, at `pane`.
pub(crate) fn windows_over(window: &WindowKey, pane: i64) -> impl Iterator<Item = i64> + use<> {
    let (duration, slide) = (window.duration, window.slide);
    let last = match slide {
        0 => pane,
        _ => pane.saturating_sub(pane.saturating_sub(window.start).rem_euclid(slide)),
    };
    std::iter::successors(Some(last), move |start| if slide == 0 { None } else { start.checked_sub(slide) })
        .take_while(move |start| *start == last || start.saturating_add(duration) > pane)
}

fn window_column(window: &WindowKey, selections: &[Selection]) -> Result<ArrayRef> {
    let starts = selections.iter().flat_map(|s| std::iter::repeat_n(s.start, s.groups.len()));
    if window.duration == 0 {
        let starts: TimestampMicrosecondArray = starts.map(|start| (start != NO_WINDOW).then_some(start)).collect();
        return Ok(Arc::new(starts.with_timezone(crate::types::UTC)));
    }
    let starts: TimestampMicrosecondArray = starts.map(|start| (start != NO_WINDOW).then_some(start)).collect();
    let ends = starts.unary(|start| start.saturating_add(window.duration));
    Ok(Arc::new(window_array(starts, ends)?))
}
