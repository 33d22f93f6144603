//! One run of a function by PySpark's worker, over the rows of a batch.
//!
//! Comes in: the function, its settings and Arrow batches. Goes out: the batches that the function returned. Fails: what the function raised, and a
//! worker that ends.

use super::kind::NON_UDF;
use super::process::Process;
use super::wire::{self, Message};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::process::ChildStdin;

/// What the worker is asked to run.
pub(super) struct Task<'a> {
    pub eval_type: i32,
    pub python_version: &'a str,
    /// Number of the task, for `TaskContext`.
    pub number: i64,
    /// Local properties of `TaskContext`.
    pub properties: &'a [(&'a str, String)],
    /// The session's configuration.
    pub conf: &'a BTreeMap<String, String>,
    /// Settings of the kind of function.
    pub settings: &'a [(&'a str, String)],
    pub function: Function<'a>,
    /// How many batches are a group, where they are: each of them is a frame of the group.
    pub grouped: Option<usize>,
}

/// A function and where it takes its arguments from.
pub(super) enum Function<'a> {
    /// A pickled function over an iterator.
    Iterator(Vec<u8>),
    /// A pickled function, and the numbers of the columns that it is given, with the names of those that it is given by name.
    Columns { command: &'a [u8], arguments: Vec<(usize, Option<&'a str>)> },
}

/// What came back.
pub(super) struct Outcome {
    pub batches: Vec<RecordBatch>,
    /// Whether the worker is ready for another task.
    pub reusable: bool,
}

/// What ended a task: the function, or the pipes.
enum Failure {
    Raised(Error),
    Pipe,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Failure::Pipe
    }
}

impl Task<'_> {
    /// The message that begins the task.
    fn opening(&self) -> Result<Vec<u8>> {
        let properties: serde_json::Map<String, serde_json::Value> =
            self.properties.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
        let context = json!({
            "isBarrier": false, "connInfo": null, "secret": null, "stageId": 0, "partitionId": 0, "attemptNumber": 0,
            "taskAttemptId": self.number, "cpus": 1, "cpuAmount": "1", "resources": {}, "localProperties": properties,
        });
        let mut body = Message::default();
        body.int(0).text(self.python_version)?.text(&context.to_string())?;
        // The directory of files that the session added, and the archives among them; no broadcast variables.
        body.text("")?.int(0).flag(false).int(0);
        body.int(self.eval_type).count(self.conf.len())?;
        for (key, value) in self.conf {
            body.text(key)?.text(value)?;
        }
        body.count(self.settings.len())?;
        for (key, value) in self.settings {
            body.text(key)?.text(value)?;
        }
        match &self.function {
            Function::Iterator(command) => {
                debug_assert_eq!(self.eval_type, NON_UDF);
                body.bytes(command)?;
            }
            Function::Columns { command, arguments } => {
                body.int(1).count(arguments.len())?;
                for (column, name) in arguments {
                    body.count(*column)?;
                    match name {
                        Some(name) => body.flag(true).text(name)?,
                        None => body.flag(false),
                    };
                }
                body.int(1).bytes(command)?.long(0);
            }
        }
        let mut message = Message::default();
        message.int(wire::START_OF_INIT_MESSAGE).bytes(&body.take())?;
        Ok(message.take())
    }

    /// Runs the function over `batches`.
    pub fn run(&self, process: &mut Process, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Outcome> {
        let opening = self.opening()?;
        let killer = process.killer();
        let Process { input, output, .. } = process;
        // The worker writes while it still reads, so that one thread alone would wait for ever.
        let outcome = std::thread::scope(|scope| {
            let sender = std::thread::Builder::new()
                .name("python-input".to_string())
                .spawn_scoped(scope, || send(input, &opening, self.grouped, schema, batches));
            let sender = sender.map_err(Failure::from)?;
            let received = receive(output);
            if matches!(received, Err(Failure::Raised(_))) {
                // It reads no further, and the sender may wait for it to.
                killer.kill();
            }
            // A worker that raised has stopped to read; the exception says more than the broken pipe.
            let sent = sender.join();
            match (received, sent) {
                (Ok(outcome), Ok(Ok(()))) => Ok(outcome),
                (Ok(_), Ok(Err(error))) => Err(Failure::Raised(error)),
                (Ok(_), Err(_)) => {
                    Err(Failure::Raised(Error::internal("the thread that feeds a Python worker panicked")))
                }
                (Err(failure), _) => Err(failure),
            }
        });
        outcome.map_err(|failure| match failure {
            Failure::Raised(error) => error,
            Failure::Pipe => process.ended(),
        })
    }
}

fn send(
    input: &mut BufWriter<ChildStdin>,
    opening: &[u8],
    grouped: Option<usize>,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<()> {
    let broken = |error: io::Error| {
        Error::caused_by(ErrorCode::UserCode, "the Python worker stopped reading its input".to_string(), error)
    };
    let mut closing = Message::default();
    input.write_all(opening).map_err(broken)?;
    if let Some(frames) = grouped {
        for group in batches.chunks(frames.max(1)) {
            let frames = i32::try_from(group.len()).map_err(|_| Error::internal("a group of too many frames"))?;
            input.write_all(&frames.to_be_bytes()).map_err(broken)?;
            for frame in group {
                stream(input, &frame.schema(), std::slice::from_ref(frame))?;
            }
        }
        closing.int(0);
    } else {
        stream(input, schema, batches)?;
    }
    closing.int(wire::END_OF_STREAM);
    input.write_all(&closing.take()).and_then(|()| input.flush()).map_err(broken)
}

fn stream(input: &mut BufWriter<ChildStdin>, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let mut writer = StreamWriter::try_new(input, schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.finish()?)
}

fn receive(output: &mut impl io::Read) -> Result<Outcome, Failure> {
    let mut batches = Vec::new();
    loop {
        match wire::read_int(output)? {
            wire::START_ARROW_STREAM => {
                for batch in StreamReader::try_new(&mut *output, None).map_err(|_| Failure::Pipe)? {
                    batches.push(batch.map_err(|_| Failure::Pipe)?);
                }
            }
            wire::TIMING_DATA => {
                // Four times in milliseconds and what was spilled to memory and disk.
                for _ in 0..6 {
                    wire::read_long(output)?;
                }
            }
            wire::PYTHON_EXCEPTION_THROWN => return Err(Failure::Raised(raised(output)?)),
            wire::END_OF_DATA_SECTION => {
                for _ in 0..wire::read_int(output)? {
                    wire::read_bytes(output)?;
                }
                let reusable = wire::read_int(output)? == wire::END_OF_STREAM;
                return Ok(Outcome { batches, reusable });
            }
            other => {
                return Err(Failure::Raised(Error::internal(format!(
                    "a Python worker sent the unknown message {other}"
                ))));
            }
        }
    }
}

/// The exception that a worker tells about, with its traceback.
fn raised(output: &mut impl io::Read) -> io::Result<Error> {
    let traceback = wire::read_bytes(output)?;
    let traceback = String::from_utf8_lossy(&traceback);
    Ok(Error::new(ErrorCode::PythonException, format!("An exception was thrown from the Python worker: {traceback}")))
}
