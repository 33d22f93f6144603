//! The options of file sources.
//!
//! Comes in: the reader's options, the session's configuration. Goes out: [`Settings`]. Fails: values that an option cannot have, options
//! that exclude each other, and those that only a stream or only a table has.

use super::FileFormat;
use super::clean::Clean;
use super::discovery::Filter;
use super::glob;
use super::limits::Limits;
use crate::config::Config;
use crate::decode::{CsvOptions, JsonOptions, JsonRules, Records, Sampling, read_text};
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::source::provider::Syntax;
use crate::storage::Location;
use crate::types::DataType;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use std::ops::Range;

/// Spark's default for `maxFileAge`.
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// Whether files are read as they come, or as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// `read_stream`: new files become batches.
    Stream,
    /// `read`: the files that are there, once.
    Table,
}

/// How the files of a source are found and read.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub format: FileFormat,
    pub reading: Reading,
    pub paths: Vec<String>,
    pub filter: Filter,
    pub limits: Limits,
    /// `fileNameOnly`.
    pub by_name: bool,
    pub clean: Clean,
    /// `maxCachedFiles`: unread files that are remembered instead of listed again.
    pub cached_files: usize,
    /// `discardCachedInputRatio`.
    pub discard_ratio: f64,
    pub ignore_missing: bool,
    pub ignore_corrupt: bool,
    pub time_zone: Tz,
    /// None for Parquet.
    pub syntax: Option<Syntax>,
    pub csv: CsvHeader,
    pub inference: InferenceRules,
}

/// What CSV files begin with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CsvHeader {
    pub header: bool,
    pub enforce_schema: bool,
}

/// How a schema is inferred.
#[derive(Debug, Clone, Copy)]
pub(super) struct InferenceRules {
    pub allowed: bool,
    /// Of the values in directories' names.
    pub partition_types: bool,
    pub json: JsonRules,
    pub sampling: Sampling,
    /// `inferSchema` of CSV.
    pub csv_types: bool,
    pub prefer_date: bool,
    /// `mergeSchema` of Parquet.
    pub merge: bool,
}

impl Settings {
    /// Reads the options of `format`; the caller then calls [`OptionReader::finish`].
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] and [`ErrorCode::UnsupportedOperation`], naming the option.
    pub fn read(format: FileFormat, reading: Reading, options: &mut OptionReader<'_>, config: &Config) -> Result<Self> {
        let session_zone = config.environment()?.time_zone;
        let paths = paths(options)?;
        let flag = |options: &mut OptionReader<'_>, key: &str, setting: &str| -> Result<bool> {
            match options.bool(key)? {
                Some(value) => Ok(value),
                None => config.flag(setting),
            }
        };
        let mut csv = CsvHeader::default();
        let mut inference = InferenceRules {
            allowed: reading == Reading::Table || config.flag("spark.sql.streaming.schemaInference")?,
            partition_types: config.flag("spark.sql.sources.partitionColumnTypeInference.enabled")?,
            json: JsonRules::default(),
            sampling: Sampling::new(1.0),
            csv_types: false,
            prefer_date: true,
            merge: false,
        };
        let syntax = match format {
            FileFormat::Json => {
                inference.json = JsonRules::read(options)?;
                inference.sampling = Sampling::read(options)?;
                Some(Syntax::Json(JsonOptions::read_file(options, session_zone)?))
            }
            FileFormat::Csv => {
                csv.header = options.bool("header")?.unwrap_or(false);
                csv.enforce_schema = options.bool("enforceSchema")?.unwrap_or(true);
                inference.csv_types = options.bool("inferSchema")?.unwrap_or(false);
                inference.prefer_date = options.bool("preferDate")?.unwrap_or(true);
                inference.sampling = Sampling::read(options)?;
                Some(Syntax::Csv(CsvOptions::read(options, session_zone)?))
            }
            FileFormat::Text => Some(Syntax::Text(Records::read_text(options)?)),
            FileFormat::Parquet => {
                inference.merge = options.bool("mergeSchema")?.unwrap_or(false);
                for key in ["datetimeRebaseMode", "int96RebaseMode"] {
                    let corrected = |text: &str| text.eq_ignore_ascii_case("CORRECTED").then_some(());
                    options.parsed(key, "CORRECTED, the only way dates are read", corrected)?;
                }
                None
            }
        };
        let time_zone = match &syntax {
            Some(Syntax::Json(json)) => json.time_zone,
            Some(Syntax::Csv(csv)) => csv.time_zone,
            _ => session_zone,
        };
        let modified = modified(options, reading, time_zone)?;
        let recursive = options.bool("recursiveFileLookup")?.unwrap_or(false);
        let base = match options.text("basePath") {
            Some(_) if recursive => {
                return Err(Error::new(
                    ErrorCode::InvalidOption,
                    format!(
                        "options 'basePath' and 'recursiveFileLookup' of {} exclude each other: the second reads no partition columns",
                        options.owner()
                    ),
                ));
            }
            Some(text) => Some(super::discovery::location_url(&Location::parse(text, config)?)),
            None => None,
        };
        let name = options.text("pathGlobFilter").map(glob::alternatives).transpose()?;
        let name = name.map(|alternatives| glob::any(&alternatives)).transpose()?;
        let (limits, by_name, cached_files, discard_ratio) = rate(options, reading)?;
        Ok(Self {
            format,
            reading,
            clean: Clean::read(options, config, reading)?,
            ignore_missing: flag(options, "ignoreMissingFiles", "spark.sql.files.ignoreMissingFiles")?,
            ignore_corrupt: flag(options, "ignoreCorruptFiles", "spark.sql.files.ignoreCorruptFiles")?,
            paths,
            filter: Filter { recursive, name, modified, base },
            limits,
            by_name,
            cached_files,
            discard_ratio,
            time_zone,
            syntax,
            csv,
            inference,
        })
    }
}

/// `path`, or `paths` as Spark writes several: a JSON array of texts.
fn paths(options: &mut OptionReader<'_>) -> Result<Vec<String>> {
    let mut paths: Vec<String> =
        options.parsed("paths", "a JSON array of paths", |text| serde_json::from_str(text).ok())?.unwrap_or_default();
    if paths.is_empty() || options.text("path").is_some() {
        paths.push(options.path()?.to_string());
    }
    Ok(paths)
}

fn modified(options: &mut OptionReader<'_>, reading: Reading, time_zone: Tz) -> Result<Range<i64>> {
    let mut bound = |key: &str| -> Result<Option<i64>> {
        let Some(text) = options.text(key) else { return Ok(None) };
        if reading == Reading::Stream {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "option '{key}' is not allowed in file stream sources; leave it out, or read the files as a table"
                ),
            ));
        }
        match read_text(text.trim(), &DataType::Timestamp, time_zone)? {
            Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(Some(micros.div_euclid(1000))),
            _ => Err(options.invalid(key, text, "a timestamp such as 2026-06-01T13:00:00")),
        }
    };
    let after = bound("modifiedAfter")?.unwrap_or(i64::MIN);
    Ok(after..bound("modifiedBefore")?.unwrap_or(i64::MAX))
}

/// What paces a stream; a table takes the options, as Spark does, and reads everything.
fn rate(options: &mut OptionReader<'_>, reading: Reading) -> Result<(Limits, bool, usize, f64)> {
    let files = options.positive("maxFilesPerTrigger")?;
    let bytes = options.positive("maxBytesPerTrigger")?;
    if files.is_some() && bytes.is_some() {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!(
                "options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' of {} exclude each other; set one of them",
                options.owner()
            ),
        ));
    }
    let latest_first = options.bool("latestFirst")?.unwrap_or(false);
    let max_age_ms = options.duration("maxFileAge")?.map_or(WEEK_MS, |micros| micros / 1000);
    // Newest first under a limit would push everything unread past any age, so Spark ignores the age then.
    let max_age_ms = if latest_first && (files.is_some() || bytes.is_some()) { None } else { Some(max_age_ms) };
    let by_name = options.bool("fileNameOnly")?.unwrap_or(false);
    let cached_files = options.usize("maxCachedFiles")?.unwrap_or(10_000);
    let share = |text: &str| text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    let discard = options.parsed("discardCachedInputRatio", "a number from 0 to 1", share)?.unwrap_or(0.2);
    let limits = match reading {
        Reading::Stream => Limits { files, bytes, latest_first, max_age_ms },
        Reading::Table => Limits::default(),
    };
    Ok((limits, by_name, cached_files, discard))
}
