//! `foreach` with a Python function or object as a sink.
//!
//! Comes in: the output rows of a batch. Goes out: `open(0, epoch)`, `process(row)` for each row and `close(error)` of the user's object, or
//! a call of the user's function for each row, in a worker process. A batch is one partition, number 0. At least once, as
//! [`ForeachSink`](crate::sink::foreach::ForeachSink). Fails: what the user's code raises.

use super::convert;
use super::kind::NON_UDF;
use super::task::{Function, Task};
use super::wire::{Argument, call};
use super::workers::Workers;
use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::sink::staged::Staged;
use crate::sink::{OutputMode, Prepared, Settled, Sink, Writer};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use spark_connect_proto::PythonUdf;
use std::sync::Arc;
use uuid::Uuid;

/// The sink of `DataStreamWriter.foreach` in PySpark.
///
/// ```no_run
/// use tidemill::server::python::{ForeachPythonSink, Workers};
/// # fn sink(workers: &Workers, udf: spark_connect_proto::PythonUdf) -> Result<ForeachPythonSink, tidemill::Error> {
/// // `udf` is `foreach_writer.python_function` of the command that starts the query.
/// ForeachPythonSink::new(workers, &udf)
/// # }
/// ```
pub struct ForeachPythonSink {
    function: Arc<Foreach>,
    schema: SchemaRef,
    staged: Staged,
}

struct Foreach {
    workers: Workers,
    udf: PythonUdf,
}

impl ForeachPythonSink {
    /// A sink that runs what the client pickled.
    ///
    /// # Errors
    /// [`ErrorCode::PythonNotFound`] as [`Interpreter::find`](super::Interpreter::find) and for what another Python pickled.
    pub fn new(workers: &Workers, udf: &PythonUdf) -> Result<Self> {
        workers.interpreter()?.check(&udf.python_ver)?;
        let function = Arc::new(Foreach { workers: workers.clone(), udf: udf.clone() });
        Ok(Self { function, schema: Arc::new(Schema::empty()), staged: Staged::default() })
    }
}

impl Foreach {
    fn write(&self, epoch: u64, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<()> {
        let schema = convert::schema(schema.fields())?;
        let limit = self.workers.rows_per_batch();
        let mut batches = Vec::new();
        for rows in rows {
            batches.extend(convert::batches(&schema, rows.columns(), rows.num_rows(), limit)?);
        }
        let columns = convert::json_struct(schema.fields())?.to_string();
        let task = Task {
            eval_type: NON_UDF,
            python_version: &self.udf.python_ver,
            number: self.workers.number(),
            properties: &[("streaming.sql.batchId", epoch.to_string())],
            conf: self.workers.conf(),
            settings: &[],
            function: Function::Iterator(call(
                "foreach",
                &[Argument::Bytes(&self.udf.command), Argument::Text(&columns)],
            )?),
            grouped: None,
        };
        self.workers.run(&task, &schema, &batches).map(drop)
    }
}

#[async_trait]
impl Sink for ForeachPythonSink {
    fn description(&self) -> String {
        "ForeachWriterTable".to_string()
    }

    async fn check(&mut self, _mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        convert::schema(schema.fields()).map(drop)
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        self.schema = writer.schema.clone();
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        self.staged.put(batch, attempt, rows);
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let rows = self.staged.take(prepared)?;
        let (function, schema, batch) = (self.function.clone(), self.schema.clone(), prepared.batch);
        let written = tokio::task::spawn_blocking(move || function.write(batch, &schema, &rows)).await;
        written.map_err(|error| {
            Error::caused_by(ErrorCode::UserCode, format!("foreach did not finish batch {batch}"), error)
        })?
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent)
    }
}
