//! Functions that a client sends: Python, run by workers of the server.
//!
//! Comes in: pickled functions. Goes out: writers of streams, and functions that plans call. Fails: where there is no Python with PySpark; functions of other
//! languages, by name.

use super::plan::types::from_proto;
use super::session::ClientSession;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataStreamWriter;
use crate::server::python::{ForeachBatchWorker, ForeachPythonSink, scalar_udf};
use datafusion::logical_expr::{Expr, ScalarUDF};
use spark_connect_proto::common_inline_user_defined_function::Function;
use spark_connect_proto::streaming_foreach_function::Function as Foreach;
use spark_connect_proto::{CommonInlineUserDefinedFunction, PythonUdf, StreamingForeachFunction};
use std::sync::Arc;
use tokio::sync::Mutex;
use uuid::Uuid;

/// `foreachBatch`: a worker of the query's own, which reads each batch's frame from this server.
///
/// # Errors
/// As the module says; a function that cannot be read.
pub async fn foreach_batch(
    client: &Arc<ClientSession>,
    writer: DataStreamWriter,
    function: StreamingForeachFunction,
) -> Result<DataStreamWriter> {
    let udf = python(function, "foreachBatch")?;
    let interpreter = client.workers().interpreter()?;
    let worker = ForeachBatchWorker::start(&interpreter, &client.worker_url(), client.id(), &udf).await?;
    let worker = Arc::new(Mutex::new(worker));
    // A session that is let go is not held by its queries, which end with it.
    let session = Arc::downgrade(client);
    Ok(writer.foreach_batch(move |frame, batch_id| {
        let (worker, session) = (worker.clone(), session.clone());
        async move {
            let closed = || Error::new(ErrorCode::UserCode, "the session of foreachBatch has been closed");
            let client = session.upgrade().ok_or_else(closed)?;
            let handle = Uuid::new_v4().to_string();
            client.keep(&handle, frame);
            let number = i64::try_from(batch_id).unwrap_or(i64::MAX);
            let done = worker.lock().await.call(&handle, number, client.id()).await;
            client.drop_kept(&handle);
            done
        }
    }))
}

/// `foreach`.
///
/// # Errors
/// As the module says.
pub fn foreach(
    client: &ClientSession,
    writer: DataStreamWriter,
    function: StreamingForeachFunction,
) -> Result<DataStreamWriter> {
    let udf = python(function, "foreach")?;
    Ok(writer.transient_sink(Box::new(ForeachPythonSink::new(&client.workers(), &udf)?)))
}

fn python(function: StreamingForeachFunction, what: &str) -> Result<PythonUdf> {
    match function.function {
        Some(Foreach::PythonFunction(udf)) => Ok(udf),
        Some(Foreach::ScalaFunction(_)) | None => Err(other_language(what)),
    }
}

/// `spark.udf.register`.
///
/// # Errors
/// As the module says.
pub fn register(client: &ClientSession, function: &CommonInlineUserDefinedFunction) -> Result<()> {
    client.session.udf().register(scalar(client, function)?);
    Ok(())
}

/// A call of a function that came with the plan.
///
/// # Errors
/// As the module says.
pub fn call(client: &ClientSession, function: &CommonInlineUserDefinedFunction, arguments: Vec<Expr>) -> Result<Expr> {
    Ok(scalar(client, function)?.call(arguments))
}

fn scalar(client: &ClientSession, function: &CommonInlineUserDefinedFunction) -> Result<ScalarUDF> {
    let name = &function.function_name;
    let Some(Function::PythonUdf(udf)) = &function.function else { return Err(other_language(name)) };
    let returned = udf.output_type.as_ref().map(from_proto).transpose()?;
    let returned = returned.ok_or_else(|| {
        Error::new(ErrorCode::InvalidExpression, format!("the function {name} came without the type of its result"))
    })?;
    scalar_udf(&client.workers(), name, function.deterministic, udf, returned.to_arrow(), &[])
}

fn other_language(what: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "{what}: this server runs functions in Python; functions of Scala and Java need a JVM, which it has not"
        ),
    )
}
