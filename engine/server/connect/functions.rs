//! Functions that a client sends: Python, run by workers of the server.
//!
//! Comes in: pickled functions. Goes out: writers of streams, and functions that plans call. Fails: where there is no Python with PySpark.

use super::session::ClientSession;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, DataStreamWriter};
use datafusion::logical_expr::Expr;
use spark_connect_proto::{CommonInlineUserDefinedFunction, StreamingForeachFunction};
use std::sync::Arc;

/// `foreachBatch`.
pub fn foreach_batch(
    _client: &Arc<ClientSession>,
    _writer: DataStreamWriter,
    _function: StreamingForeachFunction,
) -> Result<DataStreamWriter> {
    Err(unsupported("foreachBatch"))
}

/// `foreach`.
pub fn foreach(
    _client: &Arc<ClientSession>,
    _writer: DataStreamWriter,
    _function: StreamingForeachFunction,
    _frame: &DataFrame,
) -> Result<DataStreamWriter> {
    Err(unsupported("foreach"))
}

/// `spark.udf.register`.
pub fn register(_client: &Arc<ClientSession>, function: CommonInlineUserDefinedFunction) -> Result<()> {
    Err(unsupported(&function.function_name))
}

/// A call of a function that came with the plan.
pub fn call(
    _client: &ClientSession,
    function: &CommonInlineUserDefinedFunction,
    _arguments: Vec<Expr>,
) -> Result<Expr> {
    Err(unsupported(&function.function_name))
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorCode::UnsupportedOperation, format!("{what}: this server has no Python to run functions with"))
}
