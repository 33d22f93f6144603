//! Queries whose checkpoint and output are in a bucket: restarts, faults at every step, two runs at once, stores that misbehave.
//! What counts is what any reader of the bucket finds: every object below the output, and nothing else.

use crate::s3::{Fault, S3Server};
use fail_parallel::FailPointRegistry;
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidemill::checkpoint::{FailPoints, fail};
use tidemill::prelude::*;

const EPOCH: i64 = 1_704_067_200;

/// Window start, key, rows.
type Rows = Vec<(i64, String, i64)>;

/// An input directory, a checkpoint and an output of their own.
struct Place<'s> {
    server: &'s S3Server,
    name: String,
    input: tempfile::TempDir,
    files: u64,
}

impl<'s> Place<'s> {
    fn new(server: &'s S3Server, name: &str) -> Self {
        Self { server, name: name.to_string(), input: tempfile::tempdir().unwrap(), files: 0 }
    }

    /// Five files, each a batch, whose windows span batches. Watermarks: 0 0 7 10 20, then 35 in a batch without data.
    fn filled(server: &'s S3Server, name: &str) -> Self {
        let mut place = Self::new(server, name);
        for events in [
            &[(1, "a"), (5, "b")][..],
            &[(8, "a"), (12, "c")],
            &[(15, "a"), (9, "b")],
            &[(22, "a"), (25, "b")],
            &[(40, "a")],
        ] {
            place.add(events);
        }
        place
    }

    fn add(&mut self, events: &[(i64, &str)]) {
        self.files += 1;
        let lines: Vec<_> = events.iter().map(|(t, k)| format!("{{\"t\":{},\"k\":\"{k}\"}}\n", EPOCH + t)).collect();
        let hidden = self.input.path().join(format!("_{}", self.files));
        std::fs::write(&hidden, lines.concat()).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH as u64 + self.files);
        std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&hidden, self.input.path().join(format!("{:05}.json", self.files))).unwrap();
    }

    async fn session(&self, fault: Option<(&str, &str)>) -> Session {
        let registry = Arc::new(FailPointRegistry::new());
        if let Some((point, action)) = fault {
            fail_parallel::cfg(registry.clone(), point, action).unwrap();
        }
        let mut builder = Session::builder()
            .config("tidemill.device", "cpu")
            .config("spark.sql.streaming.minBatchesToRetain", 1)
            .config("spark.sql.streaming.stateStore.minDeltasForSnapshot", 2)
            .fail_points(FailPoints::new(registry));
        for (key, value) in self.server.settings() {
            builder = builder.config(key, value);
        }
        builder.build().await.unwrap()
    }

    async fn start(&self, session: &Session, trigger: Trigger) -> Result<StreamingQuery, Error> {
        session
            .read_stream()
            .format("json")
            .schema("t TIMESTAMP, k STRING")
            .option("maxFilesPerTrigger", 1)
            .load_path(self.input.path().to_str().unwrap())
            .await?
            .with_watermark("t", "5 seconds")?
            .group_by([window("t", "10 seconds"), col("k")])?
            .count()?
            .write_stream()
            .format("json")
            .partition_by(["k"])
            .option("checkpointLocation", format!("s3a://lake/{}/ck", self.name))
            .trigger(trigger)
            .start_path(&format!("s3a://lake/{}/out", self.name))
            .await
    }

    /// Runs to the end: (batch id, input rows).
    async fn run(&self, fault: Option<(&str, &str)>) -> Result<Vec<(u64, u64)>, Error> {
        let query = self.start(&self.session(fault).await, Trigger::AvailableNow).await?;
        query.await_termination().await?;
        Ok(query.recent_progress().iter().map(|p| (p.batch_id, p.num_input_rows)).collect())
    }

    /// All rows of all objects below the output.
    fn rows(&self) -> Rows {
        let prefix = format!("{}/out/", self.name);
        let mut rows = Vec::new();
        for key in self.server.keys("lake", &prefix) {
            let name = key.strip_prefix(&prefix).unwrap();
            let (city, file) = name.split_once('/').unwrap();
            assert!(file.starts_with("part-") && file.ends_with(".json"), "a reader sees {key}");
            for line in String::from_utf8(self.server.get("lake", &key)).unwrap().lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                let start = row["window"]["start"].as_str().unwrap();
                let second = start[14..16].parse::<i64>().unwrap() * 60 + start[17..19].parse::<i64>().unwrap();
                rows.push((second, city.strip_prefix("k=").unwrap().to_string(), row["count"].as_i64().unwrap()));
            }
        }
        rows.sort();
        rows
    }
}

const BATCHES: [(u64, u64); 6] = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 1), (5, 0)];

fn expected() -> Rows {
    [(0, "a", 2), (0, "b", 2), (10, "a", 1), (10, "c", 1), (20, "a", 1), (20, "b", 1)]
        .map(|(start, key, count)| (start, key.to_string(), count))
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_where_the_last_run_ended() {
    let server = S3Server::start(&["lake"]);
    let mut place = Place::filled(&server, "q");
    assert_eq!(place.run(None).await.unwrap(), BATCHES);
    assert_eq!(place.rows(), expected());
    assert_eq!(place.run(None).await.unwrap(), []);
    place.add(&[(41, "a"), (60, "z")]);
    assert_eq!(place.run(None).await.unwrap(), [(6, 2), (7, 0)]);
    let mut more = expected();
    more.push((40, "a".to_string(), 2));
    assert_eq!(place.rows(), more);
    // Epochs of three starts, records of the one batch that is kept, and the collector has taken the rest.
    assert_eq!(server.keys("lake", "q/ck/epochs/").len(), 3);
    assert!(server.keys("lake", "q/ck/commits/").len() < 8);
}

/// Fails at a passage of a point, starts again, and compares.
async fn survives(server: &S3Server, point: &str, hit: usize) {
    let place = Place::filled(server, &format!("{point}{hit}"));
    let action = match hit {
        1 => "1*return(here)->off".to_string(),
        _ => format!("{}*off->1*return(here)->off", hit - 1),
    };
    let error = place.run(Some((point, &action))).await.expect_err(point);
    assert!(error.message().contains(&format!("fail point {point}: here")), "{point}: {error}");
    // What is there is right, as far as it goes.
    let half = place.rows();
    assert!(
        half.iter().all(|row| expected().contains(row)) && half.windows(2).all(|w| w[0] != w[1]),
        "{point}: {half:?}"
    );
    place.run(None).await.unwrap();
    assert_eq!(place.rows(), expected(), "{point}, passage {hit}");
    assert_eq!(place.run(None).await.unwrap(), [], "{point}, passage {hit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_point_changes_nothing() {
    let server = S3Server::start(&["lake"]);
    let of_this_protocol = |point: &&&str| {
        !point.starts_with("kafka")
            && !point.starts_with("store")
            && ![fail::DURING_GC, fail::AFTER_CLAIM].contains(point)
    };
    let points = fail::ALL.iter().filter(of_this_protocol).flat_map(|point| [(*point, 1), (*point, 4)]);
    // Three batches publish two files each: the publication stops within a batch, and at its end.
    let rest =
        [(fail::AFTER_CLAIM, 1), (fail::FILE_PUBLISHED, 2), (fail::FILE_PUBLISHED, 6), (fail::AFTER_PREPARED, 6)];
    let runs: Vec<_> = points.chain(rest).collect();
    let survived = runs.iter().map(|(point, hit)| survives(&server, point, *hit));
    futures::stream::iter(survived).buffer_unordered(4).collect::<Vec<()>>().await;
}

/// Every start fails one step further, until one does not.
#[tokio::test(flavor = "multi_thread")]
async fn faults_in_every_start_still_converge() {
    let server = S3Server::start(&["lake"]);
    let place = Place::filled(&server, "q");
    for start in 0.. {
        let points =
            [fail::AFTER_PUBLISH, fail::FILE_PUBLISHED, fail::AFTER_PREPARED, fail::AFTER_STAGE, fail::AFTER_COMMIT];
        match place.run(Some((points[start % points.len()], "1*off->1*return(here)->off"))).await {
            Ok(_) => break,
            Err(error) => assert!(error.message().contains("here"), "{error}"),
        }
        assert!(start < 20, "no start gets further");
    }
    assert_eq!(place.run(None).await.unwrap(), []);
    assert_eq!(place.rows(), expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_the_newer_goes_on_and_the_older_is_fenced() {
    let server = S3Server::start(&["lake"]);
    let mut place = Place::filled(&server, "q");
    let (first, second) = (place.session(None).await, place.session(None).await);
    let old = place.start(&first, Trigger::default()).await.unwrap();
    old.process_all_available().await.unwrap();
    let new = place.start(&second, Trigger::default()).await.unwrap();
    place.add(&[(41, "a"), (60, "z")]);
    let error = old.await_termination().await.unwrap_err();
    assert!(error.message().contains(ErrorCode::CheckpointFenced.as_str()), "{error}");
    assert!(error.message().contains(&format!("is held by run {}", new.run_id())), "{error}");
    new.process_all_available().await.unwrap();
    new.stop().await;
    let mut more = expected();
    more.push((40, "a".to_string(), 2));
    assert_eq!(place.rows(), more);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditional_puts_is_refused() {
    let server = S3Server::start(&["lake"]);
    server.ignore_conditions(true);
    let place = Place::filled(&server, "q");
    let error = place.run(None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointIo);
    assert!(error.message().contains("If-None-Match") && error.message().contains("s3a://lake/q/ck"), "{error}");
    assert_eq!(server.keys("lake", ""), ["q/ck/FORMAT"]);
    server.ignore_conditions(false);
    place.run(None).await.unwrap();
    assert_eq!(place.rows(), expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_busy_or_loses_its_answers_is_survived() {
    let server = S3Server::start(&["lake"]);
    let place = Place::filled(&server, "q");
    for (fault, times, method, part) in [
        (Fault::ErrorAfter, 1, "PUT", "/ck/FORMAT"),
        (Fault::DropAfter, 1, "PUT", "/ck/epochs"),
        (Fault::Unavailable, 1, "PUT", "/ck/offsets"),
        (Fault::ErrorAfter, 1, "PUT", "/ck/offsets"),
        (Fault::DropAfter, 1, "PUT", "/ck/offsets"),
        (Fault::ErrorAfter, 1, "PUT", "/ck/state"),
        (Fault::DropAfter, 1, "PUT", "/ck/state"),
        (Fault::ErrorAfter, 1, "PUT", "/ck/prepared"),
        (Fault::DropAfter, 1, "PUT", "/ck/prepared"),
        (Fault::ErrorAfter, 1, "PUT", "/ck/commits"),
        (Fault::DropAfter, 1, "PUT", "/ck/commits"),
        (Fault::Unavailable, 1, "PUT", "partNumber"),
        (Fault::ErrorAfter, 1, "POST", "?uploads"),
        (Fault::Unavailable, 1, "POST", "uploadId"),
        (Fault::ErrorAfter, 1, "POST", "uploadId"),
        (Fault::DropAfter, 1, "POST", "uploadId"),
        (Fault::Unavailable, 2, "GET", "epochs"),
    ] {
        server.fail(fault, times, method, part);
    }
    place.run(None).await.unwrap();
    assert_eq!(place.rows(), expected());
    assert_eq!(server.faults(), 18, "every fault has happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_refused_before_anything_is_written() {
    let server = S3Server::start(&["lake"]);
    let place = Place::filled(&server, "q");
    let session = place.session(None).await;
    let frame = async || {
        let reader = session.read_stream().format("json").schema("t TIMESTAMP, k STRING");
        reader.load_path(place.input.path().to_str().unwrap()).await.unwrap()
    };
    let writer = async |out: &str, checkpoint: &str| {
        let writer = frame().await.write_stream().format("parquet").option("checkpointLocation", checkpoint);
        writer.trigger(Trigger::AvailableNow).start_path(out).await
    };
    let error = writer("s3a://none/out", "s3a://lake/ck").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::PathNotFound, "{error}");
    assert!(error.message().contains("s3a://none/out"), "{error}");
    let error = writer("s3a://lake/out", "s3a://none/ck").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointIo, "{error}");
    assert!(error.message().contains("s3a://none/ck") && error.message().contains("make the bucket"), "{error}");
    session.conf().set("fs.s3a.secret.key", "wrong").unwrap();
    let error = writer("s3a://lake/out", "s3a://lake/ck").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::StorageAccessDenied, "{error}");
    assert!(!error.message().contains("wrong"), "{error}");
    assert_eq!(server.keys("lake", ""), Vec::<String>::new());
}

/// Every format, and both ways to write the scheme, with the checkpoint on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_written_to_a_bucket() {
    let server = S3Server::start(&["lake"]);
    let mut place = Place::new(&server, "q");
    place.add(&[(1, "a"), (2, "b,c")]);
    let session = place.session(None).await;
    for (format, scheme, compression, ending) in [
        ("parquet", "s3", "zstd", "parquet"),
        ("json", "s3a", "gzip", "json.gz"),
        ("csv", "S3A", "none", "csv"),
        ("text", "s3", "none", "txt"),
    ] {
        let checkpoint = tempfile::tempdir().unwrap();
        let rows = session.read_stream().format("json").schema("t TIMESTAMP, k STRING");
        let rows = rows.load_path(place.input.path().to_str().unwrap()).await.unwrap();
        let query = rows
            .select([col("k")])
            .unwrap()
            .write_stream()
            .format(format)
            .option("compression", compression)
            .option("checkpointLocation", format!("file://{}", checkpoint.path().display()))
            .trigger(Trigger::AvailableNow)
            .start_path(&format!("{scheme}://lake/{format}"))
            .await
            .unwrap();
        query.await_termination().await.unwrap();
        let keys = server.keys("lake", &format!("{format}/"));
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert!(
            keys[0].starts_with(&format!("{format}/part-00000-0-")) && keys[0].ends_with(&format!(".{ending}")),
            "{keys:?}"
        );
        let bytes = server.get("lake", &keys[0]);
        match format {
            "parquet" => assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")),
            "json" => assert!(bytes.starts_with(&[0x1f, 0x8b])),
            "csv" => assert_eq!(bytes, b"a\n\"b,c\"\n"),
            _ => assert_eq!(bytes, b"a\nb,c\n"),
        }
    }
}
