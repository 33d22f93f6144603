//! A worker process.
//!
//! Comes in: a Python and the name of one of PySpark's worker modules. Goes out: two pipes to it. What it prints is printed on this process's
//! standard error. Fails: a process that cannot be started, and one that ends while something is expected of it.

use super::interpreter::Interpreter;
use super::wire::Message;
use crate::error::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const BOOT: &str = include_str!("boot.py");
const WORKER: &str = include_str!("worker.py");
/// What foreachBatch's worker says of itself at every batch.
const CHATTER: &str = "Streaming ForeachBatch worker ";
/// Lines of the last output that tell why a process ended.
const KEPT_LINES: usize = 20;
/// How long a process that closed its pipes may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A running worker; dropping it kills it.
pub(super) struct Process {
    pub input: BufWriter<ChildStdin>,
    pub output: BufReader<ChildStdout>,
    killer: Killer,
    said: Arc<Mutex<VecDeque<String>>>,
    silent: Receiver<()>,
}

/// Ends a worker from any thread, whatever it does.
#[derive(Clone)]
pub(super) struct Killer(Arc<Mutex<Child>>);

impl Killer {
    pub fn kill(&self) {
        let mut child = self.0.lock();
        // With it go the processes that it started. All fail only for a process that has ended and was waited for.
        #[cfg(unix)]
        if let (Ok(None), Some(group)) = (child.try_wait(), rustix::process::Pid::from_raw(child.id().cast_signed())) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Process {
    /// Starts `module` of PySpark.
    pub fn start(interpreter: &Interpreter, module: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let program = interpreter.program();
            Error::caused_by(
                ErrorCode::PythonNotFound,
                format!("the Python worker {program:?} cannot be started: {error}"),
                error,
            )
        };
        let mut command = Command::new(interpreter.program());
        command.args(["-c", BOOT, module]).env("PYTHONUNBUFFERED", "1").envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt from the terminal is for the server, which ends its workers.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let killer = Killer(Arc::new(Mutex::new(child)));
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            killer.kill();
            return Err(Error::internal("a process with pipes was started and has none"));
        };
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (speaking, silent) = channel();
        let kept = said.clone();
        let listener = std::thread::Builder::new().name("python-output".to_string()).spawn(move || {
            listen(stderr, &kept);
            drop(speaking);
        });
        let mut process = Self {
            input: BufWriter::new(stdin),
            output: BufReader::with_capacity(1 << 16, stdout),
            killer,
            said,
            silent,
        };
        listener.map_err(failed)?;
        let mut source = Message::default();
        source.text(WORKER)?;
        if process.send(&source.take()).is_err() {
            return Err(process.ended());
        }
        Ok(process)
    }

    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Writes all of `bytes` now.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes)?;
        self.input.flush()
    }

    /// Why the process is no longer there, after a pipe to it was closed.
    pub fn ended(&mut self) -> Error {
        let deadline = Instant::now() + PATIENCE;
        let mut status = self.killer.0.lock().try_wait();
        while matches!(status, Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            status = self.killer.0.lock().try_wait();
        }
        let status = match status {
            Ok(Some(status)) => status.to_string(),
            _ => "it closed its pipes".to_string(),
        };
        // Until the sender is dropped; processes that the worker started may hold its output open for longer.
        let _ = self.silent.recv_timeout(PATIENCE);
        let mut text = format!("Python worker exited unexpectedly (crashed): {status}");
        for line in self.said.lock().iter() {
            text.push('\n');
            text.push_str(line);
        }
        Error::new(ErrorCode::UserCode, text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.killer.kill();
    }
}

/// Prints what a worker prints, line by line, and keeps the end of it.
fn listen(output: ChildStderr, kept: &Mutex<VecDeque<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_string();
        line.clear();
        if text.starts_with(CHATTER) {
            tracing::debug!(target: "tidemill::python", "{text}");
            continue;
        }
        // A closed standard error is no reason to end anything.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        let mut kept = kept.lock();
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}
