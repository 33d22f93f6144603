//! The computation of one batch: chunks through the branches on every core, then operator after operator, rows out.
//!
//! Comes in: a reader of chunks for each source, and the batch's clock. Goes out: [`BatchOutput`]. Fails: the first failure of any chunk, a
//! panic of a worker among them; the batch's state is then unusable and the query must restart from its checkpoint. Blocking: call
//! it off the async threads.

use crate::error::{Error, ErrorCode, Result};
use crate::operator::branch::{BranchExec, ChunkOutput, ChunkResult};
use crate::operator::clock::BatchClock;
use crate::operator::measure::{Measure, Measured};
use crate::operator::partial::Partials;
use crate::operator::{Metrics, OperatorClock, StatefulOperator};
use crate::plan::lower::{Branch, Feed, QueryPlan, Step, Target};
use crate::sink::OutputMode;
use crate::source::Chunks;
use crate::watermark::EventTimeStats;
use arrow::array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidemill_kernels::device::Device;

/// Runs a query's batches.
pub struct Executor {
    /// The branches over sources, one set a worker thread.
    workers: Vec<Vec<BranchExec>>,
    /// Where each of them leads.
    targets: Vec<Target>,
    /// The source of each.
    sources: Vec<usize>,
    /// Operators, each after those that it reads.
    stages: Vec<StageExec>,
    /// What the expressions take for the current time.
    clock: BatchClock,
    /// Observations by name, which merge what the branches saw.
    measures: BTreeMap<String, Measure>,
}

/// A stateful operator and the branches over its rows.
struct StageExec {
    id: String,
    operator: Box<dyn StatefulOperator>,
    /// Whether it keeps anything between batches.
    keeps_state: bool,
    /// Stages that feed this one.
    inputs: Vec<usize>,
    links: Vec<(Target, BranchExec)>,
    /// Input that must come in order, until the operator's turn.
    waiting: Vec<Waiting>,
    /// Time spent in the operator in this batch.
    spent: Duration,
}

/// A chunk's part of an operator's input.
struct Waiting {
    port: usize,
    /// Branch, then position in its source.
    order: (usize, u64),
    input: Input,
}

enum Input {
    Rows(RecordBatch),
    Partials(Box<Partials>),
}

/// What a batch came to.
#[derive(Default)]
pub struct BatchOutput {
    /// Output rows, in the order of the input for a query without state.
    pub rows: Vec<RecordBatch>,
    /// Rows read of each source.
    pub input_rows: Vec<u64>,
    /// Malformed records.
    pub malformed: u64,
    /// Event times seen, by watermark node.
    pub observed: BTreeMap<usize, EventTimeStats>,
    /// What observations came to, by name.
    pub measured: serde_json::Map<String, serde_json::Value>,
    /// What they saw before it is merged.
    pub(crate) seen: Vec<(String, Measured)>,
    /// Sum over the workers, in nanoseconds.
    pub decode_ns: u64,
    /// Sum over the workers, in nanoseconds.
    pub compute_ns: u64,
    /// Merging and emitting, in nanoseconds.
    pub merge_ns: u64,
    /// The device that ran the last chunk's kernels, with the reason.
    pub device: Option<String>,
    /// What happened in each operator that keeps state, in the order of the stages.
    pub operators: Vec<OperatorOutput>,
}

/// What a batch did in a stateful operator.
#[derive(Debug, Clone)]
pub struct OperatorOutput {
    /// The operator's id in the plan.
    pub id: String,
    /// Spark's name of it.
    pub name: &'static str,
    /// Rows in state, touched, evicted, late.
    pub metrics: Metrics,
    /// Time spent in it.
    pub spent: Duration,
}

/// An operator's encoded state.
pub struct EncodedState {
    /// The operator's id in the plan.
    pub id: String,
    /// Whether it is the whole state.
    pub snapshot: bool,
    /// The state.
    pub bytes: Bytes,
    /// Rows in it.
    pub rows: u64,
}

impl Executor {
    /// Compiles a plan for `workers` threads.
    pub fn new(plan: &QueryPlan, mode: OutputMode, device: &Device, workers: usize) -> Result<Self> {
        let clock = BatchClock::default();
        let branches = || plan.inputs().map(|(branch, _)| BranchExec::new(branch, device.clone(), &clock)).collect();
        let mut stages: Vec<StageExec> = Vec::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            let feeds =
                plan.branches.iter().filter(|b| matches!(b.target, Target::Stage { stage, .. } if stage == index));
            let inputs = feeds.filter_map(|b| match b.feed {
                Feed::Stage(stage) => Some(stage),
                Feed::Source { .. } => None,
            });
            let links = plan.branches.iter().filter(|b| matches!(b.feed, Feed::Stage(stage) if stage == index));
            stages.push(StageExec {
                id: stage.id.clone(),
                operator: stage.operator.create(mode, &clock)?,
                keeps_state: stage.operator.keeps_state(),
                inputs: inputs.collect(),
                links: links
                    .map(|b| Ok((b.target, BranchExec::new(b, device.clone(), &clock)?)))
                    .collect::<Result<_>>()?,
                waiting: vec![],
                spent: Duration::ZERO,
            });
        }
        Ok(Self {
            workers: (0..workers.max(1)).map(|_| branches()).collect::<Result<_>>()?,
            targets: plan.inputs().map(|(branch, _)| branch.target).collect(),
            sources: plan.inputs().map(|(_, source)| source).collect(),
            stages,
            measures: measures(plan, device, &clock)?,
            clock,
        })
    }

    /// Ids of the operators that keep state, in the order of the stages.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.stateful().map(|stage| stage.id.as_str())
    }

    fn stateful(&self) -> impl Iterator<Item = &StageExec> {
        self.stages.iter().filter(|stage| stage.keeps_state)
    }

    /// Whether a batch without input could emit or evict anything, the watermark having `moved` or not.
    pub fn wants_empty_batch(&self, moved: bool, now_ms: i64) -> bool {
        self.stages.iter().any(|stage| stage.operator.wants_empty_batch(moved, now_ms))
    }

    /// Applies a state file of operator `id`.
    pub fn restore(&mut self, id: &str, bytes: &[u8], snapshot: bool) -> Result<()> {
        let stage = self.stages.iter_mut().find(|stage| stage.id == id);
        let stage = stage.ok_or_else(|| Error::internal(format!("there is no operator {id}")))?;
        stage.operator.restore(bytes, snapshot)
    }

    /// Every operator's change in the last batch, or all of its state where `snapshots` says so.
    pub fn encode(&self, snapshots: &[bool]) -> Result<Vec<EncodedState>> {
        let encode = |(stage, snapshot): (&StageExec, &bool)| {
            let (bytes, rows) = if *snapshot { stage.operator.snapshot()? } else { stage.operator.delta()? };
            Ok(EncodedState { id: stage.id.clone(), snapshot: *snapshot, bytes, rows })
        };
        self.stateful().zip(snapshots).map(encode).collect()
    }

    /// Runs a batch; None where `stop` has ended it early.
    pub fn run(
        &mut self,
        readers: Vec<Box<dyn Chunks>>,
        clock: OperatorClock,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<BatchOutput>> {
        let inputs = readers.len();
        let sources = self.sources.iter().map(|source| source + 1).max().unwrap_or(0);
        let mut output = BatchOutput { input_rows: vec![0; sources], ..BatchOutput::default() };
        self.clock.set(clock.timestamp_ms);
        begin(&mut self.stages, clock);
        let readers = readers.into_iter().map(|r| Mutex::new((0, r))).collect();
        let feed = Feeding { readers, stop: stop.clone(), failed: AtomicBool::new(false) };
        let (stages, targets, source_of) = (&mut self.stages, &self.targets, &self.sources);
        let mut ordered: Vec<((usize, u64), RecordBatch)> = Vec::new();
        // Bounded, so that workers wait for the merge rather than pile up partials.
        let (sender, receiver) = crossbeam_channel::bounded(self.workers.len() * 2);
        std::thread::scope(|scope| -> Result<()> {
            for branches in &mut self.workers {
                let (sender, feed) = (sender.clone(), &feed);
                scope.spawn(move || feed.work(branches, &sender));
            }
            drop(sender);
            let mut failure = None;
            for (input, sequence, result) in receiver {
                // After a failure the rest is drained, so that no worker stays blocked.
                if failure.is_some() {
                    continue;
                }
                let merged = result.and_then(|chunk| {
                    let started = Instant::now();
                    if let Some(rows) = source_of.get(input).and_then(|source| output.input_rows.get_mut(*source)) {
                        *rows += chunk.input_rows;
                    }
                    let target = targets.get(input).copied().unwrap_or(Target::Output);
                    deliver(chunk, target, (input, sequence), stages, &mut ordered, &mut output)?;
                    output.merge_ns += started.elapsed().as_nanos() as u64;
                    Ok(())
                });
                if let Err(error) = merged {
                    feed.failed.store(true, Ordering::Relaxed);
                    failure = Some(error);
                }
            }
            failure.map_or(Ok(()), Err)
        })?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let started = Instant::now();
        for index in 0..stages.len() {
            // Those that read this one come after it.
            let (before, after) = stages.split_at_mut(index + 1);
            let Some(stage) = before.last_mut() else { continue };
            let rows = stage.finish()?;
            for (link, (target, branch)) in stage.links.iter_mut().enumerate() {
                for (sequence, batch) in rows.iter().enumerate() {
                    let order = (inputs + index * MAX_LINKS + link, sequence as u64);
                    let chunk = branch.run_rows(batch)?;
                    let target = match *target {
                        Target::Stage { stage, port } => Target::Stage { stage: stage - index - 1, port },
                        Target::Output => Target::Output,
                    };
                    deliver(chunk, target, order, after, &mut ordered, &mut output)?;
                }
            }
        }
        ordered.sort_by_key(|(order, _)| *order);
        output.rows = ordered.into_iter().map(|(_, rows)| rows).filter(|rows| rows.num_rows() > 0).collect();
        for (name, seen) in std::mem::take(&mut output.seen) {
            if let Some(measure) = self.measures.get_mut(&name) {
                measure.merge(seen)?;
            }
        }
        for (name, measure) in &mut self.measures {
            output.measured.insert(name.clone(), measure.finish()?.into());
        }
        output.operators = self.stateful().map(StageExec::output).collect();
        output.merge_ns += started.elapsed().as_nanos() as u64;
        Ok(Some(output))
    }
}

/// The observations of a plan. Below one that stands over a union, each input is measured on its own.
fn measures(plan: &QueryPlan, device: &Device, clock: &BatchClock) -> Result<BTreeMap<String, Measure>> {
    let measured = |branch: &&Branch| branch.steps.iter().any(|step| matches!(step, Step::Measure { .. }));
    let mut measures = BTreeMap::new();
    for branch in plan.branches.iter().filter(measured) {
        for (name, measure) in BranchExec::new(branch, device.clone(), clock)?.into_measures() {
            measures.entry(name).or_insert(measure);
        }
    }
    Ok(measures)
}

/// More branches than any operator has above it.
const MAX_LINKS: usize = 1 << 16;

/// Starts a batch: an operator's watermarks are the least of those that its inputs give out.
fn begin(stages: &mut [StageExec], clock: OperatorClock) {
    let mut given: Vec<OperatorClock> = Vec::new();
    for stage in stages {
        let below = stage.inputs.iter().filter_map(|input| given.get(*input).copied());
        let own = below.fold(clock, |own, below| OperatorClock {
            late_ms: own.late_ms.min(below.late_ms),
            watermark_ms: own.watermark_ms.min(below.watermark_ms),
            ..own
        });
        stage.waiting.clear();
        stage.spent = Duration::ZERO;
        stage.operator.begin(own);
        given.push(OperatorClock {
            late_ms: stage.operator.output_watermark_ms(own.late_ms),
            watermark_ms: stage.operator.output_watermark_ms(own.watermark_ms),
            ..own
        });
    }
}

impl StageExec {
    /// Takes in what waits, and ends the operator's batch.
    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let started = Instant::now();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|input| (input.port, input.order));
        for Waiting { port, input, .. } in waiting {
            match input {
                Input::Rows(rows) => self.operator.rows(port, &rows)?,
                Input::Partials(partials) => self.operator.partials(&partials)?,
            }
        }
        let rows = self.operator.finish()?;
        self.spent += started.elapsed();
        Ok(rows)
    }

    fn output(&self) -> OperatorOutput {
        OperatorOutput {
            id: self.id.clone(),
            name: self.operator.name(),
            metrics: self.operator.metrics(),
            spent: self.spent,
        }
    }
}

/// What a panic said. Without it, a worker's panic would reach the user as "a scoped thread panicked".
pub(crate) fn panicked(place: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::new(ErrorCode::Internal, format!("{place} panicked: {text}"))
}

/// Hands a chunk's rows or partials to where its branch leads; `stages` are those that the target counts from.
fn deliver(
    chunk: ChunkResult,
    target: Target,
    order: (usize, u64),
    stages: &mut [StageExec],
    ordered: &mut Vec<((usize, u64), RecordBatch)>,
    output: &mut BatchOutput,
) -> Result<()> {
    output.malformed += chunk.malformed;
    output.seen.extend(chunk.measured);
    for (node, seen) in chunk.observed {
        let known = output.observed.entry(node).or_default();
        *known = known.merge(seen);
    }
    output.decode_ns += chunk.decode_ns;
    output.compute_ns += chunk.compute_ns;
    match (target, chunk.output) {
        (Target::Output, ChunkOutput::Rows(rows)) => ordered.push((order, rows)),
        (Target::Output, ChunkOutput::Partials(_)) => return Err(Error::internal("partials without an operator")),
        (Target::Stage { stage, port }, input) => {
            let stage = stages.get_mut(stage).ok_or_else(|| Error::internal("a branch that leads nowhere"))?;
            match input {
                ChunkOutput::Rows(rows) => stage.waiting.push(Waiting { port, order, input: Input::Rows(rows) }),
                ChunkOutput::Partials(partials) => {
                    output.device = Some(format!("{}: {}", partials.ran.device, partials.ran.reason));
                    if stage.operator.partials_in_order() {
                        stage.waiting.push(Waiting { port, order, input: Input::Partials(partials) });
                        return Ok(());
                    }
                    let started = Instant::now();
                    stage.operator.partials(&partials)?;
                    stage.spent += started.elapsed();
                }
            }
        }
    }
    Ok(())
}

type Sequenced = (usize, u64, Result<ChunkResult>);

/// The sources' readers, shared by the workers.
struct Feeding {
    readers: Vec<Mutex<(u64, Box<dyn Chunks>)>>,
    stop: Arc<AtomicBool>,
    failed: AtomicBool,
}

impl Feeding {
    /// Takes chunks until there are none, or until a failure.
    fn work(&self, branches: &mut [BranchExec], results: &crossbeam_channel::Sender<Sequenced>) {
        for (source, (reader, branch)) in self.readers.iter().zip(branches).enumerate() {
            loop {
                if self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
                    return;
                }
                let mut sequence = 0;
                // A panic of a source's or a user's code must not wait for the other workers to finish the batch.
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let chunk = {
                        let mut reader = reader.lock();
                        reader.0 += 1;
                        sequence = reader.0;
                        reader.1.next()
                    };
                    chunk?.map(|chunk| branch.run(chunk)).transpose()
                }));
                let result = match caught.unwrap_or_else(|panic| Err(panicked("a worker", &*panic))) {
                    Ok(None) => break,
                    Ok(Some(result)) => Ok(result),
                    Err(error) => {
                        self.failed.store(true, Ordering::Relaxed);
                        Err(error)
                    }
                };
                let failed = result.is_err();
                if results.send((source, sequence, result)).is_err() || failed {
                    return;
                }
            }
        }
    }
}
