//! The sinks that ship, by format name.
//!
//! Comes in: a format and options. Goes out: a [`Sink`]. Fails: unknown formats, and options that the sink does not have or cannot use.

use super::Sink;
use super::console::{ConsoleSink, Renderers};
use super::files::ParquetSink;
use super::memory::MemoryTable;
use crate::checkpoint::FailPoints;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::show::show;
use crate::functions::to_json::{ToJsonOptions, to_json};
use crate::options::Options;
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

/// The sink of a format; the console sink writes to `console` instead of standard output, if given.
///
/// # Errors
/// [`ErrorCode::DataSourceNotFound`], and what the sink says of its options.
pub fn create(
    format: &str,
    options: &Options,
    name: Option<&str>,
    console: Option<Box<dyn Write + Send>>,
    config: &Config,
    fail: &FailPoints,
) -> Result<Created> {
    let lower = format.to_ascii_lowercase();
    let mut reader = options.reader(format!("the {lower} sink"));
    let lasting = |sink: Box<dyn Sink>| Created { sink, needs_checkpoint: true };
    let passing = |sink: Box<dyn Sink>| Created { sink, needs_checkpoint: false };
    let created = match lower.as_str() {
        "parquet" => lasting(Box::new(ParquetSink::new(&mut reader)?)),
        "console" => {
            let renderers = renderers(config.environment()?.time_zone);
            let output = console.unwrap_or_else(|| Box::new(std::io::stdout()));
            passing(Box::new(ConsoleSink::with_output(&mut reader, renderers, output)?))
        }
        "memory" => passing(Box::new(MemoryTable::new(name)?.sink())),
        #[cfg(feature = "kafka")]
        "kafka" => {
            let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            // The Kafka sink checks its options itself, because any kafka.* option may be one.
            return Ok(lasting(Box::new(super::kafka::KafkaSink::new(&options, fail.hook())?)));
        }
        #[cfg(not(feature = "kafka"))]
        "kafka" => {
            let _ = fail;
            return Err(Error::new(
                ErrorCode::KafkaNotEnabled,
                "this build has no Kafka; build tidemill with the feature \"kafka\"",
            ));
        }
        _ => {
            return Err(Error::new(
                ErrorCode::DataSourceNotFound,
                format!(
                    "there is no sink of the format {format:?}; there are parquet, kafka, console, memory, foreach_batch, and sink() for your own"
                ),
            ));
        }
    };
    reader.finish()?;
    Ok(created)
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
