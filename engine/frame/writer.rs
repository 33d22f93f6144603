//! [`DataStreamWriter`]: where a frame's rows go, and starting the query.
//!
//! Comes in: a frame, a sink, an output mode, a trigger, options. Goes out: a running [`StreamingQuery`]. Fails: everything that can be known
//! before the first batch, before anything is written.

use super::data_frame::DataFrame;
use super::query::{StreamingQuery, StreamingQueryManager};
use crate::batch::Trigger;
use crate::batch::continuous;
use crate::batch::executor::panicked;
use crate::batch::runner::{Definition, Runner};
use crate::batch::shared::{Monitoring, Shared};
use crate::checkpoint;
use crate::config::CHECKPOINT_LOCATION;
use crate::error::{Error, ErrorCode, Result};
use crate::options::{IntoOption, Options};
use crate::plan::explain::explain;
use crate::plan::fingerprint::Fingerprint;
use crate::plan::lower::lower;
use crate::plan::output_mode;
use crate::sink::foreach::{ForeachSink, ForeachWriter};
use crate::sink::foreach_batch::{BatchFunction, ForeachBatchSink};
use crate::sink::memory::MemoryTable;
use crate::sink::{OutputMode, Sink, builtin};
use crate::sql::Managed;
use crate::table;
use futures::FutureExt;
use std::future::Future;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::{error, warn};
use uuid::Uuid;

/// Describes where the rows of a frame go.
pub struct DataStreamWriter {
    frame: DataFrame,
    target: Target,
    mode: Result<OutputMode>,
    trigger: Result<Trigger>,
    name: Option<String>,
    partition_by: Vec<String>,
    options: Options,
    console: Option<Box<dyn Write + Send>>,
}

enum Target {
    Format(String),
    Table(MemoryTable),
    Function(BatchFunction),
    Rows(ForeachSink),
    Custom(Box<dyn Sink>),
    /// A sink that needs no checkpoint that lasts.
    #[cfg(feature = "connect")]
    Transient(Box<dyn Sink>),
}

/// An output mode, as a value or by its name.
pub trait IntoOutputMode {
    /// The mode.
    ///
    /// # Errors
    /// A name that is no mode.
    fn into_output_mode(self) -> Result<OutputMode>;
}

impl IntoOutputMode for OutputMode {
    fn into_output_mode(self) -> Result<OutputMode> {
        Ok(self)
    }
}

impl IntoOutputMode for &str {
    fn into_output_mode(self) -> Result<OutputMode> {
        OutputMode::parse(self)
    }
}

/// A trigger, or the mistake in its description.
pub trait IntoTrigger {
    /// The trigger.
    ///
    /// # Errors
    /// An interval that does not parse.
    fn into_trigger(self) -> Result<Trigger>;
}

impl IntoTrigger for Trigger {
    fn into_trigger(self) -> Result<Trigger> {
        Ok(self)
    }
}

impl IntoTrigger for Result<Trigger> {
    fn into_trigger(self) -> Result<Trigger> {
        self
    }
}

impl DataStreamWriter {
    pub(super) fn new(frame: DataFrame) -> Self {
        Self {
            frame,
            // Spark's default format.
            target: Target::Format("parquet".to_string()),
            mode: Ok(OutputMode::Append),
            trigger: Ok(Trigger::default()),
            name: None,
            partition_by: Vec::new(),
            options: Options::new(),
            console: None,
        }
    }

    /// `append` (the default), `update` or `complete`.
    pub fn output_mode(mut self, mode: impl IntoOutputMode) -> Self {
        self.mode = mode.into_output_mode();
        self
    }

    /// When batches run; as fast as possible by default.
    pub fn trigger(mut self, trigger: impl IntoTrigger) -> Self {
        self.trigger = trigger.into_trigger();
        self
    }

    /// Names the query.
    pub fn query_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// The sink: `parquet` (the default), `json`, `csv`, `text`, `kafka`, `console`, `memory` or `noop`.
    pub fn format(mut self, format: &str) -> Self {
        self.target = Target::Format(format.to_string());
        self
    }

    /// An option of the sink, by Spark's key in any case; or `checkpointLocation`.
    pub fn option(mut self, key: &str, value: impl IntoOption) -> Self {
        self.options.set(key, value);
        self
    }

    /// Writes files into a directory per value of these columns, `city=Oslo/day=2024-01-01/part-...`, as Spark and Hive lay them out.
    /// The columns are left out of the files.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # fn write(rides: DataFrame) {
    /// let writer = rides.write_stream().format("json").partition_by(["city", "day"]).option("path", "s3a://lake/rides");
    /// # }
    /// ```
    pub fn partition_by<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Where the console sink prints, instead of standard output.
    pub fn console_output(mut self, output: impl Write + Send + 'static) -> Self {
        self.console = Some(Box::new(output));
        self
    }

    /// Calls `function` with the rows of every batch, as a table, and the batch's number. At least once: see [`ForeachBatchSink`] for how to make it exactly once.
    pub fn foreach_batch<F, R>(mut self, function: F) -> Self
    where
        F: Fn(DataFrame, u64) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        let session = self.frame.session().clone();
        self.target = Target::Function(Arc::new(move |batches, schema, id| {
            match DataFrame::from_batches(&session, schema, batches) {
                Ok(frame) => function(frame, id).boxed(),
                Err(error) => std::future::ready(Err(error)).boxed(),
            }
        }));
        self
    }

    /// Gives every row to `writer`: a [`ForeachWriter`], or a closure that takes a [`Row`](crate::sink::foreach::Row). At
    /// least once.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::sink::foreach::Row;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let numbers = session.read_stream().format("rate").load().await?;
    /// let query = numbers.write_stream().trigger(Trigger::AvailableNow).foreach(|row: &Row<'_>| {
    ///     println!("{:?}", row.get::<i64>("value")?);
    ///     Ok(())
    /// });
    /// query.start().await?.await_termination().await?;
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    pub fn foreach(mut self, writer: impl ForeachWriter + 'static) -> Self {
        self.target = Target::Rows(ForeachSink::new(writer));
        self
    }

    /// Writes to a sink of your own.
    pub fn sink(mut self, sink: Box<dyn Sink>) -> Self {
        self.target = Target::Custom(sink);
        self
    }

    /// Writes to a sink that takes rows at least once, as `foreach` does.
    #[cfg(feature = "connect")]
    pub(crate) fn transient_sink(mut self, sink: Box<dyn Sink>) -> Self {
        self.target = Target::Transient(sink);
        self
    }

    /// Writes to a table in memory, which [`MemoryTable::rows`] reads.
    pub fn table(mut self, table: &MemoryTable) -> Self {
        self.target = Target::Table(table.clone());
        self
    }

    /// Starts the query with files below `path`.
    ///
    /// # Errors
    /// As [`DataStreamWriter::start`].
    pub async fn start_path(self, path: &str) -> Result<StreamingQuery> {
        self.option("path", path).start().await
    }

    /// Starts the query with the table `name` of the session as its sink: files below `spark.sql.warehouse.dir` unless the table has a place of its own.
    ///
    /// # Errors
    /// As [`DataStreamWriter::start`]; a name that is a view's.
    pub async fn to_table(mut self, name: &str) -> Result<StreamingQuery> {
        let session = self.frame.session().clone();
        let Target::Format(format) = &self.target else {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!("foreach, foreach_batch and sinks of your own cannot write the table `{name}`; use start()"),
            ));
        };
        let table = Managed::of(&session, name, format, &self.partition_by)?;
        self.target = Target::Format(table.format.clone());
        let query = self.start_path(&table.location).await?;
        table.keep(&session)?;
        Ok(query)
    }

    /// Starts the query. It runs until it is stopped, its trigger is done, or it fails.
    ///
    /// # Errors
    /// Unknown formats and options, output modes that the plan forbids, sources and sinks that cannot be reached, checkpoints that cannot
    /// be used or belong to another query.
    pub async fn start(self) -> Result<StreamingQuery> {
        let session = self.frame.session().clone();
        let run_id = Uuid::new_v4();
        let _reservation = session.streams().reserve(run_id, self.name.as_deref())?;
        // A source or a sink of the user's may panic, which must not be the caller's end.
        let opened = AssertUnwindSafe(self.open(run_id)).catch_unwind().await;
        let (query, runner, temporary) = opened.unwrap_or_else(|panic| Err(panicked("the start", &*panic)))?;
        session.streams().started(&query);
        let ending = Ending { query: query.clone(), manager: session.streams().clone(), outcome: None };
        session.streams().announce(&query).await;
        tokio::spawn(async move {
            let mut ending = ending;
            let outcome = AssertUnwindSafe(runner.run()).catch_unwind().await;
            // Removing a directory blocks. It is gone before anybody hears that the query has ended.
            let _ = tokio::task::spawn_blocking(move || drop(temporary)).await;
            ending.outcome = Some(match outcome {
                Ok(result) => result.err(),
                Err(panic) => Some(panicked("the query", &*panic)),
            });
        });
        Ok(query)
    }

    async fn open(mut self, run_id: Uuid) -> Result<(StreamingQuery, Runner, Option<TemporaryCheckpoint>)> {
        if !self.frame.is_streaming() {
            return Err(Error::new(
                ErrorCode::WriteStreamNotAllowed,
                "write_stream can be called on a frame over a stream only; this one is a table: use write()",
            ));
        }
        let session = self.frame.session().clone();
        let (mode, trigger) = (self.mode?, self.trigger?);
        let plan = self.frame.plan().clone();
        output_mode::check(&plan, mode)?;
        if let Some((flow, interval_ms)) = trigger.flow() {
            continuous::check(&plan, mode, flow, interval_ms, session.conf().real_time_least()?)?;
        }
        let lowered = lower(&plan)?;
        // Tables that the stream is joined with are read once, here.
        for joined in lowered.tables() {
            let rows = table::collect_one(&session, &joined.table).await?;
            if joined.rows.set(rows).is_err() {
                return Err(Error::internal("a table was loaded twice"));
            }
        }
        let device = session.device()?;
        let location = self.options.remove("checkpointLocation");
        if !self.partition_by.is_empty() && !matches!(self.target, Target::Format(_)) {
            return Err(builtin::not_partitioned("a memory table, foreach_batch or a sink of your own"));
        }
        // Whether the sink holds what earlier runs wrote. The complete mode writes the whole table anew.
        let mut continues = true;
        let mut named_table = None;
        let (sink, keeps): (Box<dyn Sink>, bool) = match self.target {
            Target::Format(format) if format.eq_ignore_ascii_case("memory") => {
                if !self.partition_by.is_empty() {
                    return Err(builtin::not_partitioned("the memory sink"));
                }
                builtin::no_options(&self.options, "the memory sink")?;
                let table = MemoryTable::new(self.name.as_deref())?;
                continues = false;
                named_table = Some(table.clone());
                (Box::new(table.sink()), false)
            }
            Target::Format(format) => {
                let request = builtin::Request {
                    format: &format,
                    options: &self.options,
                    partition_by: &self.partition_by,
                    console: self.console,
                    config: session.conf(),
                    fail: &session.fail_points(),
                };
                let created = builtin::create(request)?;
                (created.sink, created.needs_checkpoint)
            }
            Target::Table(table) => {
                builtin::no_options(&self.options, "a memory table")?;
                // A table that an earlier run of this process wrote to still has its rows.
                continues = !table.schema().fields().is_empty();
                (Box::new(table.sink()), false)
            }
            Target::Rows(sink) => {
                builtin::no_options(&self.options, "foreach")?;
                (Box::new(sink), false)
            }
            Target::Function(function) => {
                builtin::no_options(&self.options, "foreach_batch")?;
                (Box::new(ForeachBatchSink::new(function)), false)
            }
            Target::Custom(sink) => {
                builtin::no_options(&self.options, "a sink of your own")?;
                (sink, true)
            }
            #[cfg(feature = "connect")]
            Target::Transient(sink) => {
                builtin::no_options(&self.options, "foreach")?;
                (sink, false)
            }
        };
        let parent = session.conf().get(CHECKPOINT_LOCATION);
        let (checkpoint, temporary) = match (location, parent, &self.name) {
            (Some(location), _, _) => (location, None),
            (None, Some(parent), Some(name)) => {
                if name.contains(['/', '\\']) || name.starts_with('.') {
                    return Err(Error::new(
                        ErrorCode::InvalidOption,
                        format!(
                            "the query name {name:?} cannot name a directory below {CHECKPOINT_LOCATION}; use another, or option(\"checkpointLocation\", ...)"
                        ),
                    ));
                }
                (format!("{}/{name}", parent.trim_end_matches('/')), None)
            }
            _ if keeps => {
                return Err(Error::new(
                    ErrorCode::MissingOption,
                    format!(
                        "checkpointLocation must be specified, through option(\"checkpointLocation\", ...) or the configuration key {CHECKPOINT_LOCATION} with a query_name"
                    ),
                ));
            }
            _ => {
                let temporary = TemporaryCheckpoint::new();
                (temporary.path(), Some(temporary))
            }
        };
        for stage in &lowered.stages {
            if let Some(why) = stage.operator.unbounded() {
                warn!("{}: {why}", stage.id);
            }
        }
        let explanation = explain(&plan, &lowered, &format!("{} ({})", device.name(), device.reason()));
        let settings = session.conf().settings(device.is_gpu())?;
        let shared = Arc::new(Shared::new(Monitoring {
            keep: session.conf().recent_progress()?,
            listeners: session.streams().listeners().clone(),
            stop_timeout: session.conf().stop_timeout()?,
            device: device.clone(),
        }));
        let place = place_of(&checkpoint);
        if session.conf().stop_active_run()? {
            session.streams().stop_run_on(&place).await;
        }
        let definition = Definition {
            name: self.name.clone(),
            run_id,
            mode,
            trigger,
            fingerprint: Fingerprint::of(&plan, &lowered),
            plan: lowered,
            sink,
            restartable: continues || mode == OutputMode::Complete,
            checkpoint: checkpoint::location(&checkpoint, session.conf())?,
            settings,
            device,
            fail: session.fail_points(),
        };
        let runner = Runner::open(definition, shared.clone()).await?;
        if let Some(table) = named_table {
            session.keep_memory_table(table);
        }
        let query = StreamingQuery {
            id: runner.query_id(),
            run_id,
            name: self.name,
            explanation: explanation.into(),
            plan: plan.to_string().into(),
            checkpoint: place.into(),
            shared,
        };
        Ok((query, runner, temporary))
    }
}

/// A checkpoint's location in one spelling, so that two starts on it are known to be on the same.
fn place_of(location: &str) -> String {
    let local = location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location);
    let absolute = match location.contains("://") && local == location {
        true => location.to_string(),
        false => std::path::absolute(local).map_or(local.to_string(), |path| path.to_string_lossy().into_owned()),
    };
    absolute.trim_end_matches('/').to_string()
}

/// Ends a query for everybody who waits for it, also where its task is dropped with the runtime.
struct Ending {
    query: StreamingQuery,
    manager: StreamingQueryManager,
    outcome: Option<Option<Error>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let failure = self.outcome.take().unwrap_or_else(|| {
            Some(Error::new(ErrorCode::UnsupportedOperation, "the runtime of the query was shut down; start it again"))
        });
        if let Some(error) = &failure {
            error!(query = %self.query.id, %error, "query failed");
        }
        self.query.shared.conclude(failure);
        self.manager.ended(&self.query);
    }
}

/// The checkpoint of a query that named none: removed when the query ends.
struct TemporaryCheckpoint(std::path::PathBuf);

impl TemporaryCheckpoint {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("tidemill-{}", Uuid::new_v4())))
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for TemporaryCheckpoint {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(%error, path = %self.0.display(), "a temporary checkpoint could not be removed");
        }
    }
}
