//! What `CREATE TABLE` says, as a source to read and as a sink to write.
//!
//! Comes in: a format, columns, options with Spark's keys. Goes out: a frame over the source, or a writer to the sink. Fails: what source
//! and sink say of their options, at the option.

use super::place::{Failure, Parsed};
use crate::batch::Trigger;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, DataStreamWriter, SaveMode};
use crate::options::{Options, edits};
use crate::session::Session;
use crate::sink::OutputMode;
use crate::types::StructType;
use datafusion::sql::sqlparser::tokenizer::Span;

/// The event-time column of the table's rows.
pub(super) const WATERMARK_COLUMN: &str = "watermark.column";
/// How late its rows may be.
pub(super) const WATERMARK_DELAY: &str = "watermark.delay";
/// Whether the table is read as a stream, which it is unless this is `false`.
pub(super) const STREAMING: &str = "streaming";
const OUTPUT_MODE: &str = "outputMode";
const TRIGGER: &str = "trigger";
const QUERY_NAME: &str = "queryName";
const CHECKPOINT: &str = "checkpointLocation";
/// The format of tables in memory.
pub(super) const MEMORY: &str = "memory";
/// Options that are answered here, and not by the source or the sink.
const OURS: [&str; 7] = [WATERMARK_COLUMN, WATERMARK_DELAY, STREAMING, OUTPUT_MODE, TRIGGER, QUERY_NAME, CHECKPOINT];

/// One option and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct TableOption {
    pub key: String,
    pub value: String,
    pub span: Span,
}

/// A table as it was written.
#[derive(Debug, Clone)]
pub(crate) struct TableDefinition {
    pub name: String,
    pub format: String,
    pub columns: Option<StructType>,
    pub partitioned_by: Vec<String>,
    pub location: Option<String>,
    /// Whether the session has placed its files, and so takes them away with the table.
    pub managed: bool,
    pub options: Vec<TableOption>,
    /// Where the format stands.
    pub span: Span,
}

impl TableDefinition {
    /// The console, which a SELECT over streams writes to.
    pub fn console(mode: OutputMode) -> Self {
        let mode = TableOption { key: OUTPUT_MODE.to_string(), value: format!("{mode:?}"), span: Span::empty() };
        Self {
            name: "console".to_string(),
            format: "console".to_string(),
            columns: None,
            partitioned_by: vec![],
            location: None,
            managed: false,
            options: vec![mode],
            span: Span::empty(),
        }
    }

    fn option(&self, key: &str) -> Option<&TableOption> {
        self.options.iter().rev().find(|option| option.key.eq_ignore_ascii_case(key))
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.option(key).map(|option| option.value.as_str())
    }

    /// Options of the source or the sink itself.
    fn passed(&self) -> impl Iterator<Item = &TableOption> {
        self.options.iter().filter(|option| !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(&option.key)))
    }

    fn is_stream(&self) -> Result<bool> {
        match self.value(STREAMING).map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(Error::new(
                ErrorCode::InvalidOption,
                format!("option '{STREAMING}' of the table {} is '{other}'; expected true or false", self.name),
            )),
        }
    }

    /// The frame over the table.
    pub async fn read(&self, session: &Session) -> Result<DataFrame> {
        if !self.is_stream()? {
            let table = super::relation::read(session, &self.format, self.columns.clone(), self.source_options()).await;
            return match table {
                Ok(table) => Ok(table),
                Err(error) => Err(self.format_first(error, session).await),
            };
        }
        let mut reader = session.read_stream().format(&self.format);
        if let Some(columns) = &self.columns {
            reader = reader.schema(columns);
        }
        for (key, value) in self.source_options() {
            reader = reader.option(&key, value);
        }
        let loaded = match reader.load().await {
            Ok(loaded) => loaded,
            Err(error) => return Err(self.format_first(error, session).await),
        };
        self.watermarked(loaded)
    }

    /// A format that there is not is the cause of whatever else is wrong.
    async fn format_first(&self, error: Error, session: &Session) -> Error {
        match crate::source::builtin::provider(&self.format, None, &Options::new(), session.conf()).await {
            Err(unknown) if unknown.code() == ErrorCode::DataSourceNotFound => unknown,
            _ => error,
        }
    }

    fn source_options(&self) -> Vec<(String, String)> {
        let path = self.location.iter().map(|location| ("path".to_string(), location.clone()));
        self.passed().map(|option| (option.key.clone(), option.value.clone())).chain(path).collect()
    }

    /// The frame with the watermark that the options declare.
    pub fn watermarked(&self, frame: DataFrame) -> Result<DataFrame> {
        match (self.value(WATERMARK_COLUMN), self.value(WATERMARK_DELAY)) {
            (None, None) => Ok(frame),
            (Some(column), Some(delay)) => frame.with_watermark(column, delay),
            (Some(_), None) => Err(alone(WATERMARK_COLUMN, WATERMARK_DELAY, "'10 minutes'")),
            (None, Some(_)) => Err(alone(WATERMARK_DELAY, WATERMARK_COLUMN, "the name of a timestamp column")),
        }
    }

    /// The writer of `frame` to the table; `trigger` where the table names none.
    pub fn writer(&self, frame: &DataFrame, trigger: Option<Trigger>) -> Result<DataStreamWriter> {
        if let Some(option) =
            [WATERMARK_COLUMN, WATERMARK_DELAY, STREAMING].into_iter().find_map(|key| self.option(key))
        {
            let message = format!("'{}' belongs to a table that is read, and {} is written", option.key, self.name);
            return Err(Error::new(ErrorCode::InvalidOption, message));
        }
        let mut writer = frame.write_stream().format(&self.format);
        if let Some(mode) = self.value(OUTPUT_MODE) {
            writer = writer.output_mode(mode);
        }
        let trigger = match self.value(TRIGGER) {
            Some(text) => Some(parse_trigger(text)?),
            None => trigger,
        };
        if let Some(trigger) = trigger {
            writer = writer.trigger(trigger);
        }
        if let Some(name) = self.value(QUERY_NAME) {
            writer = writer.query_name(name);
        }
        if let Some(location) = self.value(CHECKPOINT) {
            writer = writer.option(CHECKPOINT, location);
        }
        writer = writer.partition_by(self.partitioned_by.clone());
        for (key, value) in self.source_options() {
            writer = writer.option(&key, value);
        }
        Ok(writer)
    }

    /// Adds the rows of a frame without streams to the table, or puts them in place of those that are there.
    pub async fn write(&self, frame: &DataFrame, overwrite: bool) -> Result<()> {
        let mode = if overwrite { SaveMode::Overwrite } else { SaveMode::Append };
        // A watermark, a trigger and the like are of no meaning to rows that are all there.
        let writer = frame.write().format(&self.format).mode(mode).partition_by(self.partitioned_by.clone());
        writer.options(self.source_options()).save().await
    }

    /// The name of the query that writes the table.
    pub fn query_name(&self) -> Option<&str> {
        self.value(QUERY_NAME)
    }

    /// `frame` with the table's column names and types, by position, as an INSERT assigns them.
    pub fn assigned(&self, frame: DataFrame) -> Result<DataFrame> {
        let Some(columns) = &self.columns else { return Ok(frame) };
        let given = frame.schema().fields().clone();
        if given.len() != columns.fields.len() {
            return Err(Error::new(
                ErrorCode::InvalidExpression,
                format!(
                    "the query has {} columns, but the table {} has {}: {}",
                    given.len(),
                    self.name,
                    columns.fields.len(),
                    columns.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
        let mut pairs = given.iter().zip(&columns.fields);
        if pairs.all(|(from, to)| *from.name() == to.name && *from.data_type() == to.data_type.to_arrow()) {
            return Ok(frame);
        }
        let values = frame.plan().scope().all().into_iter();
        let assigned = values.zip(given.iter().zip(&columns.fields)).map(|(value, (from, to))| {
            let arrow = to.data_type.to_arrow();
            match *from.data_type() == arrow {
                true => value.alias(&to.name),
                false => {
                    crate::plan::spark_function::SparkFunction::cast(arrow, false).call(vec![value]).alias(&to.name)
                }
            }
        });
        super::relation::select(&frame, assigned.collect())
    }

    /// The error at the option that it is about, or at the table.
    pub(super) fn blame(&self, error: Error) -> Failure {
        let error = self.nearest_of_ours(error);
        if error.code() == ErrorCode::DataSourceNotFound {
            return Failure::from(error).or_at(self.span);
        }
        let message = error.message();
        let about = self.options.iter().find(|option| message.contains(&format!("'{}'", option.key)));
        // An error about a value names it.
        let about = about.or_else(|| {
            let values = [TRIGGER, OUTPUT_MODE, WATERMARK_DELAY, WATERMARK_COLUMN];
            let mut named = values.iter().filter_map(|key| self.option(key));
            named.find(|option| message.contains(&option.value))
        });
        match about {
            Some(option) => Failure::from(error).or_at(option.span),
            None => Failure::from(error),
        }
    }

    /// A misspelt option of ours is unknown to the source, which cannot know what it was meant to be.
    fn nearest_of_ours(&self, error: Error) -> Error {
        if error.code() != ErrorCode::InvalidOption {
            return error;
        }
        let unknown =
            self.options.iter().find(|o| error.message().starts_with(&format!("'{}' is not an option of", o.key)));
        let Some(option) = unknown else { return error };
        let distance = |ours: &&str| edits(&option.key.to_lowercase(), &ours.to_lowercase());
        match OURS.iter().min_by_key(|ours| distance(ours)) {
            Some(near) if distance(near) <= (option.key.len() / 3).max(1) => Error::new(
                ErrorCode::InvalidOption,
                format!("'{}' is not an option of the table {}; did you mean '{near}'?", option.key, self.name),
            ),
            _ => error,
        }
    }
}

fn alone(there: &str, missing: &str, what: &str) -> Error {
    Error::new(ErrorCode::InvalidOption, format!("'{there}' needs '{missing}' beside it: {what}"))
}

/// `availableNow`, `once`, `10 seconds`, `continuous 1 second`, `realTime 5 minutes`.
///
/// # Errors
/// A text that is no trigger.
pub(crate) fn parse_trigger(text: &str) -> Result<Trigger> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.as_str() {
        "availablenow" => Ok(Trigger::AvailableNow),
        "once" => Ok(Trigger::Once),
        _ => match lower.split_once(' ') {
            Some(("continuous", interval)) => Trigger::continuous(interval.trim()),
            Some(("realtime", interval)) => Trigger::real_time(interval.trim()),
            _ => Trigger::processing_time(&lower).map_err(|_| {
                Error::new(
                    ErrorCode::InvalidOption,
                    format!("the trigger '{text}' is not one; write 'availableNow', 'once', an interval such as '10 seconds', or 'continuous 1 second'"),
                )
            }),
        },
    }
}

/// Options of a view: the watermark of its rows.
pub(super) fn view_options(name: &str, options: Vec<TableOption>) -> Parsed<TableDefinition> {
    let span = options.first().map_or(Span::empty(), |option| option.span);
    for option in &options {
        if ![WATERMARK_COLUMN, WATERMARK_DELAY].iter().any(|key| key.eq_ignore_ascii_case(&option.key)) {
            let message = format!(
                "'{}' is not an option of a view; there are '{WATERMARK_COLUMN}' and '{WATERMARK_DELAY}'",
                option.key
            );
            return Err(Failure::new(ErrorCode::InvalidOption, message, option.span));
        }
    }
    Ok(TableDefinition {
        name: name.to_string(),
        format: String::new(),
        columns: None,
        partitioned_by: vec![],
        location: None,
        managed: false,
        options,
        span,
    })
}
