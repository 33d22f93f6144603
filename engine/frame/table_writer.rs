//! [`DataFrameWriter`]: where a table's rows go, at once.
//!
//! Comes in: a frame without a stream in it, a sink, what to do where rows are already, options. Goes out: files, records or text, written
//! by the same [`Sink`]s that streams write to: the table is their one batch. Fails: everything that can be known before the rows
//! are computed, before they are computed; a failure later leaves what was there as it was, unless it came while the files that an
//! overwriting replaces were being removed.

use super::data_frame::DataFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::options::{IntoOption, Options};
use crate::sink::{OutputMode, Prepared, Sink, Writer, builtin, files};
use crate::sql::Managed;
use crate::storage::Location;
use crate::table;
use bytes::Bytes;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tracing::warn;
use uuid::Uuid;

/// What [`DataFrameWriter::save`] does where rows are already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SaveMode {
    /// Adds to them.
    Append,
    /// Replaces them: the new files are written first, then the files that were there are removed.
    Overwrite,
    /// Fails, and writes nothing.
    #[default]
    ErrorIfExists,
    /// Leaves them, and writes nothing.
    Ignore,
}

impl SaveMode {
    /// The mode of a name, in any case: `append`, `overwrite`, `ignore`, `error`, `errorifexists` or `default`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidSaveMode`] for another name.
    pub fn parse(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "append" => Ok(Self::Append),
            "overwrite" => Ok(Self::Overwrite),
            "ignore" => Ok(Self::Ignore),
            "error" | "errorifexists" | "default" => Ok(Self::ErrorIfExists),
            _ => Err(Error::new(
                ErrorCode::InvalidSaveMode,
                format!(
                    "the save mode {name:?} is invalid; valid ones are append, overwrite, ignore, error, errorifexists and default"
                ),
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::ErrorIfExists => "errorifexists",
            Self::Ignore => "ignore",
        }
    }
}

/// A save mode, as a value or by its name.
pub trait IntoSaveMode {
    /// The mode.
    ///
    /// # Errors
    /// A name that is no mode.
    fn into_save_mode(self) -> Result<SaveMode>;
}

impl IntoSaveMode for SaveMode {
    fn into_save_mode(self) -> Result<SaveMode> {
        Ok(self)
    }
}

impl IntoSaveMode for &str {
    fn into_save_mode(self) -> Result<SaveMode> {
        SaveMode::parse(self)
    }
}

/// Describes where the rows of a table go.
///
/// ```
/// # use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("even").to_string_lossy().into_owned();
/// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let even = DataFrame::range(&session, 0, 10, 2)?;
/// even.write().mode("overwrite").parquet(&path).await?;
/// assert_eq!(session.read().load_path(&path).await?.count().await?, 5);
/// // Where rows are already, the default is to fail.
/// let error = even.write().parquet(&path).await.unwrap_err();
/// assert_eq!(error.code(), ErrorCode::PathAlreadyExists);
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
pub struct DataFrameWriter {
    frame: DataFrame,
    target: Target,
    mode: Result<SaveMode>,
    partition_by: Vec<String>,
    options: Options,
    console: Option<Box<dyn Write + Send>>,
}

enum Target {
    Format(String),
    Custom(Box<dyn Sink>),
}

impl DataFrame {
    /// Starts to describe where the rows of a table go.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter {
            frame: self.clone(),
            // Spark's default format.
            target: Target::Format("parquet".to_string()),
            mode: Ok(SaveMode::default()),
            partition_by: Vec::new(),
            options: Options::new(),
            console: None,
        }
    }
}

impl DataFrameWriter {
    /// The sink: `parquet` (the default), `json`, `csv`, `text`, `kafka`, `console` or `noop`.
    pub fn format(mut self, format: &str) -> Self {
        self.target = Target::Format(format.to_string());
        self
    }

    /// What to do where rows are already: a [`SaveMode`] or its name; to fail, by default. It is of no meaning to `console`, `noop` and
    /// sinks of your own; `kafka` can only append.
    pub fn mode(mut self, mode: impl IntoSaveMode) -> Self {
        self.mode = mode.into_save_mode();
        self
    }

    /// An option of the sink, by Spark's key in any case.
    pub fn option(mut self, key: &str, value: impl IntoOption) -> Self {
        self.options.set(key, value);
        self
    }

    /// Several options.
    pub fn options<K: AsRef<str>, V: IntoOption>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        for (key, value) in options {
            self.options.set(key.as_ref(), value);
        }
        self
    }

    /// Writes files into a directory per value of these columns, as [`DataStreamWriter::partition_by`](super::DataStreamWriter::partition_by).
    pub fn partition_by<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Where `console` prints, instead of standard output.
    pub fn console_output(mut self, output: impl Write + Send + 'static) -> Self {
        self.console = Some(Box::new(output));
        self
    }

    /// Writes to a sink of your own, which is given one batch, number 0.
    pub fn sink(mut self, sink: Box<dyn Sink>) -> Self {
        self.target = Target::Custom(sink);
        self
    }

    /// Writes Parquet files into `path`.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub async fn parquet(self, path: &str) -> Result<()> {
        self.format("parquet").save_path(path).await
    }

    /// Writes files of JSON lines into `path`.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub async fn json(self, path: &str) -> Result<()> {
        self.format("json").save_path(path).await
    }

    /// Writes CSV files into `path`.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub async fn csv(self, path: &str) -> Result<()> {
        self.format("csv").save_path(path).await
    }

    /// Writes files of text into `path`: the lines are the one column, a string.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub async fn text(self, path: &str) -> Result<()> {
        self.format("text").save_path(path).await
    }

    /// Writes the rows into `path`.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub async fn save_path(self, path: &str) -> Result<()> {
        self.option("path", path).save().await
    }

    /// Writes the rows as the table `name` of the session, below `spark.sql.warehouse.dir`; the table is there for SQL afterwards.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`]; [`ErrorCode::TableExists`] with [`SaveMode::ErrorIfExists`]; a name that is a view's.
    pub async fn save_as_table(mut self, name: &str) -> Result<()> {
        let mode = match self.mode.clone()? {
            SaveMode::ErrorIfExists if self.frame.session().catalog().get(name).is_some() => {
                return Err(Error::new(
                    ErrorCode::TableExists,
                    format!(
                        "there is a table or view named `{name}` already; use mode(\"overwrite\") or mode(\"append\")"
                    ),
                ));
            }
            SaveMode::Ignore if self.frame.session().catalog().get(name).is_some() => return Ok(()),
            // Rows in the place of a table that is not known are another session's: only who says so overwrites them.
            SaveMode::Ignore => SaveMode::ErrorIfExists,
            mode => mode,
        };
        let Target::Format(format) = &self.target else { return Err(not_a_table(name)) };
        let session = self.frame.session().clone();
        let table = Managed::of(&session, name, format, &self.partition_by)?;
        self.target = Target::Format(table.format.clone());
        self.mode = Ok(mode);
        Box::pin(self.save_path(&table.location)).await?;
        table.keep(&session)?;
        crate::sql::keep_again(&session, name).await
    }

    /// Adds the rows to the table `name` of the session by position, or puts them in place of its rows with [`SaveMode::Overwrite`].
    ///
    /// # Errors
    /// [`ErrorCode::TableNotFound`]; rows whose columns are not the table's; as [`DataFrameWriter::save`].
    pub async fn insert_into(self, name: &str) -> Result<()> {
        let overwrite = self.mode? == SaveMode::Overwrite;
        crate::sql::insert(&self.frame, name, overwrite).await
    }

    /// Computes the rows, all of them in memory, and writes them. All of a table's files appear, or none, but for a crash among the renames.
    ///
    /// # Errors
    /// [`ErrorCode::CallOnStreamingDataset`] for a frame over a stream; unknown formats, options and modes; with
    /// [`SaveMode::ErrorIfExists`], [`ErrorCode::PathAlreadyExists`]; what computing and writing rows fails with.
    pub async fn save(self) -> Result<()> {
        if self.frame.is_streaming() {
            return Err(Error::new(
                ErrorCode::CallOnStreamingDataset,
                "the method write can not be called on a frame over a stream; use write_stream()",
            ));
        }
        let mode = self.mode?;
        let session = self.frame.session().clone();
        let Self { frame, target, partition_by, options, console, .. } = self;
        let mut place = None;
        let mut sink = match target {
            Target::Custom(_) if !partition_by.is_empty() => {
                return Err(builtin::not_partitioned("a sink of your own"));
            }
            Target::Custom(sink) => sink,
            Target::Format(format) => {
                let lower = format.to_ascii_lowercase();
                match lower.as_str() {
                    "memory" => {
                        return Err(Error::new(
                            ErrorCode::UnsupportedOperation,
                            "the memory sink takes streams only; a table's rows are given by collect()",
                        ));
                    }
                    "kafka" if matches!(mode, SaveMode::Overwrite | SaveMode::Ignore) => {
                        return Err(Error::new(
                            ErrorCode::UnsupportedOperation,
                            format!(
                                "the save mode {} is not allowed for Kafka; allowed are append and errorifexists (the default)",
                                mode.name()
                            ),
                        ));
                    }
                    file if files::FORMATS.contains(&file) => {
                        let path = options.reader(format!("the {file} sink")).path()?;
                        place = Some(Location::parse(path, session.conf())?);
                        refuse_equal_names(&frame)?;
                    }
                    _ => {}
                }
                let request = builtin::Request {
                    format: &format,
                    options: &options,
                    partition_by: &partition_by,
                    console,
                    config: session.conf(),
                    fail: &session.fail_points(),
                };
                builtin::create(request)?.sink
            }
        };
        let schema = frame.schema().clone();
        sink.begin_table();
        sink.check(OutputMode::Append, &schema).await?;
        let mut replaced = Vec::new();
        if let Some(place) = &place {
            match (mode, place) {
                (SaveMode::Append, _) => {}
                (SaveMode::Overwrite, _) => replaced = files_of(place).await?,
                (SaveMode::Ignore, place) if holds_rows(place).await? => return Ok(()),
                (SaveMode::ErrorIfExists, place) if holds_rows(place).await? => {
                    return Err(Error::new(
                        ErrorCode::PathAlreadyExists,
                        format!(
                            "Path {} already exists; set mode(\"overwrite\") to replace it, mode(\"append\") to add to it",
                            place.url()
                        ),
                    ));
                }
                _ => {}
            }
        }
        let rows = table::collect(&session, frame.plan()).await?;
        // An id of its own, so that it fences no other query and nothing takes its files for another's.
        let (query_id, run_id, attempt) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        sink.open(&Writer { query_id, run_id, epoch: 1, mode: OutputMode::Append, schema }).await?;
        let written = match sink.stage(0, attempt, &rows).await {
            Ok(payload) => sink.publish(&Prepared { batch: 0, attempt, payload }).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // Nobody sees what was staged; it would only take up space.
            if let Err(second) = sink.sweep(None).await {
                warn!(error = %second, "what a failed save had staged could not be removed");
            }
            return Err(error);
        }
        match place {
            Some(place) => {
                remove(&place, replaced).await?;
                mark(&place).await
            }
            None => Ok(()),
        }
    }
}

fn not_a_table(name: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!("a sink of your own cannot write the table `{name}`; use format(...)"),
    )
}

/// Files whose columns cannot be told apart could not be read again.
fn refuse_equal_names(frame: &DataFrame) -> Result<()> {
    let mut seen = HashSet::new();
    match frame.schema().fields().iter().find(|field| !seen.insert(field.name().to_lowercase())) {
        Some(field) => Err(Error::new(
            ErrorCode::ColumnAlreadyExists,
            format!("the column `{}` already exists; choose another name or rename the existing column", field.name()),
        )),
        None => Ok(()),
    }
}

/// The file that Spark leaves beside the files of a table once all of them are there; no reader takes it for rows.
const SUCCESS: &str = "_SUCCESS";

/// Tells whoever waits for the rows that all of them are there.
async fn mark(place: &Location) -> Result<()> {
    match place {
        Location::Local(root) => {
            let (root, path) = (root.clone(), root.join(SUCCESS));
            // A table without rows has no file that would have made the directory.
            let written = move || {
                std::fs::create_dir_all(root)
                    .and_then(|()| std::fs::write(&path, ""))
                    .map_err(|cause| failed("write", &path, cause))
            };
            on_disk(written).await
        }
        Location::Object(prefix) => prefix.join(SUCCESS)?.put(Bytes::new()).await,
    }
}

/// Whether readers of a place find something in it.
async fn holds_rows(place: &Location) -> Result<bool> {
    // A directory of a partition column may begin as it likes.
    let unseen = |part: &str| part.starts_with('.') || (part.starts_with('_') && !part.contains('='));
    let visible = |name: &String| !name.split('/').any(unseen);
    Ok(files_of(place).await?.iter().any(visible))
}

/// The files below a place, by their paths below it. Names that begin with a dot are left out: what a running query has staged is among them.
async fn files_of(place: &Location) -> Result<Vec<String>> {
    let hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
    match place {
        Location::Local(root) => {
            let root = root.clone();
            on_disk(move || {
                let mut found = Vec::new();
                match list(&root, "", &mut found) {
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(found),
                    Err(cause) => Err(failed("list", &root, cause)),
                    Ok(()) => Ok(found),
                }
            })
            .await
        }
        Location::Object(prefix) => {
            let below = |path: &object_store::path::Path| {
                let name = path.as_ref().strip_prefix(prefix.path.as_ref()).unwrap_or(path.as_ref());
                name.trim_start_matches('/').to_string()
            };
            let names = prefix.list().await?.into_iter().map(|object| below(&object.location));
            Ok(names.filter(|name| !name.is_empty() && !hidden(name)).collect())
        }
    }
}

fn list(root: &Path, below: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        // A link is removed as such; what it leads to is somebody else's.
        match entry.file_type()?.is_dir() {
            true => list(root, &name, found)?,
            false => found.push(name),
        }
    }
    Ok(())
}

/// Removes every file below a place, as of a table that is dropped.
///
/// # Errors
/// What the place does not let go.
pub(crate) async fn remove_all(place: &Location) -> Result<()> {
    remove(place, files_of(place).await?).await?;
    let Location::Local(root) = place else { return Ok(()) };
    let root = root.clone();
    on_disk(move || match std::fs::remove_dir(&root) {
        Err(cause) if !matches!(cause.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            Err(failed("remove", &root, cause))
        }
        _ => Ok(()),
    })
    .await
}

/// Removes files, and directories that they leave empty.
async fn remove(place: &Location, names: Vec<String>) -> Result<()> {
    match place {
        Location::Local(root) => {
            let root = root.clone();
            on_disk(move || remove_local(&root, &names)).await
        }
        Location::Object(prefix) => {
            for name in names {
                prefix.join(&name)?.delete().await?;
            }
            Ok(())
        }
    }
}

fn remove_local(root: &Path, names: &[String]) -> Result<()> {
    let mut directories = BTreeSet::new();
    for name in names {
        let path = root.join(name);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path, cause)),
            _ => {}
        }
        directories.extend(name.match_indices('/').filter_map(|(at, _)| name.get(..at)).map(|name| root.join(name)));
    }
    // The longest first: a directory comes after what is in it.
    for directory in directories.iter().rev() {
        match std::fs::remove_dir(directory) {
            Ok(()) => {}
            Err(cause) if matches!(cause.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {}
            Err(cause) => return Err(failed("remove", directory, cause)),
        }
    }
    // What stays must not come back with the power.
    for directory in directories.iter().map(PathBuf::as_path).chain([root]).filter(|directory| directory.is_dir()) {
        std::fs::File::open(directory)
            .and_then(|opened| opened.sync_all())
            .map_err(|cause| failed("sync", directory, cause))?;
    }
    Ok(())
}

fn failed(doing: &str, path: &Path, cause: io::Error) -> Error {
    Error::caused_by(ErrorCode::Io, format!("cannot {doing} {}: {cause}", path.display()), cause)
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::internal(format!("work on files ended early: {cause}")))?
}
