//! `foreachBatch` with a Python function.
//!
//! Comes in: the pickled function, and for each batch the handle of its frame. Goes out: a call `function(frame, batch_id)` in a worker process, which is a
//! client of this server: it reads the frame by the handle, over Spark Connect. Fails: what the function raises, and a worker that ends.

use super::interpreter::Interpreter;
use super::process::{Killer, Process};
use super::wire::{self, Message};
use crate::error::{Error, ErrorCode, Result};
use spark_connect_proto::PythonUdf;
use std::net::SocketAddr;

const MODULE: &str = "pyspark.sql.connect.streaming.worker.foreach_batch_worker";

/// The address at which a worker on this machine reaches the server that listens on `address`, as `user_id`.
///
/// ```
/// use tidemill::server::python::local_url;
/// assert_eq!(local_url("0.0.0.0:15002".parse()?, "eve k"), "sc://127.0.0.1:15002/;user_id=eve%20k");
/// assert_eq!(local_url("[::1]:15002".parse()?, ""), "sc://[::1]:15002/");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn local_url(address: SocketAddr, user_id: &str) -> String {
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_string(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_string(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let port = address.port();
    if user_id.is_empty() {
        return format!("sc://{host}:{port}/");
    }
    let mut user = String::new();
    for byte in user_id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => user.push(char::from(byte)),
            _ => user.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("sc://{host}:{port}/;user_id={user}")
}

/// The worker of one query with `foreachBatch`; dropping it ends the process, whatever it does.
///
/// ```no_run
/// use tidemill::server::python::{ForeachBatchWorker, Workers, local_url};
/// # async fn run(workers: Workers, udf: spark_connect_proto::PythonUdf, address: std::net::SocketAddr) -> Result<(), tidemill::Error> {
/// let (python, url) = (workers.interpreter()?, local_url(address, "eve"));
/// let session = "0f0f62ab-9b80-4d0a-a4a2-2d8fb51c3f22";
/// let mut worker = ForeachBatchWorker::start(&python, &url, session, &udf).await?;
/// // For every batch: keep its frame in the session under a handle, call, forget the handle.
/// worker.call("handle of the frame", 0, session).await?;
/// # Ok(())
/// # }
/// ```
pub struct ForeachBatchWorker {
    /// None while it works, and after a failure.
    process: Option<Process>,
    killer: Killer,
}

impl ForeachBatchWorker {
    /// Starts a worker, which connects to the session `session_id` at `url` ([`local_url`]) and reads the function there. The session must exist
    /// and answer while this waits.
    ///
    /// # Errors
    /// [`ErrorCode::PythonNotFound`] for a function that another Python pickled; [`ErrorCode::PythonRunnerInitialization`] for one that cannot be
    /// read;
    /// [`ErrorCode::UserCode`] for a worker that ends.
    pub async fn start(interpreter: &Interpreter, url: &str, session_id: &str, udf: &PythonUdf) -> Result<Self> {
        interpreter.check(&udf.python_ver)?;
        let mut message = Message::default();
        let version = if udf.python_ver.is_empty() { interpreter.version() } else { &udf.python_ver };
        message.text(version)?.text(session_id)?.bytes(&udf.command)?;
        let process = Process::start(interpreter, MODULE, &[("SPARK_CONNECT_LOCAL_URL", url)])?;
        let mut worker = Self { killer: process.killer(), process: Some(process) };
        worker.exchange(message.take()).await.map_err(|error| match error.code() {
            ErrorCode::PythonException => Error::new(
                ErrorCode::PythonRunnerInitialization,
                format!("Streaming Runner initialization failed, cause: {}", error.message()),
            ),
            _ => error,
        })?;
        Ok(worker)
    }

    /// Calls the function with the frame that the server keeps under `frame_id` and the batch's number, and waits for it. `session_id` is the session that
    /// the function sees as the frame's: the one that the worker was started with, or a clone of it that belongs to the query.
    ///
    /// # Errors
    /// [`ErrorCode::PythonException`] with the traceback of what the function raised; [`ErrorCode::UserCode`] for a worker that ends. The
    /// worker is of no use after either.
    pub async fn call(&mut self, frame_id: &str, batch_id: i64, session_id: &str) -> Result<()> {
        let mut message = Message::default();
        message.text(frame_id)?.long(batch_id).text(session_id)?;
        self.exchange(message.take()).await
    }

    /// Sends a message and waits for its answer.
    async fn exchange(&mut self, message: Vec<u8>) -> Result<()> {
        let ended = || Error::new(ErrorCode::UserCode, "the worker of foreachBatch has ended with an earlier failure");
        let mut process = self.process.take().ok_or_else(ended)?;
        // A call that is given up ends with the process, which goes with this struct.
        let (process, answer) = tokio::task::spawn_blocking(move || {
            let answer = answer(&mut process, &message);
            (process, answer)
        })
        .await
        .map_err(|error| Error::caused_by(ErrorCode::UserCode, "foreachBatch did not finish", error))?;
        answer?;
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for ForeachBatchWorker {
    fn drop(&mut self) {
        self.killer.kill();
    }
}

fn answer(process: &mut Process, message: &[u8]) -> Result<()> {
    let sent = process.send(message);
    // A worker that could not begin has said why before it closed the pipe.
    match wire::read_int(&mut process.output) {
        Ok(0) if sent.is_ok() => Ok(()),
        Ok(wire::PYTHON_EXCEPTION_THROWN) => match wire::read_bytes(&mut process.output) {
            Ok(traceback) => {
                let traceback = String::from_utf8_lossy(&traceback);
                let text = format!("Found error inside foreachBatch Python process: {traceback}");
                Err(Error::new(ErrorCode::PythonException, text))
            }
            Err(_) => Err(process.ended()),
        },
        Ok(0) | Err(_) => Err(process.ended()),
        Ok(other) => Err(Error::internal(format!("the worker of foreachBatch sent the unknown message {other}"))),
    }
}
