//! Session configuration by Spark's keys.
//!
//! Comes in: `config(key, value)`. Goes out: typed settings with Spark's defaults, from the table [`keys::KEYS`]. Unknown keys are kept and
//! warned about once, because Spark accepts them and programs set them. Fails: values that a known key cannot have, when they are
//! set; keys that only the session's builder sets.

pub mod keys;

use crate::batch::runner::Settings;
use crate::decode::zone;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::Environment;
use crate::watermark::Policy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;
use tidemill_kernels::device::DeviceChoice;
use tracing::warn;

/// `spark.sql.pivotMaxValues`: most values that `pivot` finds for its columns. Default 10000.
pub const PIVOT_MAX_VALUES: &str = "spark.sql.pivotMaxValues";
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
/// `spark.sql.streaming.pollingDelay`: how often a query that waits for data looks again. Default 10 ms.
pub const POLLING_DELAY: &str = "spark.sql.streaming.pollingDelay";
/// `spark.sql.streaming.noDataProgressEventInterval`: how often an idle query reports. Default 10 s.
pub const IDLE_INTERVAL: &str = "spark.sql.streaming.noDataProgressEventInterval";
/// `spark.sql.streaming.stopTimeout`: how long a stop waits; 0 waits for ever. Default 0.
pub const STOP_TIMEOUT: &str = "spark.sql.streaming.stopTimeout";
/// `spark.sql.streaming.stopActiveRunOnRestart`: whether a second start on a checkpoint stops the first. Default `true`.
pub const STOP_ACTIVE_RUN: &str = "spark.sql.streaming.stopActiveRunOnRestart";
/// `spark.sql.streaming.realTimeMode.minBatchDuration`: least duration of the real-time trigger. Default 5 s.
pub const REAL_TIME_LEAST: &str = "spark.sql.streaming.realTimeMode.minBatchDuration";
/// `tidemill.device`: `auto`, `gpu`, `cpu` or part of an adapter's name. Default `auto`.
pub const DEVICE: &str = "tidemill.device";
/// `tidemill.workers`: threads that decode and aggregate. Default: the cores there are.
pub const WORKERS: &str = "tidemill.workers";

/// Bytes of a chunk on the CPU: a few thousand records, so that they stay in the cache and every core gets some.
const CPU_CHUNK_BYTES: usize = 4 << 20;
/// Bytes of a chunk for a GPU: some hundred thousand records, above the break-even of a kernel launch.
const GPU_CHUNK_BYTES: usize = 64 << 20;

/// Whether a key says how buckets are reached (`fs.s3a.endpoint`, `spark.hadoop.fs.s3a.access.key`) or files are read.
fn is_storage_key(key: &str) -> bool {
    key.strip_prefix("spark.hadoop.").unwrap_or(key).starts_with("fs.s3a.")
}

/// A session's settings, shared by its frames and queries. A running query keeps the values it started with.
#[derive(Debug, Default)]
pub struct Config {
    values: Mutex<BTreeMap<String, String>>,
}

impl Config {
    /// Sets a key. Unknown keys are kept; the first time, a warning says that they do nothing.
    ///
    /// # Errors
    /// [`ErrorCode::ConfStatic`] and [`ErrorCode::ConfCore`] for a key that only the session's builder sets; a value that the key cannot have.
    pub fn set(&self, key: &str, value: impl Display) -> Result<()> {
        modifiable(key)?;
        self.initialize(key, value)
    }

    /// [`Config::set`] before the session exists, when every key may be set.
    ///
    /// # Errors
    /// A value that the key cannot have.
    pub(crate) fn initialize(&self, key: &str, value: impl Display) -> Result<()> {
        let value = value.to_string();
        let known = keys::find(key);
        if let Some(known) = known {
            known.check(&value)?;
        }
        let first = self.values.lock().insert(key.to_string(), value).is_none();
        if key == "spark.streaming.kafka.maxRatePerPartition" && first {
            warn!("{key} belongs to DStreams and does nothing here; use the source option maxOffsetsPerTrigger");
        } else if known.is_none() && first && !is_storage_key(key) {
            warn!("the configuration key {key} is not known and does nothing");
        }
        Ok(())
    }

    /// The value of a key: as it was set, or else the default of a known key.
    pub fn get(&self, key: &str) -> Option<String> {
        let set = self.values.lock().get(key).cloned();
        set.or_else(|| keys::find(key)?.default.map(str::to_string))
    }

    /// The value of a key that is known or was set; None for a known key that has neither value nor default.
    ///
    /// ```
    /// use tidemill::config::Config;
    /// use tidemill::ErrorCode;
    /// let config = Config::default();
    /// assert_eq!(config.try_get("spark.sql.streaming.pollingDelay")?.as_deref(), Some("10ms"));
    /// assert_eq!(config.try_get("no.such.key").unwrap_err().code(), ErrorCode::ConfNotFound);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::ConfNotFound`] for any other key.
    pub fn try_get(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None if keys::find(key).is_none() => Err(Error::new(
                ErrorCode::ConfNotFound,
                format!(
                    "the configuration key {key:?} is not known and was not set; set it first, or ask with a default"
                ),
            )),
            value => Ok(value),
        }
    }

    /// The value of a key as it was set, or else `default`, whatever the default of the key itself.
    pub fn get_or(&self, key: &str, default: &str) -> String {
        self.get_set(key).unwrap_or_else(|| default.to_string())
    }

    /// The value of a key as it was set, whatever its default.
    pub fn get_set(&self, key: &str) -> Option<String> {
        self.values.lock().get(key).cloned()
    }

    /// Every key that was set, in the order of names, with its value.
    pub fn get_all(&self) -> BTreeMap<String, String> {
        self.values.lock().clone()
    }

    /// Takes a setting back, so that the default holds again.
    ///
    /// # Errors
    /// [`ErrorCode::ConfStatic`] for a key that only the session's builder sets.
    pub fn unset(&self, key: &str) -> Result<()> {
        modifiable(key)?;
        self.values.lock().remove(key);
        Ok(())
    }

    /// Whether a running session may set the key, and setting it is of use: true for known keys that are not static.
    pub fn is_modifiable(&self, key: &str) -> bool {
        keys::find(key).is_some_and(keys::ConfigKey::is_modifiable)
    }

    fn parsed<T: FromStr>(&self, key: &str, default: T, expected: &str) -> Result<T> {
        match self.values.lock().get(key) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| Error::new(ErrorCode::InvalidOption, format!("{key} = {text:?}: expected {expected}"))),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        let text = self.get(key).unwrap_or_default();
        keys::flag(text.trim())
            .ok_or_else(|| Error::new(ErrorCode::ConfValueType, format!("{key} = {text:?}: expected true or false")))
    }

    fn time(&self, key: &str) -> Result<Duration> {
        let text = self.get(key).unwrap_or_default();
        let millis = keys::time_ms(text.trim()).and_then(|millis| u64::try_from(millis).ok());
        millis.map(Duration::from_millis).ok_or_else(|| {
            Error::new(ErrorCode::ConfValueType, format!("{key} = {text:?}: expected a time such as 100ms or 5s"))
        })
    }

    fn count(&self, key: &str, default: usize) -> Result<usize> {
        let default = NonZeroUsize::new(default).unwrap_or(NonZeroUsize::MIN);
        self.parsed(key, default, "a whole number greater than 0").map(NonZeroUsize::get)
    }

    /// Most columns that a pivot without values makes.
    pub(crate) fn pivot_max_values(&self) -> Result<usize> {
        self.count(PIVOT_MAX_VALUES, 10_000)
    }

    /// The settings that expressions depend on.
    pub fn environment(&self) -> Result<Environment> {
        let text = self.get(TIME_ZONE).unwrap_or_default();
        let time_zone = zone::region(&text).ok_or_else(|| {
            Error::new(ErrorCode::ConfValueTimeZone, format!("{TIME_ZONE} = {text:?}: expected {}", zone::EXPECTED))
        })?;
        Ok(Environment { time_zone, ansi: self.flag(ANSI)? })
    }

    /// The settings that a run depends on, on a device that is a GPU or not.
    pub fn settings(&self, gpu: bool) -> Result<Settings> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let watermark_policy = self.get(WATERMARK_POLICY).unwrap_or_else(|| "min".to_string());
        Policy::parse(&watermark_policy)?;
        Ok(Settings {
            watermark_policy,
            no_data_batches: self.flag(NO_DATA_BATCHES)?,
            batches_to_retain: self.count(BATCHES_TO_RETAIN, 100)?,
            deltas_for_snapshot: self.count(DELTAS_FOR_SNAPSHOT, 10)?,
            polling_delay: self.polling_delay()?,
            idle_report: self.idle_interval()?,
            workers: self.count(WORKERS, cores)?,
            chunk_bytes: if gpu { GPU_CHUNK_BYTES } else { CPU_CHUNK_BYTES },
        })
    }

    /// How many progress records a query keeps.
    pub fn recent_progress(&self) -> Result<usize> {
        self.count(RECENT_PROGRESS, 100)
    }

    /// How often a query that waits for data looks again.
    pub fn polling_delay(&self) -> Result<Duration> {
        self.time(POLLING_DELAY)
    }

    /// How often an idle query reports that it is.
    pub fn idle_interval(&self) -> Result<Duration> {
        self.time(IDLE_INTERVAL)
    }

    /// How long a stop waits for a query to end; None waits until it has.
    pub fn stop_timeout(&self) -> Result<Option<Duration>> {
        self.time(STOP_TIMEOUT).map(|limit| (!limit.is_zero()).then_some(limit))
    }

    /// Whether a second start on a checkpoint stops the session's query that runs on it.
    pub fn stop_active_run(&self) -> Result<bool> {
        self.flag(STOP_ACTIVE_RUN)
    }

    /// Least duration of the real-time trigger.
    pub fn real_time_least(&self) -> Result<Duration> {
        self.time(REAL_TIME_LEAST)
    }

    /// Where kernels run.
    pub fn device(&self) -> Result<DeviceChoice> {
        self.parsed(DEVICE, DeviceChoice::Auto, "auto, gpu, cpu or part of an adapter's name")
    }
}

fn modifiable(key: &str) -> Result<()> {
    match keys::find(key) {
        None if keys::is_core(key) => Err(Error::new(
            ErrorCode::ConfCore,
            format!("cannot modify the value of the configuration key {key:?}, which is set before a session is there; give it to the session's builder"),
        )
        .with_parameter("key", format!("\"{key}\""))),
        Some(known) if !known.is_modifiable() => Err(Error::new(
            ErrorCode::ConfStatic,
            format!(
                "cannot modify the value of the static configuration key {key:?}; give it to the session's builder"
            ),
        )
        .with_parameter("key", format!("\"{key}\""))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
