//! The micro-batch loop: plan, log, compute, stage, prepare, publish, commit.
//!
//! Comes in: a [`Definition`]. Goes out: batches in the sink, each exactly once where the sink can, and progress. The order of the steps
//! is the whole protocol: every step leaves a durable trace before the next begins, and [`Runner::open`] finishes whatever the
//! last run left unfinished. Fails: with the first error of any step; nothing is retried here, a restart recovers.

use super::executor::{BatchOutput, Executor, panicked};
use super::shared::Shared;
use super::trigger::Trigger;
use crate::checkpoint::entry::{OffsetRange, OffsetsEntry, PreparedEntry, StateChain, StateFile};
use crate::checkpoint::{Checkpoint, FailPoints, Pending, fail};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::lower::QueryPlan;
use crate::progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, iso_instant};
use crate::sink::{OutputMode, Prepared, Settled, Sink, Writer};
use crate::source::{Admission, Offset, Proposal, ReadRequest, Source};
use crate::watermark::{Policy, Tracker};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemill_kernels::device::Device;
use tracing::{info, warn};
use uuid::Uuid;

/// Name of the one stateful operator in a checkpoint.
const OPERATOR: &str = "aggregate";
/// How often a query that waits for data looks again, as Spark's `spark.sql.streaming.pollingDelay`.
const POLLING_DELAY: Duration = Duration::from_millis(10);
/// How often a query that waits reports that it does, as Spark's `noDataProgressEventInterval`.
const IDLE_REPORT: Duration = Duration::from_secs(10);

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
    pub checkpoint: String,
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
    requests: Vec<ReadRequest>,
    sink: Box<dyn Sink>,
    checkpoint: Checkpoint,
    /// None while a batch computes.
    executor: Option<Executor>,
    tracker: Tracker,
    /// Files that rebuild the operator's state.
    chain: Vec<StateFile>,
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

/// When a trigger began.
#[derive(Debug, Clone, Copy)]
struct TriggerTime {
    started: Instant,
    wall_ms: i64,
    since_previous: Option<Duration>,
}

impl TriggerTime {
    fn now(previous: Option<TriggerTime>) -> Self {
        let started = Instant::now();
        let since_previous = previous.map(|previous| started.duration_since(previous.started));
        Self { started, wall_ms: now_ms(), since_previous }
    }
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
    /// Opens everything and finishes what the last run left: after this the query stands between two batches, or before a
    /// batch to run again. Nothing is written before the sources and the sink have been checked.
    ///
    /// # Errors
    /// Anything that makes the query impossible to run, each as one error with its own code.
    pub async fn open(definition: Definition, shared: Arc<Shared>) -> Result<Self> {
        let Definition { name, run_id, mode, trigger, plan, fingerprint, mut sink, checkpoint, .. } = definition;
        let Definition { restartable, settings, device, fail, .. } = definition;
        // What cannot run must not leave a checkpoint behind.
        let policy = Policy::parse(&settings.watermark_policy)?;
        let executor = Executor::new(&plan, mode, &device, settings.workers)?;
        let mut sources = Vec::new();
        for branch in &plan.branches {
            let mut source = branch.provider.create()?;
            source.check().await?;
            sources.push(source);
        }
        sink.check(mode, &plan.schema).await?;
        let checkpoint = Checkpoint::open(&checkpoint, run_id, fail.clone()).await?;
        let hash = fingerprint.hash();
        match checkpoint.latest_plan().await? {
            Some((_, text)) => {
                let earlier: Fingerprint = serde_json::from_value(text).map_err(|e| {
                    Error::caused_by(
                        ErrorCode::CheckpointCorrupt,
                        format!("the checkpoint's plan does not parse: {e}"),
                        e,
                    )
                })?;
                fingerprint.accept(&earlier)?;
                if !restartable {
                    return Err(Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!(
                            "a query into a new memory table cannot go on from the checkpoint of query {}, because the table lacks \
                             the rows of the runs before; use the complete mode, the table of the run before, or a new \
                             checkpointLocation",
                            checkpoint.query_id()
                        ),
                    ));
                }
            }
            None => info!(query = %checkpoint.query_id(), "a new checkpoint"),
        }
        checkpoint.write_plan(&hash, &serde_json::to_value(&fingerprint).map_err(encoding)?).await?;
        for (index, source) in sources.iter_mut().enumerate() {
            source.open(checkpoint.source_log(index)).await?;
        }
        let writer = Writer {
            query_id: checkpoint.query_id(),
            run_id,
            epoch: checkpoint.epoch(),
            mode,
            schema: plan.schema.clone(),
        };
        sink.open(&writer).await?;
        let requests = plan
            .branches
            .iter()
            .map(|b| ReadRequest { projection: b.scan.projection.clone(), chunk_bytes: settings.chunk_bytes })
            .collect();
        let mut runner = Self {
            tracker: Tracker::new(plan.watermark_delays_ms.clone(), policy),
            executor: Some(executor),
            name,
            run_id,
            trigger,
            fingerprint,
            settings,
            fail,
            sources,
            requests,
            sink,
            checkpoint,
            chain: Vec::new(),
            committed: Vec::new(),
            last: None,
            replay: None,
            shared,
            trigger_time: TriggerTime::now(None),
        };
        runner.recover(&plan).await?;
        Ok(runner)
    }

    /// The query's id.
    pub fn query_id(&self) -> Uuid {
        self.checkpoint.query_id()
    }

    async fn recover(&mut self, plan: &QueryPlan) -> Result<()> {
        let recovered = self.checkpoint.recover().await?;
        let (mut base, mut base_offsets) = match recovered.last {
            Some(committed) => (Some(committed.prepared), Some(committed.offsets)),
            None => (None, None),
        };
        // A first batch that was planned and not committed counts as well.
        let planned = base_offsets.as_ref().or(recovered.pending.as_ref().map(|pending| &pending.offsets));
        if let Some(policy) = planned.and_then(|offsets| offsets.conf.get(POLICY_KEY)) {
            // Pinned at the first start, like Spark's.
            if !policy.eq_ignore_ascii_case(&self.settings.watermark_policy) {
                warn!("{POLICY_KEY} stays {policy}, as at the query's first start");
            }
            self.tracker = Tracker::new(plan.watermark_delays_ms.clone(), Policy::parse(policy)?);
            self.settings.watermark_policy = policy.clone();
        }
        if let Some(Pending { offsets, prepared }) = recovered.pending {
            let batch = offsets.batch;
            let mut adopted = None;
            for prepared in prepared {
                if self.sink.settle(&prepared.sink).await? == Settled::Published {
                    info!(batch, attempt = %prepared.sink.attempt, "the sink has the batch; adopting it");
                    self.checkpoint.commit(batch, prepared.sink.attempt).await?;
                    adopted = Some(prepared);
                    break;
                }
            }
            match adopted {
                Some(prepared) => {
                    base = Some(prepared);
                    base_offsets = Some(offsets);
                }
                None => {
                    info!(batch, "running the logged batch again");
                    self.replay = Some(offsets);
                }
            }
        }
        self.sink.sweep(base.as_ref().map(|p| &p.sink)).await?;
        if let Some(prepared) = &base {
            self.tracker.restore(prepared.next_watermark_ms, &prepared.node_watermarks_ms);
            self.restore_state(prepared).await?;
        }
        match &base_offsets {
            Some(offsets) => self.committed = offsets.ranges.iter().map(|r| r.end.clone()).collect(),
            None => match &self.replay {
                Some(replay) => self.committed = replay.ranges.iter().map(|r| r.start.clone()).collect(),
                None => {
                    for source in &mut self.sources {
                        self.committed.push(source.initial().await?);
                    }
                }
            },
        }
        if base_offsets.is_some() {
            // The last run may have ended before it told the sources, and an adopted batch was never told of.
            for (source, end) in self.sources.iter_mut().zip(&self.committed) {
                source.commit(end).await?;
            }
        }
        self.last = base_offsets;
        if self.trigger == Trigger::AvailableNow {
            for source in &mut self.sources {
                source.freeze().await?;
            }
        }
        Ok(())
    }

    async fn restore_state(&mut self, prepared: &PreparedEntry) -> Result<()> {
        let mut executor = self.take_executor()?;
        if executor.operator().is_some() {
            let chain = prepared.state.iter().find(|c| c.operator == OPERATOR).ok_or_else(|| {
                let (batch, attempt) = (prepared.sink.batch, prepared.sink.attempt);
                Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!("the prepared record of batch {batch}, attempt {attempt}, names no state of {OPERATOR}"),
                )
            })?;
            for file in &chain.files {
                let (bytes, path) = (self.checkpoint.read_state(file).await?, file.path.clone());
                executor = blocking("restoring the state", move || {
                    if let Some(operator) = executor.operator() {
                        operator.restore(&bytes).map_err(|e| e.within(path))?;
                    }
                    Ok(executor)
                })
                .await?;
            }
            self.chain = chain.files.clone();
        }
        self.executor = Some(executor);
        Ok(())
    }

    fn take_executor(&mut self) -> Result<Executor> {
        self.executor.take().ok_or_else(|| Error::internal("the executor was lost in a failed batch"))
    }

    /// Runs until the query is stopped, its trigger is done, or it fails.
    pub async fn run(mut self) -> Result<()> {
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
                (Trigger::ProcessingTime { .. }, idle) => {
                    if let Some(times) = idle.filter(|_| idle_since.elapsed() >= IDLE_REPORT) {
                        self.report_idle(times);
                        idle_since = Instant::now();
                    }
                    wait(&self.shared, self.trigger, self.trigger_time.wall_ms, ran).await;
                }
            }
        }
    }

    /// One trigger: runs a batch if there is one to run.
    async fn trigger_batch(&mut self) -> Result<Triggered> {
        let mut times = Timings::default();
        self.shared.set_status("Getting offsets from sources", false, true);
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
            proposals.push(source.propose(start, admission).await?);
        }
        times.add("latestOffset", step);
        let new_data = proposals.iter().zip(&self.committed).any(|(p, start)| p.end != *start);
        let moved = self.tracker.current_ms() > self.last.as_ref().map_or(0, |last| last.watermark_ms);
        let empties = self.settings.no_data_batches && self.trigger != Trigger::Once;
        let due = empties
            && moved
            && self.executor.as_mut().and_then(Executor::operator).is_some_and(|o| o.wants_empty_batch());
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
        let mut readers = Vec::new();
        for ((source, range), request) in self.sources.iter_mut().zip(&entry.ranges).zip(&self.requests) {
            readers.push(source.read(&range.start, &range.end, request).await?);
        }
        times.add("getBatch", step);
        let step = Instant::now();
        let mut executor = self.take_executor()?;
        let (watermarks, stop) = ((entry.late_watermark_ms, entry.watermark_ms), self.shared.stop.clone());
        let snapshot = wants_snapshot(&self.chain, self.settings.deltas_for_snapshot);
        // Encoding state takes as long as computing it, so it happens off the async threads as well.
        let (executor, computed) = blocking("a batch", move || {
            let Some(output) = executor.run(readers, watermarks, &stop)? else { return Ok((executor, None)) };
            let encoding = Instant::now();
            let state = match executor.operator() {
                Some(operator) if snapshot => Some(operator.snapshot()?),
                Some(operator) => Some(operator.delta()?),
                None => None,
            };
            Ok((executor, Some((output, state, encoding.elapsed()))))
        })
        .await?;
        self.executor = Some(executor);
        let Some((output, state, encoding)) = computed else { return Ok(Triggered::Stopped) };
        times.set("decode", output.decode_ns / 1_000_000);
        times.set("partialAggregate", output.compute_ns / 1_000_000);
        times.set("merge", output.merge_ns / 1_000_000);
        for (node, time) in &output.observed {
            self.tracker.observe(*node, *time);
        }
        let next_watermark_ms = self.tracker.advance();
        let writing = Instant::now();
        let state = match state {
            Some(encoded) => self.write_state(batch, attempt, snapshot, encoded).await?,
            None => Vec::new(),
        };
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

    async fn write_state(
        &mut self,
        batch: u64,
        attempt: Uuid,
        snapshot: bool,
        (bytes, rows): (Bytes, u64),
    ) -> Result<Vec<StateChain>> {
        let file = self.checkpoint.write_state(OPERATOR, batch, attempt, snapshot, rows, bytes).await?;
        if snapshot {
            self.chain.clear();
        }
        self.chain.push(file);
        Ok(vec![StateChain { operator: OPERATOR.to_string(), files: self.chain.clone() }])
    }

    fn report(&mut self, entry: &OffsetsEntry, latest: Vec<Offset>, output: &BatchOutput, mut times: Timings) {
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
            if let Some(greatest) = output.observed.iter().map(|(_, time)| *time).max() {
                event_time.insert("max".into(), iso_instant(greatest.div_euclid(1000)).into());
            }
            event_time.insert("watermark".into(), iso_instant(entry.watermark_ms).into());
        }
        let (merge, state_commit) = (times.get("merge"), times.get("stateCommit"));
        let files = self.chain.len();
        let state_operators = self.executor.as_mut().and_then(Executor::operator).map(|operator| {
            let metrics = operator.metrics();
            let mut custom = Map::new();
            custom.insert("lateInputRows".into(), metrics.late_input_rows.into());
            custom.insert("stateFiles".into(), files.into());
            StateOperatorProgress {
                operator_name: "stateStoreSave".to_string(),
                num_rows_total: metrics.rows_total,
                num_rows_updated: metrics.rows_updated,
                all_updates_time_ms: merge,
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
        let output_rows: usize = output.rows.iter().map(|b| b.num_rows()).sum();
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
            duration_ms: times.0,
            event_time,
            state_operators: state_operators.into_iter().collect(),
            sources,
            sink: SinkProgress { description: self.sink.description(), num_output_rows: output_rows as i64 },
            observed_metrics: Map::new(),
            device: output.device.clone(),
            malformed_records: output.malformed,
        };
        self.shared.push(progress);
    }

    fn report_idle(&self, times: Timings) {
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
        self.shared.push(StreamingQueryProgress {
            id: self.checkpoint.query_id(),
            run_id: self.run_id,
            name: self.name.clone(),
            timestamp: iso_instant(self.trigger_time.wall_ms),
            batch_id: self.last.as_ref().map_or(0, |last| last.batch + 1),
            batch_duration: times.get("triggerExecution") as i64,
            num_input_rows: 0,
            input_rows_per_second: 0.0,
            processed_rows_per_second: 0.0,
            duration_ms: times.0,
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
async fn wait(shared: &Shared, trigger: Trigger, triggered_ms: i64, ran: bool) {
    let due = trigger.wait_ms(triggered_ms, now_ms());
    let pause = match (due, ran) {
        (0, true) => return,
        (0, false) => {
            shared.set_status("Waiting for data to arrive", false, false);
            POLLING_DELAY
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

/// Milliseconds of each step of a batch.
#[derive(Default)]
struct Timings(Map<String, Value>);

impl Timings {
    fn add(&mut self, step: &str, since: Instant) {
        self.set(step, since.elapsed().as_millis() as u64);
    }

    fn set(&mut self, step: &str, millis: u64) {
        self.0.insert(step.to_string(), json!(millis));
    }

    fn get(&self, step: &str) -> u64 {
        self.0.get(step).and_then(Value::as_u64).unwrap_or(0)
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn encoding(error: serde_json::Error) -> Error {
    Error::caused_by(ErrorCode::Internal, format!("a record does not encode: {error}"), error)
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
