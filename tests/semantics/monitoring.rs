//! What a session tells about its queries: progress records, listeners, failures in words, and what a second start does.

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{Arc, mpsc};
use tidemill::prelude::*;
use tidemill::progress::listener::{
    QueryProgressEvent, QueryStartedEvent, QueryTerminatedEvent, StreamingQueryListener,
};

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

fn stream() -> MemoryStream {
    MemoryStream::new(StructType::from_ddl("t TIMESTAMP, n BIGINT").unwrap().to_arrow_schema())
}

/// Rows of times in microseconds and numbers.
fn rows(values: &[(i64, i64)]) -> RecordBatch {
    let schema = StructType::from_ddl("t TIMESTAMP, n BIGINT").unwrap().to_arrow_schema();
    let times: TimestampMicrosecondArray = values.iter().map(|v| Some(v.0)).collect();
    let numbers: Int64Array = values.iter().map(|v| Some(v.1)).collect();
    RecordBatch::try_new(schema, vec![Arc::new(times.with_timezone("UTC")), Arc::new(numbers)]).unwrap()
}

/// The record with everything that differs from run to run set to 0 or null.
fn masked(progress: &tidemill::progress::StreamingQueryProgress) -> Value {
    let mut json = progress.to_json();
    for key in ["id", "runId", "timestamp", "device"] {
        assert!(json[key].is_string(), "{key}");
        json[key] = Value::Null;
    }
    for rates in ["/inputRowsPerSecond", "/processedRowsPerSecond", "/batchDuration"] {
        for place in [String::new(), "/sources/0".to_string()] {
            if let Some(value) = json.pointer_mut(&format!("{place}{rates}")) {
                assert!(value.is_number());
                *value = json!(0);
            }
        }
    }
    for times in ["durationMs", "stageDurationMs"] {
        for value in json[times].as_object_mut().unwrap().values_mut() {
            assert!(value.is_u64());
            *value = json!(0);
        }
    }
    for operator in json["stateOperators"].as_array_mut().unwrap() {
        for key in ["allUpdatesTimeMs", "commitTimeMs", "memoryUsedBytes"] {
            assert!(operator[key].is_u64(), "{key}");
            operator[key] = json!(0);
        }
    }
    json
}

/// A row that a filter removes is input, and no event time.
#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_windowed_count() {
    let session = session().await;
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    stream.add(rows(&[(10_000_000, 1), (14_000_000, 2), (12_000_500, 3), (99_000_000, 100)])).unwrap();
    let counts = stream.frame(&session).unwrap().filter(col("n").lt(100)).unwrap();
    let counts = counts.with_watermark("t", "5 seconds").unwrap();
    let counts = counts.group_by([window(col("t"), "5 seconds")]).unwrap().count().unwrap();
    let writer = counts.write_stream().query_name("counts").output_mode(Update).trigger(Trigger::AvailableNow);
    let query = writer.table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    let first = query.recent_progress()[0].clone();
    let expected = json!({
        "id": null, "runId": null, "name": "counts", "timestamp": null, "batchId": 0, "batchDuration": 0,
        "numInputRows": 4, "inputRowsPerSecond": 0, "processedRowsPerSecond": 0,
        "durationMs": {
            "addBatch": 0, "commitOffsets": 0, "getBatch": 0, "latestOffset": 0, "queryPlanning": 0,
            "triggerExecution": 0, "walCommit": 0
        },
        "eventTime": {
            "avg": "1970-01-01T00:00:12.000Z", "max": "1970-01-01T00:00:14.000Z",
            "min": "1970-01-01T00:00:10.000Z", "watermark": "1970-01-01T00:00:00.000Z"
        },
        "stateOperators": [{
            "operatorName": "stateStoreSave", "numRowsTotal": 1, "numRowsUpdated": 1, "allUpdatesTimeMs": 0,
            "numRowsRemoved": 0, "allRemovalsTimeMs": 0, "commitTimeMs": 0, "memoryUsedBytes": 0,
            "numRowsDroppedByWatermark": 0, "numShufflePartitions": 1, "numStateStoreInstances": 1,
            "customMetrics": {"lateInputRows": 0, "stateFiles": 1}
        }],
        "sources": [{
            "description": "MemoryStream[t,n]", "startOffset": 0, "endOffset": 1, "latestOffset": 1,
            "numInputRows": 4, "inputRowsPerSecond": 0, "processedRowsPerSecond": 0
        }],
        "sink": {"description": "MemorySink", "numOutputRows": 1},
        "device": null, "malformedRecords": 0, "lateInputRows": 0, "gpuFallbacks": 0,
        "stageDurationMs": {
            "decode": 0, "merge": 0, "partialAggregate": 0, "prepare": 0, "publish": 0, "stage": 0, "stateCommit": 0
        }
    });
    // As texts: the order of the keys is part of the shape.
    assert_eq!(masked(&first).to_string(), expected.to_string());
    assert_eq!(first.json(), first.to_json().to_string());
    assert!(first.pretty_json().starts_with("{\n  \"id\": "));
}

/// Aggregates over the rows that pass a point of the plan, batch by batch, under every operator above it.
#[tokio::test(flavor = "multi_thread")]
async fn observed_metrics_are_those_of_the_batch() {
    let session = session().await;
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let frame = stream.frame(&session).unwrap().filter(col("n").gt(1)).unwrap();
    let frame = frame.observe("big", [count_all().alias("rows"), max(col("n")).alias("most")]).unwrap();
    let counts = frame.filter(col("n").lt(9)).unwrap().group_by(["n"]).unwrap().count().unwrap();
    let counts = counts.observe("groups", [count_all().alias("n")]).unwrap();
    let query = counts.write_stream().output_mode(Update).table(&table).start().await.unwrap();
    for numbers in [&[1, 5, 5, 9][..], &[0, 1]] {
        stream.add(rows(&numbers.iter().map(|n| (0, *n)).collect::<Vec<_>>())).unwrap();
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    let observed: Vec<_> = query.recent_progress().iter().map(|p| p.to_json()["observedMetrics"].clone()).collect();
    assert_eq!(
        observed,
        [
            json!({"big": {"rows": 3, "most": 9}, "groups": {"n": 1}}),
            json!({"big": {"rows": 0, "most": null}, "groups": {"n": 0}})
        ]
    );
}

/// The keys without which PySpark's `StreamingQueryProgress.fromJson` fails, with the types that it takes them to have, in records of
/// batches and of idle triggers alike.
#[tokio::test(flavor = "multi_thread")]
async fn pyspark_can_read_every_record() {
    let session = session().await;
    session.conf().set("spark.sql.streaming.noDataProgressEventInterval", "1ms").unwrap();
    session.conf().set("spark.sql.streaming.pollingDelay", "1ms").unwrap();
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    stream.add(rows(&[(10_000_000, 1), (14_000_000, 2)])).unwrap();
    let counts = stream.frame(&session).unwrap().observe("m", [max("t").alias("most")]).unwrap();
    let counts = counts.with_watermark("t", "5 seconds").unwrap().group_by([window(col("t"), "5 seconds")]).unwrap();
    let query = counts.count().unwrap().write_stream().output_mode(Update).table(&table).start().await.unwrap();
    while query.recent_progress().last().is_none_or(|progress| !progress.state_operators.is_empty()) {
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    let records: Vec<Value> =
        query.recent_progress().iter().map(|p| serde_json::from_str(&p.json()).unwrap()).collect();
    for record in [records.first().unwrap(), records.last().unwrap()] {
        let has = |object: &Value, keys: &[&str], fits: &dyn Fn(&Value) -> bool| {
            for key in keys {
                assert!(object.get(key).is_some_and(fits), "{key} in {object}");
            }
        };
        has(record, &["id", "runId", "timestamp"], &Value::is_string);
        has(record, &["name"], &|value| value.is_string() || value.is_null());
        has(record, &["batchId", "batchDuration", "numInputRows"], &Value::is_i64);
        has(record, &["inputRowsPerSecond", "processedRowsPerSecond"], &Value::is_f64);
        has(record, &["stateOperators", "sources"], &Value::is_array);
        for operator in record["stateOperators"].as_array().unwrap() {
            has(operator, &["operatorName"], &Value::is_string);
            let numbers = [
                "numRowsTotal",
                "numRowsUpdated",
                "numRowsRemoved",
                "allUpdatesTimeMs",
                "allRemovalsTimeMs",
                "commitTimeMs",
                "memoryUsedBytes",
                "numRowsDroppedByWatermark",
                "numShufflePartitions",
                "numStateStoreInstances",
            ];
            has(operator, &numbers, &Value::is_i64);
        }
        for source in record["sources"].as_array().unwrap() {
            has(source, &["description"], &Value::is_string);
            has(source, &["startOffset", "endOffset", "latestOffset"], &|_| true);
            has(source, &["numInputRows"], &Value::is_i64);
            has(source, &["inputRowsPerSecond", "processedRowsPerSecond"], &Value::is_f64);
        }
        has(&record["sink"], &["description"], &Value::is_string);
        has(&record["sink"], &["numOutputRows"], &Value::is_i64);
        for optional in ["durationMs", "eventTime", "observedMetrics"] {
            assert!(record.get(optional).is_none_or(Value::is_object));
        }
    }
    assert_eq!(records[0]["stateOperators"].as_array().unwrap().len(), 1);
}

/// A name is one observation's, which is counted once wherever it stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_observations() {
    let session = session().await;
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let frame = stream.frame(&session).unwrap();
    assert_eq!(frame.observe("", [count_all()]).err().unwrap().code(), ErrorCode::MetricsMissingName);
    let rows_of = frame.observe("m", [count_all().alias("rows")]).unwrap();
    for metric in [count_all().alias("rows"), max("n").alias("most")] {
        let error = rows_of.observe("m", [metric]).err().unwrap();
        assert_eq!(error.code(), ErrorCode::DuplicatedMetricsName);
        assert!(error.message().starts_with("the metric name is not unique: m."), "{error}");
    }
    // Two frames that meet later.
    let most = frame.filter(col("n").gt(1)).unwrap().observe("m", [max("n").alias("most")]).unwrap();
    let error = rows_of.union(&most).unwrap().write_stream().table(&table).start().await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::DuplicatedMetricsName);
    // The same frame twice: every row comes twice, and is observed once.
    stream.add(rows(&[(0, 1), (0, 2), (0, 3)])).unwrap();
    let twice = rows_of.union(&rows_of).unwrap();
    let query = twice.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    assert_eq!(table.concat().unwrap().num_rows(), 6);
    assert_eq!(query.last_progress().unwrap().to_json()["observedMetrics"], json!({"m": {"rows": 3}}));
}

/// Times are texts to the second in the session's zone, as Spark gave them for the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn observed_times_are_texts_in_the_sessions_zone() {
    let session = session().await;
    session.conf().set("spark.sql.session.timeZone", "Europe/Paris").unwrap();
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    stream.add(rows(&[(1_704_067_200_123_456, 1), (1_704_067_205_000_000, 2)])).unwrap();
    let frame = stream.frame(&session).unwrap();
    let metrics = [
        min("t").alias("a"),
        max("t").alias("b"),
        max(col("t").cast("timestamp_ntz")).alias("ntz"),
        max(col("t").cast("date")).alias("d"),
        max(r#struct([col("n"), col("t")])).alias("s"),
        avg("n").alias("mean"),
    ];
    let observed = frame.observe("m", metrics).unwrap();
    let query = observed.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    assert_eq!(
        query.last_progress().unwrap().to_json()["observedMetrics"],
        json!({"m": {
            "a": "2024-01-01 01:00:00", "b": "2024-01-01 01:00:05", "ntz": "2024-01-01 01:00:05", "d": "2024-01-01",
            "s": {"n": 2, "t": "2024-01-01 01:00:05"}, "mean": 1.5
        }})
    );
}

#[derive(Clone)]
struct Log(Arc<Mutex<mpsc::Sender<(&'static str, Value)>>>);

impl Log {
    fn new() -> (Self, mpsc::Receiver<(&'static str, Value)>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Arc::new(Mutex::new(sender))), receiver)
    }

    fn note(&self, kind: &'static str, json: &str) {
        self.0.lock().send((kind, serde_json::from_str(json).unwrap())).unwrap();
    }
}

impl StreamingQueryListener for Log {
    fn on_query_started(&self, event: &QueryStartedEvent) {
        self.note("started", &event.json());
    }
    fn on_query_progress(&self, event: &QueryProgressEvent) {
        self.note("progress", &event.json());
    }
    fn on_query_terminated(&self, event: &QueryTerminatedEvent) {
        self.note("terminated", &event.json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_of_start_batches_and_end() {
    let session = session().await;
    let (log, heard) = Log::new();
    session.streams().add_listener(Arc::new(log));
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let frame = stream.frame(&session).unwrap();
    let query = frame.write_stream().query_name("q").table(&table).start().await.unwrap();
    // Heard before `start` returned.
    let (kind, event) = heard.try_recv().unwrap();
    assert_eq!((kind, &event["name"], &event["jobTags"]), ("started", &json!("q"), &json!([])));
    let ids = [json!(query.id()), json!(query.run_id())];
    assert_eq!([event["id"].clone(), event["runId"].clone()], ids);
    for n in 0..2 {
        stream.add(rows(&[(0, n)])).unwrap();
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    for batch in 0..2 {
        let (kind, event) = heard.recv().unwrap();
        assert_eq!((kind, &event["progress"]["batchId"]), ("progress", &json!(batch)));
        assert_eq!(event["progress"], query.recent_progress()[batch].to_json());
    }
    let (kind, event) = heard.recv().unwrap();
    let end = json!({"id": ids[0], "runId": ids[1], "exception": null, "errorClassOnException": null});
    assert_eq!((kind, event), ("terminated", end));
}

/// A failure in Spark's words: the message, the offsets, and the plan.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_where_the_query_was() {
    let session = session().await;
    let (log, heard) = Log::new();
    session.streams().add_listener(Arc::new(log));
    let stream = stream();
    let frame = stream.frame(&session).unwrap();
    let writer = frame.write_stream().query_name("bad").foreach_batch(|_, id| async move {
        if id == 0 { Ok(()) } else { Err(Error::new(ErrorCode::DivideByZero, "no")) }
    });
    let query = writer.start().await.unwrap();
    assert_eq!(query.exception_text(), None);
    stream.add(rows(&[(0, 1)])).unwrap();
    query.process_all_available().await.unwrap();
    stream.add(rows(&[(0, 2)])).unwrap();
    query.await_termination().await.unwrap_err();
    let (id, run) = (query.id(), query.run_id());
    let expected = format!(
        "[STREAM_FAILED] Query [id = {id}, runId = {run}] terminated with exception: [DIVIDE_BY_ZERO] foreachBatch, batch 1: \
         no SQLSTATE: XXKST\n=== Streaming Query ===\nIdentifier: bad [id = {id}, runId = {run}]\nCurrent Committed \
         Offsets: {{MemoryStream[t,n]: 1}}\nCurrent Available Offsets: {{MemoryStream[t,n]: 2}}\n\nCurrent State: \
         ACTIVE\nThread State: RUNNABLE\n\nLogical Plan:\n{}",
        frame.plan()
    );
    assert_eq!(query.exception_text().unwrap(), expected);
    let ended = heard.iter().find(|(kind, _)| *kind == "terminated").unwrap().1;
    assert_eq!(ended["errorClassOnException"], "DIVIDE_BY_ZERO");
    assert_eq!(ended["exception"], "[DIVIDE_BY_ZERO] foreachBatch, batch 1: no");
    assert!(query.explain_string(true).starts_with("== Logical Plan =="));
    assert!(query.explain_string(false).starts_with("== Stages =="));
}

/// As Spark: in one session a second start on a checkpoint stops the first, unless it is told not to.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_a_checkpoint_stops_the_first() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let start = async |location: String| {
        let frame = stream.frame(&session).unwrap();
        frame.write_stream().option("checkpointLocation", location).table(&table).start().await
    };
    let first = start(path.to_string_lossy().into_owned()).await.unwrap();
    // Another spelling of the same place.
    let second = start(format!("file://{}/", path.display())).await.unwrap();
    assert!(!first.is_active() && first.exception().is_none() && second.is_active());
    assert_eq!((first.id(), first.status().message.as_str()), (second.id(), "Stopped"));
    session.conf().set("spark.sql.streaming.stopActiveRunOnRestart", false).unwrap();
    let error = start(path.to_string_lossy().into_owned()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointFenced, "{error}");
    assert!(second.is_active());
    session.stop().await;
    assert!(!second.is_active() && session.streams().active().is_empty());
}

/// The table of `format("memory")` is found by its query's name in any case, also after the query.
#[tokio::test(flavor = "multi_thread")]
async fn memory_tables_are_known_by_name() {
    let session = session().await;
    let stream = stream();
    stream.add(rows(&[(0, 7), (0, 8)])).unwrap();
    let frame = stream.frame(&session).unwrap();
    let unnamed = frame.write_stream().format("memory").start().await.err().unwrap();
    assert_eq!(unnamed.code(), ErrorCode::MissingOption);
    let parted =
        frame.write_stream().format("memory").query_name("Seen").partition_by(["n"]).start().await.err().unwrap();
    assert_eq!(parted.code(), ErrorCode::UnsupportedOperation);
    assert!(parted.message().starts_with("the memory sink does not support partitioning"), "{parted}");
    let writer = frame.write_stream().format("memory").query_name("Seen").trigger(Trigger::AvailableNow);
    writer.start().await.unwrap().await_termination().await.unwrap();
    assert_eq!(session.memory_table("sEEn").unwrap().concat().unwrap().num_rows(), 2);
    assert!(session.memory_table("other").is_none());
}

/// An idle query says so: a record of the next batch, and no progress event.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_query_reports_the_next_batch() {
    struct Idle(Mutex<mpsc::Sender<String>>);
    impl StreamingQueryListener for Idle {
        fn on_query_progress(&self, event: &QueryProgressEvent) {
            self.0.lock().send(format!("progress {}", event.progress.batch_id)).unwrap();
        }
        fn on_query_idle(&self, event: &tidemill::progress::listener::QueryIdleEvent) {
            self.0.lock().send(format!("idle {}", event.id)).unwrap();
        }
    }
    let session = session().await;
    session.conf().set("spark.sql.streaming.noDataProgressEventInterval", "1ms").unwrap();
    session.conf().set("spark.sql.streaming.pollingDelay", "2ms").unwrap();
    let (sender, heard) = mpsc::channel();
    session.streams().add_listener(Arc::new(Idle(Mutex::new(sender))));
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    stream.add(rows(&[(0, 1)])).unwrap();
    let query = stream.frame(&session).unwrap().write_stream().table(&table).start().await.unwrap();
    let id = query.id();
    let events: Vec<String> = tokio::task::spawn_blocking(move || heard.iter().take(3).collect()).await.unwrap();
    assert_eq!(events, ["progress 0".to_string(), format!("idle {id}"), format!("idle {id}")]);
    query.stop().await;
    let idle = query.recent_progress()[1].to_json();
    assert_eq!((&idle["batchId"], &idle["numInputRows"], &idle["stateOperators"]), (&json!(1), &json!(0), &json!([])));
    assert_eq!((&idle["sources"][0]["startOffset"], &idle["sources"][0]["endOffset"]), (&json!(1), &json!(1)));
    let steps: Vec<_> = idle["durationMs"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(steps, ["latestOffset", "triggerExecution"]);
}
