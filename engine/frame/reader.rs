//! [`DataStreamReader`]: where a frame's rows come from.
//!
//! Comes in: a format, a schema, options. Goes out: a [`DataFrame`]. Fails: unknown formats and options, a missing schema.

use super::data_frame::DataFrame;
use crate::error::Result;
use crate::options::{IntoOption, Options};
use crate::session::Session;
use crate::source::builtin;
use crate::types::{IntoSchema, StructType};

/// Describes a streaming source.
///
/// ```no_run
/// # use tidemill::prelude::*;
/// # async fn example(session: Session) -> Result<(), tidemill::Error> {
/// let rides = session
///     .read_stream()
///     .format("json")
///     .schema("city STRING, fare DOUBLE, event_time TIMESTAMP")
///     .option("maxFilesPerTrigger", 1)
///     .load_path("data/rides")
///     .await?;
/// # Ok(()) }
/// ```
pub struct DataStreamReader {
    session: Session,
    format: String,
    schema: Option<Result<StructType>>,
    options: Options,
}

impl DataStreamReader {
    pub(crate) fn new(session: Session) -> Self {
        // Spark's default format.
        Self { session, format: "parquet".to_string(), schema: None, options: Options::new() }
    }

    /// The source: `json`, `csv`, `parquet`, `text`, `kafka` or `rate`.
    pub fn format(mut self, format: &str) -> Self {
        self.format = format.to_string();
        self
    }

    /// The columns of files.
    pub fn schema(mut self, schema: impl IntoSchema) -> Self {
        self.schema = Some(schema.into_schema());
        self
    }

    /// An option of the source, by Spark's key in any case.
    pub fn option(mut self, key: &str, value: impl IntoOption) -> Self {
        self.options.set(key, value);
        self
    }

    /// The frame over the files in `path`.
    ///
    /// # Errors
    /// As [`DataStreamReader::load`].
    pub async fn load_path(self, path: &str) -> Result<DataFrame> {
        self.option("path", path).load().await
    }

    /// The frame. Options are checked here; whether files and topics exist is checked when a query starts.
    ///
    /// # Errors
    /// Unknown formats and options, a missing schema.
    pub async fn load(self) -> Result<DataFrame> {
        let schema = self.schema.transpose()?;
        let provider = builtin::provider(&self.format, schema, &self.options, self.session.conf()).await?;
        DataFrame::from_source(&self.session, provider)
    }
}
