//! [`RowsTable`]: what a function of the user's makes of the rows of tables, as a table that DataFusion scans.
//!
//! Comes in: prepared plans and a function. Goes out: its rows, computed when they are asked for. Fails: what computing the plans and the
//! function fail with.

use super::compute;
use crate::error::Error;
use crate::operator::clock::BatchClock;
use crate::plan::LogicalPlan;
use crate::plan::rows_function::{self, RowsFunction};
use crate::plan::scope::distinct_names;
use crate::session::Session;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session as DataFusionSession;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// The rows of a function.
#[derive(Clone)]
pub(super) struct RowsTable(Arc<Work>);

struct Work {
    session: Session,
    inputs: Vec<Arc<LogicalPlan>>,
    function: Arc<dyn RowsFunction>,
    schema: SchemaRef,
    clock: BatchClock,
}

impl RowsTable {
    /// The table, whose columns go by their distinct names.
    pub fn new(
        session: &Session,
        inputs: &[Arc<LogicalPlan>],
        function: &Arc<dyn RowsFunction>,
        schema: &SchemaRef,
        clock: &BatchClock,
    ) -> Self {
        let fields = schema.fields().iter().zip(distinct_names(schema));
        let fields: Vec<_> = fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
        Self(Arc::new(Work {
            session: session.clone(),
            inputs: inputs.to_vec(),
            function: function.clone(),
            schema: Arc::new(Schema::new(fields)),
            clock: clock.clone(),
        }))
    }
}

impl Work {
    async fn run(&self) -> Result<Vec<RecordBatch>, Error> {
        let mut rows = Vec::new();
        for input in &self.inputs {
            rows.push(compute(&self.session, input, &self.clock).await?.try_collect().await?);
        }
        let made = rows_function::call(&*self.function, &rows)?;
        made.into_iter().map(|batch| Ok(batch.with_schema(self.schema.clone())?)).collect()
    }
}

impl fmt::Debug for RowsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.function.operation(), self.0.function.name())
    }
}

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
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
        let rows: Arc<dyn PartitionStream> = Arc::new(self.clone());
        Ok(Arc::new(StreamingTableExec::try_new(self.0.schema.clone(), vec![rows], projection, None, false, limit)?))
    }
}

impl PartitionStream for RowsTable {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let work = self.0.clone();
        let rows = async move { work.run().await }.boxed().into_stream().map(|made| match made {
            Ok(batches) => futures::stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => futures::stream::iter(vec![Err(DataFusionError::from(error))]),
        });
        Box::pin(RecordBatchStreamAdapter::new(self.0.schema.clone(), rows.flatten()))
    }
}
