//! Functions that a client sends: Python, run by workers of the server.
//!
//! Comes in: pickled functions. Goes out: writers of streams, and functions that plans call. Fails: where there is no Python with PySpark; functions of other
//! languages, by name.

use super::plan::types::from_proto;
use super::session::{BatchSession, ClientSession};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, DataStreamWriter};
use crate::plan::rows_function::RowsFunction;
use crate::server::python::{
    ForeachBatchWorker, ForeachPythonSink, GroupedInput, PythonRows, aggregate_udf, aggregates, scalar_udf,
};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, ScalarUDF};
use spark_connect_proto::common_inline_user_defined_function::Function;
use spark_connect_proto::expression::ExprType;
use spark_connect_proto::streaming_foreach_function::Function as Foreach;
use spark_connect_proto::{CommonInlineUserDefinedFunction, PythonUdf, StreamingForeachFunction};
use std::sync::Arc;
use tokio::sync::Mutex;
use uuid::Uuid;

/// `foreachBatch`: a worker of the query's own, which reads each batch's frame from this server, in a session of the query's own. `stateful` is
/// whether the query keeps state.
///
/// # Errors
/// As the module says; a function that cannot be read.
pub async fn foreach_batch(
    client: &Arc<ClientSession>,
    writer: DataStreamWriter,
    function: StreamingForeachFunction,
    stateful: bool,
) -> Result<DataStreamWriter> {
    let udf = python(function, "foreachBatch")?;
    let interpreter = client.workers().interpreter()?;
    let worker = ForeachBatchWorker::start(&interpreter, &client.worker_url(), client.id(), &udf).await?;
    let worker = Arc::new(Mutex::new(worker));
    // The query owns the function, and with it the session of its batches.
    let place = Arc::new(BatchSession::new(client, stateful)?);
    Ok(writer.foreach_batch(move |frame, batch_id| {
        let (worker, place) = (worker.clone(), place.clone());
        async move {
            let session = place.session()?;
            let handle = Uuid::new_v4().to_string();
            session.keep(&handle, DataFrame::from_plan(&session.session, frame.plan().clone()));
            let number = i64::try_from(batch_id).unwrap_or(i64::MAX);
            let done = worker.lock().await.call(&handle, number, session.id()).await;
            session.drop_kept(&handle);
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

/// A call of a function that came with the plan: from columns to a column, or from the columns of a group to a value.
///
/// # Errors
/// As the module says.
pub fn call(client: &ClientSession, function: &CommonInlineUserDefinedFunction, arguments: Vec<Expr>) -> Result<Expr> {
    let (udf, returned) = declared(function)?;
    let (workers, name) = (client.workers(), &function.function_name);
    let (deterministic, keywords) = (function.deterministic, keywords(function));
    if aggregates(udf) {
        return Ok(aggregate_udf(&workers, name, deterministic, udf, returned, &keywords)?.call(arguments));
    }
    Ok(scalar_udf(&workers, name, deterministic, udf, returned, &keywords)?.call(arguments))
}

/// A function over the rows of relations that came with the plan, and the columns of what it makes.
///
/// # Errors
/// As the module says.
pub fn rows(
    client: &ClientSession,
    function: &CommonInlineUserDefinedFunction,
    inputs: Vec<GroupedInput>,
) -> Result<(Arc<dyn RowsFunction>, SchemaRef)> {
    let (udf, returned) = declared(function)?;
    let name = &function.function_name;
    let DataType::Struct(fields) = returned else {
        return Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!("the function {name} makes rows, and its schema must name columns: \"a INT, b STRING\""),
        ));
    };
    let fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true));
    let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let function = PythonRows::new(&client.workers(), name, udf.clone(), inputs, output.clone())?;
    Ok((Arc::new(function), output))
}

fn scalar(client: &ClientSession, function: &CommonInlineUserDefinedFunction) -> Result<ScalarUDF> {
    let (udf, returned) = declared(function)?;
    scalar_udf(&client.workers(), &function.function_name, function.deterministic, udf, returned, &[])
}

/// The function and the type of its result.
fn declared(function: &CommonInlineUserDefinedFunction) -> Result<(&PythonUdf, DataType)> {
    let name = &function.function_name;
    let Some(Function::PythonUdf(udf)) = &function.function else { return Err(other_language(name)) };
    let returned = udf.output_type.as_ref().map(from_proto).transpose()?;
    let returned = returned.ok_or_else(|| {
        Error::new(ErrorCode::InvalidExpression, format!("the function {name} came without the type of its result"))
    })?;
    Ok((udf, returned.to_arrow()))
}

/// The names of the arguments that are passed by name, which Python has come last.
fn keywords(function: &CommonInlineUserDefinedFunction) -> Vec<String> {
    let named = function.arguments.iter().filter_map(|argument| match &argument.expr_type {
        Some(ExprType::NamedArgumentExpression(argument)) => Some(argument.key.clone()),
        _ => None,
    });
    named.collect()
}

fn other_language(what: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "{what}: this server runs functions in Python; functions of Scala and Java need a JVM, which it has not"
        ),
    )
}
