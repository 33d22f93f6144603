//! Progress of a run: what each trigger measured, as the records that handles show.
//!
//! Comes in: timings and numbers of a batch, or of a look that found nothing. Goes out: [`StreamingQueryProgress`] records.

use super::{Runner, now_ms};
use crate::batch::executor::BatchOutput;
use crate::checkpoint::entry::OffsetsEntry;
use crate::progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, iso_instant};
use crate::source::Offset;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// When a trigger began.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriggerTime {
    pub(super) started: Instant,
    pub(super) wall_ms: i64,
    pub(super) since_previous: Option<Duration>,
}

impl TriggerTime {
    pub(super) fn now(previous: Option<TriggerTime>) -> Self {
        let started = Instant::now();
        let since_previous = previous.map(|previous| started.duration_since(previous.started));
        Self { started, wall_ms: now_ms(), since_previous }
    }
}

/// The steps that Spark's `durationMs` has.
const SPARK_STEPS: [&str; 7] =
    ["addBatch", "commitOffsets", "getBatch", "latestOffset", "queryPlanning", "triggerExecution", "walCommit"];

/// Milliseconds of each step of a batch.
#[derive(Default)]
pub(super) struct Timings(Map<String, Value>);

impl Timings {
    pub(super) fn add(&mut self, step: &str, since: Instant) {
        self.set(step, since.elapsed().as_millis() as u64);
    }

    /// Adds to a step that is made of several.
    pub(super) fn more(&mut self, step: &str, since: Instant) {
        self.set(step, self.get(step) + since.elapsed().as_millis() as u64);
    }

    pub(super) fn set(&mut self, step: &str, millis: u64) {
        self.0.insert(step.to_string(), json!(millis));
    }

    pub(super) fn get(&self, step: &str) -> u64 {
        self.0.get(step).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Spark's steps and our own, each in the order of their names, as Spark lists them.
    fn sorted(mut self) -> (Map<String, Value>, Map<String, Value>) {
        self.0.sort_keys();
        self.0.into_iter().partition(|(step, _)| SPARK_STEPS.contains(&step.as_str()))
    }
}

impl Runner {
    /// Notes how far the query has come when `entry` is planned, for the text of a failure.
    pub(super) fn note_reached(&self, entry: &OffsetsEntry) {
        let committed = self.committed.iter().map(|offset| self.last.as_ref().map(|_| offset));
        let available = entry.ranges.iter().map(|range| Some(&range.end));
        let offsets = self.sources.iter().zip(committed).zip(available);
        self.shared.set_reached(offsets.map(|((source, done), planned)| (source.description(), done, planned)));
    }

    pub(super) fn report(&mut self, entry: &OffsetsEntry, latest: Vec<Offset>, output: &BatchOutput, times: Timings) {
        let output_rows: usize = output.rows.iter().map(|b| b.num_rows()).sum();
        self.report_rows(entry, latest, output, output_rows as u64, times);
    }

    /// Reports a batch that wrote `output_rows` rows.
    pub(super) fn report_rows(
        &mut self,
        entry: &OffsetsEntry,
        latest: Vec<Offset>,
        output: &BatchOutput,
        output_rows: u64,
        mut times: Timings,
    ) {
        let TriggerTime { started, wall_ms, since_previous } = self.trigger_time;
        let took = started.elapsed();
        times.set("triggerExecution", took.as_millis() as u64);
        let seconds = took.as_secs_f64();
        let since = since_previous.map(|since| since.as_secs_f64());
        let input_rate = |rows: u64| since.filter(|s| *s > 0.0).map_or(0.0, |s| rows as f64 / s);
        let process_rate = |rows: u64| if seconds > 0.0 { rows as f64 / seconds } else { 0.0 };
        let sources = self.sources.iter().zip(&entry.ranges).zip(latest).zip(&output.input_rows);
        let sources = sources.map(|(((source, range), latest), rows)| SourceProgress {
            description: source.description(),
            start_offset: Some(range.start.clone()),
            end_offset: Some(range.end.clone()),
            latest_offset: Some(latest),
            num_input_rows: *rows,
            input_rows_per_second: input_rate(*rows),
            processed_rows_per_second: process_rate(*rows),
            metrics: source.metrics(),
        });
        let sources = sources.collect();
        let rows: u64 = output.input_rows.iter().sum();
        let mut event_time = Map::new();
        if self.tracker.is_defined() {
            // As in Spark, those of one watermark node: the first that saw any.
            if let Some(seen) = output.observed.values().find(|seen| seen.count > 0) {
                let avg = seen.avg_ms().unwrap_or_default();
                let times = [("avg", avg), ("max", seen.max.div_euclid(1000)), ("min", seen.min.div_euclid(1000))];
                event_time.extend(times.map(|(name, millis)| (name.to_string(), iso_instant(millis).into())));
            }
            event_time.insert("watermark".into(), iso_instant(entry.watermark_ms).into());
        }
        let state_commit = times.get("stateCommit");
        let chains = self.chains.iter();
        let state_operators = output.operators.iter().zip(chains).map(|(operator, chain)| {
            let metrics = operator.metrics;
            let mut custom = Map::new();
            custom.insert("lateInputRows".into(), metrics.late_input_rows.into());
            custom.insert("stateFiles".into(), chain.files.len().into());
            StateOperatorProgress {
                operator_name: operator.name.to_string(),
                num_rows_total: metrics.rows_total,
                num_rows_updated: metrics.rows_updated,
                all_updates_time_ms: operator.spent.as_millis() as u64,
                num_rows_removed: metrics.rows_removed,
                all_removals_time_ms: 0,
                commit_time_ms: state_commit,
                memory_used_bytes: metrics.memory_bytes,
                num_rows_dropped_by_watermark: metrics.rows_dropped_by_watermark,
                num_shuffle_partitions: 1,
                num_state_store_instances: 1,
                custom_metrics: custom,
            }
        });
        // Spark lists the operator nearest to the sink first.
        let state_operators: Vec<StateOperatorProgress> = state_operators.rev().collect();
        let (duration_ms, stage_duration_ms) = times.sorted();
        let progress = StreamingQueryProgress {
            id: self.checkpoint.query_id(),
            run_id: self.run_id,
            name: self.name.clone(),
            timestamp: iso_instant(wall_ms),
            batch_id: entry.batch,
            batch_duration: took.as_millis() as i64,
            num_input_rows: rows,
            input_rows_per_second: input_rate(rows),
            processed_rows_per_second: process_rate(rows),
            duration_ms,
            stage_duration_ms,
            event_time,
            late_input_rows: output.operators.iter().map(|operator| operator.metrics.late_input_rows).sum(),
            gpu_fallbacks: self.shared.gpu_fallbacks(),
            state_operators,
            sources,
            sink: SinkProgress { description: self.sink.description(), num_output_rows: output_rows as i64 },
            observed_metrics: output.measured.clone(),
            device: output.device.clone(),
            malformed_records: output.malformed,
        };
        self.shared.push(progress);
    }

    pub(super) fn report_idle(&self, times: Timings) {
        let sources = self.sources.iter().zip(&self.committed).map(|(source, offset)| SourceProgress {
            description: source.description(),
            start_offset: Some(offset.clone()),
            end_offset: Some(offset.clone()),
            latest_offset: Some(offset.clone()),
            num_input_rows: 0,
            input_rows_per_second: 0.0,
            processed_rows_per_second: 0.0,
            metrics: source.metrics(),
        });
        let mut event_time = Map::new();
        if self.tracker.is_defined() {
            event_time.insert("watermark".into(), iso_instant(self.tracker.current_ms()).into());
        }
        let batch_duration = times.get("triggerExecution") as i64;
        let (duration_ms, stage_duration_ms) = times.sorted();
        self.shared.push_idle(StreamingQueryProgress {
            id: self.checkpoint.query_id(),
            run_id: self.run_id,
            name: self.name.clone(),
            timestamp: iso_instant(self.trigger_time.wall_ms),
            batch_id: self.last.as_ref().map_or(0, |last| last.batch + 1),
            batch_duration,
            late_input_rows: 0,
            gpu_fallbacks: self.shared.gpu_fallbacks(),
            num_input_rows: 0,
            input_rows_per_second: 0.0,
            processed_rows_per_second: 0.0,
            duration_ms,
            stage_duration_ms,
            event_time,
            state_operators: vec![],
            sources: sources.collect(),
            sink: SinkProgress { description: self.sink.description(), num_output_rows: 0 },
            observed_metrics: Map::new(),
            device: None,
            malformed_records: 0,
        });
    }
}
