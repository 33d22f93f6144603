//! Session configuration by Spark's keys.
//!
//! Comes in: `config(key, value)`. Goes out: typed settings with Spark's defaults. Unknown keys are kept and warned about once, because
//! Spark accepts them and programs set them. Fails: values that a known key cannot have.

use crate::batch::runner::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::Environment;
use crate::watermark::Policy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::str::FromStr;
use tidemill_kernels::device::DeviceChoice;
use tracing::warn;

/// `spark.sql.session.timeZone`: the zone of casts, dates and hours. Default `UTC`.
pub const TIME_ZONE: &str = "spark.sql.session.timeZone";
/// `spark.sql.ansi.enabled`: whether bad casts and divisions end the query. Default `true`.
pub const ANSI: &str = "spark.sql.ansi.enabled";
/// `spark.sql.streaming.checkpointLocation`: parent of the checkpoints of queries that name none.
pub const CHECKPOINT_LOCATION: &str = "spark.sql.streaming.checkpointLocation";
/// `spark.sql.streaming.multipleWatermarkPolicy`: `min` or `max`. Default `min`.
pub const WATERMARK_POLICY: &str = "spark.sql.streaming.multipleWatermarkPolicy";
/// `spark.sql.streaming.noDataMicroBatches.enabled`. Default `true`.
pub const NO_DATA_BATCHES: &str = "spark.sql.streaming.noDataMicroBatches.enabled";
/// `spark.sql.streaming.minBatchesToRetain`. Default 100.
pub const BATCHES_TO_RETAIN: &str = "spark.sql.streaming.minBatchesToRetain";
/// `spark.sql.streaming.stateStore.minDeltasForSnapshot`. Default 10.
pub const DELTAS_FOR_SNAPSHOT: &str = "spark.sql.streaming.stateStore.minDeltasForSnapshot";
/// `spark.sql.streaming.numRecentProgressUpdates`. Default 100.
pub const RECENT_PROGRESS: &str = "spark.sql.streaming.numRecentProgressUpdates";
/// `tidemill.device`: `auto`, `gpu`, `cpu` or part of an adapter's name. Default `auto`.
pub const DEVICE: &str = "tidemill.device";
/// `tidemill.workers`: threads that decode and aggregate. Default: the cores there are.
pub const WORKERS: &str = "tidemill.workers";

/// Keys that Spark programs set and that cost nothing here.
const ACCEPTED: [&str; 6] = [
    "spark.app.name",
    "spark.master",
    "spark.sql.shuffle.partitions",
    "spark.sql.streaming.stateStore.providerClass",
    "spark.sql.streaming.stateStore.rocksDB.format",
    "spark.sql.streaming.metricsEnabled",
];
const KNOWN: [&str; 10] = [
    TIME_ZONE,
    ANSI,
    CHECKPOINT_LOCATION,
    WATERMARK_POLICY,
    NO_DATA_BATCHES,
    BATCHES_TO_RETAIN,
    DELTAS_FOR_SNAPSHOT,
    RECENT_PROGRESS,
    DEVICE,
    WORKERS,
];

/// Bytes of a chunk on the CPU: a few thousand records, so that they stay in the cache and every core gets some.
const CPU_CHUNK_BYTES: usize = 4 << 20;
/// Bytes of a chunk for a GPU: some hundred thousand records, above the break-even of a kernel launch.
const GPU_CHUNK_BYTES: usize = 64 << 20;

/// What file sources read: whether a stream may infer its schema and directories give types to their columns, and whether files
/// that are gone or damaged are passed over.
const FILES: [&str; 4] = [
    "spark.sql.streaming.schemaInference",
    "spark.sql.sources.partitionColumnTypeInference.enabled",
    "spark.sql.files.ignoreMissingFiles",
    "spark.sql.files.ignoreCorruptFiles",
];

/// Whether a key says how buckets are reached (`fs.s3a.endpoint`, `spark.hadoop.fs.s3a.access.key`) or files are read.
fn is_storage_key(key: &str) -> bool {
    key.strip_prefix("spark.hadoop.").unwrap_or(key).starts_with("fs.s3a.") || FILES.contains(&key)
}

/// A session's settings, shared by its frames and queries. A running query keeps the values it started with.
#[derive(Debug, Default)]
pub struct Config {
    values: Mutex<BTreeMap<String, String>>,
}

impl Config {
    /// Sets a key. Unknown keys are kept; the first time, a warning says that they do nothing.
    pub fn set(&self, key: &str, value: impl Display) {
        let known = KNOWN.contains(&key) || ACCEPTED.contains(&key) || is_storage_key(key);
        let first = self.values.lock().insert(key.to_string(), value.to_string()).is_none();
        if key == "spark.streaming.kafka.maxRatePerPartition" && first {
            warn!("{key} belongs to DStreams and does nothing here; use the source option maxOffsetsPerTrigger");
        } else if !known && first {
            warn!("the configuration key {key} is not known and does nothing");
        }
    }

    /// The value of a key, if it was set.
    pub fn get(&self, key: &str) -> Option<String> {
        self.values.lock().get(key).cloned()
    }

    fn parsed<T: FromStr>(&self, key: &str, default: T, expected: &str) -> Result<T> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| Error::new(ErrorCode::InvalidOption, format!("{key} = {text:?}: expected {expected}"))),
        }
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            Some(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            None => Ok(default),
            Some(text) => {
                Err(Error::new(ErrorCode::InvalidOption, format!("{key} = {text:?}: expected true or false")))
            }
        }
    }

    fn count(&self, key: &str, default: usize) -> Result<usize> {
        let default = NonZeroUsize::new(default).unwrap_or(NonZeroUsize::MIN);
        self.parsed(key, default, "a whole number greater than 0").map(NonZeroUsize::get)
    }

    /// The settings that expressions depend on.
    pub fn environment(&self) -> Result<Environment> {
        let utc = chrono_tz::Tz::UTC;
        let time_zone = self.parsed(TIME_ZONE, utc, "a time zone such as UTC or Europe/Berlin")?;
        Ok(Environment { time_zone, ansi: self.flag(ANSI, true)? })
    }

    /// The settings that a run depends on, on a device that is a GPU or not.
    pub fn settings(&self, gpu: bool) -> Result<Settings> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let watermark_policy = self.get(WATERMARK_POLICY).unwrap_or_else(|| "min".to_string());
        Policy::parse(&watermark_policy)?;
        Ok(Settings {
            watermark_policy,
            no_data_batches: self.flag(NO_DATA_BATCHES, true)?,
            batches_to_retain: self.count(BATCHES_TO_RETAIN, 100)?,
            deltas_for_snapshot: self.count(DELTAS_FOR_SNAPSHOT, 10)?,
            workers: self.count(WORKERS, cores)?,
            chunk_bytes: if gpu { GPU_CHUNK_BYTES } else { CPU_CHUNK_BYTES },
        })
    }

    /// How many progress records a query keeps.
    pub fn recent_progress(&self) -> Result<usize> {
        self.count(RECENT_PROGRESS, 100)
    }

    /// Where kernels run.
    pub fn device(&self) -> Result<DeviceChoice> {
        self.parsed(DEVICE, DeviceChoice::Auto, "auto, gpu, cpu or part of an adapter's name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_key_cannot_have_are_refused_by_name() {
        let wrong = [
            (WATERMARK_POLICY, "median", "spark.sql.streaming.multipleWatermarkPolicy = \"median\": use min or max"),
            (
                NO_DATA_BATCHES,
                "yes",
                "spark.sql.streaming.noDataMicroBatches.enabled = \"yes\": expected true or false",
            ),
            (
                BATCHES_TO_RETAIN,
                "0",
                "spark.sql.streaming.minBatchesToRetain = \"0\": expected a whole number greater than 0",
            ),
            (
                DELTAS_FOR_SNAPSHOT,
                "-1",
                "spark.sql.streaming.stateStore.minDeltasForSnapshot = \"-1\": expected a whole number greater than 0",
            ),
            (WORKERS, "many", "tidemill.workers = \"many\": expected a whole number greater than 0"),
        ];
        for (key, value, message) in wrong {
            let config = Config::default();
            config.set(key, value);
            let error = config.settings(false).unwrap_err();
            assert_eq!((error.code(), error.message()), (ErrorCode::InvalidOption, message));
        }
        let config = Config::default();
        config.set(RECENT_PROGRESS, 0);
        assert_eq!(config.recent_progress().unwrap_err().code(), ErrorCode::InvalidOption);
    }

    #[test]
    fn flags_are_read_in_any_case() {
        let config = Config::default();
        config.set(ANSI, "FALSE");
        config.set(NO_DATA_BATCHES, " False ");
        assert!(!config.environment().unwrap().ansi);
        assert!(!config.settings(false).unwrap().no_data_batches);
    }
}
