use super::keys::{KEYS, bytes, time_ms};
use super::*;

fn refused(key: &str, value: &str) -> (ErrorCode, String) {
    let error = Config::default().set(key, value).unwrap_err();
    (error.code(), error.message().to_string())
}

#[test]
fn values_that_a_key_cannot_have_are_refused_when_they_are_set() {
    let wrong = [
        (
            WATERMARK_POLICY,
            "median",
            ErrorCode::ConfValueRequirement,
            "spark.sql.streaming.multipleWatermarkPolicy = \"median\": valid values are min, max",
        ),
        (
            NO_DATA_BATCHES,
            "yes",
            ErrorCode::ConfValueType,
            "spark.sql.streaming.noDataMicroBatches.enabled = \"yes\": expected true or false",
        ),
        (
            BATCHES_TO_RETAIN,
            "0",
            ErrorCode::ConfValueRequirement,
            "spark.sql.streaming.minBatchesToRetain = \"0\": it must be at least 1",
        ),
        (
            DELTAS_FOR_SNAPSHOT,
            "-1",
            ErrorCode::ConfValueRequirement,
            "spark.sql.streaming.stateStore.minDeltasForSnapshot = \"-1\": it must be at least 1",
        ),
        (WORKERS, "many", ErrorCode::ConfValueType, "tidemill.workers = \"many\": expected a whole number"),
        (
            TIME_ZONE,
            "Mars",
            ErrorCode::ConfValueTimeZone,
            "spark.sql.session.timeZone = \"Mars\": expected a time zone such as Europe/Berlin, UTC or, in whole hours, +02:00",
        ),
        (
            POLLING_DELAY,
            "abc",
            ErrorCode::ConfValueType,
            "spark.sql.streaming.pollingDelay = \"abc\": expected a time such as 100ms, 5s or 2m",
        ),
    ];
    for (key, value, code, message) in wrong {
        assert_eq!(refused(key, value), (code, message.to_string()));
    }
}

/// Zones as Spark takes them, for the setting and for every `timeZone`.
#[test]
fn zones_are_regions_offsets_and_old_names() {
    let config = Config::default();
    for (text, name) in [
        ("Z", "UTC"),
        ("+02:00", "Etc/GMT-2"),
        ("GMT+2", "Etc/GMT-2"),
        ("UTC-5", "Etc/GMT+5"),
        ("PST", "America/Los_Angeles"),
    ] {
        config.set(TIME_ZONE, text).unwrap();
        assert_eq!(config.environment().unwrap().time_zone.name(), name, "{text}");
    }
    assert_eq!(refused(TIME_ZONE, "+05:30").0, ErrorCode::ConfValueTimeZone);
}

#[test]
fn a_refused_value_changes_nothing() {
    let config = Config::default();
    config.set(RECENT_PROGRESS, 7).unwrap();
    config.set(RECENT_PROGRESS, 0).unwrap_err();
    assert_eq!((config.get(RECENT_PROGRESS).as_deref(), config.recent_progress().unwrap()), (Some("7"), 7));
}

#[test]
fn flags_are_read_in_any_case() {
    let config = Config::default();
    config.set(ANSI, "FALSE").unwrap();
    config.set(NO_DATA_BATCHES, " False ").unwrap();
    assert!(!config.environment().unwrap().ansi);
    assert!(!config.settings(false).unwrap().no_data_batches);
    assert_eq!(config.get(NO_DATA_BATCHES).as_deref(), Some(" False "));
}

/// Every default is a value that its key can have, and no key stands in the table twice.
#[test]
fn the_table_is_consistent() {
    let names: std::collections::BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
    for key in KEYS {
        if let Some(default) = key.default {
            key.check(default).unwrap();
        }
        assert!(key.doc.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn known_keys_answer_with_sparks_defaults() {
    let config = Config::default();
    for (key, value) in [
        (POLLING_DELAY, "10ms"),
        (IDLE_INTERVAL, "10000ms"),
        (STOP_TIMEOUT, "0ms"),
        (RECENT_PROGRESS, "100"),
        (WATERMARK_POLICY, "min"),
        (STOP_ACTIVE_RUN, "true"),
        ("spark.sql.streaming.metricsEnabled", "false"),
        ("spark.sql.shuffle.partitions", "200"),
        ("spark.sql.files.maxPartitionBytes", "134217728b"),
        ("spark.sql.timestampType", "TIMESTAMP_LTZ"),
    ] {
        assert_eq!(config.get(key).as_deref(), Some(value), "{key}");
        assert!(config.is_modifiable(key), "{key}");
    }
    assert_eq!(config.try_get(CHECKPOINT_LOCATION).unwrap(), None);
    assert_eq!(config.get_or(POLLING_DELAY, "7ms"), "7ms");
    assert!(config.get_all().is_empty());
    assert_eq!(config.polling_delay().unwrap(), Duration::from_millis(10));
    assert_eq!(config.idle_interval().unwrap(), Duration::from_secs(10));
    assert_eq!(config.stop_timeout().unwrap(), None);
}

#[test]
fn keys_of_the_core_are_for_the_builder() {
    let config = Config::default();
    for key in ["spark.executor.memory", "spark.driver.cores", "spark.serializer", "spark.default.parallelism"] {
        let error = config.set(key, 1).unwrap_err();
        assert_eq!((error.code(), error.parameter("key")), (ErrorCode::ConfCore, Some(format!("\"{key}\"").as_str())));
        assert!(config.unset(key).is_err() && !config.is_modifiable(key));
        config.initialize(key, 1).unwrap();
    }
    for key in ["spark.sql.anything", "spark.hadoop.fs.s3a.endpoint", "spark.mine", "spark", "executor"] {
        config.set(key, 1).unwrap();
    }
}

#[test]
fn names_differ_by_more_than_case() {
    let config = Config::default();
    config.set("spark.sql.caseSensitive", "false").unwrap();
    let error = config.set("spark.sql.caseSensitive", "true").unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConfValueRequirement, "{error}");
}

#[test]
fn unknown_keys_are_kept_and_not_found_before() {
    let config = Config::default();
    let error = config.try_get("no.such.key").unwrap_err();
    assert_eq!(
        error.to_string(),
        "[SQL_CONF_NOT_FOUND] the configuration key \"no.such.key\" is not known and was not set; set it first, or ask with a default"
    );
    assert_eq!((config.get("no.such.key"), config.get_or("no.such.key", "d")), (None, "d".to_string()));
    config.set("no.such.key", 5).unwrap();
    assert_eq!(config.try_get("no.such.key").unwrap().as_deref(), Some("5"));
    assert!(!config.is_modifiable("no.such.key"));
    config.unset("no.such.key").unwrap();
    assert_eq!(config.get("no.such.key"), None);
}

#[test]
fn static_keys_are_set_by_the_builder_only() {
    let config = Config::default();
    let key = "spark.sql.warehouse.dir";
    config.initialize(key, "w").unwrap();
    assert_eq!(refused(key, "x").0, ErrorCode::ConfStatic);
    assert_eq!(config.unset(key).unwrap_err().code(), ErrorCode::ConfStatic);
    assert_eq!(config.get(key).as_deref(), Some("w"));
    assert!(!config.is_modifiable(key));
    config.set(STOP_TIMEOUT, "2s").unwrap();
    assert_eq!(config.stop_timeout().unwrap(), Some(Duration::from_secs(2)));
    config.unset(STOP_TIMEOUT).unwrap();
    assert_eq!(config.get(STOP_TIMEOUT).as_deref(), Some("0ms"));
}

#[test]
fn times_and_sizes_have_sparks_units() {
    let times = ["20", "20ms", "2s", "2 s", "3m", "3min", "1h", "1d", "1500us", "0"].map(time_ms);
    let expected = [20, 20, 2_000, 2_000, 180_000, 180_000, 3_600_000, 86_400_000, 1, 0];
    assert_eq!(times, expected.map(Some));
    assert_eq!(["", "ms", "-1s", "1w", "99999999999999999999", "1.5s"].map(time_ms), [None; 6]);
    assert_eq!(
        ["7", "7b", "1k", "64m", "64MB", "1g"].map(bytes),
        [7, 7, 1 << 10, 64 << 20, 64 << 20, 1 << 30].map(Some)
    );
    assert_eq!(["", "1x", "9999999999p"].map(bytes), [None; 3]);
}
