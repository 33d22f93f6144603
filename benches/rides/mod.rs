//! Ride events for the benchmarks, the queries over them, and a sink that only counts.
//!
//! Comes in: a number of events and of files. Goes out: the same JSON lines every time, as text or as files: eleven fields, 100 cities,
//! 20,000 drivers, four statuses, one event every two milliseconds of event time and up to a minute late. Fails: files that cannot be
//! written, and whatever the query fails with.

// Every benchmark takes what it needs of this module.
#![allow(dead_code)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidemill::prelude::*;
use tidemill::sink::{Prepared, Settled, Sink, Writer};
use uuid::Uuid;

/// The fields of an event.
pub const SCHEMA: &str = "ride_id STRING, driver_id STRING, rider_id STRING, city STRING, pickup_lat DOUBLE, pickup_lon DOUBLE, \
                          dropoff_lat DOUBLE, dropoff_lon DOUBLE, fare_amount DOUBLE, status STRING, event_time TIMESTAMP";
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

/// An endless, reproducible stream of events.
pub struct Rides {
    random: StdRng,
    ride: i64,
}

impl Rides {
    /// The stream from its beginning.
    pub fn new() -> Self {
        Self { random: StdRng::seed_from_u64(7), ride: 0 }
    }

    /// The next `events` events as JSON lines.
    pub fn lines(&mut self, events: usize) -> String {
        let mut lines = String::with_capacity(events * 264);
        for _ in 0..events {
            self.line(&mut lines);
        }
        lines
    }

    fn line(&mut self, lines: &mut String) {
        let random = &mut self.random;
        let millis = START_MS + self.ride * 2 - random.random_range(0..=60_000);
        self.ride += 1;
        let time = chrono::DateTime::from_timestamp_millis(millis).expect("a time in this century");
        let status = match random.random_range(0..100) {
            0..70 => "completed",
            70..80 => "cancelled",
            80..95 => "in_progress",
            _ => "requested",
        };
        writeln!(
            lines,
            r#"{{"ride_id":"r{}","driver_id":"d{}","rider_id":"u{}","city":"city{:03}","pickup_lat":{:.6},"pickup_lon":{:.6},"dropoff_lat":{:.6},"dropoff_lon":{:.6},"fare_amount":{:.2},"status":"{status}","event_time":"{}"}}"#,
            self.ride,
            random.random_range(0..20_000),
            random.random_range(0..200_000),
            random.random_range(0..100),
            random.random_range(-90.0..90.0),
            random.random_range(-180.0..180.0),
            random.random_range(-90.0..90.0),
            random.random_range(-180.0..180.0),
            random.random_range(3.0..80.0),
            time.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        )
        .expect("writing to a string");
    }
}

/// Writes `events` events into `files` files of equal size in a directory, which is made.
pub fn write_files(directory: &Path, events: usize, files: usize) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut rides = Rides::new();
    for file in 0..files {
        let share = events * (file + 1) / files - events * file / files;
        std::fs::write(directory.join(format!("part-{file:05}.json")), rides.lines(share))?;
    }
    Ok(())
}

/// The events in a directory of files, `files_a_batch` of them in a batch, or all in one.
pub async fn events(session: &Session, input: &Path, files_a_batch: Option<usize>) -> Result<DataFrame, Error> {
    let mut reader = session.read_stream().format("json").schema(SCHEMA);
    if let Some(files) = files_a_batch {
        reader = reader.option("maxFilesPerTrigger", files as i64);
    }
    reader.load_path(&input.to_string_lossy()).await
}

/// The metrics of each city in windows of five minutes.
pub fn city_metrics(rides: DataFrame) -> Result<DataFrame, Error> {
    rides
        .filter(col("status").isin(["completed", "cancelled", "in_progress"]))?
        .with_watermark("event_time", "10 minutes")?
        .group_by([window(col("event_time"), "5 minutes"), col("city")])?
        .agg([
            count_all().alias("ride_count"),
            sum(when(col("status").eq(lit("completed")), lit(1)).otherwise(lit(0))).alias("completed_rides"),
            avg(col("fare_amount")).alias("avg_fare"),
            approx_count_distinct(col("driver_id")).alias("active_drivers"),
        ])?
        .with_column("completion_rate", col("completed_rides") / col("ride_count"))
}

/// Completed rides with a fare above 40, three of their fields.
pub fn expensive_rides(rides: DataFrame) -> Result<DataFrame, Error> {
    rides.filter(col("status").eq(lit("completed")).and(col("fare_amount").gt(lit(40.0))))?.select([
        "ride_id",
        "city",
        "fare_amount",
    ])
}

/// Runs a frame over all there is, with a checkpoint that must be new, and returns the query and the rows it put out.
pub async fn drain(frame: DataFrame, mode: OutputMode, checkpoint: &Path) -> Result<(StreamingQuery, u64), Error> {
    let sink = CountingSink::default();
    let rows = sink.rows.clone();
    let query = frame
        .write_stream()
        .output_mode(mode)
        .sink(Box::new(sink))
        .option("checkpointLocation", checkpoint.to_string_lossy().into_owned())
        .trigger(Trigger::AvailableNow)
        .start()
        .await?;
    query.await_termination().await?;
    Ok((query, rows.load(Ordering::Relaxed)))
}

/// Counts rows and keeps none.
#[derive(Default)]
pub struct CountingSink {
    rows: Arc<AtomicU64>,
    staged: u64,
}

#[async_trait::async_trait]
impl Sink for CountingSink {
    fn description(&self) -> String {
        "CountingSink".to_string()
    }

    async fn open(&mut self, _writer: &Writer) -> Result<(), Error> {
        Ok(())
    }

    async fn stage(
        &mut self,
        _batch: u64,
        _attempt: Uuid,
        rows: &[arrow::array::RecordBatch],
    ) -> Result<serde_json::Value, Error> {
        self.staged = rows.iter().map(|batch| batch.num_rows() as u64).sum();
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, _prepared: &Prepared) -> Result<(), Error> {
        self.rows.fetch_add(self.staged, Ordering::Relaxed);
        Ok(())
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled, Error> {
        Ok(Settled::Absent)
    }
}
