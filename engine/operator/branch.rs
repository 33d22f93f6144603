//! One source's pipeline, from a chunk to output rows or partial aggregates. One per worker.
//!
//! Comes in: a [`Chunk`]. Goes out: a [`ChunkResult`]. Fails: decoding and expressions; the first failure ends the batch.

use super::clock::BatchClock;
use super::expand::ExpandExec;
use super::measure::{Measure, Measured};
use super::partial::{PartialExec, Partials, compile, evaluate};
use super::scan::ScanExec;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::lower::{Body, Branch, Feed, Step};
use crate::source::{Chunk, Origin};
use crate::watermark::EventTimeStats;
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use tidemill_kernels::device::Device;

/// Executable form of a [`Branch`].
pub struct BranchExec {
    scan: ScanExec,
    projection: Vec<usize>,
    steps: Vec<StepExec>,
    body: BodyExec,
    device: Device,
}

enum StepExec {
    Filter(Arc<dyn PhysicalExpr>),
    Observe { node: usize, time: Arc<dyn PhysicalExpr> },
    Expand(ExpandExec),
    Measure { name: String, measure: Measure },
}

enum BodyExec {
    Rows { expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Partial { exec: Box<PartialExec>, observes: Option<usize> },
}

/// What a chunk came to.
pub struct ChunkResult {
    /// Rows read from the source.
    pub input_rows: u64,
    /// Malformed records among them.
    pub malformed: u64,
    /// Event times seen, by watermark node.
    pub observed: Vec<(usize, EventTimeStats)>,
    /// What observations saw, by name.
    pub measured: Vec<(String, Measured)>,
    /// Rows or partial aggregates.
    pub output: ChunkOutput,
    /// Time spent decoding, in nanoseconds.
    pub decode_ns: u64,
    /// Time spent after decoding, in nanoseconds.
    pub compute_ns: u64,
}

/// Rows or partial aggregates of a chunk.
pub enum ChunkOutput {
    /// Rows.
    Rows(RecordBatch),
    /// Partial aggregates.
    Partials(Box<Partials>),
}

impl BranchExec {
    /// Compiles a branch for one worker.
    pub fn new(branch: &Branch, device: Device, clock: &BatchClock) -> Result<Self> {
        let format = match &branch.feed {
            Feed::Source { provider, .. } => provider.format(),
            Feed::Stage(_) => None,
        };
        let scan = ScanExec::new(&branch.scan, format.as_ref())?;
        let mut columns = branch.scan.schema.clone();
        let mut steps = Vec::new();
        for step in &branch.steps {
            steps.push(match step {
                Step::Filter(predicate) => StepExec::Filter(compile(predicate, &columns, clock)?),
                Step::Observe { node, time } => {
                    StepExec::Observe { node: *node, time: compile(time, &columns, clock)? }
                }
                Step::Measure { name, metrics, time_zone } => StepExec::Measure {
                    name: name.clone(),
                    measure: Measure::new(metrics, &columns, *time_zone, clock)?,
                },
                Step::Expand(expand) => {
                    let expand = ExpandExec::new(expand, &columns, clock)?;
                    columns = expand.schema().clone();
                    StepExec::Expand(expand)
                }
            });
        }
        let body = match &branch.body {
            Body::Rows(rows, schema) => BodyExec::Rows {
                expressions: rows.iter().map(|named| compile(&named.expr, &columns, clock)).collect::<Result<_>>()?,
                schema: schema.clone(),
            },
            Body::Partial(plan) => {
                BodyExec::Partial { exec: Box::new(PartialExec::new(plan, &columns, clock)?), observes: plan.observes }
            }
        };
        Ok(Self { scan, projection: branch.scan.projection.clone(), steps, body, device })
    }

    /// The observations, to merge what other branches like this one saw.
    pub fn into_measures(self) -> impl Iterator<Item = (String, Measure)> {
        self.steps.into_iter().filter_map(|step| match step {
            StepExec::Measure { name, measure } => Some((name, measure)),
            _ => None,
        })
    }

    /// Takes an operator's rows through the pipeline.
    pub fn run_rows(&mut self, rows: &RecordBatch) -> Result<ChunkResult> {
        let batch = rows.project(&self.projection)?;
        self.run(Chunk::Columns { batch, origin: Origin::Process })
    }

    /// Takes a chunk through the pipeline.
    pub fn run(&mut self, chunk: Chunk) -> Result<ChunkResult> {
        let started = std::time::Instant::now();
        let scanned = self.scan.decode(chunk)?;
        let decode_ns = started.elapsed().as_nanos() as u64;
        let started = std::time::Instant::now();
        let (mut observed, mut measured) = (Vec::new(), Vec::new());
        let mut batch = scanned.batch;
        for step in &mut self.steps {
            match step {
                StepExec::Measure { name, measure } => {
                    measure.update(&batch)?;
                    measured.push((name.clone(), measure.take()?));
                }
                StepExec::Filter(predicate) => batch = keep(&batch, predicate)?,
                StepExec::Expand(expand) => batch = expand.run(&batch)?,
                StepExec::Observe { node, time } => {
                    let times = evaluate(time, &batch)?;
                    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
                        Error::new(ErrorCode::EventTimeNotTimestamp, format!("a watermark on {}", times.data_type()))
                    })?;
                    observed.push((*node, EventTimeStats::of(times)));
                }
            }
        }
        let output = match &mut self.body {
            BodyExec::Rows { expressions, schema } => ChunkOutput::Rows(project(&batch, expressions, schema)?),
            BodyExec::Partial { exec, observes } => {
                let partials = exec.run(&batch, &self.device)?;
                if let (Some(node), Some(time)) = (*observes, partials.observed) {
                    observed.push((node, time));
                }
                ChunkOutput::Partials(Box::new(partials))
            }
        };
        let compute_ns = started.elapsed().as_nanos() as u64;
        let (input_rows, malformed) = (scanned.input_rows, scanned.malformed);
        Ok(ChunkResult { input_rows, malformed, observed, measured, output, decode_ns, compute_ns })
    }
}

fn keep(batch: &RecordBatch, predicate: &Arc<dyn PhysicalExpr>) -> Result<RecordBatch> {
    let truth = evaluate(predicate, batch)?;
    let truth = truth.as_boolean_opt().ok_or_else(|| Error::internal("a filter that is not boolean"))?;
    Ok(filter_record_batch(batch, truth)?)
}

fn project(batch: &RecordBatch, expressions: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = expressions
        .iter()
        .zip(schema.fields())
        .map(|(expr, field)| {
            let array = evaluate(expr, batch)?;
            // A literal NULL or a dictionary takes the type that the plan gave the column.
            match array.data_type() == field.data_type() {
                true => Ok(array),
                false => Ok(arrow::compute::cast(&array, field.data_type())?),
            }
        })
        .collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
