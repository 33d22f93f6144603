//! The life of a query as its handles see it: how it ends, who is told what, and what it leaves behind.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tidemill::prelude::*;
use tidemill::source::provider::SourceProvider;
use tidemill::source::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source};
use tokio::sync::{Notify, mpsc};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn batch(numbers: &[i64]) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(numbers.to_vec()))]).unwrap()
}

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

fn numbers(table: &MemoryTable) -> Vec<i64> {
    let rows = table.rows();
    rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

type Next = Arc<dyn Fn(usize) -> tidemill::Result<Option<i64>> + Send + Sync>;

/// A source of one batch, whose rows a test hands out one by one; and which never answers `check` if it is told so.
#[derive(Clone)]
struct Scripted {
    next: Next,
    answers: bool,
}

impl Scripted {
    fn new(next: impl Fn(usize) -> tidemill::Result<Option<i64>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { next: Arc::new(next), answers: true })
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("scripted")
    }
}

impl SourceProvider for Scripted {
    fn describe(&self) -> String {
        "scripted".to_string()
    }

    fn create(&self) -> tidemill::Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for Scripted {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn description(&self) -> String {
        "Scripted".to_string()
    }

    async fn check(&mut self) -> tidemill::Result<()> {
        if self.answers { Ok(()) } else { futures::future::pending().await }
    }

    async fn initial(&mut self) -> tidemill::Result<Offset> {
        Ok(0.into())
    }

    async fn propose(&mut self, _start: &Offset, _admission: Admission) -> tidemill::Result<Proposal> {
        Ok(Proposal { end: 1.into(), latest: 1.into() })
    }

    async fn freeze(&mut self) -> tidemill::Result<()> {
        Ok(())
    }

    async fn read(&mut self, _: &Offset, _: &Offset, _: &ReadRequest) -> tidemill::Result<Box<dyn Chunks>> {
        Ok(Box::new(Rows { next: self.next.clone(), given: 0 }))
    }
}

struct Rows {
    next: Next,
    given: usize,
}

impl Chunks for Rows {
    fn next(&mut self) -> tidemill::Result<Option<Chunk>> {
        self.given += 1;
        let row = (self.next)(self.given - 1)?;
        Ok(row.map(|row| Chunk::Columns { batch: batch(&[row]), origin: Origin::Process }))
    }
}

/// A panic ends the batch at once, with its words; the name is free and the next start runs the batch again.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_worker_ends_the_query_with_its_words() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint").to_string_lossy().into_owned();
    let table = MemoryTable::new(Some("out")).unwrap();
    let start = async |source: Arc<Scripted>| {
        let frame = DataFrame::from_source(&session, source).unwrap();
        let writer = frame.write_stream().query_name("q").trigger(Trigger::AvailableNow);
        writer.option("checkpointLocation", &checkpoint).table(&table).start().await.unwrap()
    };
    // Rows without end: if the panic did not stop the other workers, the batch would never end.
    let query = start(Scripted::new(|n| if n == 3 { panic!("boom") } else { Ok(Some(n as i64)) })).await;
    let error = query.await_termination().await.unwrap_err();
    let cause = "[INTERNAL_ERROR] a worker panicked: boom";
    let text = format!("Query [id = {}, runId = {}] terminated with exception: {cause}", query.id(), query.run_id());
    assert_eq!((error.code(), error.message()), (ErrorCode::StreamFailed, text.as_str()));
    assert_eq!(query.status().message, format!("Terminated with exception: {cause}"));
    assert!(!query.is_active());
    assert!(numbers(&table).is_empty());
    let again = start(Scripted::new(|n| Ok((n < 2).then_some(n as i64)))).await;
    again.await_termination().await.unwrap();
    assert_eq!(again.id(), query.id());
    assert_eq!(again.recent_progress().iter().map(|p| (p.batch_id, p.num_input_rows)).collect::<Vec<_>>(), [(0, 2)]);
    let mut rows = numbers(&table);
    rows.sort();
    assert_eq!(rows, [0, 1]);
}

/// A stop in the middle of a batch gives the batch up; the next start runs it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_up_a_batch_that_computes() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint").to_string_lossy().into_owned();
    let table = MemoryTable::new(Some("out")).unwrap();
    let start = async |source: Arc<Scripted>| {
        let frame = DataFrame::from_source(&session, source).unwrap();
        let writer = frame.write_stream().option("checkpointLocation", &checkpoint).table(&table);
        writer.start().await.unwrap()
    };
    let (reached, mut reading) = mpsc::unbounded_channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let endless = Scripted::new(move |n| {
        if n == 0 {
            reached.send(()).unwrap();
            held.lock().recv().unwrap();
        }
        Ok(Some(n as i64))
    });
    let query = start(endless).await;
    reading.recv().await.unwrap();
    // `join!` polls in order: the stop is requested before the source goes on.
    futures::join!(query.stop(), async move { release.send(()).unwrap() });
    assert_eq!(query.status().message, "Stopped");
    assert!(query.exception().is_none() && !query.is_active() && query.recent_progress().is_empty());
    assert!(directory.path().join(format!("checkpoint/offsets/{:020}", 0)).exists());
    assert!(!directory.path().join(format!("checkpoint/commits/{:020}", 0)).exists());
    assert!(numbers(&table).is_empty());
    let again = start(Scripted::new(|n| Ok((n == 0).then_some(7)))).await;
    again.process_all_available().await.unwrap();
    again.stop().await;
    assert_eq!(numbers(&table), [7]);
}

/// A failure that comes while a stop is waiting is still a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_hide_a_failure() {
    let session = session().await;
    let stream = MemoryStream::new(schema());
    stream.add(batch(&[1])).unwrap();
    let (reached, mut writing) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let writer = stream.frame(&session).unwrap().write_stream().foreach_batch(move |_, _| {
        reached.send(()).unwrap();
        let held = held.clone();
        async move {
            held.notified().await;
            Err(Error::new(ErrorCode::UserCode, "the disk is full"))
        }
    });
    let query = writer.start().await.unwrap();
    writing.recv().await.unwrap();
    futures::join!(query.stop(), async { release.notify_one() });
    let message = query.exception().unwrap().message().to_string();
    assert!(message.ends_with("[USER_CODE] foreachBatch, batch 0: the disk is full"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_of_the_failure() {
    let session = session().await;
    for _ in 0..20 {
        let stream = MemoryStream::new(schema());
        let frame = stream.frame(&session).unwrap();
        let failing = |_, id| async move { Err(Error::new(ErrorCode::UserCode, format!("no {id}"))) };
        let query = frame.write_stream().query_name("failing").foreach_batch(failing).start().await.unwrap();
        stream.add(batch(&[1])).unwrap();
        let error = query.process_all_available().await.unwrap_err();
        let cause = "[USER_CODE] foreachBatch, batch 0: no 0";
        let text =
            format!("Query [id = {}, runId = {}] terminated with exception: {cause}", query.id(), query.run_id());
        assert_eq!(error.message(), text);
        assert_eq!(query.status().message, format!("Terminated with exception: {cause}"));
        // And after the end.
        assert_eq!(query.process_all_available().await.unwrap_err().message(), text);
        assert_eq!(query.await_termination_timeout(Duration::ZERO).await.unwrap_err().message(), text);
        query.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_termination_reports_a_failure_and_can_be_reset() {
    let session = session().await;
    let streams = session.streams();
    assert!(!streams.await_any_termination_timeout(Duration::ZERO).await.unwrap());
    let stream = MemoryStream::new(schema());
    stream.add(batch(&[1])).unwrap();
    let failing = |_, _| async { Err(Error::new(ErrorCode::UserCode, "no")) };
    let failed = stream.frame(&session).unwrap().write_stream().foreach_batch(failing).start().await.unwrap();
    let error = streams.await_any_termination().await.unwrap_err();
    assert!(error.message().contains(&failed.run_id().to_string()), "{error}");
    // Whoever is woken finds the query ended.
    assert!(!failed.is_active() && streams.active().is_empty() && streams.get(failed.id()).is_none());
    // A later orderly end does not hide the failure.
    let empty = MemoryStream::new(schema());
    let table = MemoryTable::new(Some("out")).unwrap();
    let start = || empty.frame(&session).unwrap().write_stream().table(&table).start();
    let orderly = start().await.unwrap();
    assert_eq!(streams.get(orderly.id()).unwrap().run_id(), orderly.run_id());
    orderly.stop().await;
    assert_eq!(streams.await_any_termination().await.unwrap_err().message(), error.message());
    streams.reset_terminated();
    assert!(!streams.await_any_termination_timeout(Duration::ZERO).await.unwrap());
    let orderly = start().await.unwrap();
    orderly.stop().await;
    assert!(streams.await_any_termination_timeout(Duration::ZERO).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_or_is_abandoned_frees_its_name() {
    let session = session().await;
    let silent = Arc::new(Scripted { next: Arc::new(|_| Ok(None)), answers: false });
    let frame = DataFrame::from_source(&session, silent).unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let mut starting = Box::pin(frame.write_stream().query_name("q").table(&table).start());
    assert!((&mut starting).now_or_never().is_none());
    let stream = MemoryStream::new(schema());
    let start = || stream.frame(&session).unwrap().write_stream().query_name("q").table(&table).start();
    let error = start().await.err().unwrap();
    assert_eq!(
        (error.code(), error.message()),
        (
            ErrorCode::QueryNameInUse,
            "cannot start query with name q as a query with that name is already active in this session"
        )
    );
    drop(starting);
    start().await.unwrap().stop().await;
    let refused = stream.frame(&session).unwrap().write_stream().query_name("q").start_path("/dev/null/out").await;
    assert_eq!(refused.err().unwrap().code(), ErrorCode::MissingOption);
    start().await.unwrap().stop().await;
}

/// Stopping wakes a query out of an hour's wait, and out of none at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_trigger() {
    let session = session().await;
    let stream = MemoryStream::new(schema());
    stream.add(batch(&[1])).unwrap();
    let (done, mut batches) = mpsc::unbounded_channel();
    let writer = stream.frame(&session).unwrap().write_stream().foreach_batch(move |rows, id| {
        let done = done.clone();
        async move {
            done.send((rows.count().await?, id)).unwrap();
            Ok(())
        }
    });
    let query = writer.trigger(Trigger::processing_time("1 hour")).start().await.unwrap();
    assert_eq!(batches.recv().await, Some((1, 0)));
    query.stop().await;
    assert_eq!(query.status().message, "Stopped");
    assert_eq!(query.recent_progress().len(), 1);
    // Stopping twice is fine; so is stopping before anything has run.
    query.stop().await;
    assert!(query.await_termination_timeout(Duration::ZERO).await.unwrap());
    let table = MemoryTable::new(Some("out")).unwrap();
    let idle = stream.frame(&session).unwrap().write_stream().table(&table).start().await.unwrap();
    idle.stop().await;
    assert!(idle.exception().is_none());
}

/// Dropping the handle does not stop the query; the session still has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_outlives_its_handle() {
    let session = session().await;
    let stream = MemoryStream::new(schema());
    let table = MemoryTable::new(Some("out")).unwrap();
    drop(stream.frame(&session).unwrap().write_stream().query_name("q").table(&table).start().await.unwrap());
    stream.add(batch(&[5])).unwrap();
    let query = session.streams().active().pop().unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!((query.name(), numbers(&table)), (Some("q"), vec![5]));
    query.stop().await;
}

/// A runtime that is shut down takes its queries with it, and tells those who wait on another.
#[test]
fn the_end_of_the_runtime_is_the_end_of_the_query() {
    let first = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let query = first.block_on(async {
        let stream = MemoryStream::new(schema());
        let table = MemoryTable::new(Some("out")).unwrap();
        stream.frame(&session().await).unwrap().write_stream().table(&table).start().await.unwrap()
    });
    drop(first);
    let second = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = second.block_on(query.await_termination()).unwrap_err();
    assert!(error.message().ends_with("the runtime of the query was shut down; start it again"), "{error}");
}

/// A new table lacks the rows of earlier runs. The complete mode does not need them; the old table has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_memory_table_cannot_go_on_from_a_checkpoint() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let stream = MemoryStream::new(schema());
    stream.add(batch(&[1, 2])).unwrap();
    let count = stream.frame(&session).unwrap().group_by(["n"]).unwrap().count().unwrap();
    let run = async |mode: OutputMode, table: &MemoryTable| -> Result<(), Error> {
        let checkpoint = directory.path().join(format!("{mode:?}")).to_string_lossy().into_owned();
        let writer = count.write_stream().output_mode(mode).trigger(Trigger::AvailableNow);
        writer.option("checkpointLocation", checkpoint).table(table).start().await?.await_termination().await
    };
    let table = MemoryTable::new(Some("out")).unwrap();
    run(Update, &table).await.unwrap();
    run(Update, &table).await.unwrap();
    let fresh = MemoryTable::new(Some("out")).unwrap();
    let error = run(Update, &fresh).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation, "{error}");
    assert!(error.message().contains("cannot go on from the checkpoint"), "{error}");
    let stream_again = MemoryStream::new(schema());
    stream_again.add(batch(&[1, 2])).unwrap();
    let complete = stream_again.frame(&session).unwrap().group_by(["n"]).unwrap().count().unwrap();
    let checkpoint = directory.path().join("complete").to_string_lossy().into_owned();
    for rows in [2, 3] {
        let table = MemoryTable::new(Some("out")).unwrap();
        let writer = complete.write_stream().output_mode(Complete).trigger(Trigger::AvailableNow);
        let query = writer.option("checkpointLocation", &checkpoint).table(&table).start().await.unwrap();
        query.await_termination().await.unwrap();
        assert_eq!(table.concat().unwrap().num_rows(), rows);
        stream_again.add(batch(&[3])).unwrap();
    }
}

/// Two queries over one directory, each with its own offsets.
#[tokio::test(flavor = "multi_thread")]
async fn queries_share_a_source_without_sharing_its_offsets() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.json"), "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let path = directory.path().to_string_lossy().into_owned();
    let rows = session.read_stream().format("json").schema("n BIGINT").load_path(&path).await.unwrap();
    let tables = [MemoryTable::new(Some("a")).unwrap(), MemoryTable::new(Some("b")).unwrap()];
    let first = rows.write_stream().table(&tables[0]).start().await.unwrap();
    let second = rows.filter(col("n").gt(1)).unwrap().write_stream().table(&tables[1]).start().await.unwrap();
    first.process_all_available().await.unwrap();
    second.process_all_available().await.unwrap();
    assert_eq!((numbers(&tables[0]), numbers(&tables[1])), (vec![1, 2], vec![2]));
    assert_ne!(first.id(), second.id());
    first.stop().await;
    assert!(second.is_active());
    second.stop().await;
}

/// Spark's keys, in Spark's order, ours behind; and no more records than the setting keeps.
#[tokio::test(flavor = "multi_thread")]
async fn progress_has_sparks_shape_and_bound() {
    let session = Session::builder()
        .config("tidemill.device", "cpu")
        .config("spark.sql.streaming.numRecentProgressUpdates", 2)
        .build()
        .await
        .unwrap();
    let stream = MemoryStream::new(schema());
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = stream.frame(&session).unwrap().write_stream().table(&table).start().await.unwrap();
    for n in 0..3 {
        stream.add(batch(&[n, n])).unwrap();
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    let kept = query.recent_progress();
    assert_eq!(kept.iter().map(|p| (p.batch_id, p.num_input_rows)).collect::<Vec<_>>(), [(1, 2), (2, 2)]);
    let json: serde_json::Value = serde_json::from_str(&query.last_progress().unwrap().json()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&json),
        "id runId name timestamp batchId batchDuration numInputRows inputRowsPerSecond processedRowsPerSecond durationMs \
         stateOperators sources sink device malformedRecords lateInputRows gpuFallbacks stageDurationMs"
    );
    assert_eq!(
        keys(&json["sources"][0]),
        "description startOffset endOffset latestOffset numInputRows inputRowsPerSecond processedRowsPerSecond"
    );
    assert_eq!(keys(&json["sink"]), "description numOutputRows");
    assert_eq!(json["name"], serde_json::Value::Null);
    assert_eq!((&json["sources"][0]["startOffset"], &json["sources"][0]["endOffset"]), (&2.into(), &3.into()));
    assert_eq!(json["durationMs"]["triggerExecution"], json["batchDuration"]);
}
