//! The sinks that ship, by format name. `memory` is not among them: its table belongs to the session, which makes it.
//!
//! Comes in: a format and options. Goes out: a [`Sink`]. Fails: unknown formats, and options that the sink does not have or cannot use.

use super::Sink;
use super::console::{ConsoleSink, Renderers};
use super::files::{self, FileSink};
use super::noop::NoopSink;
use crate::checkpoint::FailPoints;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::show::show;
use crate::functions::to_json::{ToJsonOptions, to_json};
use crate::options::Options;
use crate::source::foreign;
use arrow::array::{Array, ArrayRef, RecordBatch, StructArray};
use chrono_tz::Tz;
use std::io::Write;
use std::sync::Arc;

/// A sink, and whether a query that writes to it must name a checkpoint.
pub struct Created {
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// Whether what it has written outlives the process.
    pub needs_checkpoint: bool,
}

/// What a sink is made of.
pub struct Request<'a> {
    /// Name of the format, in any case.
    pub format: &'a str,
    /// The user's options.
    pub options: &'a Options,
    /// Columns that name directories.
    pub partition_by: &'a [String],
    /// Where the console sink writes, instead of standard output.
    pub console: Option<Box<dyn Write + Send>>,
    /// The session's settings.
    pub config: &'a Config,
    /// Test hooks.
    pub fail: &'a FailPoints,
}

/// The sink of a format.
///
/// # Errors
/// [`ErrorCode::DataSourceNotFound`], [`ErrorCode::UnsupportedOperation`] for directories where there are no files, and what the sink says of its
/// options.
pub fn create(request: Request<'_>) -> Result<Created> {
    let Request { format, options, partition_by, console, config, fail } = request;
    let lower = format.to_ascii_lowercase();
    let mut reader = options.reader(format!("the {lower} sink"));
    // The query has answered it; it is named here so that a slip in it is recognised.
    reader.text("checkpointLocation");
    let lasting = |sink: Box<dyn Sink>| Created { sink, needs_checkpoint: true };
    let passing = |sink: Box<dyn Sink>| Created { sink, needs_checkpoint: false };
    if !partition_by.is_empty() && lower == "kafka" {
        return Err(not_partitioned("the kafka sink"));
    }
    if matches!(lower.as_str(), "noop" | "console") {
        // As in Spark, neither a path nor directories say anything to these two.
        reader.text("path");
    }
    let created = match lower.as_str() {
        file if files::FORMATS.contains(&file) => {
            lasting(Box::new(FileSink::new(file, &mut reader, partition_by, config, fail.clone())?))
        }
        "noop" => passing(Box::new(NoopSink)),
        "console" => {
            let renderers = renderers(config.environment()?.time_zone);
            let output = console.unwrap_or_else(|| Box::new(std::io::stdout()));
            passing(Box::new(ConsoleSink::with_output(&mut reader, renderers, output)?))
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            // The Kafka sink checks its options itself, because any kafka.* option may be one.
            return Ok(lasting(Box::new(super::kafka::KafkaSink::new(&options, fail.hook())?)));
        }
        #[cfg(not(feature = "kafka"))]
        "kafka" => {
            return Err(Error::new(
                ErrorCode::KafkaNotEnabled,
                "this build has no Kafka; build tidemill with the feature \"kafka\"",
            ));
        }
        _ => {
            let there_are =
                "parquet, json, csv, text, kafka, console, memory, noop, foreach_batch, and sink() for your own";
            return Err(foreign::unknown("sink", format, there_are));
        }
    };
    reader.finish()?;
    Ok(created)
}

/// Refuses options where there is nobody to read them but the query, which has answered its own.
///
/// # Errors
/// [`ErrorCode::InvalidOption`].
pub fn no_options(options: &Options, sink: &str) -> Result<()> {
    let mut reader = options.reader(sink);
    reader.text("checkpointLocation");
    reader.finish()
}

/// The refusal of `partition_by` where there are no directories.
pub fn not_partitioned(sink: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "{sink} does not support partitioning; leave partition_by out, or write csv, json, parquet or text files"
        ),
    )
}

fn renderers(time_zone: Tz) -> Renderers {
    // to_json() writes milliseconds, as Spark does. Rows for another program lose nothing.
    let timestamp_format = Some("yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX".to_string());
    let options = ToJsonOptions { time_zone, timestamp_format, ..ToJsonOptions::default() };
    Renderers {
        table: Arc::new(move |rows, schema, most, truncate| show(rows, schema, most, truncate, time_zone)),
        json: Arc::new(move |rows: &RecordBatch| {
            let rows: ArrayRef = Arc::new(StructArray::from(rows.clone()));
            let texts = to_json(&rows, &options)?;
            Ok((0..texts.len()).map(|row| texts.value(row).to_string()).collect())
        }),
    }
}
