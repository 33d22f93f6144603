//! Files of every format in a directory or a bucket, exactly once for every reader of it.
//!
//! Comes in: the rows of a batch, in append mode. Goes out: one file per batch and partition value that has rows,
//! `city=Oslo/part-<batch>-<number>-<attempt>.parquet`. Fails: other output modes, columns that the format or the directories cannot
//! hold, a destination that cannot be written, staged data that is gone or damaged.
//!
//! A file is staged where no reader sees it, then the checkpoint logs what was staged, then the file appears, whole, under its name.
//! - On this machine it is a hidden file beside the directories, which is renamed (`local`).
//! - In a bucket it is a multipart upload that nobody completed yet (`object`). A staged object would not do: hiding names is a
//!   convention that not every reader keeps, and every object of a bucket is seen by somebody.
//!
//! A batch of one file appears at once; a batch of several, file by file. A crash in between is made up for by `settle`, which the next
//! start calls before it runs anything else: it gives every file that still lacks it its name. A batch that ran
//! again has another attempt and so other names, and of two attempts only the one that the checkpoint holds is ever published.

mod codec;
mod csv;
mod format;
mod local;
mod object;
mod partition;

use crate::checkpoint::FailPoints;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::sink::{OutputMode, Prepared, Settled, Sink, Writer};
use crate::storage::Location;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use format::Format;
use partition::Partitioning;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// The formats that this sink writes.
pub const FORMATS: [&str; 4] = ["csv", "json", "parquet", "text"];

/// The sink of files.
pub struct FileSink {
    name: String,
    place: Location,
    format: Arc<Format>,
    partition_by: Vec<String>,
    /// Most rows in a file.
    max_records: Option<usize>,
    fail: FailPoints,
    /// Whether the rows are a table, whose columns readers should find even without rows.
    table: bool,
    output: Option<Output>,
}

/// A destination as one query writes it.
#[derive(Clone)]
struct Output {
    partitioning: Arc<Partitioning>,
    target: Target,
}

#[derive(Clone)]
enum Target {
    Local(Arc<local::Directory>),
    Object(Arc<object::Prefix>),
}

/// A file to be written.
struct Planned {
    /// Path below the destination.
    name: String,
    rows: Vec<RecordBatch>,
}

/// What `stage` hands to `publish` and `settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    files: Vec<Part>,
}

/// A file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Path below the destination after publication.
    name: String,
    /// Length in bytes.
    bytes: u64,
    rows: u64,
    /// SHA-256 of the file, hexadecimal; of local files, which nothing else protects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sha256: String,
    /// The upload that holds the bytes of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<Upload>,
}

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    id: String,
    /// What the store said of each part.
    parts: Vec<String>,
}

impl FileSink {
    /// A sink of a format from the options `path`, `maxRecordsPerFile`, `compression` and those of the format, with a directory per value of
    /// the columns `partition_by`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`]; what [`Location::parse`] says of the path.
    pub fn new(
        name: &str,
        options: &mut OptionReader<'_>,
        partition_by: &[String],
        config: &Config,
        fail: FailPoints,
    ) -> Result<Self> {
        let place = Location::parse(options.path()?, config)?;
        if let Some(columns) = options.text("partitionBy") {
            return Err(options.invalid("partitionBy", columns, "no such option; call partition_by([...])"));
        }
        let format = Arc::new(Format::new(name, options, config.environment()?.time_zone)?);
        let max_records =
            options.positive("maxRecordsPerFile")?.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        let (name, partition_by) = (name.to_string(), partition_by.to_vec());
        Ok(Self { name, place, format, partition_by, max_records, fail, table: false, output: None })
    }

    fn output(&self) -> Result<Output> {
        self.output.clone().ok_or_else(|| Error::internal("a file sink was used before it was opened"))
    }

    /// The files of a batch, in the order of their directories.
    fn plan(&self, output: &Output, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<Vec<Planned>> {
        let (attempt, extension) = (short(attempt), self.format.extension());
        let mut files = Vec::new();
        for (directory, rows) in output.partitioning.split(rows)? {
            for rows in pieces(rows, self.max_records) {
                let name = format!("{directory}part-{batch:05}-{}-{attempt}.{extension}", files.len());
                files.push(Planned { name, rows });
            }
        }
        if self.table && files.is_empty() && self.partition_by.is_empty() {
            // The schema of Parquet, the header of CSV; a format that writes nothing without rows gets no file.
            let name = format!("part-{batch:05}-0-{attempt}.{extension}");
            files.push(Planned { name, rows: Vec::new() });
        }
        Ok(files)
    }

    /// What the checkpoint holds, if it is what this sink writes.
    fn payload(&self, prepared: &Prepared) -> Result<Payload> {
        let corrupt = |reason: String| corrupt(&self.place.url(), reason);
        let payload: Payload = serde_json::from_value(prepared.payload.clone()).map_err(|cause| {
            corrupt(format!("the sink's record of batch {} cannot be read: {cause}", prepared.batch))
        })?;
        let remote = matches!(self.place, Location::Object(_));
        for part in &payload.files {
            if !is_ours(&part.name) || part.upload.is_some() != remote {
                return Err(corrupt(format!("batch {} names '{}'", prepared.batch, part.name)));
            }
        }
        Ok(payload)
    }
}

#[async_trait]
impl Sink for FileSink {
    fn description(&self) -> String {
        format!("FileSink[{}]", self.place.url())
    }

    async fn check(&mut self, mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        if mode != OutputMode::Append {
            return Err(Error::new(
                ErrorCode::OutputModeUnsupportedSink,
                format!(
                    "the {} sink does not support the output mode {}: a file cannot take rows back; use append",
                    self.name,
                    mode.name()
                ),
            ));
        }
        let partitioning = Partitioning::new(schema, &self.partition_by, self.format.zone())?;
        self.format.check(partitioning.schema())?;
        match &self.place {
            Location::Local(path) => match std::fs::metadata(path) {
                Ok(found) if !found.is_dir() => Err(Error::new(
                    ErrorCode::Io,
                    format!("the {} sink's path {} is a file, not a directory", self.name, path.display()),
                )),
                _ => Ok(()),
            },
            Location::Object(prefix) => object::check(prefix).await,
        }
    }

    fn begin_table(&mut self) {
        self.table = true;
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        self.check(writer.mode, &writer.schema).await?;
        let partitioning = Arc::new(Partitioning::new(&writer.schema, &self.partition_by, self.format.zone())?);
        let format = self.format.clone();
        let schema = partitioning.schema().clone();
        let target = match &self.place {
            Location::Local(path) => {
                let query = short(writer.query_id);
                let directory = local::Directory::new(path.clone(), query, format, schema, self.fail.clone());
                Target::Local(Arc::new(directory))
            }
            Location::Object(prefix) => {
                Target::Object(Arc::new(object::Prefix::new(prefix.clone(), format, schema, self.fail.clone())?))
            }
        };
        if let Target::Local(directory) = &target {
            blocking(directory, local::Directory::create).await?;
        }
        self.output = Some(Output { partitioning, target });
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        let output = self.output()?;
        let planned = self.plan(&output, batch, attempt, rows)?;
        let files = match (&output.target, planned.is_empty()) {
            (_, true) => Vec::new(),
            (Target::Local(directory), _) => blocking(directory, move |directory| directory.stage(planned)).await?,
            (Target::Object(prefix), _) => prefix.stage(planned).await?,
        };
        serde_json::to_value(Payload { files })
            .map_err(|cause| Error::internal(format!("a list of files could not be written as JSON: {cause}")))
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let (files, batch) = (self.payload(prepared)?.files, prepared.batch);
        match self.output()?.target {
            Target::Local(directory) => {
                blocking(&directory, move |directory| directory.complete(batch, &files, false)).await
            }
            Target::Object(prefix) => prefix.complete(batch, &files, false).await,
        }
    }

    async fn settle(&mut self, prepared: &Prepared) -> Result<Settled> {
        let (files, batch) = (self.payload(prepared)?.files, prepared.batch);
        match self.output()?.target {
            Target::Local(directory) => {
                blocking(&directory, move |directory| directory.complete(batch, &files, true)).await?;
            }
            Target::Object(prefix) => prefix.complete(batch, &files, true).await?,
        }
        Ok(Settled::Published)
    }

    async fn sweep(&mut self, keep: Option<&Prepared>) -> Result<()> {
        let keep = match keep {
            Some(prepared) => self.payload(prepared)?.files,
            None => Vec::new(),
        };
        match self.output()?.target {
            Target::Local(directory) => blocking(&directory, move |directory| directory.sweep(&keep)).await,
            // Abandoned uploads cannot be listed through every store's interface; see `object`.
            Target::Object(_) => Ok(()),
        }
    }
}

/// Runs work that waits for the disk on the threads for it.
async fn blocking<T: Send + 'static>(
    directory: &Arc<local::Directory>,
    work: impl FnOnce(&local::Directory) -> Result<T> + Send + 'static,
) -> Result<T> {
    let directory = directory.clone();
    tokio::task::spawn_blocking(move || work(&directory))
        .await
        .map_err(|cause| Error::internal(format!("writing files ended early: {cause}")))?
}

/// The rows in pieces of at most `most`.
fn pieces(rows: Vec<RecordBatch>, most: Option<usize>) -> Vec<Vec<RecordBatch>> {
    let Some(most) = most else { return vec![rows] };
    let mut pieces = vec![Vec::new()];
    let mut room = most;
    for mut rows in rows {
        while rows.num_rows() > 0 {
            if room == 0 {
                pieces.push(Vec::new());
                room = most;
            }
            let taken = rows.num_rows().min(room);
            if let Some(piece) = pieces.last_mut() {
                piece.push(rows.slice(0, taken));
            }
            rows = rows.slice(taken, rows.num_rows() - taken);
            room -= taken;
        }
    }
    pieces
}

/// Whether a path is one that this sink makes: `column=value` directories, then `part-...`.
fn is_ours(name: &str) -> bool {
    let (directories, file) = name.rsplit_once('/').unwrap_or(("", name));
    let plain = |part: &str| !part.contains(['\\', '\0']);
    file.starts_with("part-")
        && plain(name)
        && (directories.is_empty() || directories.split('/').all(|d| d.contains('=')))
}

/// Staged data that is not as the checkpoint says.
fn corrupt(place: &str, reason: String) -> Error {
    Error::new(ErrorCode::CheckpointCorrupt, format!("{place}: {reason}"))
}

fn rows_of(rows: &[RecordBatch]) -> u64 {
    rows.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// The first eight hexadecimal digits.
fn short(id: Uuid) -> String {
    let mut text = id.simple().to_string();
    text.truncate(8);
    text
}
