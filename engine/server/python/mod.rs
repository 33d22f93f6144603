//! Python functions of Spark Connect programs, run by PySpark's own workers.
//!
//! Comes in: the pickled functions of `udf`, `pandas_udf`, `foreach` and `foreachBatch`, and rows. Goes out: columns, rows, and what the functions do.
//! Each function runs in a process of the Python that [`Interpreter::find`] finds, which must have PySpark 4.3, of which the worker's
//! protocol is. Fails: [`ErrorCode::PythonNotFound`] without such a Python, [`ErrorCode::PythonException`] with the traceback of what the function
//! raised, [`ErrorCode::UserCode`] when the process ends by itself, [`ErrorCode::UnsupportedOperation`] for kinds of functions that are not run.
//!
//! ```no_run
//! use tidemill::arrow::datatypes::DataType;
//! use tidemill::server::python::{Workers, scalar_udf};
//! # fn plan(udf: spark_connect_proto::PythonUdf) -> Result<(), tidemill::Error> {
//! // One pool for each session; `udf` is what the client sent.
//! let workers = Workers::new(None);
//! let function = scalar_udf(&workers, "shout", true, &udf, DataType::Utf8, &[])?;
//! // ... `function.call(arguments)` is an expression of DataFusion. When the session ends:
//! workers.stop();
//! # Ok(())
//! # }
//! ```

mod aggregate;
mod convert;
mod foreach;
mod foreach_batch;
mod interpreter;
mod kind;
mod map;
mod process;
mod rows;
mod scalar;
mod task;
mod wire;
mod workers;

#[cfg(test)]
pub(crate) mod tests;

#[allow(unused_imports, reason = "named in the documentation")]
use crate::error::ErrorCode;
pub use aggregate::aggregate_udf;
pub use foreach::ForeachPythonSink;
pub use foreach_batch::{ForeachBatchWorker, local_url};
pub use interpreter::Interpreter;
pub use kind::{aggregates, refuse};
pub use map::{GroupedInput, map_batches, map_cogroups, map_groups};
pub use rows::PythonRows;
pub use scalar::scalar_udf;
pub use workers::Workers;
