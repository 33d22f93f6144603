//! Faults at every point of the commit protocol, damaged checkpoints, and what a restart makes of them: windowed counts from
//! files into Parquet, whose output must be that of a run without faults.

use crate::triggers::{event, read_windows};
use fail_parallel::FailPointRegistry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemill::checkpoint::{FailPoints, fail};
use tidemill::prelude::*;
use tidemill::progress::StreamingQueryProgress;

type Batches = Vec<(u64, u64)>;

struct Place {
    directory: tempfile::TempDir,
    files: u64,
}

/// How a run differs from the usual one.
#[derive(Default)]
struct With<'a> {
    /// A fail point and what it does.
    fault: Option<(&'a str, &'a str)>,
    conf: &'a [(&'a str, &'a str)],
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for input in ["in0", "in1"] {
            std::fs::create_dir(directory.path().join(input)).unwrap();
        }
        Self { directory, files: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Adds a file; one file is one batch.
    fn add(&mut self, input: &str, times: &[i64]) {
        self.files += 1;
        event(&self.path(input), self.files, times);
    }

    /// Five files whose windows span batches. Watermarks of the batches: 0 0 7 10 20, then 35 in a batch without data.
    fn filled() -> Self {
        let mut place = Self::new();
        for times in [&[1, 5][..], &[8, 12], &[15, 9], &[22, 25], &[40]] {
            place.add("in0", times);
        }
        place
    }

    async fn frame(&self, session: &Session, input: &str) -> Result<DataFrame, Error> {
        let reader = session.read_stream().format("json").schema("t TIMESTAMP").option("maxFilesPerTrigger", 1);
        reader.load_path(&self.text(input)).await?.with_watermark("t", "5 seconds")
    }

    async fn start(&self, inputs: &[&str], trigger: Trigger, with: &With<'_>) -> Result<StreamingQuery, Error> {
        let registry = Arc::new(FailPointRegistry::new());
        if let Some((point, action)) = with.fault {
            fail_parallel::cfg(registry.clone(), point, action).unwrap();
        }
        let mut builder = Session::builder().config("tidemill.device", "cpu").fail_points(FailPoints::new(registry));
        for (key, value) in with.conf {
            builder = builder.config(key, value);
        }
        let session = builder.build().await?;
        let mut frame = self.frame(&session, inputs[0]).await?;
        for input in &inputs[1..] {
            frame = frame.union(&self.frame(&session, input).await?)?;
        }
        let counts = frame.group_by([window("t", "10 seconds")])?.count()?;
        let writer = counts.write_stream().option("checkpointLocation", self.text("checkpoint"));
        writer.trigger(trigger).start_path(&self.text("out")).await
    }

    async fn progress(
        &self,
        inputs: &[&str],
        trigger: Trigger,
        with: With<'_>,
    ) -> Result<Vec<Arc<StreamingQueryProgress>>, Error> {
        let query = self.start(inputs, trigger, &with).await?;
        query.await_termination().await?;
        Ok(query.recent_progress())
    }

    /// Runs to the end: (batch id, input rows).
    async fn run(&self, trigger: Trigger, with: With<'_>) -> Result<Batches, Error> {
        let progress = self.progress(&["in0"], trigger, with).await?;
        Ok(progress.iter().map(|p| (p.batch_id, p.num_input_rows)).collect())
    }

    fn windows(&self) -> Vec<(i64, i64)> {
        read_windows(&self.path("out"))
    }

    /// Every file below a part of the checkpoint, in order of name.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("checkpoint").join(part), &mut found);
        found.sort();
        found
    }
}

const WINDOWS: [(i64, i64); 3] = [(0, 4), (10, 2), (20, 2)];
const BATCHES: [(u64, u64); 6] = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 1), (5, 0)];

/// Deltas, snapshots and the garbage collector all have work within six batches.
const TIGHT: [(&str, &str); 2] =
    [("spark.sql.streaming.minBatchesToRetain", "1"), ("spark.sql.streaming.stateStore.minDeltasForSnapshot", "2")];

#[tokio::test(flavor = "multi_thread")]
async fn without_faults() {
    let place = Place::filled();
    assert_eq!(place.run(Trigger::AvailableNow, With::default()).await.unwrap(), BATCHES);
    assert_eq!(place.windows(), WINDOWS);
}

/// Fails at the `hit`th passage of `point`, starts again, and compares.
async fn survives(point: &'static str, hit: usize) {
    let place = Place::filled();
    let action = format!("{}*off->1*return(here)->off", hit - 1);
    let action = if hit == 1 { "1*return(here)->off".to_string() } else { action };
    let fault = With { fault: Some((point, &action)), conf: &TIGHT };
    let failed = place.run(Trigger::AvailableNow, fault).await;
    if point == fail::DURING_GC {
        // Garbage that stays costs space only.
        assert_eq!(failed.unwrap(), BATCHES);
    } else {
        let error = failed.expect_err(point);
        assert!(error.message().contains(&format!("fail point {point}: here")), "{point}: {error}");
    }
    place.run(Trigger::AvailableNow, With { fault: None, conf: &TIGHT }).await.unwrap();
    assert_eq!(place.windows(), WINDOWS, "{point}, passage {hit}");
    let commits = place.files("commits");
    let last = commits.last().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(last, format!("{:020}", 5), "{point}, passage {hit}");
    // And once more with nothing to do.
    assert_eq!(place.run(Trigger::AvailableNow, With { fault: None, conf: &TIGHT }).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_point_of_the_first_batch_changes_nothing() {
    for point in fail::ALL.iter().filter(|point| !point.starts_with("kafka")) {
        survives(point, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_point_of_a_later_batch_changes_nothing() {
    // Not passed six times, in five batches with three files.
    let few = [fail::AFTER_CLAIM, fail::DURING_GC, fail::FILE_PUBLISHED];
    for point in fail::ALL.iter().filter(|point| !point.starts_with("kafka") && !few.contains(point)) {
        for hit in [3, 6] {
            survives(point, hit).await;
        }
    }
}

/// Every start fails one step further, until one does not.
#[tokio::test(flavor = "multi_thread")]
async fn faults_in_every_start_still_converge() {
    let place = Place::filled();
    let mut starts = 0;
    loop {
        let point = [fail::AFTER_PUBLISH, fail::AFTER_PREPARED, fail::AFTER_COMMIT, fail::AFTER_STATE][starts % 4];
        let fault = With { fault: Some((point, "1*off->1*return(here)->off")), conf: &TIGHT };
        match place.run(Trigger::AvailableNow, fault).await {
            Ok(_) => break,
            Err(error) => assert!(error.message().contains("here"), "{error}"),
        }
        starts += 1;
        assert!(starts < 20, "no start gets further");
    }
    assert_eq!(place.windows(), WINDOWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_after_a_crash_runs_the_logged_batch_and_no_other() {
    let mut place = Place::new();
    place.add("in0", &[1, 2]);
    let fault = With { fault: Some((fail::AFTER_OFFSETS, "return(here)")), conf: &[] };
    place.run(Trigger::Once, fault).await.unwrap_err();
    place.add("in0", &[3]);
    assert_eq!(place.run(Trigger::Once, With::default()).await.unwrap(), [(0, 2)]);
    assert_eq!(place.run(Trigger::Once, With::default()).await.unwrap(), [(1, 1)]);
    assert_eq!(place.run(Trigger::Once, With::default()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn available_now_after_a_crash_runs_the_logged_batch_first() {
    let mut place = Place::new();
    place.add("in0", &[1, 2]);
    let fault = With { fault: Some((fail::AFTER_PREPARED, "return(here)")), conf: &[] };
    place.run(Trigger::AvailableNow, fault).await.unwrap_err();
    place.add("in0", &[18]);
    // The sink completes the prepared batch 0, so that it is adopted and not run again.
    assert_eq!(place.run(Trigger::AvailableNow, With::default()).await.unwrap(), [(1, 1), (2, 0)]);
    assert_eq!(place.windows(), [(0, 2)]);
}

/// A row that is late for the batch without data before the restart is late after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_late_watermark_is_that_of_the_last_batch_before_the_restart() {
    let mut place = Place::filled();
    place.run(Trigger::AvailableNow, With::default()).await.unwrap();
    place.add("in0", &[22, 45]);
    let progress = place.progress(&["in0"], Trigger::AvailableNow, With::default()).await.unwrap();
    let dropped = |p: &Arc<StreamingQueryProgress>| p.state_operators[0].num_rows_dropped_by_watermark;
    let found: Vec<_> = progress.iter().map(|p| (p.batch_id, p.num_input_rows, dropped(p))).collect();
    assert_eq!(found, [(6, 2, 1), (7, 0, 0)]);
    assert_eq!(place.windows(), WINDOWS);
}

fn watermarks(progress: &[Arc<StreamingQueryProgress>]) -> Vec<(u64, Option<i64>)> {
    let seconds = |ms: i64| if ms == 0 { 0 } else { ms / 1000 - crate::triggers::EPOCH };
    progress.iter().map(|p| (p.batch_id, p.watermark_ms().map(seconds))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_input_has_shown_survives_a_restart() {
    let mut place = Place::new();
    place.add("in0", &[100]);
    place.add("in1", &[50]);
    let both = ["in0", "in1"];
    let progress = place.progress(&both, Trigger::AvailableNow, With::default()).await.unwrap();
    assert_eq!(watermarks(&progress), [(0, Some(0)), (1, Some(45))]);
    place.add("in1", &[80]);
    let progress = place.progress(&both, Trigger::AvailableNow, With::default()).await.unwrap();
    assert_eq!(watermarks(&progress), [(2, Some(45)), (3, Some(75))]);
}

/// The policy is that of the first start, also where its first batch was never committed.
#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_policy_is_pinned_by_the_first_planned_batch() {
    let mut place = Place::new();
    place.add("in0", &[100]);
    place.add("in1", &[50]);
    let both = ["in0", "in1"];
    let key = "spark.sql.streaming.multipleWatermarkPolicy";
    let fault = With { fault: Some((fail::AFTER_OFFSETS, "return(here)")), conf: &[(key, "max")] };
    place.progress(&both, Trigger::AvailableNow, fault).await.unwrap_err();
    let conf = [(key, "min")];
    let min = || With { fault: None, conf: &conf };
    let progress = place.progress(&both, Trigger::AvailableNow, min()).await.unwrap();
    assert_eq!(watermarks(&progress), [(0, Some(0)), (1, Some(95))]);
    place.add("in0", &[120]);
    let progress = place.progress(&both, Trigger::AvailableNow, min()).await.unwrap();
    assert_eq!(watermarks(&progress), [(2, Some(95)), (3, Some(115))]);
}

/// Restarts between every two batches, with the smallest settings there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_every_batch_changes_nothing() {
    for deltas in ["1", "3", "100"] {
        let conf = [
            ("spark.sql.streaming.minBatchesToRetain", "1"),
            ("spark.sql.streaming.stateStore.minDeltasForSnapshot", deltas),
        ];
        let mut place = Place::new();
        let mut batches = Vec::new();
        for times in [&[1, 5][..], &[8, 12], &[15, 9], &[22, 25], &[40], &[50]] {
            place.add("in0", times);
            batches.extend(place.run(Trigger::Once, With { fault: None, conf: &conf }).await.unwrap());
        }
        assert_eq!(batches, [(0, 2), (1, 2), (2, 2), (3, 2), (4, 1), (5, 1)], "{deltas}");
        assert_eq!(place.windows(), WINDOWS, "{deltas}");
        // The collector works at the first commit of every run, so only the last batch is left.
        assert_eq!(place.files("commits").len(), 1, "{deltas}");
    }
}

async fn corrupt(place: &Place, damaged: &Path) {
    let error = place.start(&["in0"], Trigger::AvailableNow, &With::default()).await.err().expect("damage goes unseen");
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt, "{error}");
    let name = damaged.file_name().unwrap().to_string_lossy().into_owned();
    assert!(error.message().contains(&name), "{error} does not name {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_named() {
    let place = Place::filled();
    place.run(Trigger::AvailableNow, With::default()).await.unwrap();
    for part in ["state", "offsets", "prepared", "commits"] {
        let newest = place.files(part).pop().unwrap();
        let whole = std::fs::read(&newest).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &[]] {
            std::fs::write(&newest, damaged).unwrap();
            corrupt(&place, &newest).await;
        }
        for at in [0, whole.len() / 2, whole.len() - 2] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&newest, flipped).unwrap();
            corrupt(&place, &newest).await;
        }
        std::fs::write(&newest, &whole).unwrap();
    }
    // Undamaged, it goes on.
    assert_eq!(place.run(Trigger::AvailableNow, With::default()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_on_a_checkpoint_is_told_who_holds_it() {
    let place = Place::filled();
    let trigger = Trigger::processing_time("1 hour").unwrap();
    let first = place.start(&["in0"], trigger, &With::default()).await.unwrap();
    let error = place.start(&["in0"], trigger, &With::default()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointFenced, "{error}");
    assert!(error.message().contains(&first.run_id().to_string()), "{error}");
    assert!(first.is_active());
    first.stop().await;
    assert!(first.exception().is_none());
    place.run(Trigger::AvailableNow, With::default()).await.unwrap();
    assert_eq!(place.windows(), WINDOWS);
}
