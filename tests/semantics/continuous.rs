//! The continuous and the real-time trigger: what they refuse, and that rows flow at once and at least once.

use arrow::array::{Int64Array, RecordBatch};
use std::sync::Arc;
use tidemill::prelude::*;
use tidemill::sink::foreach::Row;
use tokio::sync::mpsc;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

fn stream() -> MemoryStream {
    MemoryStream::new(StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema())
}

fn numbers(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
}

/// An interval that does not end while a test runs.
fn for_ever() -> Trigger {
    Trigger::continuous("100000 days").unwrap()
}

fn commits(checkpoint: &std::path::Path) -> usize {
    std::fs::read_dir(checkpoint.join("commits")).map_or(0, |entries| entries.count())
}

/// Rows arrive without any commit; a failure loses none of them; an orderly stop repeats none.
#[tokio::test(flavor = "multi_thread")]
async fn rows_flow_at_once_and_at_least_once() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint");
    let stream = stream();
    let (sender, mut rows) = mpsc::unbounded_channel();
    let start = async |fails_on: i64| {
        let sender = sender.clone();
        let frame = stream.frame(&session).unwrap();
        let doubled = frame.filter(col("n").gt(0)).unwrap().select([(col("n") * 2_i64).alias("m")]).unwrap();
        let writer = doubled.write_stream().option("checkpointLocation", checkpoint.to_str().unwrap());
        let writer = writer.trigger(for_ever()).foreach(move |row: &Row<'_>| {
            let m = row.get::<i64>("m")?.unwrap_or_default();
            if m == fails_on {
                return Err(Error::new(ErrorCode::UserCode, "unlucky"));
            }
            sender.send(m).map_err(|_| Error::internal("nobody listens"))
        });
        writer.start().await.unwrap()
    };
    let query = start(26).await;
    stream.add(numbers(&[1, -1])).unwrap();
    assert_eq!(rows.recv().await, Some(2));
    stream.add(numbers(&[2])).unwrap();
    assert_eq!(rows.recv().await, Some(4));
    assert_eq!((commits(&checkpoint), query.recent_progress().len()), (0, 0));
    query.process_all_available().await.unwrap();
    assert_eq!((commits(&checkpoint), query.status().message.as_str()), (1, "Committing epoch 0"));
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.batch_id, progress.num_input_rows, progress.sink.num_output_rows), (0, 3, 2));
    // 3 is written, and the query fails before its epoch is committed: it comes again.
    stream.add(numbers(&[3])).unwrap();
    assert_eq!(rows.recv().await, Some(6));
    stream.add(numbers(&[13])).unwrap();
    let error = query.await_termination().await.unwrap_err();
    assert!(error.message().ends_with("[USER_CODE] foreach, batch 1: unlucky"), "{error}");
    let again = start(0).await;
    assert_eq!((rows.recv().await, rows.recv().await), (Some(6), Some(26)));
    // A stop commits what has flowed.
    again.stop().await;
    assert_eq!((again.id(), commits(&checkpoint)), (query.id(), 2));
    let last = start(0).await;
    stream.add(numbers(&[4])).unwrap();
    assert_eq!(rows.recv().await, Some(8));
    last.stop().await;
    assert!(rows.try_recv().is_err());
}

/// A checkpoint goes from batches to the continuous trigger and back.
#[tokio::test(flavor = "multi_thread")]
async fn triggers_share_a_checkpoint() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let start = async |trigger: Trigger| {
        let writer = stream.frame(&session).unwrap().write_stream().trigger(trigger);
        writer.option("checkpointLocation", directory.path().to_str().unwrap()).table(&table).start().await.unwrap()
    };
    for (n, trigger) in [Trigger::default(), for_ever(), Trigger::default()].into_iter().enumerate() {
        stream.add(numbers(&[n as i64])).unwrap();
        let query = start(trigger).await;
        query.process_all_available().await.unwrap();
        query.stop().await;
        assert_eq!(query.last_progress().unwrap().batch_id, n as u64);
    }
    assert_eq!(table.concat().unwrap(), numbers(&[0, 1, 2]));
}

/// The rate source gives each row when it is due, with its own time, and goes on after a stop where it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_source_flows_by_milliseconds() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let (sender, mut rows) = mpsc::unbounded_channel();
    let start = async || {
        let sender = sender.clone();
        let rate = session.read_stream().format("rate").option("rowsPerSecond", 500).load().await.unwrap();
        let writer = rate.write_stream().trigger(for_ever());
        let writer = writer.option("checkpointLocation", directory.path().to_str().unwrap());
        let writer = writer.foreach(move |row: &Row<'_>| {
            let time = row.get::<chrono::DateTime<chrono::Utc>>("timestamp")?.map(|time| time.timestamp_millis());
            sender.send((row.get::<i64>("value")?, time)).map_err(|_| Error::internal("nobody listens"))
        });
        writer.start().await.unwrap()
    };
    let mut next = 0;
    let mut began = None;
    for _ in 0..2 {
        let query = start().await;
        let mut check = |(value, time): (Option<i64>, Option<i64>)| {
            let began = *began.get_or_insert(time.unwrap());
            assert_eq!((value, time), (Some(next), Some(began + next * 2)));
            next += 1;
        };
        for _ in 0..20 {
            check(rows.recv().await.unwrap());
        }
        query.stop().await;
        while let Ok(row) = rows.try_recv() {
            check(row);
        }
    }
    let error = {
        let rate = session.read_stream().format("rate").option("rowsPerSecond", 500).load().await.unwrap();
        let writer = rate.write_stream().option("checkpointLocation", directory.path().to_str().unwrap());
        let query = writer.foreach(|_: &Row<'_>| Ok(())).start().await.unwrap();
        query.await_termination().await.unwrap_err()
    };
    assert!(error.message().contains("[CHECKPOINT_INCOMPATIBLE_QUERY]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_flow_is_refused_by_name() {
    let session = session().await;
    let directory = tempfile::tempdir().unwrap();
    let rate = session.read_stream().format("rate").load().await.unwrap();
    let files = session.read_stream().format("text").load_path(directory.path().to_str().unwrap()).await.unwrap();
    let memory = stream().frame(&session).unwrap();
    let continuous = Trigger::continuous("1 second").unwrap();
    let real_time = Trigger::real_time("5 seconds").unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let refused = async |frame: DataFrame, mode: OutputMode, trigger: Trigger| {
        let error = frame.write_stream().output_mode(mode).trigger(trigger).table(&table).start().await.err().unwrap();
        (error.code(), error.message().to_string())
    };
    let operators = [
        (rate.with_watermark("timestamp", "1 second").unwrap(), "EventTimeWatermark"),
        (rate.union(&rate).unwrap(), "Union"),
        (rate.group_by(["value"]).unwrap().count().unwrap(), "Aggregate"),
    ];
    for (frame, operator) in operators {
        let (code, message) = refused(frame, Update, continuous).await;
        let expected = format!("continuous processing does not support {operator} operations;");
        assert_eq!(code, ErrorCode::UnsupportedOperation);
        assert!(message.starts_with(&expected), "{message}");
    }
    let (code, message) = refused(files.clone(), Append, continuous).await;
    assert_eq!(code, ErrorCode::UnsupportedOperation);
    assert!(message.starts_with("continuous processing does not support StreamingRelation operations:"), "{message}");
    assert_eq!(refused(rate.clone(), Complete, continuous).await.0, ErrorCode::OutputModeUnsupported);
    // Spark's rules for the real-time mode.
    assert_eq!(refused(rate.clone(), Update, real_time).await.0, ErrorCode::RealTimeSource);
    assert_eq!(refused(files, Update, real_time).await.0, ErrorCode::RealTimeSource);
    assert_eq!(refused(memory.clone(), Append, real_time).await.0, ErrorCode::RealTimeOutputMode);
    let counts = memory.group_by(["n"]).unwrap().count().unwrap();
    assert_eq!(refused(counts, Update, real_time).await.0, ErrorCode::RealTimeOperator);
    assert_eq!(
        refused(memory.clone(), Update, Trigger::real_time("1 second").unwrap()).await,
        (
            ErrorCode::RealTimeInterval,
            "the real-time trigger interval is set to 1000 ms. This is less than the 5000 ms minimum specified by \
             spark.sql.streaming.realTimeMode.minBatchDuration"
                .to_string()
        )
    );
    // Sinks that publish a batch as a whole; nothing is left behind.
    let checkpoint = directory.path().join("checkpoint");
    let writer = memory.write_stream().trigger(continuous).option("checkpointLocation", checkpoint.to_str().unwrap());
    let error = writer.start_path(directory.path().join("out").to_str().unwrap()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(
        error.message().ends_with("write to kafka, console, memory, foreach or noop, or use Trigger::processing_time")
    );
    let batches = memory.write_stream().trigger(continuous).foreach_batch(|_, _| async { Ok(()) });
    assert_eq!(batches.start().await.err().unwrap().code(), ErrorCode::UnsupportedOperation);
    assert!(!checkpoint.exists());
}

/// What nobody keeps flows as well, and is counted; the real-time mode has no such sink, as in Spark.
#[tokio::test(flavor = "multi_thread")]
async fn the_noop_sink_takes_rows_as_they_arrive() {
    let (session, stream) = (session().await, stream());
    let frame = stream.frame(&session).unwrap();
    let query = frame.write_stream().format("noop").trigger(for_ever()).start().await.unwrap();
    stream.add(numbers(&[1, 2])).unwrap();
    query.process_all_available().await.unwrap();
    query.stop().await;
    let progress = query.last_progress().unwrap();
    assert_eq!((progress.num_input_rows, progress.sink.description.as_str()), (2, "NoopTable"));
    let real_time = Trigger::real_time("5 seconds");
    let error = frame.write_stream().format("noop").output_mode(Update).trigger(real_time).start().await.err().unwrap();
    assert_eq!(
        (error.code(), error.message()),
        (
            ErrorCode::RealTimeOperator,
            "the sink NoopTable does not support real-time mode; write to kafka, console, memory or foreach, or use \
             Trigger::processing_time"
        )
    );
}

/// The real-time trigger runs the same way.
#[tokio::test(flavor = "multi_thread")]
async fn real_time_flows() {
    let session = session().await;
    let (stream, table) = (stream(), MemoryTable::new(Some("out")).unwrap());
    let writer = stream.frame(&session).unwrap().write_stream().output_mode(Update);
    let query = writer.trigger(Trigger::real_time("5 seconds").unwrap()).table(&table).start().await.unwrap();
    stream.add(numbers(&[1, 2])).unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(table.concat().unwrap(), numbers(&[1, 2]));
    query.stop().await;
}
