//! Bad input and bad programs: what a person is told, and that nothing is written first.

use std::path::{Path, PathBuf};
use tidemill::prelude::*;
use tidemill::sink::OutputMode as Mode;

const SCHEMA: &str = "k STRING, v INT, t TIMESTAMP";

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("in")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    async fn rows(&self, options: &[(&str, &str)]) -> Result<DataFrame, Error> {
        let mut reader = session().await.read_stream().format("json").schema(SCHEMA);
        for (key, value) in options {
            reader = reader.option(key, *value);
        }
        reader.load_path(&self.text("in")).await
    }

    /// Starts into Parquet, and asserts that a refusal has left nothing behind.
    async fn refused(&self, frame: &DataFrame, mode: Mode) -> Error {
        let started = frame
            .write_stream()
            .output_mode(mode)
            .option("checkpointLocation", self.text("checkpoint"))
            .start_path(&self.text("out"))
            .await;
        let error = started.err().expect("the query must be refused");
        assert!(!self.path("checkpoint").exists(), "a refused query wrote a checkpoint");
        assert!(!self.path("out").exists(), "a refused query wrote output");
        error
    }
}

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

fn is(error: &Error, code: ErrorCode, words: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error} does not say {word:?}");
    }
}

/// Runs to the end and gives the rows' text.
async fn collected(frame: &DataFrame) -> Result<(Vec<String>, u64), Error> {
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = frame.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await?;
    query.await_termination().await?;
    let rows = table.concat().unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
    let rows = text.lines().skip(3).filter(|l| l.starts_with("| ")).map(|l| l.split_whitespace().collect()).collect();
    Ok((rows, query.recent_progress().iter().map(|p| p.malformed_records).sum()))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

const MIXED: &str = "{\"k\":\"a\",\"v\":1}\nnot json\n{\"k\":\"b\",\"v\":\"x\"}\n{\"k\":\"c\",\"v\":3}\n";

#[tokio::test(flavor = "multi_thread")]
async fn permissive_gives_nulls() {
    let place = Place::new();
    write(&place.path("in/a.json"), MIXED);
    let (rows, malformed) = collected(&place.rows(&[]).await.unwrap()).await.unwrap();
    assert_eq!(rows, ["|a|1||", "||||", "|b|||", "|c|3||"]);
    assert_eq!(malformed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_malformed_drops_and_counts() {
    let place = Place::new();
    write(&place.path("in/a.json"), MIXED);
    let (rows, malformed) = collected(&place.rows(&[("mode", "DROPMALFORMED")]).await.unwrap()).await.unwrap();
    assert_eq!(rows, ["|a|1||", "|c|3||"]);
    assert_eq!(malformed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_names_file_and_line() {
    let place = Place::new();
    // Long enough for several chunks: the line is counted from the start of the file all the same.
    let good =
        "{\"k\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"v\":1}\n";
    write(&place.path("in/a.json"), &format!("{}{MIXED}", good.repeat(100_000)));
    let error = collected(&place.rows(&[("mode", "FAILFAST")]).await.unwrap()).await.unwrap_err();
    is(&error, ErrorCode::StreamFailed, &["MALFORMED_RECORD_IN_PARSING", "a.json, line 100002"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_option_is_named_with_the_one_meant() {
    let error = Place::new().rows(&[("maxFilePerTrigger", "1")]).await.err().unwrap();
    is(&error, ErrorCode::InvalidOption, &["maxFilePerTrigger", "maxFilesPerTrigger"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_value_of_the_wrong_kind_is_named() {
    let error = Place::new().rows(&[("maxFilesPerTrigger", "many")]).await.err().unwrap();
    is(&error, ErrorCode::InvalidOption, &["maxFilesPerTrigger", "many"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_column_is_named_with_those_there_are() {
    let rows = Place::new().rows(&[]).await.unwrap();
    let error = rows.select(["vv"]).err().unwrap();
    is(&error, ErrorCode::UnresolvedColumn, &["\"vv\"", "`v`"]);
    let error = rows.group_by(["k"]).unwrap().agg([sum("w")]).err().unwrap();
    is(&error, ErrorCode::UnresolvedColumn, &["\"w\"", "`v`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_durations_and_watermarks_are_refused() {
    let rows = Place::new().rows(&[]).await.unwrap();
    is(&rows.with_watermark("t", "ten minutes").err().unwrap(), ErrorCode::CannotParseInterval, &["ten minutes"]);
    is(&rows.with_watermark("t", "-1 minutes").err().unwrap(), ErrorCode::InvalidOption, &["should not be negative"]);
    is(&rows.with_watermark("k", "1 minute").err().unwrap(), ErrorCode::EventTimeNotTimestamp, &["\"k\"", "Utf8"]);
    let marked = rows.with_watermark("t", "1 minute").unwrap();
    is(&marked.with_watermark("t", "1 minute").err().unwrap(), ErrorCode::RedefiningWatermark, &["disallowed"]);
    is(&rows.group_by([window("t", "five")]).err().unwrap(), ErrorCode::CannotParseInterval, &["five"]);
    is(
        &rows.group_by([window_sliding("t", "5 seconds", "6 seconds")]).err().unwrap(),
        ErrorCode::DatatypeMismatch,
        &["slide"],
    );
    is(&rows.group_by([window("k", "5 seconds")]).err().unwrap(), ErrorCode::DatatypeMismatch, &["timestamp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_output_modes_are_refused_before_anything_is_written() {
    let place = Place::new();
    let rows = place.rows(&[]).await.unwrap();
    let counts = rows.group_by(["k"]).unwrap().count().unwrap();
    is(&place.refused(&counts, Mode::Append).await, ErrorCode::OutputModeUnsupported, &["append", "without watermark"]);
    is(&place.refused(&rows, Mode::Complete).await, ErrorCode::OutputModeUnsupported, &["complete", "aggregations"]);
    is(&place.refused(&counts, Mode::Update).await, ErrorCode::OutputModeUnsupportedSink, &["parquet", "update"]);
    let error = rows.write_stream().output_mode("upsert").start_path(&place.text("out")).await.err().unwrap();
    is(&error, ErrorCode::OutputModeInvalid, &["upsert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_places_are_refused_before_anything_is_written() {
    let place = Place::new();
    let rows = place.rows(&[]).await.unwrap();
    std::fs::remove_dir(place.path("in")).unwrap();
    is(&place.rows(&[]).await.err().unwrap(), ErrorCode::PathNotFound, &["in"]);
    is(&place.refused(&rows, Mode::Append).await, ErrorCode::PathNotFound, &["in"]);
    std::fs::create_dir(place.path("in")).unwrap();
    let error = rows.write_stream().start_path(&place.text("out")).await.err().unwrap();
    is(&error, ErrorCode::MissingOption, &["checkpointLocation"]);
    let error = rows.write_stream().option("checkpointLocation", "c").start().await.err().unwrap();
    is(&error, ErrorCode::InvalidOption, &["'path' is not specified"]);
    // A checkpoint below a file cannot be made.
    write(&place.path("file"), "");
    let error = rows
        .write_stream()
        .option("checkpointLocation", place.text("file/checkpoint"))
        .start_path(&place.text("out"))
        .await
        .err()
        .unwrap();
    is(&error, ErrorCode::CheckpointIo, &["file/checkpoint"]);
    assert!(!place.path("out").exists());
    let error = rows.write_stream().format("delta").start().await.err().unwrap();
    is(&error, ErrorCode::DataSourceNotFound, &["delta"]);
}

/// A format that Spark programs name and that is not here is refused with what to use instead, wherever it is named.
#[tokio::test(flavor = "multi_thread")]
async fn formats_of_others_are_refused_with_what_to_use() {
    let (place, session) = (Place::new(), session().await);
    let rows = place.rows(&[]).await.unwrap();
    let cases = [
        ("avro", "use parquet"),
        ("orc", "use parquet"),
        ("xml", "json"),
        ("hive", "format(\"parquet\")"),
        ("delta", "foreach_batch"),
        ("iceberg", "foreach_batch"),
        ("hudi", "foreach_batch"),
        ("jdbc", "foreach_batch"),
        ("binaryFile", "text files"),
        ("pulsar", "kafka"),
        ("nope", "parquet"),
    ];
    for (format, instead) in cases {
        let stream = session.read_stream().format(format).schema("v INT").load_path("x").await.unwrap_err();
        let table = session.read().format(format).load_path("x").await.unwrap_err();
        let out = rows.write_stream().format(format).option("path", "x").start().await.err().unwrap();
        let written =
            DataFrame::range(&session, 0, 1, 1).unwrap().write().format(format).save_path("x").await.unwrap_err();
        for error in [stream, table, out, written] {
            is(&error, ErrorCode::DataSourceNotFound, &[format, instead, "your own"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_unique_while_its_query_runs() {
    let place = Place::new();
    let rows = place.rows(&[]).await.unwrap();
    let start = || rows.write_stream().format("memory").query_name("q").start();
    let first = start().await.unwrap();
    is(&start().await.err().unwrap(), ErrorCode::QueryNameInUse, &["q"]);
    first.stop().await;
    assert_eq!((first.is_active(), first.exception().is_none()), (false, true));
    start().await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ansi_ends_the_query_and_the_switch_turns_it_off() {
    let place = Place::new();
    write(&place.path("in/a.json"), "{\"k\":\"1\",\"v\":0}\n{\"k\":\"x\",\"v\":2}\n");
    let rows = place.rows(&[]).await.unwrap();
    let error = collected(&rows.select([col("k").cast("int")]).unwrap()).await.unwrap_err();
    is(&error, ErrorCode::StreamFailed, &["CAST_INVALID_INPUT", "'x'"]);
    let error = collected(&rows.select([lit(1) / col("v")]).unwrap()).await.unwrap_err();
    is(&error, ErrorCode::StreamFailed, &["DIVIDE_BY_ZERO"]);
    // A row that a filter removes cannot end the query, wherever its columns are computed.
    let kept = rows.filter(col("k").eq("1")).unwrap().select([col("k").cast("int").alias("n")]).unwrap();
    assert_eq!(collected(&kept).await.unwrap().0, ["|1|"]);
    let session = Session::builder()
        .config("tidemill.device", "cpu")
        .config("spark.sql.ansi.enabled", false)
        .build()
        .await
        .unwrap();
    let lenient = session.read_stream().format("json").schema(SCHEMA).load_path(&place.text("in")).await.unwrap();
    let lenient = lenient.select([col("k").cast("int").alias("n"), (lit(1) / col("v")).alias("q")]).unwrap();
    assert_eq!(collected(&lenient).await.unwrap().0, ["|1||", "||0.5|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_query_is_refused_with_the_difference() {
    let place = Place::new();
    write(&place.path("in/a.json"), "{\"k\":\"a\",\"v\":1}\n");
    let rows = place.rows(&[]).await.unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let start = |frame: DataFrame| {
        let table = table.clone();
        let writer = frame.write_stream().output_mode(Update).option("checkpointLocation", place.text("checkpoint"));
        async move { writer.trigger(Trigger::AvailableNow).table(&table).start().await }
    };
    let totals = |aggregate: Column| rows.group_by(["k"]).unwrap().agg([aggregate.alias("total")]).unwrap();
    start(totals(sum("v"))).await.unwrap().await_termination().await.unwrap();
    let error = start(totals(max("v"))).await.err().unwrap();
    is(&error, ErrorCode::CheckpointIncompatible, &["sum(", "max(", "new checkpointLocation"]);
    let filtered =
        rows.filter(col("v").gt(0)).unwrap().group_by(["k"]).unwrap().agg([sum("v").alias("total")]).unwrap();
    start(filtered).await.unwrap().await_termination().await.unwrap();
}

/// An aggregate that is added begins with the first batch after the change; those that were there go on, under whatever names.
#[tokio::test(flavor = "multi_thread")]
async fn an_added_aggregate_begins_empty() {
    let place = Place::new();
    write(&place.path("in/a.json"), "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":10}\n");
    let rows = place.rows(&[]).await.unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let run = async |aggregates: Vec<Column>| {
        let frame = rows.group_by(["k"]).unwrap().agg(aggregates).unwrap();
        let writer = frame.write_stream().output_mode(Complete).option("checkpointLocation", place.text("checkpoint"));
        let query = writer.trigger(Trigger::AvailableNow).table(&table).start().await?;
        query.await_termination().await?;
        let shown = arrow::util::pretty::pretty_format_batches(&table.rows()).unwrap().to_string();
        Ok::<_, tidemill::Error>(shown.lines().skip(3).map(str::to_string).collect::<Vec<_>>())
    };
    assert_eq!(run(vec![sum("v").alias("total")]).await.unwrap()[..2], ["| a | 1     |", "| b | 10    |"]);
    write(&place.path("in/b.json"), "{\"k\":\"a\",\"v\":2}\n");
    let added = run(vec![max("v").alias("most"), sum("v").alias("renamed")]).await.unwrap();
    assert_eq!(added[..2], ["| a | 2    | 3       |", "| b |      | 10      |"]);
    write(&place.path("in/c.json"), "{\"k\":\"a\",\"v\":1}\n");
    let gone = run(vec![max("v").alias("most")]).await.unwrap_err();
    is(&gone, ErrorCode::CheckpointIncompatible, &["sum(", "new checkpointLocation"]);
    let went_on = run(vec![sum("v").alias("total"), max("v").alias("most")]).await.unwrap();
    assert_eq!(went_on[..2], ["| a | 4     | 2    |", "| b | 10    |      |"]);
}

/// State of windows is found by what an aggregate computes, so they take on another one, which begins empty. That of sessions is found by
/// place: a query with another aggregate is refused, and the one before goes on.
#[tokio::test(flavor = "multi_thread")]
async fn windows_take_on_an_aggregate_and_sessions_do_not() {
    let place = Place::new();
    write(&place.path("in/a.json"), "{\"k\":\"a\",\"v\":1,\"t\":\"2024-01-01T00:00:01Z\"}\n");
    let rows = place.rows(&[]).await.unwrap().with_watermark("t", "10 seconds").unwrap();
    let run = async |name: &str, key: Column, aggregates: Vec<Column>, table: &MemoryTable| {
        let frame = rows.group_by([key.alias("w"), col("k")]).unwrap().agg(aggregates).unwrap();
        let writer = frame.write_stream().output_mode(Complete).option("checkpointLocation", place.text(name));
        let query = writer.trigger(Trigger::AvailableNow).table(table).start().await?;
        query.await_termination().await?;
        let frame = table.concat().unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&[frame
            .project(&(1..frame.num_columns()).collect::<Vec<_>>())
            .unwrap()]);
        Ok::<_, Error>(shown.unwrap().to_string().lines().skip(3).map(|l| l.replace(' ', "")).collect::<Vec<_>>())
    };
    let (total, most) = (|| sum("v").alias("total"), || max("v").alias("most"));
    let (windows, sessions) = (MemoryTable::new(Some("windows")).unwrap(), MemoryTable::new(Some("sessions")).unwrap());
    let (window_of, session_of) = (|| window("t", "10 seconds"), || session_window("t", "10 seconds"));
    assert_eq!(run("windows", window_of(), vec![total()], &windows).await.unwrap()[..1], ["|a|1|"]);
    assert_eq!(run("sessions", session_of(), vec![total()], &sessions).await.unwrap()[..1], ["|a|1|"]);
    write(&place.path("in/b.json"), "{\"k\":\"a\",\"v\":2,\"t\":\"2024-01-01T00:00:02Z\"}\n");
    assert_eq!(run("windows", window_of(), vec![most(), total()], &windows).await.unwrap()[..1], ["|a|2|3|"]);
    let error = run("sessions", session_of(), vec![total(), most()], &sessions).await.unwrap_err();
    let difference = "aggregate of sessions [sum(CAST(v AS Int64))] became [sum(CAST(v AS Int64)), max(v)]";
    is(&error, ErrorCode::CheckpointIncompatible, &[difference, "new checkpointLocation"]);
    assert_eq!(run("sessions", session_of(), vec![total()], &sessions).await.unwrap()[..1], ["|a|3|"]);
}
