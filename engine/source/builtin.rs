//! The sources that ship, by format name.
//!
//! Comes in: a format, a schema, options. Goes out: a [`SourceProvider`]. Fails: unknown formats, and options that the source does not
//! have or cannot use.

use super::Source;
use super::files::{FileFormat, Files, Reading};
use super::memory::MemoryStream;
use super::provider::SourceProvider;
use super::rate::{RateSource, system_clock};
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::types::StructType;
use std::fmt;
use std::sync::Arc;

const FORMATS: &str = "json, csv, parquet, text, kafka and rate";

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
    if schema.is_some() {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!("the {lower} source has a schema of its own; leave schema(...) out"),
        ));
    }
    match lower.as_str() {
        "rate" => {
            let provider = Rate { options };
            provider.create()?;
            Ok(Arc::new(provider))
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let provider = Kafka { options };
            provider.create()?;
            Ok(Arc::new(provider))
        }
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(Error::new(
            ErrorCode::KafkaNotEnabled,
            "this build has no Kafka; build tidemill with the feature \"kafka\"",
        )),
        _ => Err(Error::new(
            ErrorCode::DataSourceNotFound,
            format!(
                "there is no source of the format {format:?}; there are {FORMATS}, and DataFrame::from_source for your own"
            ),
        )),
    }
}

/// The provider of a table of files: those that are there now.
///
/// # Errors
/// [`ErrorCode::DataSourceNotFound`] for a format that is not one of files, and what the files say.
pub async fn table(
    format: &str,
    schema: Option<StructType>,
    options: &Options,
    config: &Config,
) -> Result<Arc<dyn SourceProvider>> {
    match FileFormat::from_name(format) {
        Some(format) => Ok(Arc::new(Files::load(format, Reading::Table, schema, options, config).await?)),
        None => Err(Error::new(
            ErrorCode::DataSourceNotFound,
            format!(
                "there is no table of the format {format:?}; there are tables of json, csv, parquet and text files"
            ),
        )),
    }
}

struct Rate {
    options: Options,
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl SourceProvider for Rate {
    fn describe(&self) -> String {
        "rate".to_string()
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        let mut reader = self.options.reader("the rate source");
        let source = RateSource::new(&mut reader, system_clock())?;
        reader.finish()?;
        Ok(Box::new(source))
    }
}

#[cfg(feature = "kafka")]
struct Kafka {
    options: Options,
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
        let topics = ["subscribe", "assign"].into_iter().find_map(|key| self.options.get(key));
        format!("kafka {}", topics.unwrap_or_default())
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        let options = self.options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Ok(Box::new(super::kafka::KafkaSource::new(&options)?))
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
        Ok(Box::new(self.0.source()))
    }
}
