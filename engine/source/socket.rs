//! Lines of text from a TCP socket, for trials: `value`, and with `includeTimestamp` the time of arrival.
//!
//! Comes in: `host`, `port`, and what the server there sends. Goes out: one row for each line; offsets count lines, from -1 before
//! the first, as Spark's. Fails: a server that is not there, and a logged batch that is to be read again after a restart.
//!
//! Nothing but this process holds the lines, so a batch that was planned and not committed when the process ended is lost: the
//! next start on its checkpoint fails and says so. A start after a clean end goes on with the lines of a new connection.

use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::source::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source};
use crate::types::{UTC, timestamp};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::Read;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of lines that wait to be committed before the socket is no longer read, so that the sender waits as well.
const BUFFER_BYTES: usize = 256 << 20;

/// The source of the format `socket`.
pub struct SocketSource {
    host: String,
    port: u16,
    schema: SchemaRef,
    connection: Option<Connection>,
    /// Offset of the last line that is committed, once the query's place is known.
    committed: Option<i64>,
    /// The greatest end that this process proposed: nothing past it can be read.
    proposed: i64,
    /// The end that `freeze` fixed.
    frozen: Option<i64>,
}

/// A socket and the thread that reads it. Dropping it ends both.
struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Wakes the thread when there is room again, or when it is to end.
    room: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: VecDeque<Line>,
    bytes: usize,
    closed: bool,
}

/// A line and the millisecond of its arrival.
#[derive(Clone)]
struct Line {
    text: Arc<str>,
    millis: i64,
}

impl SocketSource {
    /// A source from the options `host`, `port` and `includeTimestamp` (false).
    ///
    /// # Errors
    /// [`ErrorCode::MissingOption`] without a host or a port; [`ErrorCode::InvalidOption`] for options that are wrong.
    pub fn new(options: &mut OptionReader<'_>) -> Result<Self> {
        let missing = |key: &str| {
            Error::new(
                ErrorCode::MissingOption,
                format!("option '{key}' of the socket source is required; the lines come from there"),
            )
        };
        let host = options.text("host").filter(|host| !host.trim().is_empty()).ok_or_else(|| missing("host"))?.trim();
        let port = options
            .parsed("port", "a port between 1 and 65535", |text| text.parse::<u16>().ok().filter(|port| *port > 0))?
            .ok_or_else(|| missing("port"))?;
        let include_timestamp = options.bool("includeTimestamp")?.unwrap_or(false);
        let mut fields = vec![Field::new("value", DataType::Utf8, true)];
        if include_timestamp {
            fields.push(Field::new("timestamp", timestamp(), true));
        }
        Ok(Self {
            host: host.to_string(),
            port,
            schema: Arc::new(Schema::new(fields)),
            connection: None,
            committed: None,
            proposed: -1,
            frozen: None,
        })
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| Error::internal("a socket source was used before it was checked"))
    }

    /// The offset of the newest line, for a query whose place is `start`.
    fn newest(&mut self, start: i64) -> Result<i64> {
        let base = *self.committed.get_or_insert(start);
        let waiting = self.connection()?.shared.buffer.lock().lines.len();
        Ok(base.saturating_add(i64::try_from(waiting).unwrap_or(i64::MAX)))
    }
}

#[async_trait]
impl Source for SocketSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        format!("TextSocketV2[host: {}, port: {}]", self.host, self.port)
    }

    async fn check(&mut self) -> Result<()> {
        let (host, port) = (self.host.clone(), self.port);
        let connected = tokio::task::spawn_blocking(move || connect(&host, port)).await;
        let stream = connected.map_err(|error| Error::internal(format!("connecting did not finish: {error}")))??;
        let name = self.description();
        self.connection = Some(Connection::read(stream, name)?);
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        self.committed = Some(-1);
        Ok(Offset::from(-1))
    }

    async fn propose(&mut self, start: &Offset, _admission: Admission) -> Result<Proposal> {
        let start = parse_offset(start)?;
        let newest = self.newest(start)?;
        let latest = self.frozen.map_or(newest, |frozen| frozen.max(start));
        self.proposed = self.proposed.max(latest);
        Ok(Proposal { end: Offset::from(latest), latest: Offset::from(latest) })
    }

    async fn freeze(&mut self) -> Result<()> {
        // Without a committed batch or an initial offset a batch is about to be read again, which will fail.
        let start = self.committed.unwrap_or(-1);
        self.frozen = Some(self.newest(start)?);
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let (start, end) = (parse_offset(start)?, parse_offset(end)?);
        let committed = self.committed.unwrap_or(start);
        if end > start && (end > self.proposed || start < committed) {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "lines {} to {end} of {} were planned for a batch that did not finish, and cannot be read again: only the \
                     process that received them held them. Start with a new checkpointLocation, or use a source that keeps \
                     its data (Kafka, files) where lines must not be lost",
                    start + 1,
                    self.description()
                ),
            ));
        }
        let first = usize::try_from(start - committed).unwrap_or(0);
        let count = usize::try_from(end - start).unwrap_or(0);
        let lines = self.connection()?.shared.buffer.lock().lines.iter().skip(first).take(count).cloned().collect();
        Ok(Box::new(SocketChunks {
            lines,
            schema: self.schema.clone(),
            projection: request.projection.clone(),
            chunk_bytes: request.chunk_bytes,
            stop: request.stop.clone(),
        }))
    }

    async fn commit(&mut self, end: &Offset) -> Result<()> {
        let end = parse_offset(end)?;
        // At a restart this is the first call, and the new connection's lines follow from here.
        let committed = *self.committed.get_or_insert(end);
        let done = usize::try_from(end - committed).unwrap_or(0);
        let shared = &self.connection()?.shared;
        let mut buffer = shared.buffer.lock();
        for _ in 0..done {
            let Some(line) = buffer.lines.pop_front() else { break };
            buffer.bytes = buffer.bytes.saturating_sub(line.text.len());
        }
        drop(buffer);
        shared.room.notify_all();
        self.committed = Some(end.max(committed));
        self.proposed = self.proposed.max(end);
        Ok(())
    }
}

fn parse_offset(offset: &Offset) -> Result<i64> {
    offset.as_i64().filter(|line| *line >= -1).ok_or_else(|| {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{offset} is not an offset of the socket source"))
    })
}

fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let fail = |cause: std::io::Error| {
        Error::caused_by(
            ErrorCode::Io,
            format!(
                "cannot connect to {host}:{port}: {cause}; start the server first, or correct the options host and port"
            ),
            cause,
        )
    };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs().map_err(fail)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

impl Connection {
    /// Begins to read a socket into the buffer.
    fn read(stream: TcpStream, name: String) -> Result<Self> {
        let fail =
            |cause: std::io::Error| Error::caused_by(ErrorCode::Io, format!("cannot read {name}: {cause}"), cause);
        let shared = Arc::new(Shared::default());
        let (input, filled) = (stream.try_clone().map_err(fail)?, shared.clone());
        let thread = std::thread::Builder::new().name("socket-source".into());
        let about = name.clone();
        thread.spawn(move || fill(input, &filled, &about)).map_err(fail)?;
        Ok(Self { stream, shared })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.buffer.lock().closed = true;
        self.shared.room.notify_all();
        // The peer may have closed it already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads lines until the server closes, or until the source is dropped.
fn fill(mut input: TcpStream, shared: &Shared, name: &str) {
    let mut bytes = vec![0; 64 << 10];
    let mut lines = LineBuffer::default();
    loop {
        let ended = match input.read(&mut bytes) {
            Ok(0) => Some("the server closed the connection".to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Some(error.to_string()),
            Ok(count) => {
                lines.take(bytes.get(..count).unwrap_or_default());
                None
            }
        };
        if ended.is_some() {
            lines.end();
        }
        let millis = chrono::Utc::now().timestamp_millis();
        let mut buffer = shared.buffer.lock();
        for text in lines.done.drain(..) {
            buffer.bytes += text.len();
            buffer.lines.push_back(Line { text, millis });
        }
        if buffer.closed {
            return;
        }
        if let Some(reason) = ended {
            tracing::warn!("{name}: {reason}; no more lines will come");
            return;
        }
        while buffer.bytes > BUFFER_BYTES && !buffer.closed {
            shared.room.wait(&mut buffer);
        }
    }
}

/// Bytes to lines, as Java's readers see them: `\n`, `\r` and `\r\n` end a line, and so does the end of the data.
#[derive(Default)]
struct LineBuffer {
    open: Vec<u8>,
    after_return: bool,
    done: Vec<Arc<str>>,
}

impl LineBuffer {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_return) => {}
                b'\n' => self.finish(),
                b'\r' => {
                    self.finish();
                    self.after_return = true;
                }
                _ => {
                    self.after_return = false;
                    self.open.push(*byte);
                }
            }
        }
    }

    fn finish(&mut self) {
        // What is not UTF-8 becomes U+FFFD, as in Java.
        self.done.push(String::from_utf8_lossy(&self.open).into());
        self.open.clear();
    }

    fn end(&mut self) {
        if !self.open.is_empty() {
            self.finish();
        }
    }
}

/// The lines of a batch.
struct SocketChunks {
    lines: VecDeque<Line>,
    schema: SchemaRef,
    projection: Vec<usize>,
    chunk_bytes: usize,
    stop: Arc<AtomicBool>,
}

impl Chunks for SocketChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        if self.lines.is_empty() || self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < self.chunk_bytes.max(1) {
            let Some(line) = self.lines.pop_front() else { break };
            bytes += line.text.len() + 16;
            taken.push(line);
        }
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(taken.iter().map(|line| line.text.as_ref())))];
        if self.schema.fields().len() > 1 {
            let times: TimestampMicrosecondArray =
                taken.iter().map(|line| Some(line.millis.saturating_mul(1_000))).collect();
            columns.push(Arc::new(times.with_timezone(UTC)));
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(taken.len()));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)?.project(&self.projection)?;
        Ok(Some(Chunk::Columns { batch, origin: Origin::Process }))
    }
}

#[cfg(test)]
mod tests;
