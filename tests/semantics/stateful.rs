//! Stateful operators over many batches: state that stays small, tables that no split of the input changes, and processors of the
//! user's own.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use tidemill::prelude::*;

type Event = (i64, &'static str, i64);

fn schema() -> SchemaRef {
    StructType::from_ddl("t TIMESTAMP, k STRING, v BIGINT").unwrap().to_arrow_schema()
}

/// Rows of (seconds, key, value).
fn rows(events: &[Event]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.0 * 1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(events.iter().map(|e| e.1))),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|e| e.2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

/// The table's rows as text, in their order.
fn texts(table: &MemoryTable) -> Vec<String> {
    let cell = |column: &ArrayRef, row: usize| -> String {
        if column.is_null(row) {
            return "null".into();
        }
        match column.data_type() {
            DataType::Struct(_) => {
                let bound =
                    |i| column.as_struct().column(i).as_primitive::<TimestampMicrosecondType>().value(row) / 1_000_000;
                format!("{}-{}", bound(0), bound(1))
            }
            DataType::Timestamp(_, _) => {
                (column.as_primitive::<TimestampMicrosecondType>().value(row) / 1_000_000).to_string()
            }
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_bits().to_string(),
            _ => column.as_string::<i32>().value(row).to_string(),
        }
    };
    let batches = table.rows();
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    rows.map(|(batch, row)| batch.columns().iter().map(|c| cell(c, row)).collect::<Vec<_>>().join(" ")).collect()
}

/// Counts rows, and says of a key without rows for five seconds how many it had.
#[derive(Clone)]
struct Silence {
    seen: ValueState<i64>,
}

impl Silence {
    fn new() -> Self {
        Self { seen: ValueState::new("seen") }
    }
}

impl StatefulProcessor for Silence {
    fn handle_input_rows(
        &mut self,
        _key: &InputRow<'_>,
        rows: &mut dyn Iterator<Item = InputRow<'_>>,
        _times: TimerValues,
        handle: &mut StateHandle<'_>,
    ) -> Result<(), Error> {
        let mut seen = self.seen.get(handle)?.unwrap_or(0);
        for row in rows {
            seen += row.bigint("v")?.unwrap_or(0);
            for timer in handle.list_timers() {
                handle.delete_timer(timer)?;
            }
            handle.register_timer(row.timestamp_ms("t")?.unwrap_or(0) + 5000)?;
        }
        self.seen.update(handle, &seen)
    }

    fn handle_expired_timer(
        &mut self,
        key: &InputRow<'_>,
        expired_ms: i64,
        times: TimerValues,
        handle: &mut StateHandle<'_>,
    ) -> Result<(), Error> {
        assert!(expired_ms <= times.watermark_ms);
        let seen = self.seen.get(handle)?.unwrap_or(0);
        self.seen.clear(handle);
        handle.emit([key.value("k")?, (expired_ms / 1000).into(), seen.into()])
    }
}

fn silence(frame: &DataFrame) -> DataFrame {
    let grouped = frame.group_by(["k"]).unwrap();
    grouped.transform_with_state(Silence::new(), "k STRING, at BIGINT, seen BIGINT", TimeMode::EventTime).unwrap()
}

/// 200 windows of five seconds, one batch each: state neither grows in rows nor in bytes.
async fn soak(name: &str, build: impl Fn(&DataFrame) -> DataFrame) {
    let stream = MemoryStream::new(schema());
    let frame = stream.frame(&session().await).unwrap().with_watermark("t", "10 seconds").unwrap();
    let query = build(&frame).write_stream().table(&MemoryTable::new(Some("out")).unwrap()).start().await.unwrap();
    let mut seen = Vec::new();
    for batch in 0..200 {
        let at = batch * 5;
        stream.add(rows(&[(at, "a", 1), (at + 1, "b", 2), (at + 4, "c", batch), (at + 2, "a", 3)])).unwrap();
        query.process_all_available().await.unwrap();
        let last = query.last_progress().unwrap();
        let state = last.state_operators.iter();
        seen.push(state.map(|o| (o.num_rows_total, o.memory_used_bytes)).collect::<Vec<_>>());
    }
    query.stop().await;
    let most = |batches: &[Vec<(u64, u64)>]| -> Vec<(u64, u64)> {
        let operators = 0..batches[0].len();
        type Of<'a> = &'a dyn Fn(&Vec<(u64, u64)>) -> u64;
        let greatest = |of: Of<'_>| batches.iter().map(of).max().unwrap();
        operators.map(|o| (greatest(&|b| b[o].0), greatest(&|b| b[o].1))).collect()
    };
    assert!(most(&seen[20..60]).iter().any(|(rows, _)| *rows > 0), "{name}: {seen:?}");
    // Numbers grow by a digit; nothing else does.
    for (early, late) in most(&seen[20..60]).into_iter().zip(most(&seen[160..])) {
        assert!(early.0 == late.0 && late.1 * 10 <= early.1 * 11, "{name}: {early:?} became {late:?}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_stays_as_small_as_its_watermark_allows() {
    tokio::join!(
        soak("dedupe", |f| f.drop_duplicates(&["k", "t"]).unwrap()),
        soak("dedupeWithinWatermark", |f| f.drop_duplicates_within_watermark(&["k", "v"]).unwrap()),
        soak("session", |f| f.group_by([session_window("t", "2 seconds"), col("k")]).unwrap().count().unwrap()),
        soak("limit", |f| f.limit(10)),
        soak("custom", silence),
        soak("windows of windows", |f| {
            let windows = f.group_by([window("t", "5 seconds"), col("k")]).unwrap().count().unwrap();
            windows.group_by([window("window", "10 seconds")]).unwrap().agg([sum("count").alias("n")]).unwrap()
        }),
    );
}

/// One input in `parts` batches.
async fn in_batches(
    events: &[Event],
    parts: usize,
    mode: &str,
    build: impl Fn(&DataFrame) -> DataFrame,
) -> Vec<String> {
    let stream = MemoryStream::new(schema());
    let frame = stream.frame(&session().await).unwrap().with_watermark("t", "30 seconds").unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = build(&frame).write_stream().output_mode(mode).table(&table).start().await.unwrap();
    for part in events.chunks(events.len().div_ceil(parts)) {
        // In two chunks, so that two workers take them.
        let (first, second) = part.split_at(part.len() / 2);
        stream.add(rows(first)).unwrap();
        stream.add(rows(second)).unwrap();
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    let mut rows = texts(&table);
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_sessions() {
    let mut random = StdRng::seed_from_u64(3);
    let keys = ["a", "b", "c", "d"];
    let mut events: Vec<Event> = (0..600)
        .map(|_| (random.random_range(0..3000), keys[random.random_range(0..4)], random.random_range(-50..50)))
        .collect();
    let sessions = |f: &DataFrame| {
        let calls = [
            count_all().alias("n"),
            sum("v").alias("s"),
            avg("v").alias("m"),
            max("v").alias("x"),
            approx_count_distinct("v").alias("d"),
        ];
        f.group_by([session_window("t", "12 seconds"), col("k")]).unwrap().agg(calls).unwrap()
    };
    let whole = in_batches(&events, 1, "complete", sessions).await;
    assert!(whole.len() > 50 && whole.len() < 500, "{}", whole.len());
    for parts in [7, 40] {
        events.shuffle(&mut random);
        assert_eq!(in_batches(&events, parts, "complete", sessions).await, whole, "{parts} batches");
    }
    // In order of time nothing is late, and a last row far away ends every session.
    events.sort();
    events.push((100_000, "end", 0));
    let ended = in_batches(&events, 1, "append", sessions).await;
    assert_eq!(ended, whole);
    for parts in [5, 60] {
        assert_eq!(in_batches(&events, parts, "append", sessions).await, whole, "{parts} batches");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_first_rows() {
    let mut random = StdRng::seed_from_u64(5);
    let mut events: Vec<Event> = (0..400).map(|n| (random.random_range(0..400), ["a", "b"][n % 2], n as i64)).collect();
    events.sort();
    let first = |f: &DataFrame| f.drop_duplicates(&["k", "t"]).unwrap();
    let whole = in_batches(&events, 1, "append", first).await;
    for parts in [3, 50] {
        assert_eq!(in_batches(&events, parts, "append", first).await, whole, "{parts} batches");
    }
    let some = |f: &DataFrame| f.limit(33);
    let whole = in_batches(&events, 1, "append", some).await;
    assert_eq!(whole.len(), 33);
    assert_eq!(in_batches(&events, 50, "append", some).await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_is_called_for_rows_and_timers_over_restarts() {
    let stream = MemoryStream::new(schema());
    let table = MemoryTable::new(Some("out")).unwrap();
    let checkpoint = tempfile::tempdir().unwrap();
    let path = checkpoint.path().join("checkpoint").to_string_lossy().into_owned();
    let session = session().await;
    let frame = silence(&stream.frame(&session).unwrap().with_watermark("t", "2 seconds").unwrap());
    let mut batches = Vec::new();
    // Of a: silent from 12 + 5 on, at watermark 18. Row 15 of c is late then.
    let steps: [&[Event]; 4] =
        [&[(10, "a", 1), (11, "b", 2)], &[(12, "a", 3)], &[(20, "c", 4)], &[(15, "c", 5), (21, "b", 6)]];
    for step in steps {
        stream.add(rows(step)).unwrap();
        let writer = frame.write_stream().option("checkpointLocation", path.as_str()).query_name("out").table(&table);
        let query = writer.start().await.unwrap();
        query.process_all_available().await.unwrap();
        let progress = query.recent_progress();
        assert!(progress.iter().all(|p| p.state_operators[0].operator_name == "transformWithStateExec"));
        let dropped: u64 = progress.iter().map(|p| p.state_operators[0].num_rows_dropped_by_watermark).sum();
        let total = progress.last().unwrap().state_operators[0].num_rows_total;
        batches.push((progress.iter().map(|p| p.batch_id).collect::<Vec<_>>(), total, dropped));
        query.stop().await;
    }
    assert_eq!(texts(&table), ["b 16 2", "a 17 4"]);
    assert_eq!(batches, [(vec![0, 1], 2, 0), (vec![2, 3], 2, 0), (vec![4, 5], 1, 0), (vec![6, 7], 2, 1)]);
}

/// Gives a row when the timer that its first row sets has expired.
#[derive(Clone)]
struct Later;

impl StatefulProcessor for Later {
    fn handle_input_rows(
        &mut self,
        _key: &InputRow<'_>,
        rows: &mut dyn Iterator<Item = InputRow<'_>>,
        times: TimerValues,
        handle: &mut StateHandle<'_>,
    ) -> Result<(), Error> {
        for row in rows {
            match row.bigint("v")?.unwrap_or(0) {
                13 => return Err(Error::new(ErrorCode::UserCode, "thirteen is not allowed")),
                14 => panic!("fourteen is worse"),
                wait => handle.register_timer(times.processing_time_ms + wait)?,
            }
        }
        Ok(())
    }

    fn handle_expired_timer(
        &mut self,
        key: &InputRow<'_>,
        _expired_ms: i64,
        _times: TimerValues,
        handle: &mut StateHandle<'_>,
    ) -> Result<(), Error> {
        handle.emit([key.value("k")?])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_the_wall_clock_runs_a_batch_without_data() {
    let stream = MemoryStream::new(schema());
    let table = MemoryTable::new(Some("out")).unwrap();
    let frame = stream.frame(&session().await).unwrap().group_by(["k"]).unwrap();
    let frame = frame.transform_with_state(Later, "k STRING", TimeMode::ProcessingTime).unwrap();
    let query = frame.write_stream().output_mode("update").table(&table).start().await.unwrap();
    stream.add(rows(&[(0, "now", 0), (0, "later", 300)])).unwrap();
    query.process_all_available().await.unwrap();
    let first = query.recent_progress();
    assert_eq!(texts(&table)[0], "now");
    assert_eq!(first[0].num_input_rows, 2);
    let expired = async {
        while texts(&table).len() < 2 {
            query.process_all_available().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), expired).await.unwrap();
    assert_eq!(texts(&table), ["now", "later"]);
    query.process_all_available().await.unwrap();
    let last = query.last_progress().unwrap();
    assert_eq!((last.num_input_rows, last.state_operators[0].num_rows_total), (0, 0));
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_processor_refuses_ends_the_query_with_its_words() {
    for (value, words) in [(13, "thirteen is not allowed"), (14, "fourteen is worse")] {
        let stream = MemoryStream::new(schema());
        stream.add(rows(&[(0, "a", value)])).unwrap();
        let frame = stream.frame(&session().await).unwrap().group_by(["k"]).unwrap();
        let frame = frame.transform_with_state(Later, "k STRING", TimeMode::ProcessingTime).unwrap();
        let query = frame.write_stream().table(&MemoryTable::new(Some("out")).unwrap()).start().await.unwrap();
        let error = query.process_all_available().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::StreamFailed, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_cannot_run_is_refused() {
    let stream = MemoryStream::new(schema()).frame(&session().await).unwrap();
    let of = |frame: &DataFrame, output: &str, mode| {
        frame.group_by(["k"]).unwrap().transform_with_state(Later, output, mode)
    };
    let frame = of(&stream, "k STRING", TimeMode::EventTime).unwrap();
    let start = |frame: DataFrame, mode: &'static str| async move {
        let table = MemoryTable::new(Some("out")).unwrap();
        frame.write_stream().output_mode(mode).table(&table).start().await.err().unwrap().code()
    };
    assert_eq!(start(frame, "append").await, ErrorCode::UnsupportedOperation);
    let frame = of(&stream, "k STRING", TimeMode::None).unwrap();
    assert_eq!(start(frame, "complete").await, ErrorCode::OutputModeUnsupported);
    let error = of(&stream, "k NOTHING", TimeMode::None).err().unwrap();
    assert_eq!(error.code(), ErrorCode::ParseSyntaxError, "{error}");
    let computed = stream.group_by([col("v") + 1]).unwrap().transform_with_state(Later, "k STRING", TimeMode::None);
    assert_eq!(computed.err().unwrap().code(), ErrorCode::UnsupportedOperation);
}
