//! What is in a file: Parquet, JSON lines, CSV, or lines of text.
//!
//! Comes in: a format's name and options, then rows. Goes out: the bytes of a file. Fails: options that the format does not have, columns
//! that it cannot hold (by name, before the query starts), and what the writer below says.

use super::codec::Codec;
use super::csv::Csv;
use crate::decode::pattern::Pattern;
use crate::decode::zone::{self, Zone};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::java_text::plain;
use crate::functions::to_json::{ToJsonOptions, to_json};
use crate::options::OptionReader;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use chrono_tz::Tz;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};
use std::sync::Arc;

/// Text gathered before it is written.
const BUFFER: usize = 1 << 16;

/// A format with its options.
pub(super) struct Format {
    name: String,
    zone: Zone,
    kind: Kind,
}

enum Kind {
    Parquet(Compression),
    Json { options: ToJsonOptions, line_sep: String, codec: Codec },
    Csv { csv: Csv, codec: Codec },
    Text { line_sep: String, codec: Codec },
}

/// Why a file was not written.
pub(super) enum Failure {
    /// The writer below, or a file format's own trouble.
    Io(io::Error),
    /// A value.
    Value(Error),
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl From<Error> for Failure {
    fn from(cause: Error) -> Self {
        Self::Value(cause)
    }
}

impl From<parquet::errors::ParquetError> for Failure {
    fn from(cause: parquet::errors::ParquetError) -> Self {
        Self::Io(io::Error::other(cause))
    }
}

impl Failure {
    /// The error, which names the file.
    pub fn naming(self, url: &str) -> Error {
        match self {
            Self::Io(cause) => Error::caused_by(ErrorCode::Io, format!("cannot write {url}: {cause}"), cause),
            Self::Value(error) => error.within(url),
        }
    }
}

impl Format {
    /// The format of this name (see [`super::FORMATS`]) with its options; times are written in `session`'s zone unless `timeZone` says another.
    pub fn new(name: &str, options: &mut OptionReader<'_>, session: Tz) -> Result<Self> {
        let time_zone = match name {
            "csv" | "json" => options.parsed("timeZone", zone::EXPECTED, zone::region)?,
            _ => None,
        };
        let time_zone = time_zone.unwrap_or(session);
        if name != "parquet" {
            for key in ["encoding", "charset"] {
                let utf8 = |text: &str| ["utf-8", "utf8"].contains(&text.to_ascii_lowercase().as_str()).then_some(());
                options.parsed(key, "UTF-8, the only one that is written", utf8)?;
            }
        }
        let kind = match name {
            "parquet" => Kind::Parquet(parquet_compression(options)?),
            "json" => {
                let pattern = |key: &str, options: &mut OptionReader<'_>| -> Result<Option<String>> {
                    let Some(text) = options.text(key) else { return Ok(None) };
                    // Known to be good before the first row.
                    Pattern::new(text).map(|_| Some(text.to_string()))
                };
                let json = ToJsonOptions {
                    time_zone,
                    timestamp_format: pattern("timestampFormat", options)?,
                    timestamp_ntz_format: pattern("timestampNTZFormat", options)?,
                    date_format: pattern("dateFormat", options)?,
                    ignore_null_fields: options.bool("ignoreNullFields")?.unwrap_or(true),
                };
                Kind::Json { options: json, line_sep: line_sep(options)?, codec: Codec::new(options)? }
            }
            "csv" => Kind::Csv { csv: Csv::new(options, time_zone.into())?, codec: Codec::new(options)? },
            "text" => Kind::Text { line_sep: line_sep(options)?, codec: Codec::new(options)? },
            other => return Err(Error::internal(format!("the file sink knows no format {other}"))),
        };
        // Spark takes the session's zone for the names of directories, whatever the option says.
        Ok(Self { name: name.to_string(), zone: session.into(), kind })
    }

    /// The session's zone.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The ending of a file's name.
    pub fn extension(&self) -> String {
        match &self.kind {
            Kind::Parquet(_) => "parquet".to_string(),
            Kind::Json { codec, .. } => format!("json{}", codec.ending()),
            Kind::Csv { codec, .. } => format!("csv{}", codec.ending()),
            Kind::Text { codec, .. } => format!("txt{}", codec.ending()),
        }
    }

    /// Whether a file can hold these columns.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        let unsupported = |field: &Field| {
            Err(Error::new(
                ErrorCode::UnsupportedDataType,
                format!(
                    "the {} sink cannot write the column '{}' of the type {}; {}",
                    self.name,
                    field.name(),
                    field.data_type(),
                    match self.kind {
                        Kind::Text { .. } => "cast it to a string",
                        _ => "write it through to_json(...), or use json or parquet",
                    }
                ),
            ))
        };
        match &self.kind {
            Kind::Text { .. } => match schema.fields().as_ref() {
                [field] if is_string(field.data_type()) => Ok(()),
                [field] => unsupported(field),
                fields => Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "the text sink writes a single column, and there are {} ({}); put them into one string, as with \
                         concat_ws or to_json, or use csv or json",
                        fields.len(),
                        fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
                    ),
                )),
            },
            Kind::Csv { .. } => {
                let nested =
                    |field: &&Arc<Field>| field.data_type().is_nested() || field.data_type() == &DataType::Null;
                schema.fields().iter().find(nested).map_or(Ok(()), |field| unsupported(field))
            }
            Kind::Json { .. } | Kind::Parquet(_) => Ok(()),
        }
    }

    /// Writes a file and gives the writer back.
    pub fn write<W: Write + Send>(&self, schema: &SchemaRef, rows: &[RecordBatch], out: W) -> Result<W, Failure> {
        match &self.kind {
            Kind::Parquet(compression) => {
                let properties = WriterProperties::builder()
                    .set_compression(*compression)
                    .set_created_by(format!("tidemill version {}", env!("CARGO_PKG_VERSION")))
                    .build();
                let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
                for batch in rows {
                    writer.write(batch)?;
                }
                Ok(writer.into_inner()?)
            }
            Kind::Json { options, line_sep, codec } => {
                let mut out = codec.over(out)?;
                for batch in rows {
                    let structs: ArrayRef = Arc::new(StructArray::from(batch.clone()));
                    lines(&to_json(&structs, options)?, line_sep, &mut out)?;
                }
                Ok(out.finish()?)
            }
            Kind::Csv { csv, codec } => {
                let mut out = codec.over(out)?;
                let mut text = String::new();
                if csv.header {
                    csv.write_header(schema, &mut text);
                }
                for batch in rows {
                    // Few rows at a time, so that the text stays in the cache.
                    for start in (0..batch.num_rows()).step_by(1024) {
                        csv.write(&batch.slice(start, (batch.num_rows() - start).min(1024)), &mut text)?;
                        out.write_all(text.as_bytes())?;
                        text.clear();
                    }
                }
                out.write_all(text.as_bytes())?;
                Ok(out.finish()?)
            }
            Kind::Text { line_sep, codec } => {
                let mut out = codec.over(out)?;
                for batch in rows {
                    lines(plain(batch.column(0))?.as_string::<i32>(), line_sep, &mut out)?;
                }
                Ok(out.finish()?)
            }
        }
    }
}

/// Writes each text with what ends it; NULL is an empty line.
fn lines(texts: &arrow::array::StringArray, line_sep: &str, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = String::with_capacity(BUFFER);
    for text in texts {
        buffer.push_str(text.unwrap_or_default());
        buffer.push_str(line_sep);
        if buffer.len() >= BUFFER {
            out.write_all(buffer.as_bytes())?;
            buffer.clear();
        }
    }
    out.write_all(buffer.as_bytes())
}

fn line_sep(options: &mut OptionReader<'_>) -> Result<String> {
    match options.text("lineSep") {
        Some("") => Err(options.invalid("lineSep", "", "at least one character")),
        text => Ok(text.unwrap_or("\n").to_string()),
    }
}

fn parquet_compression(options: &mut OptionReader<'_>) -> Result<Compression> {
    let expected = "snappy, gzip, zstd, none or uncompressed";
    let compression = options.parsed("compression", expected, |text| match text.to_ascii_lowercase().as_str() {
        "snappy" => Some(Compression::SNAPPY),
        "gzip" => Some(Compression::GZIP(GzipLevel::default())),
        "zstd" => Some(Compression::ZSTD(ZstdLevel::default())),
        "none" | "uncompressed" => Some(Compression::UNCOMPRESSED),
        _ => None,
    })?;
    Ok(compression.unwrap_or(Compression::SNAPPY))
}

fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}
