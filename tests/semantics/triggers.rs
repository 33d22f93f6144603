//! Triggers, and a crash between sink and commit: worked examples H01 to H03.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tidemill::prelude::*;

pub const EPOCH: i64 = 1_704_067_200;

fn write(directory: &Path, number: u64, line: &str) {
    let hidden = directory.join(format!("_{number}"));
    std::fs::write(&hidden, format!("{line}\n")).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH as u64 + number);
    std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
    std::fs::rename(&hidden, directory.join(format!("{number:05}.json"))).unwrap();
}

/// A file of events, newer than those of lower numbers.
pub fn event(directory: &Path, number: u64, times: &[i64]) {
    let lines: Vec<_> = times.iter().map(|time| format!("{{\"t\":{}}}", EPOCH + time)).collect();
    write(directory, number, &lines.join("\n"));
}

struct Run {
    directory: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("in")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    fn input(&self) -> std::path::PathBuf {
        self.directory.path().join("in")
    }

    /// Runs the windowed count to its end; window starts and counts from the Parquet files, and (batch id, input rows).
    async fn run(&self, trigger: Trigger) -> (Vec<(i64, i64)>, Vec<(u64, u64)>) {
        let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
        let counts = session
            .read_stream()
            .format("json")
            .schema("t TIMESTAMP")
            .option("maxFilesPerTrigger", 1)
            .load_path(&self.path("in"))
            .await
            .unwrap()
            .with_watermark("t", "0 seconds")
            .unwrap()
            .group_by([window("t", "10 seconds")])
            .unwrap()
            .count()
            .unwrap();
        let query = counts
            .write_stream()
            .option("checkpointLocation", self.path("checkpoint"))
            .trigger(trigger)
            .start_path(&self.path("out"))
            .await
            .unwrap();
        query.await_termination().await.unwrap();
        let batches = query.recent_progress().iter().map(|p| (p.batch_id, p.num_input_rows)).collect();
        (read_windows(&self.directory.path().join("out")), batches)
    }
}

/// Window starts and counts of all Parquet files in a directory, ascending.
pub fn read_windows(directory: &Path) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    for batch in read_parquet(directory) {
        let starts = batch.column(0).as_struct().column(0).as_primitive::<TimestampMicrosecondType>().clone();
        let counts = batch.column(1).as_primitive::<Int64Type>().clone();
        rows.extend((0..batch.num_rows()).map(|r| (starts.value(r) / 1_000_000 - EPOCH, counts.value(r))));
    }
    rows.sort();
    rows
}

fn read_parquet(directory: &Path) -> Vec<arrow::array::RecordBatch> {
    let mut batches = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "parquet") {
            let file = std::fs::File::open(path).unwrap();
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            batches.extend(reader.build().unwrap().map(Result::unwrap));
        }
    }
    batches
}

/// H01: three files, one a batch, then the batch for the watermark; nothing on a second run; two more files.
#[tokio::test(flavor = "multi_thread")]
async fn available_now_respects_limits_and_ends_with_the_watermark() {
    let run = Run::new();
    for (number, time) in [(1, 10), (2, 20), (3, 30)] {
        event(&run.input(), number, &[time]);
    }
    let first = run.run(Trigger::AvailableNow).await;
    assert_eq!(first, (vec![(10, 1), (20, 1)], vec![(0, 1), (1, 1), (2, 1), (3, 0)]));
    let second = run.run(Trigger::AvailableNow).await;
    assert_eq!(second, (vec![(10, 1), (20, 1)], vec![]));
    event(&run.input(), 4, &[39]);
    event(&run.input(), 5, &[40]);
    let third = run.run(Trigger::AvailableNow).await;
    assert_eq!(third, (vec![(10, 1), (20, 1), (30, 2)], vec![(4, 1), (5, 1), (6, 0)]));
}

/// H02: one batch of everything, limits ignored, no batch for the watermark; its results come with the next data.
#[tokio::test(flavor = "multi_thread")]
async fn once_takes_everything_in_one_batch() {
    let run = Run::new();
    for (number, time) in [(1, 10), (2, 20), (3, 30)] {
        event(&run.input(), number, &[time]);
    }
    assert_eq!(run.run(Trigger::Once).await, (vec![], vec![(0, 3)]));
    assert_eq!(run.run(Trigger::Once).await, (vec![], vec![]));
    event(&run.input(), 4, &[40]);
    assert_eq!(run.run(Trigger::Once).await, (vec![(10, 1), (20, 1)], vec![(1, 1)]));
}

/// H03: the commit record of the last batch is lost; the batch is not written twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_lost_its_commit_is_not_written_twice() {
    let run = Run::new();
    let names = || async {
        let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
        let rows = session
            .read_stream()
            .format("json")
            .schema("k STRING, v BIGINT")
            .option("maxFilesPerTrigger", 1)
            .load_path(&run.path("in"))
            .await
            .unwrap();
        let query = rows
            .write_stream()
            .option("checkpointLocation", run.path("checkpoint"))
            .trigger(Trigger::AvailableNow)
            .start_path(&run.path("out"))
            .await
            .unwrap();
        query.await_termination().await.unwrap();
        let mut rows: Vec<(String, i64)> = Vec::new();
        for batch in read_parquet(&run.directory.path().join("out")) {
            let (keys, values) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            rows.extend((0..batch.num_rows()).map(|r| (keys.value(r).to_string(), values.value(r))));
        }
        rows.sort();
        let batches: Vec<_> = query.recent_progress().iter().map(|p| (p.batch_id, p.num_input_rows)).collect();
        (rows, batches)
    };
    let row = |k: &str, v: i64| (k.to_string(), v);
    write(&run.input(), 1, "{\"k\":\"a\",\"v\":1}");
    write(&run.input(), 2, "{\"k\":\"b\",\"v\":2}");
    assert_eq!(names().await, (vec![row("a", 1), row("b", 2)], vec![(0, 1), (1, 1)]));
    let commits = run.directory.path().join("checkpoint/commits");
    let last = std::fs::read_dir(&commits).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    std::fs::remove_file(last).unwrap();
    write(&run.input(), 3, "{\"k\":\"c\",\"v\":3}");
    // Spark runs batch 1 again without rows; here the attempt that is already visible is adopted.
    assert_eq!(names().await, (vec![row("a", 1), row("b", 2), row("c", 3)], vec![(2, 1)]));
}

/// A stateless query with rows in several chunks and workers keeps the order of its input.
#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_the_order_of_the_input() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..50_000).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(200))).collect();
    std::fs::write(directory.path().join("a.json"), lines).unwrap();
    let session =
        Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 3).build().await.unwrap();
    let rows = session
        .read_stream()
        .format("json")
        .schema("n BIGINT, pad STRING")
        .load_path(&directory.path().to_string_lossy())
        .await
        .unwrap()
        .select(["n"])
        .unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let query = rows.write_stream().trigger(Trigger::AvailableNow).table(&table).start().await.unwrap();
    query.await_termination().await.unwrap();
    let rows = table.concat().unwrap();
    let numbers: Vec<i64> = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(numbers, (0..50_000).collect::<Vec<_>>());
}

/// The rate source has nothing to show at first, and says so with an empty batch, as Spark's does; foreach_batch sees every batch.
#[tokio::test(flavor = "multi_thread")]
async fn rate_begins_with_an_empty_batch() {
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let rate = session.read_stream().format("rate").option("rowsPerSecond", 1000).load().await.unwrap();
    assert_eq!(rate.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["timestamp", "value"]);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let query = rate
        .write_stream()
        .foreach_batch(move |frame: DataFrame, id| {
            let sender = sender.clone();
            async move {
                let batches = frame.collect().await?;
                let values: Vec<i64> =
                    batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
                // The test may have seen enough.
                let _ = sender.send((id, values));
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    assert_eq!(receiver.recv().await, Some((0, vec![])));
    let (id, values) = receiver.recv().await.unwrap();
    assert_eq!(id, 1);
    assert_eq!(values, (0..values.len() as i64).collect::<Vec<_>>());
    assert_eq!(values.len() % 1000, 0);
    query.stop().await;
}

/// The batch that has no data waits for its tick as any other does: with an hour's interval the windows that the first batch closed are
/// not given out yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_for_the_watermark_waits_for_the_next_tick() {
    let run = Run::new();
    event(&run.input(), 1, &[5, 30]);
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let reader = session.read_stream().format("json").schema("t TIMESTAMP");
    let events = reader.load_path(&run.path("in")).await.unwrap().with_watermark("t", "0 seconds").unwrap();
    let counts = events.group_by([window("t", "10 seconds")]).unwrap().count().unwrap();
    let writer = counts.write_stream().option("checkpointLocation", run.path("checkpoint"));
    let query = writer.trigger(Trigger::processing_time("1 hour")).start_path(&run.path("out")).await.unwrap();
    let settled = async {
        while query.recent_progress().is_empty() || query.status().message != "Waiting for next trigger" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
    query.stop().await;
    assert_eq!(query.recent_progress().iter().map(|p| p.batch_id).collect::<Vec<_>>(), [0]);
    assert_eq!(read_windows(&run.directory.path().join("out")), []);
}
