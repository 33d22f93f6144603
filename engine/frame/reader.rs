//! [`DataStreamReader`] and [`DataFrameReader`]: where a frame's rows come from.
//!
//! Comes in: a format, a schema, options. Goes out: a [`DataFrame`], over a stream or over a table. Fails: unknown formats and options, a missing schema.

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

    /// The source: `json`, `csv`, `parquet`, `text`, `kafka`, `rate`, `rate-micro-batch` or `socket`.
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

/// Describes a table: what a source holds when it is read.
///
/// ```no_run
/// # use tidemill::prelude::*;
/// # async fn example(session: Session) -> Result<(), tidemill::Error> {
/// let drivers = session.read().format("csv").schema("driver_id STRING, name STRING").load_path("data/drivers").await?;
/// drivers.show().await?;
/// # Ok(()) }
/// ```
pub struct DataFrameReader {
    session: Session,
    format: String,
    schema: Option<Result<StructType>>,
    options: Options,
}

impl DataFrameReader {
    pub(crate) fn new(session: Session) -> Self {
        // Spark's default format.
        Self { session, format: "parquet".to_string(), schema: None, options: Options::new() }
    }

    /// The source: `json`, `csv`, `parquet`, `text` or `kafka`.
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
    /// As [`DataFrameReader::load`].
    pub async fn load_path(self, path: &str) -> Result<DataFrame> {
        self.option("path", path).load().await
    }

    /// The frame. Nothing but what the schema needs is read before the frame is used.
    ///
    /// # Errors
    /// Unknown formats and options, a missing schema, files that are not there.
    pub async fn load(self) -> Result<DataFrame> {
        let schema = self.schema.transpose()?;
        let provider = builtin::table_provider(&self.format, schema, &self.options, self.session.conf()).await?;
        DataFrame::from_table(&self.session, provider)
    }
}
