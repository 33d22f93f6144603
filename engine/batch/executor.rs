//! The computation of one batch: chunks through the branches on every core, partials into state, rows out.
//!
//! Comes in: a reader of chunks for each source. Goes out: [`BatchOutput`]. Fails: the first failure of any chunk, a panic of a worker
//! among them; the batch's state is then unusable and the query must restart from its checkpoint. Blocking: call it off the async
//! threads.

use crate::error::{Error, ErrorCode, Result};
use crate::operator::aggregate::AggregateOperator;
use crate::operator::branch::{BranchExec, ChunkOutput, ChunkResult, OutputExec};
use crate::plan::lower::QueryPlan;
use crate::sink::OutputMode;
use crate::source::Chunks;
use arrow::array::RecordBatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tidemill_kernels::device::Device;

/// Runs a query's batches.
pub struct Executor {
    /// One set of branches a worker thread.
    workers: Vec<Vec<BranchExec>>,
    operator: Option<AggregateOperator>,
    /// Whether partials are merged in the order of the input.
    merge_in_order: bool,
    output: OutputExec,
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
    /// Greatest event time seen, by watermark node, in microseconds.
    pub observed: Vec<(usize, i64)>,
    /// Sum over the workers, in nanoseconds.
    pub decode_ns: u64,
    /// Sum over the workers, in nanoseconds.
    pub compute_ns: u64,
    /// Merging and emitting, in nanoseconds.
    pub merge_ns: u64,
    /// The device that ran the last chunk's kernels, with the reason.
    pub device: Option<String>,
}

impl Executor {
    /// Compiles a plan for `workers` threads.
    pub fn new(plan: &QueryPlan, mode: OutputMode, device: &Device, workers: usize) -> Result<Self> {
        let branches = || plan.branches.iter().map(|b| BranchExec::new(b, &plan.schema, device.clone())).collect();
        let operator = plan.aggregate.as_ref().map(|a| AggregateOperator::new(a, mode)).transpose()?;
        let input = plan.aggregate.as_ref().map_or(&plan.schema, |a| &a.schema);
        Ok(Self {
            workers: (0..workers.max(1)).map(|_| branches()).collect::<Result<_>>()?,
            operator,
            merge_in_order: plan.aggregate.as_ref().is_some_and(|a| a.ordered()),
            output: OutputExec::new(&plan.output, input)?,
        })
    }

    /// The stateful operator.
    pub fn operator(&mut self) -> Option<&mut AggregateOperator> {
        self.operator.as_mut()
    }

    /// Runs a batch; None where `stop` has ended it early.
    pub fn run(
        &mut self,
        readers: Vec<Box<dyn Chunks>>,
        watermarks_ms: (i64, i64),
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<BatchOutput>> {
        let sources = readers.len();
        let mut output = BatchOutput { input_rows: vec![0; sources], ..BatchOutput::default() };
        if let Some(operator) = &mut self.operator {
            operator.begin(watermarks_ms.0, watermarks_ms.1);
        }
        let readers = readers.into_iter().map(|r| Mutex::new((0, r))).collect();
        let feed = Feed { readers, stop: stop.clone(), failed: AtomicBool::new(false) };
        let operator = &mut self.operator;
        let merge_in_order = self.merge_in_order;
        // Partials that came before those that go first.
        let mut waiting: BTreeMap<(usize, u64), ChunkResult> = BTreeMap::new();
        let mut next = (0, 1);
        let mut ordered: Vec<(usize, u64, RecordBatch)> = Vec::new();
        // Bounded, so that workers wait for the merge rather than pile up partials.
        let (sender, receiver) = crossbeam_channel::bounded(self.workers.len() * 2);
        std::thread::scope(|scope| -> Result<()> {
            for branches in &mut self.workers {
                let (sender, feed) = (sender.clone(), &feed);
                scope.spawn(move || feed.work(branches, &sender));
            }
            drop(sender);
            let mut failure = None;
            for (source, sequence, result) in receiver {
                // After a failure the rest is drained, so that no worker stays blocked.
                if failure.is_some() {
                    continue;
                }
                let merged = result.and_then(|chunk| {
                    let started = Instant::now();
                    if merge_in_order {
                        waiting.insert((source, sequence), chunk);
                        while let Some(chunk) = waiting.remove(&next) {
                            merge(chunk, next.0, next.1, operator, &mut ordered, &mut output)?;
                            next.1 += 1;
                        }
                    } else {
                        merge(chunk, source, sequence, operator, &mut ordered, &mut output)?;
                    }
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
        // Where the first source ends is known only now.
        for ((source, sequence), chunk) in std::mem::take(&mut waiting) {
            merge(chunk, source, sequence, operator, &mut ordered, &mut output)?;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let started = Instant::now();
        output.rows = match operator {
            Some(operator) => vec![self.output.run(operator.finish()?)?],
            None => {
                ordered.sort_by_key(|(source, sequence, _)| (*source, *sequence));
                ordered.into_iter().map(|(_, _, rows)| rows).filter(|rows| rows.num_rows() > 0).collect()
            }
        };
        output.merge_ns += started.elapsed().as_nanos() as u64;
        Ok(Some(output))
    }
}

/// What a panic said. Without it, a worker's panic would reach the user as "a scoped thread panicked".
pub(crate) fn panicked(place: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::new(ErrorCode::Internal, format!("{place} panicked: {text}"))
}

fn merge(
    chunk: ChunkResult,
    source: usize,
    sequence: u64,
    operator: &mut Option<AggregateOperator>,
    ordered: &mut Vec<(usize, u64, RecordBatch)>,
    output: &mut BatchOutput,
) -> Result<()> {
    output.input_rows[source] += chunk.input_rows;
    output.malformed += chunk.malformed;
    output.observed.extend(chunk.observed);
    output.decode_ns += chunk.decode_ns;
    output.compute_ns += chunk.compute_ns;
    match (chunk.output, operator) {
        (ChunkOutput::Rows(rows), _) => ordered.push((source, sequence, rows)),
        (ChunkOutput::Partials(partials), Some(operator)) => {
            output.device = Some(format!("{}: {}", partials.ran.device, partials.ran.reason));
            operator.merge(&partials)?;
        }
        (ChunkOutput::Partials(_), None) => return Err(Error::internal("partials without an operator")),
    }
    Ok(())
}

type Sequenced = (usize, u64, Result<ChunkResult>);

/// The sources' readers, shared by the workers.
struct Feed {
    readers: Vec<Mutex<(u64, Box<dyn Chunks>)>>,
    stop: Arc<AtomicBool>,
    failed: AtomicBool,
}

impl Feed {
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
