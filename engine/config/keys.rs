//! The table of configuration keys: name, default, type, and whether the key does anything here.
//!
//! Comes in: nothing. Goes out: [`KEYS`], by which values are validated when they are set and defaults are answered. Pure. Fails:
//! values of another type or outside their bounds, with Spark's error classes.

use crate::decode::zone;
use crate::error::{Error, ErrorCode, Result};
use std::str::FromStr;
use tidemill_kernels::device::DeviceChoice;

/// A key that this engine knows.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// Spark's name of the key, or ours under `tidemill.`.
    pub name: &'static str,
    /// Value of a key that was not set; None where there is none.
    pub default: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// What setting it does.
    pub effect: Effect,
    /// What it is for.
    pub doc: &'static str,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number that is at least this.
    Integer {
        /// The least value.
        least: i64,
    },
    /// A time such as `100ms`, `5s`, `2m`; a bare number is milliseconds.
    Time,
    /// A size such as `64m`; a bare number is bytes.
    Bytes,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// A time zone.
    Zone,
    /// Where kernels run.
    Device,
}

/// What setting a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes what the engine does.
    Works,
    /// It is kept, so that programs written for Spark run, and changes nothing.
    Accepted,
    /// It is kept, can be given to the session's builder only, and changes nothing.
    StaticAccepted,
}

use Effect::{Accepted, StaticAccepted, Works};
use Kind::{Boolean, Bytes, Device, Integer, OneOf, Text, Time, Zone};

const fn key(
    name: &'static str,
    default: Option<&'static str>,
    kind: Kind,
    effect: Effect,
    doc: &'static str,
) -> ConfigKey {
    ConfigKey { name, default, kind, effect, doc }
}

const POSITIVE: Kind = Integer { least: 1 };
const COUNT: Kind = Integer { least: 0 };

/// Every known key, in the order of names within its group.
pub const KEYS: &[ConfigKey] = &[
    key("spark.app.name", None, Text, Works, "Name of the application."),
    key("spark.master", None, Text, Accepted, "One process runs everything, whatever is written here."),
    key(
        "spark.sql.ansi.enabled",
        Some("true"),
        Boolean,
        Works,
        "Whether bad casts, overflows and divisions by zero end the query.",
    ),
    key(
        "spark.sql.caseSensitive",
        Some("false"),
        OneOf(&["false"]),
        Accepted,
        "Names are resolved without regard to case, and nothing else is built.",
    ),
    key("spark.sql.pivotMaxValues", Some("10000"), POSITIVE, Works, "Most values that pivot finds for its columns."),
    key("spark.sql.session.timeZone", Some("UTC"), Zone, Works, "Zone of casts, dates and hours; windows are in UTC."),
    key(
        "spark.sql.shuffle.partitions",
        Some("200"),
        POSITIVE,
        Accepted,
        "State has a fixed number of buckets; nothing is shuffled.",
    ),
    key(
        "spark.sql.sources.default",
        Some("parquet"),
        Text,
        Accepted,
        "A reader or writer without a format uses Parquet.",
    ),
    key("spark.sql.adaptive.enabled", Some("true"), Boolean, Accepted, "Plans are made once per query."),
    key(
        "spark.sql.autoBroadcastJoinThreshold",
        Some("10485760b"),
        Text,
        Accepted,
        "The static side of a join is held once, in memory.",
    ),
    key("spark.sql.broadcastTimeout", Some("300000ms"), Time, Accepted, "Nothing is broadcast."),
    key(
        "spark.sql.codegen.wholeStage",
        Some("true"),
        Boolean,
        Accepted,
        "Kernels are composed, not generated from Java.",
    ),
    key(
        "spark.sql.columnNameOfCorruptRecord",
        Some("_corrupt_record"),
        Text,
        Accepted,
        "The column's name is an option of the reader.",
    ),
    key(
        "spark.sql.crossJoin.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "Cross joins are allowed where a plan can run them.",
    ),
    key("spark.sql.debug.maxToStringFields", Some("25"), COUNT, Accepted, "Plans are printed in full."),
    key(
        "spark.sql.execution.arrow.maxRecordsPerBatch",
        Some("10000"),
        Integer { least: i64::MIN },
        Accepted,
        "Batches are sized in bytes.",
    ),
    key(
        "spark.sql.execution.arrow.pyspark.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "Rows are Arrow columns throughout.",
    ),
    key("spark.sql.execution.arrow.useLargeVarTypes", Some("false"), Boolean, Accepted, "Texts have 32-bit offsets."),
    key(
        "spark.sql.execution.pandas.convertToArrowArraySafely",
        Some("true"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.execution.pandas.inferPandasDictAsMap",
        Some("false"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key("spark.sql.execution.pyspark.binaryAsBytes", Some("true"), Boolean, Accepted, "A matter of the Python client."),
    key(
        "spark.sql.files.ignoreCorruptFiles",
        Some("false"),
        Boolean,
        Works,
        "Whether files that cannot be read are passed over.",
    ),
    key(
        "spark.sql.files.ignoreMissingFiles",
        Some("false"),
        Boolean,
        Works,
        "Whether files that are gone are passed over.",
    ),
    key(
        "spark.sql.files.maxPartitionBytes",
        Some("134217728b"),
        Bytes,
        Accepted,
        "Files are read in chunks sized for the device.",
    ),
    key(
        "spark.sql.files.maxRecordsPerFile",
        Some("0"),
        Integer { least: i64::MIN },
        Accepted,
        "An option of the file sink.",
    ),
    key("spark.sql.groupByAliases", Some("true"), Boolean, Accepted, "Aliases may be grouped by."),
    key("spark.sql.groupByOrdinal", Some("true"), Boolean, Accepted, "Positions may be grouped by in SQL."),
    key("spark.sql.jsonGenerator.ignoreNullFields", Some("true"), Boolean, Accepted, "to_json leaves NULL fields out."),
    key(
        "spark.sql.legacy.timeParserPolicy",
        Some("CORRECTED"),
        OneOf(&["EXCEPTION", "LEGACY", "CORRECTED"]),
        Accepted,
        "Patterns are those of the corrected policy.",
    ),
    key(
        "spark.sql.mapKeyDedupPolicy",
        Some("EXCEPTION"),
        OneOf(&["EXCEPTION", "LAST_WIN"]),
        Accepted,
        "Duplicate map keys follow the function that makes the map.",
    ),
    key("spark.sql.orderByOrdinal", Some("true"), Boolean, Accepted, "Positions may be ordered by in SQL."),
    key("spark.sql.parquet.compression.codec", Some("snappy"), Text, Accepted, "An option of the file sink."),
    key(
        "spark.sql.parquet.mergeSchema",
        Some("false"),
        Boolean,
        Accepted,
        "The schema is given, or that of the first file.",
    ),
    key(
        "spark.sql.pyspark.inferNestedDictAsStruct.enabled",
        Some("false"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.pyspark.legacy.inferArrayTypeFromFirstElement.enabled",
        Some("false"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.pyspark.legacy.inferMapTypeFromFirstPair.enabled",
        Some("false"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key("spark.sql.repl.eagerEval.enabled", Some("false"), Boolean, Accepted, "A matter of the notebook client."),
    key(
        "spark.sql.repl.eagerEval.maxNumRows",
        Some("20"),
        Integer { least: i64::MIN },
        Accepted,
        "A matter of the notebook client.",
    ),
    key(
        "spark.sql.repl.eagerEval.truncate",
        Some("20"),
        Integer { least: i64::MIN },
        Accepted,
        "A matter of the notebook client.",
    ),
    key(
        "spark.connect.session.planCompression.defaultAlgorithm",
        Some("ZSTD"),
        OneOf(&["ZSTD", "NONE"]),
        Accepted,
        "How a remote client packs large plans.",
    ),
    key(
        "spark.connect.session.planCompression.threshold",
        Some("10485760"),
        Integer { least: -1 },
        Accepted,
        "Size from which a remote client packs plans.",
    ),
    key("spark.sql.artifact.isolation.enabled", Some("true"), Boolean, Accepted, "Sessions share no artifacts."),
    key(
        "spark.sql.artifact.isolation.alwaysApplyClassloader",
        Some("true"),
        Boolean,
        Accepted,
        "There are no class loaders.",
    ),
    key(
        "spark.sql.connect.serverStacktrace.enabled",
        Some("false"),
        Boolean,
        Accepted,
        "A remote client shows no stack of the server, which has none of Java.",
    ),
    key(
        "spark.sql.connect.streaming.foreachBatch.useClonedSession",
        Some("true"),
        Boolean,
        Works,
        "Whether a client's foreachBatch function runs in a clone of the session that starts the query.",
    ),
    key(
        "spark.sql.execution.arrow.pyspark.fallback.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.execution.arrow.pyspark.selfDestruct.enabled",
        Some("false"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.execution.pandas.structHandlingMode",
        Some("legacy"),
        OneOf(&["legacy", "row", "dict"]),
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.execution.pythonUDF.arrow.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key(
        "spark.sql.execution.pythonUDTF.arrow.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "A matter of the Python client.",
    ),
    key("spark.sql.pyspark.jvmStacktrace.enabled", Some("false"), Boolean, Accepted, "There is no JVM."),
    key(
        "spark.sql.session.localRelationBatchOfChunksSizeBytes",
        Some("1073741824"),
        Bytes,
        Accepted,
        "Size of local rows that a remote client uploads at once.",
    ),
    key(
        "spark.sql.session.localRelationChunkSizeBytes",
        Some("16777216"),
        Bytes,
        Accepted,
        "Size of a piece of local rows of a remote client.",
    ),
    key(
        "spark.sql.session.localRelationChunkSizeRows",
        Some("10000"),
        COUNT,
        Accepted,
        "Rows in a piece of local rows of a remote client.",
    ),
    key(
        "spark.sql.session.localRelationCacheThreshold",
        Some("1048576"),
        COUNT,
        Accepted,
        "Size at which a remote client uploads local rows ahead.",
    ),
    key(
        "spark.sql.session.localRelationSizeLimit",
        Some("3221225472"),
        Bytes,
        Accepted,
        "Greatest size of local rows of a remote client.",
    ),
    key(
        "spark.sql.storeAssignmentPolicy",
        Some("ANSI"),
        OneOf(&["ANSI", "LEGACY", "STRICT"]),
        Accepted,
        "Assignments follow ANSI.",
    ),
    key(
        "spark.sql.timestampType",
        Some("TIMESTAMP_LTZ"),
        OneOf(&["TIMESTAMP_LTZ", "TIMESTAMP_NTZ"]),
        Accepted,
        "The type TIMESTAMP is an instant.",
    ),
    key("spark.sql.variable.substitute", Some("true"), Boolean, Accepted, "SQL texts are taken as they are."),
    key(
        "spark.sql.catalogImplementation",
        Some("in-memory"),
        OneOf(&["hive", "in-memory"]),
        StaticAccepted,
        "Tables are known to their session.",
    ),
    key("spark.sql.extensions", None, Text, StaticAccepted, "There are no session extensions."),
    key("spark.sql.warehouse.dir", Some("spark-warehouse"), Text, StaticAccepted, "Tables are given their location."),
    key(
        "spark.sql.streaming.aggregation.stateFormatVersion",
        Some("2"),
        POSITIVE,
        Accepted,
        "State files carry their own version.",
    ),
    key(
        "spark.sql.streaming.checkpointLocation",
        None,
        Text,
        Works,
        "Parent of the checkpoints of named queries that give no location.",
    ),
    key(
        "spark.sql.streaming.commitProtocolClass",
        Some("org.apache.spark.sql.execution.streaming.ManifestFileCommitProtocol"),
        Text,
        Accepted,
        "The file sink publishes by an atomic log entry.",
    ),
    key(
        "spark.sql.streaming.continuous.epochBacklogQueueSize",
        Some("10000"),
        POSITIVE,
        Accepted,
        "Epochs are committed one after the other.",
    ),
    key(
        "spark.sql.streaming.continuous.executorPollIntervalMs",
        Some("100ms"),
        Time,
        Accepted,
        "Sources are looked at every millisecond or as they answer.",
    ),
    key(
        "spark.sql.streaming.continuous.executorQueueSize",
        Some("1024"),
        POSITIVE,
        Accepted,
        "Rows are not queued between source and sink.",
    ),
    key(
        "spark.sql.streaming.fileSink.log.cleanupDelay",
        Some("600000ms"),
        Time,
        Accepted,
        "Log entries are removed when nothing needs them.",
    ),
    key(
        "spark.sql.streaming.fileSink.log.compactInterval",
        Some("10"),
        POSITIVE,
        Accepted,
        "The sink's log is compacted by its own rule.",
    ),
    key(
        "spark.sql.streaming.fileSink.log.deletion",
        Some("true"),
        Boolean,
        Accepted,
        "The sink's log is compacted by its own rule.",
    ),
    key(
        "spark.sql.streaming.fileSource.cleaner.numThreads",
        Some("1"),
        COUNT,
        Accepted,
        "Files are cleaned between batches.",
    ),
    key(
        "spark.sql.streaming.fileSource.log.cleanupDelay",
        Some("600000ms"),
        Time,
        Accepted,
        "Log entries are removed when nothing needs them.",
    ),
    key(
        "spark.sql.streaming.fileSource.log.compactInterval",
        Some("10"),
        POSITIVE,
        Accepted,
        "The source's log is compacted by its own rule.",
    ),
    key(
        "spark.sql.streaming.fileSource.log.deletion",
        Some("true"),
        Boolean,
        Accepted,
        "The source's log is compacted by its own rule.",
    ),
    key(
        "spark.sql.streaming.forceDeleteTempCheckpointLocation",
        Some("false"),
        Boolean,
        Accepted,
        "A temporary checkpoint is always removed.",
    ),
    key(
        "spark.sql.streaming.join.stateFormatVersion",
        Some("2"),
        POSITIVE,
        Accepted,
        "State files carry their own version.",
    ),
    key(
        "spark.sql.streaming.kafka.useDeprecatedOffsetFetching",
        Some("false"),
        Boolean,
        Accepted,
        "Offsets are asked of the brokers directly.",
    ),
    key(
        "spark.sql.streaming.maxBatchesToRetainInMemory",
        Some("2"),
        Integer { least: i64::MIN },
        Accepted,
        "One version of the state is in memory.",
    ),
    key(
        "spark.sql.streaming.metricsEnabled",
        Some("false"),
        Boolean,
        Accepted,
        "Numbers are always in the progress records.",
    ),
    key("spark.sql.streaming.minBatchesToRetain", Some("100"), POSITIVE, Works, "Batches that the checkpoint keeps."),
    key(
        "spark.sql.streaming.multipleWatermarkPolicy",
        Some("min"),
        OneOf(&["min", "max"]),
        Works,
        "Whether the slowest or the fastest input sets the watermark; kept by the checkpoint.",
    ),
    key(
        "spark.sql.streaming.noDataMicroBatches.enabled",
        Some("true"),
        Boolean,
        Works,
        "Whether a batch without input runs when the watermark has moved.",
    ),
    key(
        "spark.sql.streaming.noDataProgressEventInterval",
        Some("10000ms"),
        Time,
        Works,
        "How often an idle query reports that it is.",
    ),
    key(
        "spark.sql.streaming.numRecentProgressUpdates",
        Some("100"),
        POSITIVE,
        Works,
        "Progress records that a query keeps.",
    ),
    key(
        "spark.sql.streaming.pollingDelay",
        Some("10ms"),
        Time,
        Works,
        "How often a query that waits for data looks again.",
    ),
    key(
        "spark.sql.streaming.realTimeMode.allowlistCheck",
        Some("true"),
        Boolean,
        Accepted,
        "Plans for the real-time trigger are always checked.",
    ),
    key(
        "spark.sql.streaming.realTimeMode.minBatchDuration",
        Some("5000ms"),
        Time,
        Works,
        "Least duration of the real-time trigger.",
    ),
    key(
        "spark.sql.streaming.schemaInference",
        Some("false"),
        Boolean,
        Works,
        "Whether a stream of files may infer its schema.",
    ),
    key(
        "spark.sql.sources.partitionColumnTypeInference.enabled",
        Some("true"),
        Boolean,
        Works,
        "Whether directories give types to the columns that they name.",
    ),
    key(
        "spark.sql.streaming.sessionWindow.merge.sessions.in.local.partition",
        Some("false"),
        Boolean,
        Accepted,
        "Sessions are always merged before they reach the state.",
    ),
    key(
        "spark.sql.streaming.stateStore.commitValidation.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "Every state file is verified by its hash.",
    ),
    key(
        "spark.sql.streaming.stateStore.compression.codec",
        Some("lz4"),
        Text,
        Accepted,
        "State files have one encoding.",
    ),
    key(
        "spark.sql.streaming.stateStore.encodingFormat",
        Some("unsaferow"),
        Text,
        Accepted,
        "State files have one encoding.",
    ),
    key(
        "spark.sql.streaming.stateStore.maintenanceInterval",
        Some("60000ms"),
        Time,
        Accepted,
        "State is maintained between batches.",
    ),
    key(
        "spark.sql.streaming.stateStore.minDeltasForSnapshot",
        Some("10"),
        POSITIVE,
        Works,
        "Deltas after which the state is written in full.",
    ),
    key(
        "spark.sql.streaming.stateStore.providerClass",
        Some("org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider"),
        Text,
        Accepted,
        "There is one state store.",
    ),
    key("spark.sql.streaming.stateStore.rocksDB.format", None, Text, Accepted, "There is one state store."),
    key(
        "spark.sql.streaming.stateStore.stateSchemaCheck",
        Some("true"),
        Boolean,
        Accepted,
        "The schema of the state is always checked.",
    ),
    key(
        "spark.sql.streaming.statefulOperator.allowMultiple",
        Some("true"),
        Boolean,
        Accepted,
        "Stateful operators may be chained.",
    ),
    key(
        "spark.sql.streaming.statefulOperator.checkCorrectness.enabled",
        Some("true"),
        Boolean,
        Accepted,
        "Output modes are always checked.",
    ),
    key(
        "spark.sql.streaming.stopActiveRunOnRestart",
        Some("true"),
        Boolean,
        Works,
        "Whether a second start on a checkpoint stops the session's query that runs on it.",
    ),
    key(
        "spark.sql.streaming.stopTimeout",
        Some("0ms"),
        Time,
        Works,
        "How long stop() waits for a query to end; 0 waits until it has.",
    ),
    key(
        "spark.sql.streaming.streamingQueryListeners",
        None,
        Text,
        StaticAccepted,
        "Listeners are added to the session's streams.",
    ),
    key("spark.sql.streaming.ui.enabled", Some("true"), Boolean, StaticAccepted, "A setting of Spark's web pages."),
    key(
        "spark.sql.streaming.ui.retainedProgressUpdates",
        Some("100"),
        COUNT,
        StaticAccepted,
        "A setting of Spark's web pages.",
    ),
    key(
        "spark.sql.streaming.ui.retainedQueries",
        Some("100"),
        COUNT,
        StaticAccepted,
        "A setting of Spark's web pages.",
    ),
    key("spark.sql.streaming.unsupportedOperationCheck", Some("true"), Boolean, Accepted, "Plans are always checked."),
    key(
        "tidemill.device",
        Some("auto"),
        Device,
        Works,
        "Where kernels run: auto, gpu, cpu or part of an adapter's name.",
    ),
    key("tidemill.workers", None, POSITIVE, Works, "Threads that decode and aggregate; all cores if not set."),
];

/// The known key of this name.
pub fn find(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

/// First parts of keys that set up Spark's processes, which no session changes there; they do nothing here.
const CORE: &[&str] = &[
    "acls",
    "admin",
    "archives",
    "authenticate",
    "barrier",
    "blockManager",
    "broadcast",
    "buffer",
    "checkpoint",
    "cleaner",
    "cores",
    "decommission",
    "default",
    "deploy",
    "driver",
    "dynamicAllocation",
    "eventLog",
    "excludeOnFailure",
    "executor",
    "extraListeners",
    "files",
    "history",
    "io",
    "jars",
    "kerberos",
    "kryo",
    "kryoserializer",
    "local",
    "locality",
    "log",
    "master",
    "memory",
    "metrics",
    "modify",
    "network",
    "plugins",
    "pyspark",
    "python",
    "rdd",
    "redaction",
    "reducer",
    "resources",
    "rpc",
    "scheduler",
    "security",
    "serializer",
    "shuffle",
    "shutdown",
    "speculation",
    "stage",
    "standalone",
    "storage",
    "submit",
    "task",
    "taskMetrics",
    "ui",
    "unsafe",
    "worker",
    "yarn",
];

/// Whether Spark knows the key from its core, so that it is for the session's builder only.
pub fn is_core(name: &str) -> bool {
    name.strip_prefix("spark.").and_then(|rest| rest.split('.').next()).is_some_and(|first| CORE.contains(&first))
}

impl ConfigKey {
    /// Whether a running session may set it.
    pub fn is_modifiable(&self) -> bool {
        self.effect != StaticAccepted
    }

    /// Checks a value.
    ///
    /// # Errors
    /// [`ErrorCode::ConfValueType`], [`ErrorCode::ConfValueRequirement`] or [`ErrorCode::ConfValueTimeZone`].
    pub fn check(&self, value: &str) -> Result<()> {
        let text = value.trim();
        match self.kind {
            Text => Ok(()),
            Boolean => flag(text).map(|_| ()).ok_or_else(|| self.mismatch(value, "true or false")),
            Integer { least } => match text.parse::<i64>() {
                Ok(number) if number >= least => Ok(()),
                Ok(_) => Err(self.requirement(value, &format!("it must be at least {least}"))),
                Err(_) => Err(self.mismatch(value, "a whole number")),
            },
            Time => time_ms(text).map(|_| ()).ok_or_else(|| self.mismatch(value, "a time such as 100ms, 5s or 2m")),
            Bytes => bytes(text).map(|_| ()).ok_or_else(|| self.mismatch(value, "a size in bytes, or such as 64m")),
            OneOf(allowed) if allowed.iter().any(|one| one.eq_ignore_ascii_case(text)) => Ok(()),
            OneOf(allowed) => Err(self.requirement(value, &format!("valid values are {}", allowed.join(", ")))),
            Zone => match zone::region(text) {
                Some(_) => Ok(()),
                None => Err(Error::new(
                    ErrorCode::ConfValueTimeZone,
                    format!("{} = {value:?}: expected {}", self.name, zone::EXPECTED),
                )),
            },
            Device => DeviceChoice::from_str(text)
                .map(|_| ())
                .map_err(|_| self.requirement(value, "use auto, gpu, cpu or part of an adapter's name")),
        }
    }

    fn mismatch(&self, value: &str, expected: &str) -> Error {
        Error::new(ErrorCode::ConfValueType, format!("{} = {value:?}: expected {expected}", self.name))
    }

    fn requirement(&self, value: &str, why: &str) -> Error {
        Error::new(ErrorCode::ConfValueRequirement, format!("{} = {value:?}: {why}", self.name))
    }
}

/// `true` or `false` in any case.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Spark's time texts, in milliseconds.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    let (number, unit) = split(text)?;
    let micros: i64 = match unit.as_str() {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(|micros| micros / 1_000)
}

/// Spark's size texts, in bytes.
pub(super) fn bytes(text: &str) -> Option<i64> {
    let (number, unit) = split(text)?;
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        "p" | "pb" => 50,
        _ => return None,
    };
    number.checked_mul(1_i64 << power)
}

/// A number that is not negative, and its unit in lower case.
fn split(text: &str) -> Option<(i64, String)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}
