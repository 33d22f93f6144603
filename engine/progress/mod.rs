//! What a query tells about itself: Spark's `StreamingQueryProgress` and `status`, with our own numbers beside them.
//!
//! Comes in: the runner's measurements. Goes out: serialisable records with Spark's names, order and units, and [`listener`]s that are given
//! them; our keys follow Spark's. As in Spark, an empty map is left out of the JSON.

pub mod listener;

use crate::source::Offset;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// One executed (or idle) trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryProgress {
    /// The query's id, the same after every restart.
    pub id: Uuid,
    /// This start's id.
    pub run_id: Uuid,
    /// The query's name.
    pub name: Option<String>,
    /// Start of the trigger, UTC with milliseconds.
    pub timestamp: String,
    /// The batch; of an idle trigger, the next batch.
    pub batch_id: u64,
    /// Milliseconds from trigger to commit.
    pub batch_duration: i64,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows per second since the previous trigger began.
    pub input_rows_per_second: f64,
    /// Rows per second of this batch's own time.
    pub processed_rows_per_second: f64,
    /// Milliseconds of each of Spark's steps.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub duration_ms: Map<String, Value>,
    /// `avg`, `max`, `min` of the event times seen, if any were, and `watermark`, as ISO instants; empty without a watermark.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub event_time: Map<String, Value>,
    /// State of each stateful operator, the one next to the sink first.
    pub state_operators: Vec<StateOperatorProgress>,
    /// Each source.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Observed metrics by name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub observed_metrics: Map<String, Value>,
    /// Device that ran the kernels, and why.
    pub device: Option<String>,
    /// Malformed records met by the decoders.
    pub malformed_records: u64,
    /// Input rows that came too late, over all operators; Spark counts groups instead, in `numRowsDroppedByWatermark`.
    pub late_input_rows: u64,
    /// Chunks since the session began that ran on the CPU because the GPU could not take them.
    pub gpu_fallbacks: u64,
    /// Milliseconds of the steps that Spark does not have, parts of its `addBatch` and `commitOffsets`: `decode` and `partialAggregate` (sums
    /// over the workers), `merge`, `stateCommit`, `stage`, `prepare`, `publish`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub stage_duration_ms: Map<String, Value>,
}

/// State of one operator after a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperatorProgress {
    /// Spark's operator name.
    pub operator_name: String,
    /// Groups in state.
    pub num_rows_total: u64,
    /// Groups touched.
    pub num_rows_updated: u64,
    /// Milliseconds of merging.
    pub all_updates_time_ms: u64,
    /// Groups evicted.
    pub num_rows_removed: u64,
    /// Milliseconds of evicting; part of merging here.
    pub all_removals_time_ms: u64,
    /// Milliseconds of writing the state file.
    pub commit_time_ms: u64,
    /// Bytes of state, roughly.
    pub memory_used_bytes: u64,
    /// Late groups, counted as Spark counts them.
    pub num_rows_dropped_by_watermark: u64,
    /// Always 1.
    pub num_shuffle_partitions: u64,
    /// Always 1.
    pub num_state_store_instances: u64,
    /// `lateInputRows`: late input rows exactly; `stateFiles`: files that rebuild the state.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_metrics: Map<String, Value>,
}

/// One source in a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The source.
    pub description: String,
    /// Before the first row.
    pub start_offset: Option<Offset>,
    /// After the last row.
    pub end_offset: Option<Offset>,
    /// The newest offset there was.
    pub latest_offset: Option<Offset>,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows per second since the previous trigger began.
    pub input_rows_per_second: f64,
    /// Rows per second of this batch's own time.
    pub processed_rows_per_second: f64,
    /// The source's own numbers, as texts as in Spark.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metrics: Map<String, Value>,
}

/// The sink in a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The sink.
    pub description: String,
    /// Rows written.
    pub num_output_rows: i64,
}

impl StreamingQueryProgress {
    /// The record as Spark's compact JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record as JSON on several lines, indented.
    pub fn pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The record as a JSON value.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The watermark in force in this batch, in milliseconds since the epoch, if the query has one.
    pub fn watermark_ms(&self) -> Option<i64> {
        let text = self.event_time.get("watermark")?.as_str()?;
        Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis())
    }
}

/// What a query is doing right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryStatus {
    /// Spark's words: `Processing new data`, `Waiting for data to arrive`, ...
    pub message: String,
    /// Whether the last look found something to read.
    pub is_data_available: bool,
    /// Whether a trigger is being worked on.
    pub is_trigger_active: bool,
}

/// `millis` since the epoch as Spark prints instants: `2024-01-01T00:00:00.000Z`.
pub fn iso_instant(millis: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(millis) {
        Some(instant) => instant.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => millis.to_string(),
    }
}
