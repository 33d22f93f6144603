//! Faults at every point of the commit protocol in queries of several stateful operators, and a restart after every batch: from JSON
//! files into Parquet, whose rows must be those of a run without faults.

use crate::triggers::EPOCH;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fail_parallel::FailPointRegistry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidemill::checkpoint::{FailPoints, fail};
use tidemill::prelude::*;

/// A query over two streams of `k, t`, the second under the names `k2, t2`.
type Build = fn(DataFrame, DataFrame) -> Result<DataFrame, Error>;

const RANGE: &str = "k = k2 AND t2 >= t AND t2 <= t + INTERVAL 5 SECONDS";

/// Name, query, and how many rows it gives.
const QUERIES: [(&str, Build, usize); 8] = [
    ("inner join", |l, r| l.join(&r, expr(RANGE), "inner"), 9),
    ("left outer join", |l, r| l.join(&r, expr(RANGE), "left_outer"), 14),
    ("full outer join", |l, r| l.join(&r, expr(RANGE), "full_outer"), 17),
    ("left semi join", |l, r| l.join(&r, expr(RANGE), "left_semi"), 6),
    (
        "join, then aggregate",
        |l, r| l.join(&r, expr(RANGE), "inner")?.group_by([window("t", "10 seconds")])?.count(),
        2,
    ),
    (
        "aggregate, then aggregate",
        |l, _| {
            let windows = l.group_by([window("t", "5 seconds"), col("k")])?.count()?;
            windows
                .group_by([window("window", "10 seconds")])?
                .agg([sum("count").alias("n"), count_all().alias("groups")])
        },
        3,
    ),
    ("dedupe, then aggregate", |l, _| l.drop_duplicates(&["k", "t"])?.group_by([window("t", "5 seconds")])?.count(), 6),
    (
        "session, then aggregate",
        |l, _| {
            let sessions = l.group_by([session_window("t", "4 seconds"), col("k")])?.count()?;
            sessions.group_by([window("session_window", "10 seconds")])?.agg([sum("count").alias("n")])
        },
        3,
    ),
];

/// Rows of each file: one file of each stream is one batch. Nothing is late, the last rows let everything else go.
const LEFT: [&[(i64, &str)]; 6] = [
    &[(1, "a"), (2, "b"), (2, "b")],
    &[(6, "a"), (4, "c")],
    &[(9, "a"), (11, "b")],
    &[(16, "c"), (14, "a")],
    &[(25, "a"), (22, "b")],
    &[(200, "left")],
];
const RIGHT: [&[(i64, &str)]; 6] = [
    &[(3, "a"), (4, "b")],
    &[(7, "b"), (8, "c")],
    &[(13, "d"), (12, "b")],
    &[(17, "c"), (20, "c")],
    &[(24, "d"), (21, "d")],
    &[(200, "right")],
];

/// Deltas, snapshots and the garbage collector all have work within a few batches.
const TIGHT: [(&str, &str); 2] =
    [("spark.sql.streaming.minBatchesToRetain", "1"), ("spark.sql.streaming.stateStore.minDeltasForSnapshot", "2")];

struct Place {
    directory: tempfile::TempDir,
    build: Build,
}

impl Place {
    fn new(build: Build) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for input in ["left", "right"] {
            std::fs::create_dir(directory.path().join(input)).unwrap();
        }
        Self { directory, build }
    }

    fn filled(build: Build) -> Self {
        let place = Self::new(build);
        (0..LEFT.len()).for_each(|number| place.add(number));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds the file of this number to each stream.
    fn add(&self, number: usize) {
        for (input, rows) in [("left", LEFT[number]), ("right", RIGHT[number])] {
            let lines = rows.iter().map(|(t, k)| format!("{{\"t\":{},\"k\":\"{k}\"}}\n", EPOCH + t));
            let hidden = self.path(input).join(format!("_{number}"));
            std::fs::write(&hidden, lines.collect::<String>()).unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH as u64 + number as u64);
            std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
            std::fs::rename(&hidden, self.path(input).join(format!("{number}.json"))).unwrap();
        }
    }

    async fn source(&self, session: &Session, input: &str) -> Result<DataFrame, Error> {
        let reader = session.read_stream().format("json").schema("t TIMESTAMP, k STRING");
        reader.option("maxFilesPerTrigger", 1).load_path(&self.path(input).to_string_lossy()).await
    }

    /// Runs to the end, through `fault` if there is one; the ids of the batches that ran.
    async fn run(&self, fault: Option<(&str, &str)>) -> Result<Vec<u64>, Error> {
        let registry = Arc::new(FailPointRegistry::new());
        if let Some((point, action)) = fault {
            fail_parallel::cfg(registry.clone(), point, action).unwrap();
        }
        let mut builder = Session::builder().config("tidemill.device", "cpu").fail_points(FailPoints::new(registry));
        for (key, value) in TIGHT {
            builder = builder.config(key, value);
        }
        let session = builder.build().await?;
        let left = self.source(&session, "left").await?.with_watermark("t", "3 seconds")?;
        let right = self.source(&session, "right").await?.select(["t AS t2", "k AS k2"].map(expr))?;
        let frame = (self.build)(left, right.with_watermark("t2", "3 seconds")?)?;
        let writer = frame.write_stream().trigger(Trigger::AvailableNow);
        let writer = writer.option("checkpointLocation", self.path("checkpoint").to_string_lossy().as_ref());
        let query = writer.start_path(&self.path("out").to_string_lossy()).await?;
        query.await_termination().await?;
        Ok(query.recent_progress().iter().map(|p| p.batch_id).collect())
    }

    fn rows(&self) -> Vec<String> {
        rows(&self.path("out"))
    }
}

/// Every row of every Parquet file of a directory as text, in order of the text.
fn rows(directory: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    let options = FormatOptions::default().with_null("null");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let file = std::fs::File::open(path).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap().map(Result::unwrap) {
            let columns: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
            let text = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" ");
            rows.extend((0..batch.num_rows()).map(text));
        }
    }
    rows.sort();
    rows
}

async fn without_faults(name: &str, build: Build, count: usize) -> Vec<String> {
    let place = Place::filled(build);
    place.run(None).await.unwrap();
    let rows = place.rows();
    assert_eq!(rows.len(), count, "{name}: {rows:#?}");
    rows
}

/// Fails at the `hit`th passage of `point`, starts again, and compares.
async fn survives(name: &str, build: Build, expected: &[String], point: &str, hit: usize) {
    let place = Place::filled(build);
    let before = if hit == 1 { String::new() } else { format!("{}*off->", hit - 1) };
    let outcome = place.run(Some((point, &format!("{before}1*return(here)->off")))).await;
    match outcome {
        // Garbage that stays costs space only.
        Ok(_) if point == fail::DURING_GC => {}
        Ok(batches) => panic!("{name}: {point} was not passed {hit} times in batches {batches:?}"),
        Err(error) => assert!(error.message().contains("fail point"), "{name}, {point}: {error}"),
    }
    place.run(None).await.unwrap_or_else(|error| panic!("{name} after {point}, passage {hit}: {error}"));
    assert_eq!(place.rows(), expected, "{name} after {point}, passage {hit}");
    assert_eq!(place.run(None).await.unwrap(), Vec::<u64>::new(), "{name} after {point}, passage {hit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_point_changes_no_operators_rows() {
    // What a run passes once, and what only batches with files to publish pass.
    let seldom = [fail::AFTER_CLAIM, fail::DURING_PUBLISH, fail::FILE_PUBLISHED];
    let of_query = QUERIES.map(async |(name, build, count)| {
        let expected = without_faults(name, build, count).await;
        for point in fail::ALL.iter().copied().filter(|point| !point.starts_with("kafka")) {
            let hits: &[usize] = if seldom.contains(&point) { &[1] } else { &[2, 4] };
            for hit in hits {
                survives(name, build, &expected, point, *hit).await;
            }
        }
    });
    futures::future::join_all(of_query).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_every_batch_changes_no_operators_rows() {
    for (name, build, count) in QUERIES {
        let expected = without_faults(name, build, count).await;
        let place = Place::new(build);
        for number in 0..LEFT.len() {
            place.add(number);
            place.run(None).await.unwrap();
        }
        assert_eq!(place.rows(), expected, "{name}");
    }
}

/// Every start fails one step further, until one does not.
#[tokio::test(flavor = "multi_thread")]
async fn operators_converge_though_every_start_fails() {
    let points =
        [fail::AFTER_PUBLISH, fail::AFTER_PREPARED, fail::AFTER_COMMIT, fail::AFTER_STATE, fail::AFTER_OFFSETS];
    for (name, build, count) in QUERIES {
        let expected = without_faults(name, build, count).await;
        let place = Place::filled(build);
        let mut starts = 0;
        while let Err(error) = place.run(Some((points[starts % points.len()], "1*off->1*return(here)->off"))).await {
            assert!(error.message().contains("here"), "{name}: {error}");
            starts += 1;
            assert!(starts < 40, "{name}: no start gets further");
        }
        assert!(starts > 3, "{name}: {starts}");
        assert_eq!(place.rows(), expected, "{name}");
    }
}
