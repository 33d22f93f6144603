//! The micro-batch loop: plan, log, compute, stage, prepare, publish, commit.
//!
//! Comes in: a [`Definition`]. Goes out: batches in the sink, each exactly once where the sink can, and progress. The order of the steps
//! is the whole protocol: every step leaves a durable trace before the next begins, and [`Runner::open`] finishes whatever the
//! last run left unfinished. Fails: with the first error of any step; nothing is retried here, a restart recovers.

mod continuous;
mod open;
mod report;

use super::executor::{EncodedState, Executor, panicked};
use super::shared::Shared;
use super::trigger::Trigger;
use crate::checkpoint::entry::{OffsetRange, OffsetsEntry, PreparedEntry, StateChain, StateFile};
use crate::checkpoint::{Checkpoint, FailPoints, fail};
use crate::error::{Error, ErrorCode, Result};
use crate::operator::OperatorClock;
use crate::plan::fingerprint::Fingerprint;
use crate::plan::lower::QueryPlan;
use crate::sink::{OutputMode, Prepared, Sink};
use crate::source::{Admission, Chunks, Offset, Proposal, ReadRequest, Source};
use crate::storage::Location;
use crate::watermark::Tracker;
use report::{Timings, TriggerTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemill_kernels::device::Device;
use tracing::warn;
use uuid::Uuid;

/// A query as it is started.
pub struct Definition {
    /// Name, unique among the session's active queries.
    pub name: Option<String>,
    /// This start.
    pub run_id: Uuid,
    /// Output mode.
    pub mode: OutputMode,
    /// Trigger.
    pub trigger: Trigger,
    /// The plan.
    pub plan: QueryPlan,
    /// What the checkpoint remembers of it.
    pub fingerprint: Fingerprint,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// Whether the sink can go on from a checkpoint: it holds what earlier runs wrote, or does not need it.
    pub restartable: bool,
    /// Checkpoint location.
    pub checkpoint: Location,
    /// The session's settings that a run depends on.
    pub settings: Settings,
    /// Where kernels run.
    pub device: Device,
    /// Test hooks.
    pub fail: FailPoints,
}

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `spark.sql.streaming.multipleWatermarkPolicy`.
    pub watermark_policy: String,
    /// `spark.sql.streaming.noDataMicroBatches.enabled`.
    pub no_data_batches: bool,
    /// `spark.sql.streaming.minBatchesToRetain`.
    pub batches_to_retain: usize,
    /// `spark.sql.streaming.stateStore.minDeltasForSnapshot`.
    pub deltas_for_snapshot: usize,
    /// `spark.sql.streaming.pollingDelay`.
    pub polling_delay: Duration,
    /// `spark.sql.streaming.noDataProgressEventInterval`.
    pub idle_report: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Wanted size of a chunk in bytes.
    pub chunk_bytes: usize,
}

const POLICY_KEY: &str = "spark.sql.streaming.multipleWatermarkPolicy";

/// A query in progress.
pub struct Runner {
    name: Option<String>,
    run_id: Uuid,
    trigger: Trigger,
    fingerprint: Fingerprint,
    settings: Settings,
    fail: FailPoints,
    sources: Vec<Box<dyn Source>>,
    /// What each branch reads of which source.
    requests: Vec<(usize, ReadRequest)>,
    sink: Box<dyn Sink>,
    checkpoint: Checkpoint,
    /// None while a batch computes.
    executor: Option<Executor>,
    tracker: Tracker,
    /// Files that rebuild each operator's state, in the order of the plan's stages.
    chains: Vec<StateChain>,
    /// Whether the query has changed since the last run: its first batch writes the whole state, so that no file of another query is
    /// left for a later change to find.
    changed: bool,
    /// End of the last committed batch, by source.
    committed: Vec<Offset>,
    /// The last batch that ran, or that the checkpoint knows.
    last: Option<OffsetsEntry>,
    /// A logged batch to run again.
    replay: Option<OffsetsEntry>,
    shared: Arc<Shared>,
    /// When the trigger being worked on began, and how long after the one before.
    trigger_time: TriggerTime,
}

/// How a trigger ended.
enum Triggered {
    /// A batch is committed.
    Ran,
    /// There was nothing to do.
    Idle(Timings),
    /// The batch was given up, because the query was told to stop.
    Stopped,
}

impl Runner {
    /// The query's id.
    pub fn query_id(&self) -> Uuid {
        self.checkpoint.query_id()
    }

    fn take_executor(&mut self) -> Result<Executor> {
        self.executor.take().ok_or_else(|| Error::internal("the executor was lost in a failed batch"))
    }

    /// Runs until the query is stopped, its trigger is done, or it fails.
    pub async fn run(mut self) -> Result<()> {
        if self.trigger.flow().is_some() {
            return self.run_continuously().await;
        }
        let mut idle_since = Instant::now();
        let mut previous = None;
        loop {
            if self.shared.is_stopping() {
                return Ok(());
            }
            self.trigger_time = TriggerTime::now(previous);
            previous = Some(self.trigger_time);
            let waiting = self.shared.take_waiting();
            let idle = match self.trigger_batch().await? {
                Triggered::Ran => {
                    idle_since = Instant::now();
                    // They asked before this batch was planned; they wait for the look that finds nothing.
                    self.shared.requeue(waiting);
                    None
                }
                Triggered::Idle(times) => {
                    waiting.into_iter().for_each(|w| {
                        // Nobody listens any more if it fails.
                        let _ = w.send(());
                    });
                    Some(times)
                }
                // Not a failure; the batch runs again at the next start.
                Triggered::Stopped => return Ok(()),
            };
            let ran = idle.is_none();
            match (self.trigger, idle) {
                (Trigger::Once, _) | (Trigger::AvailableNow, Some(_)) => return Ok(()),
                (Trigger::AvailableNow, None) => {}
                (_, idle) => {
                    if let Some(times) = idle.filter(|_| idle_since.elapsed() >= self.settings.idle_report) {
                        self.report_idle(times);
                        idle_since = Instant::now();
                    }
                    let polling = self.settings.polling_delay;
                    wait(&self.shared, self.trigger, self.trigger_time.wall_ms, ran, polling).await;
                }
            }
        }
    }

    /// One trigger: runs a batch if there is one to run.
    async fn trigger_batch(&mut self) -> Result<Triggered> {
        let mut times = Timings::default();
        let (entry, latest) = match self.replay.take() {
            Some(entry) => {
                let latest = entry.ranges.iter().map(|r| r.end.clone()).collect();
                (entry, latest)
            }
            None => {
                let Some(planned) = self.plan_batch(&mut times).await? else {
                    times.add("triggerExecution", self.trigger_time.started);
                    return Ok(Triggered::Idle(times));
                };
                planned
            }
        };
        if entry.ranges.iter().any(|range| range.start != range.end) {
            self.shared.set_status("Processing new data", true, true);
        } else {
            self.shared.set_status("No new data but cleaning up state", false, true);
        }
        self.note_reached(&entry);
        self.run_batch(entry, latest, times).await
    }

    async fn plan_batch(&mut self, times: &mut Timings) -> Result<Option<(OffsetsEntry, Vec<Offset>)>> {
        let admission = match self.trigger {
            Trigger::Once => Admission::Unlimited,
            _ => Admission::Limited,
        };
        let step = Instant::now();
        let mut proposals: Vec<Proposal> = Vec::new();
        for (source, start) in self.sources.iter_mut().zip(&self.committed) {
            self.shared.set_status(format!("Getting offsets from {}", source.description()), false, true);
            proposals.push(source.propose(start, admission).await?);
        }
        times.add("latestOffset", step);
        let new_data = proposals.iter().zip(&self.committed).any(|(p, start)| p.end != *start);
        let moved = self.tracker.current_ms() > self.last.as_ref().map_or(0, |last| last.watermark_ms);
        let empties = self.settings.no_data_batches && self.trigger != Trigger::Once;
        let due = empties && self.executor.as_ref().is_some_and(|e| e.wants_empty_batch(moved, now_ms()));
        if !new_data && !due {
            return Ok(None);
        }
        let step = Instant::now();
        let latest = proposals.iter().map(|p| p.latest.clone()).collect();
        let ranges = proposals.into_iter().zip(&self.committed);
        let entry = OffsetsEntry {
            batch: self.last.as_ref().map_or(0, |last| last.batch + 1),
            epoch: self.checkpoint.epoch(),
            run_id: self.run_id,
            ranges: ranges.map(|(p, start)| OffsetRange { start: start.clone(), end: p.end }).collect(),
            watermark_ms: self.tracker.current_ms(),
            late_watermark_ms: self.last.as_ref().map_or(0, |last| last.watermark_ms),
            timestamp_ms: now_ms(),
            conf: BTreeMap::from([(POLICY_KEY.to_string(), self.settings.watermark_policy.clone())]),
            plan: self.fingerprint.hash(),
        };
        self.checkpoint.write_offsets(&entry).await?;
        times.add("walCommit", step);
        Ok(Some((entry, latest)))
    }

    /// Steps P2 to P7 of the protocol for a logged batch.
    async fn run_batch(&mut self, entry: OffsetsEntry, latest: Vec<Offset>, mut times: Timings) -> Result<Triggered> {
        let attempt = Uuid::new_v4();
        let batch = entry.batch;
        let step = Instant::now();
        let ranges: Vec<_> = entry.ranges.iter().map(|range| (&range.start, &range.end)).collect();
        let readers = self.read(&ranges).await?;
        times.add("getBatch", step);
        let step = Instant::now();
        let mut executor = self.take_executor()?;
        // The plan was made when the query started; what is left of planning is to take it up.
        times.add("queryPlanning", step);
        let stop = self.shared.stop.clone();
        let clock = OperatorClock {
            late_ms: entry.late_watermark_ms,
            watermark_ms: entry.watermark_ms,
            timestamp_ms: entry.timestamp_ms,
        };
        let enough = self.settings.deltas_for_snapshot;
        let snapshots: Vec<bool> =
            self.chains.iter().map(|chain| self.changed || wants_snapshot(&chain.files, enough)).collect();
        self.changed = false;
        // Encoding state takes as long as computing it, so it happens off the async threads as well.
        let (executor, computed) = blocking("a batch", move || {
            let Some(output) = executor.run(readers, clock, &stop)? else { return Ok((executor, None)) };
            let encoding = Instant::now();
            let state = executor.encode(&snapshots)?;
            Ok((executor, Some((output, state, encoding.elapsed()))))
        })
        .await?;
        self.executor = Some(executor);
        let Some((output, state, encoding)) = computed else { return Ok(Triggered::Stopped) };
        times.set("decode", output.decode_ns / 1_000_000);
        times.set("partialAggregate", output.compute_ns / 1_000_000);
        times.set("merge", output.merge_ns / 1_000_000);
        for (node, seen) in output.observed.iter().filter(|(_, seen)| seen.count > 0) {
            self.tracker.observe(*node, seen.max);
        }
        let next_watermark_ms = self.tracker.advance();
        let writing = Instant::now();
        let state = self.write_state(batch, attempt, state).await?;
        times.set("stateCommit", (encoding + writing.elapsed()).as_millis() as u64);
        let staging = Instant::now();
        let payload = self.sink.stage(batch, attempt, &output.rows).await?;
        times.add("stage", staging);
        self.fail.hit(fail::AFTER_STAGE)?;
        times.add("addBatch", step);
        let prepared = PreparedEntry {
            sink: Prepared { batch, attempt, payload },
            state,
            next_watermark_ms,
            node_watermarks_ms: self.tracker.nodes_ms().to_vec(),
        };
        let step = Instant::now();
        self.checkpoint.write_prepared(&prepared).await?;
        times.add("prepare", step);
        let step = Instant::now();
        self.fail.hit(fail::DURING_PUBLISH)?;
        self.sink.publish(&prepared.sink).await?;
        times.add("publish", step);
        self.fail.hit(fail::AFTER_PUBLISH)?;
        let step = Instant::now();
        self.checkpoint.commit(batch, attempt).await?;
        for (source, range) in self.sources.iter_mut().zip(&entry.ranges) {
            source.commit(&range.end).await?;
        }
        times.add("commitOffsets", step);
        self.committed = entry.ranges.iter().map(|r| r.end.clone()).collect();
        self.report(&entry, latest, &output, times);
        self.last = Some(entry);
        if let Err(error) = self.checkpoint.collect_garbage(self.settings.batches_to_retain).await {
            // Old files cost space, not correctness; the next collection tries again.
            warn!(%error, "could not remove old checkpoint files");
        }
        Ok(Triggered::Ran)
    }

    /// The chunks of every branch over a source, of the ranges of the sources.
    async fn read(&mut self, ranges: &[(&Offset, &Offset)]) -> Result<Vec<Box<dyn Chunks>>> {
        let mut readers = Vec::with_capacity(self.requests.len());
        for (index, request) in &self.requests {
            let (Some(source), Some((start, end))) = (self.sources.get_mut(*index), ranges.get(*index)) else {
                return Err(Error::internal(format!("there is no source {index}")));
            };
            readers.push(source.read(start, end, request).await?);
        }
        Ok(readers)
    }

    async fn write_state(&mut self, batch: u64, attempt: Uuid, states: Vec<EncodedState>) -> Result<Vec<StateChain>> {
        for (EncodedState { id, snapshot, bytes, rows }, chain) in states.into_iter().zip(&mut self.chains) {
            let file = self.checkpoint.write_state(&id, batch, attempt, snapshot, rows, bytes).await?;
            if snapshot {
                chain.files.clear();
            }
            chain.files.push(file);
        }
        Ok(self.chains.clone())
    }
}

/// Whether the next state file is a snapshot: when there are enough deltas, or when a restart would read more bytes of deltas
/// than of the snapshot below them. A state that began empty has no snapshot to outweigh.
fn wants_snapshot(chain: &[StateFile], enough: usize) -> bool {
    let base = chain.iter().rposition(|file| file.snapshot);
    let deltas = chain.get(base.map_or(0, |at| at + 1)..).unwrap_or_default();
    let base = base.and_then(|at| chain.get(at));
    deltas.len() >= enough || base.is_some_and(|base| deltas.iter().map(|file| file.bytes).sum::<u64>() > base.bytes)
}

/// Runs `work` off the async threads.
async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panicked(what, &*panic)),
            Err(error) => Err(Error::caused_by(ErrorCode::Internal, format!("{what} did not finish: {error}"), error)),
        },
    }
}

/// Waits for the next trigger, for data, or for a stop.
async fn wait(shared: &Shared, trigger: Trigger, triggered_ms: i64, ran: bool, polling: Duration) {
    let due = trigger.wait_ms(triggered_ms, now_ms());
    let pause = match (due, ran) {
        (0, true) => return,
        (0, false) => {
            shared.set_status("Waiting for data to arrive", false, false);
            polling
        }
        (due, _) => {
            shared.set_status("Waiting for next trigger", false, false);
            Duration::from_millis(due.unsigned_abs())
        }
    };
    // A stop wakes the runner at once. So does somebody who waits for all available data, unless the trigger is not due yet.
    let woken = async {
        loop {
            if shared.is_stopping() {
                return;
            }
            shared.wake.notified().await;
            if due == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = woken => {}
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64, snapshot: bool) -> StateFile {
        StateFile { path: String::new(), bytes, sha256: String::new(), rows: 0, snapshot }
    }

    #[test]
    fn a_snapshot_comes_after_enough_deltas_or_after_heavy_ones() {
        assert!(!wants_snapshot(&[], 1));
        assert!(wants_snapshot(&[file(9, false)], 1));
        assert!(!wants_snapshot(&[file(900, false), file(900, false)], 3));
        assert!(wants_snapshot(&[file(9, false), file(9, false), file(9, false)], 3));
        assert!(!wants_snapshot(&[file(100, true), file(50, false), file(50, false)], 3));
        assert!(wants_snapshot(&[file(100, true), file(50, false), file(51, false)], 3));
        assert!(!wants_snapshot(&[file(9, true)], 1));
    }
}
