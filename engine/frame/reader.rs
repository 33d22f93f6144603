//! [`DataStreamReader`] and [`DataFrameReader`]: where a frame's rows come from.
//!
//! Comes in: a format, a schema, options. Goes out: a [`DataFrame`], over a stream or over a table. Fails: unknown formats and options, a missing schema.

use super::data_frame::DataFrame;
use crate::error::Result;
use crate::options::{IntoOption, Options};
use crate::session::Session;
use crate::source::builtin;
use crate::types::{IntoSchema, StructType};

/// Describes a streaming source: `json`, `csv`, `parquet`, `text`, `kafka`, `rate`, `rate-micro-batch` or `socket`.
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
pub type DataStreamReader = Reader<true>;

/// Describes a table, which is what a source holds when it is read: `json`, `csv`, `parquet`, `text` or `kafka`.
///
/// ```no_run
/// # use tidemill::prelude::*;
/// # async fn example(session: Session) -> Result<(), tidemill::Error> {
/// let drivers = session.read().format("csv").schema("driver_id STRING, name STRING").load_path("data/drivers").await?;
/// drivers.show().await?;
/// # Ok(()) }
/// ```
pub type DataFrameReader = Reader<false>;

/// The description of a source: of a stream, as [`DataStreamReader`], or of a table, as [`DataFrameReader`].
pub struct Reader<const STREAMING: bool> {
    session: Session,
    format: String,
    schema: Option<Result<StructType>>,
    options: Options,
}

impl<const STREAMING: bool> Reader<STREAMING> {
    pub(crate) fn new(session: Session) -> Self {
        // Spark's default format.
        Self { session, format: "parquet".to_string(), schema: None, options: Options::new() }
    }

    /// The source's format.
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
    /// As [`Reader::load`].
    pub async fn load_path(self, path: &str) -> Result<DataFrame> {
        self.option("path", path).load().await
    }

    /// The frame. Options and paths are checked here, and what the schema needs is read; whether topics exist is checked when a
    /// query starts, and a table's rows are read when the frame is used.
    ///
    /// # Errors
    /// Unknown formats and options, a missing schema, files that are not there.
    pub async fn load(self) -> Result<DataFrame> {
        let (schema, config) = (self.schema.transpose()?, self.session.conf());
        match STREAMING {
            true => {
                let provider = builtin::provider(&self.format, schema, &self.options, config).await?;
                DataFrame::from_source(&self.session, provider)
            }
            false => {
                let provider = builtin::table_provider(&self.format, schema, &self.options, config).await?;
                DataFrame::from_table(&self.session, provider)
            }
        }
    }

    /// The table or view `name` of the session: read as a stream, or as the table that it is now.
    ///
    /// # Errors
    /// [`ErrorCode::TableNotFound`](crate::ErrorCode::TableNotFound); as [`Reader::load`].
    pub async fn table(self, name: &str) -> Result<DataFrame> {
        crate::sql::read_table(&self.session, name, STREAMING).await
    }
}
