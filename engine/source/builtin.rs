//! The sources that ship, by format name.
//!
//! Comes in: a format, a schema, options. Goes out: a [`SourceProvider`]. Fails: unknown formats, and options that the source does not
//! have or cannot use.

use super::Source;
use super::files::{FileFormat, Files, Reading};
use super::foreign;
use super::memory::MemoryStream;
use super::provider::SourceProvider;
use super::rate::{RateSource, system_clock};
use super::rate_micro_batch::RateMicroBatchSource;
use super::socket::SocketSource;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::types::StructType;
use std::fmt;
use std::sync::Arc;

const FORMATS: &str = "json, csv, parquet, text, kafka, rate, rate-micro-batch and socket";

/// The formats that have a schema of their own.
const OWN_SCHEMA: [&str; 4] = ["kafka", "rate", "rate-micro-batch", "socket"];

/// The provider of a stream. Files are listed, for the columns that their directories name and for a schema that is inferred.
///
/// # Errors
/// [`ErrorCode::DataSourceNotFound`], and what the source says of its options.
pub async fn provider(
    format: &str,
    schema: Option<StructType>,
    options: &Options,
    config: &Config,
) -> Result<Arc<dyn SourceProvider>> {
    let lower = format.to_ascii_lowercase();
    if let Some(format) = FileFormat::from_name(&lower) {
        return Ok(Arc::new(Files::load(format, Reading::Stream, schema, options, config).await?));
    }
    let options = options.clone();
    if schema.is_some() && OWN_SCHEMA.contains(&lower.as_str()) {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!("the {lower} source has a schema of its own; leave schema(...) out"),
        ));
    }
    match lower.as_str() {
        "rate" | "rate-micro-batch" | "socket" => {
            let kind = match lower.as_str() {
                "rate" => Generated::Rate,
                "socket" => Generated::Socket,
                _ => Generated::RateMicroBatch,
            };
            let provider = Simple { kind, options };
            provider.create()?;
            Ok(Arc::new(provider))
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let provider = Kafka { options, bounded: false };
            provider.create()?;
            Ok(Arc::new(provider))
        }
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(Error::new(
            ErrorCode::KafkaNotEnabled,
            "this build has no Kafka; build tidemill with the feature \"kafka\"",
        )),
        _ => Err(foreign::unknown("source", format, &format!("{FORMATS}, and DataFrame::from_source for your own"))),
    }
}

/// The provider of a table: a source that is read once, from `initial` to what `propose` says. Files are those that are there now;
/// options of batch reads, such as Kafka's `endingOffsets`, are accepted here and nowhere else.
///
/// # Errors
/// As [`provider`], and [`ErrorCode::UnsupportedOperation`] for sources that have no end.
pub async fn table_provider(
    format: &str,
    schema: Option<StructType>,
    options: &Options,
    config: &Config,
) -> Result<Arc<dyn SourceProvider>> {
    let lower = format.to_ascii_lowercase();
    if let Some(format) = FileFormat::from_name(&lower) {
        return Ok(Arc::new(Files::load(format, Reading::Table, schema, options, config).await?));
    }
    match lower.as_str() {
        #[cfg(feature = "kafka")]
        "kafka" if schema.is_none() => {
            let provider = Kafka { options: options.clone(), bounded: true };
            provider.create()?;
            Ok(Arc::new(provider))
        }
        lower @ ("rate" | "rate-micro-batch" | "socket") => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!("the {lower} source has no end and cannot be read as a table; use read_stream()"),
        )),
        _ => provider(format, schema, options, config).await,
    }
}

/// Sources that need nothing but their options.
struct Simple {
    kind: Generated,
    options: Options,
}

#[derive(Clone, Copy)]
enum Generated {
    Rate,
    RateMicroBatch,
    Socket,
}

impl fmt::Debug for Simple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl SourceProvider for Simple {
    fn describe(&self) -> String {
        match self.kind {
            Generated::Rate => "rate",
            Generated::RateMicroBatch => "rate-micro-batch",
            Generated::Socket => "socket",
        }
        .to_string()
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        let mut reader = self.options.reader(format!("the {} source", self.describe()));
        let source: Box<dyn Source> = match self.kind {
            Generated::Rate => Box::new(RateSource::new(&mut reader, system_clock())?),
            Generated::RateMicroBatch => Box::new(RateMicroBatchSource::new(&mut reader)?),
            Generated::Socket => Box::new(SocketSource::new(&mut reader)?),
        };
        reader.finish()?;
        Ok(source)
    }
}

#[cfg(feature = "kafka")]
struct Kafka {
    options: Options,
    /// Whether it is read once, between two ends.
    bounded: bool,
}

#[cfg(feature = "kafka")]
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(feature = "kafka")]
impl SourceProvider for Kafka {
    fn describe(&self) -> String {
        // Brokers may change; the topics are what the offsets belong to.
        let topics = ["subscribe", "subscribePattern", "assign"].into_iter().find_map(|key| self.options.get(key));
        format!("kafka {}", topics.unwrap_or_default())
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        let options = self.options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Ok(Box::new(match self.bounded {
            true => super::kafka::KafkaSource::bounded(&options)?,
            false => super::kafka::KafkaSource::new(&options)?,
        }))
    }
}

/// A [`MemoryStream`] as a provider.
pub struct Memory(pub MemoryStream);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl SourceProvider for Memory {
    fn describe(&self) -> String {
        "memory".to_string()
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.0.source()?))
    }
}
