//! [`BranchTable`]: a stateless relation as a table that DataFusion scans.
//!
//! Comes in: a plan of sources, filters and projections. Goes out: its rows in the order of the input, decoded on every core.
//! Fails: what opening and reading sources, decoding and expressions fail with.

use crate::batch::executor::panicked;
use crate::error::{Error, Result};
use crate::operator::branch::{BranchExec, ChunkOutput};
use crate::operator::clock::BatchClock;
use crate::plan::LogicalPlan;
use crate::plan::Named;
use crate::plan::lower::{QueryPlan, lower};
use crate::plan::scope::{distinct_names, next_relation, reference};
use crate::session::Session;
use crate::source::{Admission, Chunks, ReadRequest, SourceLog};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::Session as DataFusionSession;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A relation that branches compute.
pub struct BranchTable {
    session: Session,
    plan: Arc<LogicalPlan>,
    schema: SchemaRef,
    clock: BatchClock,
}

impl BranchTable {
    /// The table of `plan`, whose columns go by their distinct names.
    pub fn new(session: &Session, plan: Arc<LogicalPlan>, clock: &BatchClock) -> Result<Self> {
        let schema = renamed(plan.schema());
        Ok(Self { session: session.clone(), plan, schema, clock: clock.clone() })
    }

    /// The plan of the wanted columns: sources read what they need for these.
    fn projected(&self, projection: Option<&Vec<usize>>) -> LogicalPlan {
        let Some(projection) = projection else { return self.plan.as_ref().clone() };
        let fields: Vec<Field> = projection.iter().map(|index| self.schema.field(*index).clone()).collect();
        let expressions = fields.iter().map(|f| Named { expr: reference(f.name()), name: f.name().clone() }).collect();
        let schema = Arc::new(Schema::new(fields));
        LogicalPlan::Project { input: self.plan.clone(), expressions, schema, id: next_relation() }
    }

    async fn open(&self, projection: Option<&Vec<usize>>) -> Result<Arc<dyn PartitionStream>> {
        let plan = lower(&self.projected(projection))?;
        let device = self.session.device()?;
        let settings = self.session.conf().settings(device.is_gpu())?;
        let mut readers = Vec::new();
        let sources = plan.sources();
        for (branch, index) in plan.inputs() {
            let provider = sources.get(index).ok_or_else(|| Error::internal("a branch without a source"))?;
            let mut source = provider.create()?;
            source.check().await?;
            source.open(Arc::new(Forgotten::default())).await?;
            let start = source.initial().await?;
            source.freeze().await?;
            let end = source.propose(&start, Admission::Unlimited).await?.end;
            let request = ReadRequest {
                projection: branch.scan.projection.clone(),
                chunk_bytes: settings.chunk_bytes,
                stop: Arc::default(),
            };
            readers.push(source.read(&start, &end, &request).await?);
        }
        let branches =
            || plan.inputs().map(|(branch, _)| BranchExec::new(branch, device.clone(), &self.clock)).collect();
        let workers = (0..settings.workers.max(1)).map(|_| branches()).collect::<Result<_>>()?;
        let schema = renamed(&plan.schema);
        Ok(Arc::new(Scan { schema, work: Mutex::new(Some(Work { readers, workers, plan })) }))
    }
}

/// The schema with distinct names.
fn renamed(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().zip(distinct_names(schema));
    Arc::new(Schema::new(fields.map(|(f, name)| f.as_ref().clone().with_name(name)).collect::<Vec<_>>()))
}

impl fmt::Debug for BranchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)
    }
}

#[async_trait]
impl TableProvider for BranchTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn DataFusionSession,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let stream = self.open(projection).await?;
        let schema = stream.schema().clone();
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![stream], None, None, false, limit)?))
    }
}

/// A log for a source that is read once.
#[derive(Default)]
struct Forgotten(Mutex<BTreeMap<u64, Bytes>>);

#[async_trait]
impl SourceLog for Forgotten {
    async fn put(&self, index: u64, entry: Bytes) -> Result<()> {
        self.0.lock().insert(index, entry);
        Ok(())
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>> {
        Ok(self.0.lock().iter().map(|(index, entry)| (*index, entry.clone())).collect())
    }
}

/// Opened sources, read once.
struct Scan {
    schema: SchemaRef,
    work: Mutex<Option<Work>>,
}

struct Work {
    readers: Vec<Box<dyn Chunks>>,
    workers: Vec<Vec<BranchExec>>,
    plan: QueryPlan,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.work.lock() {
            Some(work) => {
                f.debug_list().entries(work.plan.sources().into_iter().map(|provider| provider.describe())).finish()
            }
            None => f.write_str("read"),
        }
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        // Few, so that decoding waits for whoever takes the rows.
        let (sender, receiver) = mpsc::channel::<DataFusionResult<RecordBatch>>(4);
        match self.work.lock().take() {
            Some(work) => drop(tokio::task::spawn_blocking({
                let schema = self.schema.clone();
                move || work.run(&schema, &sender)
            })),
            None => drop(sender.try_send(Err(Error::internal("a table was scanned twice").into()))),
        }
        let rows = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

impl Work {
    /// Decodes on every worker and sends rows in the order of the input, until there are none or nobody wants them.
    fn run(self, schema: &SchemaRef, rows: &mpsc::Sender<DataFusionResult<RecordBatch>>) {
        let Self { readers, workers, .. } = self;
        let most = workers.len() * 2;
        let readers: Vec<_> = readers.into_iter().map(|reader| Mutex::new((0u64, reader))).collect();
        let (sender, receiver) = crossbeam_channel::bounded::<(usize, u64, Option<Result<RecordBatch>>)>(most);
        std::thread::scope(|scope| {
            let readers = &readers;
            for branches in workers {
                let sender = sender.clone();
                scope.spawn(move || work(readers, branches, &sender));
            }
            drop(sender);
            // (source, sequence) of the next batch to be sent; what comes early waits.
            let (mut next, mut early) = ((0usize, 1u64), BTreeMap::new());
            for (source, sequence, result) in receiver {
                early.insert((source, sequence), result);
                while let Some(result) = early.remove(&next) {
                    match result {
                        // The end of a source.
                        None => next = (next.0 + 1, 1),
                        Some(result) => {
                            next.1 += 1;
                            let failed = result.is_err();
                            let batch = result
                                .map_err(DataFusionError::from)
                                .and_then(|batch| Ok(batch.with_schema(schema.clone())?));
                            if rows.blocking_send(batch).is_err() || failed {
                                return;
                            }
                        }
                    }
                }
            }
        });
    }
}

type Read = Mutex<(u64, Box<dyn Chunks>)>;

/// Takes chunks of source after source until there are none, or nobody listens.
fn work(
    readers: &[Read],
    mut branches: Vec<BranchExec>,
    results: &crossbeam_channel::Sender<(usize, u64, Option<Result<RecordBatch>>)>,
) {
    for (source, (reader, branch)) in readers.iter().zip(&mut branches).enumerate() {
        loop {
            let mut sequence = 0;
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let chunk = {
                    let mut reader = reader.lock();
                    // Counted before the call, so that a panic in it has its place among the results as well.
                    reader.0 += 1;
                    sequence = reader.0;
                    let chunk = reader.1.next();
                    if matches!(chunk, Ok(None)) {
                        // The end follows the last chunk.
                        reader.0 -= 1;
                    }
                    chunk
                };
                chunk?
                    .map(|chunk| match branch.run(chunk)?.output {
                        ChunkOutput::Rows(rows) => Ok(rows),
                        ChunkOutput::Partials(_) => Err(Error::internal("partials of a table's scan")),
                    })
                    .transpose()
            }));
            let result = caught.unwrap_or_else(|panic| Err(panicked("a worker", &*panic))).transpose();
            let last = !matches!(result, Some(Ok(_)));
            if results.send((source, sequence, result)).is_err() {
                return;
            }
            if last {
                break;
            }
        }
    }
}
