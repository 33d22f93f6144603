use super::*;

fn options() -> Options {
    let mut options = Options::new();
    options.set("maxFilesPerTrigger", 5);
    options.set("Header", true);
    options.set("path", "data/rides");
    options.set("kafka.bootstrap.servers", "a:1");
    options.set("KAFKA.ssl.Key", String::from("k"));
    options
}

#[test]
fn keys_ignore_case_and_keep_order_and_spelling() {
    let mut options = options();
    options.set("HEADER", 0.5);
    assert_eq!(options.get("header"), Some("0.5"));
    assert_eq!(
        options.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["maxFilesPerTrigger", "HEADER", "path", "kafka.bootstrap.servers", "KAFKA.ssl.Key"]
    );
    assert_eq!(options.remove("Path"), Some("data/rides".to_string()));
    assert_eq!(options.remove("Path"), None);
    assert_eq!(
        format!("{options:?}"),
        r#"["maxFilesPerTrigger", "HEADER", "kafka.bootstrap.servers", "KAFKA.ssl.Key"]"#
    );
}

#[test]
fn typed_getters_and_prefixes_consume() {
    let options = options();
    let mut reader = options.reader("the csv source");
    assert_eq!(reader.positive("maxfilespertrigger").unwrap(), Some(5));
    assert_eq!(reader.bool("header").unwrap(), Some(true));
    assert_eq!(reader.u64("absent").unwrap(), None);
    assert_eq!(reader.usize("absent").unwrap(), None);
    assert_eq!(reader.path().unwrap(), "data/rides");
    assert_eq!(reader.prefixed("kafka."), [("bootstrap.servers", "a:1"), ("ssl.Key", "k")]);
    reader.finish().unwrap();
}

#[test]
fn an_option_nobody_reads_is_refused_with_the_nearest() {
    let options = Options::from_iter([("maxFilePerTrigger", 1)]);
    let mut reader = options.reader("the json source");
    reader.text("path");
    reader.positive("maxFilesPerTrigger").unwrap();
    let error = reader.finish().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    assert_eq!(
        error.message(),
        "'maxFilePerTrigger' is not an option of the json source; did you mean 'maxFilesPerTrigger'?"
    );
    let mut reader = options.reader("the json source");
    reader.text("path");
    assert_eq!(
        reader.finish().unwrap_err().message(),
        "'maxFilePerTrigger' is not an option of the json source; it takes path"
    );
}

#[test]
fn bad_values_name_key_value_and_expectation() {
    let options = Options::from_iter([("n", "0"), ("b", "yes"), ("d", "7 fortnights"), ("m", "-3")]);
    let mut reader = options.reader("the rate source");
    let message = |error: Result<Option<String>>| error.unwrap_err().message().to_string();
    assert_eq!(
        message(reader.positive("n").map(|v| v.map(|v| v.to_string()))),
        "option 'n' of the rate source is '0'; expected a positive whole number"
    );
    assert_eq!(
        message(reader.bool("b").map(|v| v.map(|v| v.to_string()))),
        "option 'b' of the rate source is 'yes'; expected true or false"
    );
    assert_eq!(
        message(reader.duration("d").map(|v| v.map(|v| v.to_string()))),
        "option 'd' of the rate source is '7 fortnights'; expected a duration such as '7d', '500ms' or '10 minutes'"
    );
    assert_eq!(
        message(reader.usize("m").map(|v| v.map(|v| v.to_string()))),
        "option 'm' of the rate source is '-3'; expected a whole number of 0 or more"
    );
    let error = Options::new().reader("the parquet sink").path().unwrap_err();
    assert_eq!(error.message(), "'path' is not specified.");
}

#[test]
fn intervals_as_spark_reads_them() {
    for (text, micros) in [
        ("10 minutes", 600_000_000),
        ("1 hour 30 minutes", 5_400_000_000),
        ("interval 5 seconds", 5_000_000),
        ("INTERVAL 1 Day", 86_400_000_000),
        ("500 milliseconds", 500_000),
        ("7 microseconds", 7),
        ("1 week", 604_800_000_000),
        ("  2   days  ", 172_800_000_000),
        ("1.5 seconds", 1_500_000),
        (".25 second", 250_000),
        ("-1.5 seconds", -1_500_000),
        ("- 1 minute", -60_000_000),
        ("1 minute -1 second", 59_000_000),
        ("0 seconds", 0),
        ("0.123456789 seconds", 123_456),
    ] {
        assert_eq!(parse_duration(text).unwrap(), micros, "{text}");
    }
    for (text, sub) in [
        ("", "INPUT_IS_EMPTY"),
        ("interval", "INPUT_IS_EMPTY"),
        ("10", "MISSING_UNIT"),
        ("minutes", "UNRECOGNIZED_NUMBER"),
        ("10minutes", "UNRECOGNIZED_NUMBER"),
        ("ten minutes", "UNRECOGNIZED_NUMBER"),
        ("1.5 minutes", "INVALID_FRACTION"),
        ("1 fortnight", "INVALID_UNIT"),
        ("1 min", "INVALID_UNIT"),
        ("10 minutess", "INVALID_UNIT"),
        ("99999999999999999999 days", "ARITHMETIC_EXCEPTION"),
        ("9999999999999 weeks", "ARITHMETIC_EXCEPTION"),
        ("1. . seconds", "INVALID_UNIT"),
        (". seconds", "UNRECOGNIZED_NUMBER"),
        ("-", "UNRECOGNIZED_NUMBER"),
    ] {
        let error = parse_duration(text).unwrap_err();
        assert_eq!(error.condition(), format!("INVALID_INTERVAL_FORMAT.{sub}"), "{text}");
        assert_eq!(error.parameter("input"), Some(text));
        let of_time = event_time_duration(text).unwrap_err();
        assert_eq!((of_time.code(), of_time.message()), (ErrorCode::CannotParseInterval, error.message()));
        assert!(error.message().starts_with(&format!("'{text}' is not an interval")), "{error}");
    }
    assert_eq!(parse_interval("1 year 2 months 1 day").unwrap(), Interval { months: 14, micros: DAY });
    assert_eq!(parse_duration("1 month").unwrap_err().condition(), "INVALID_INTERVAL_FORMAT.INVALID_UNIT");
}

#[test]
fn option_durations_take_both_forms() {
    let options = Options::from_iter([("a", "7d"), ("b", "10 minutes"), ("c", "250"), ("d", "500MS")]);
    let mut reader = options.reader("the json source");
    assert_eq!(reader.duration("a").unwrap(), Some(7 * DAY));
    assert_eq!(reader.duration("b").unwrap(), Some(10 * MINUTE));
    assert_eq!(reader.duration("c").unwrap(), Some(250 * MILLISECOND));
    assert_eq!(reader.duration_seconds("c").unwrap(), Some(250 * SECOND));
    assert_eq!(reader.duration("d").unwrap(), Some(500 * MILLISECOND));
}

#[test]
fn local_paths() {
    for text in ["/data/rides", "file:/data/rides", "file:///data/rides", "FILE:/data/rides/"] {
        assert_eq!(file_uri(&local_path(text).unwrap()), "file:/data/rides", "{text}");
    }
    assert_eq!(file_uri(&local_path("/").unwrap()), "file:/");
    assert_eq!(local_path("rides").unwrap(), std::env::current_dir().unwrap().join("rides"));
    assert_eq!(local_path("odd:name").unwrap(), std::env::current_dir().unwrap().join("odd:name"));
    for text in ["s3://bucket/x", "file://host/x", "hdfs://a/b"] {
        let error = local_path(text).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
        assert!(error.message().contains(text), "{error}");
    }
}
