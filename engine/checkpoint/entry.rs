//! The records of a checkpoint, as they are written: plain data, JSON with a checksum line.
//!
//! Comes in: what the runner decided. Goes out: what recovery reads. Every record is create-once.

use crate::sink::Prepared;
use crate::source::Offset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// `offsets/N`: what batch N reads, written before anything is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffsetsEntry {
    /// Batch number.
    pub batch: u64,
    /// Epoch that planned it.
    pub epoch: u64,
    /// Run that planned it.
    pub run_id: Uuid,
    /// Half-open range of every source, in plan order.
    pub ranges: Vec<OffsetRange>,
    /// Watermark in force for eviction in this batch, in milliseconds since the epoch.
    pub watermark_ms: i64,
    /// Watermark of the batch before, which decides what is late in this one.
    pub late_watermark_ms: i64,
    /// Wall clock of the batch in milliseconds: `current_timestamp()` of a replay is the same.
    pub timestamp_ms: i64,
    /// Settings that must not change between attempts, by Spark's keys.
    pub conf: BTreeMap<String, String>,
    /// Hash of the plan that planned it.
    pub plan: String,
}

/// A source's half-open range `start..end`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// Before the first row.
    pub start: Offset,
    /// After the last row.
    pub end: Offset,
}

/// `prepared/N-attempt`: everything attempt `attempt` of batch N produced, durable but not yet visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreparedEntry {
    /// The sink's part, with batch and attempt.
    pub sink: Prepared,
    /// State files of the operators after this batch.
    pub state: Vec<StateChain>,
    /// Watermark computed from this batch's rows, in milliseconds.
    pub next_watermark_ms: i64,
    /// Per watermark node, what its input has shown so far, in milliseconds.
    pub node_watermarks_ms: Vec<Option<i64>>,
}

/// The files that rebuild one operator's state: a snapshot (unless the state began empty), then deltas in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateChain {
    /// Stable operator id.
    pub operator: String,
    /// Files in the order in which they apply.
    pub files: Vec<StateFile>,
}

/// One immutable state file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateFile {
    /// Path below the checkpoint.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Rows in the file.
    pub rows: u64,
    /// Whether the file replaces everything before it.
    pub snapshot: bool,
}

/// `commits/N`: the decision that attempt `attempt` of batch N counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitEntry {
    /// Batch number.
    pub batch: u64,
    /// The attempt that counts.
    pub attempt: Uuid,
    /// Epoch that committed it.
    pub epoch: u64,
    /// SHA-256 of the prepared record's bytes, hexadecimal.
    pub prepared_sha256: String,
}
