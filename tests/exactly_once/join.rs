//! A query whose state is more than sums: rides that were asked for beside the completed rides of the same rider within five minutes after,
//! a left outer join of two streams, into Parquet. And what it must say of the rides, found the plain way.

use crate::oracle::Ride;
use crate::pipelines::{Settings, ride_schema};
use crate::sinks;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use tidemill::Result;
use tidemill::frame::DataStreamWriter;
use tidemill::prelude::*;

/// How far apart the two can be, in seconds.
const WITHIN: i64 = 300;

/// Rider, time asked for, time and fare of the completed ride; the fare by its bits.
pub type Row = (String, i64, Option<i64>, Option<u64>);

async fn rides(session: &Session, settings: &Settings) -> Result<DataFrame> {
    let raw = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &settings.brokers)
        .option("subscribe", &settings.rides_topic)
        .option("startingOffsets", &settings.starting_offsets)
        .option("maxOffsetsPerTrigger", settings.max_offsets_per_trigger)
        .load()
        .await?;
    raw.select([from_json(col("value").cast("string"), ride_schema()).alias("data")])?.select(["data.*"])
}

/// Where the rows go.
pub fn directory(settings: &Settings) -> String {
    settings.drivers_path.replace("driver-metrics", "pickups")
}

pub async fn pickups(session: &Session, settings: &Settings) -> Result<DataStreamWriter> {
    let asked = rides(session, settings).await?.filter(expr("status = 'requested'"))?;
    let asked = asked.select(["rider_id AS rider", "event_time AS asked"].map(expr))?;
    let done = rides(session, settings).await?.filter(expr("status = 'completed'"))?;
    let done = done.select(["rider_id AS done_rider", "event_time AS done", "fare_amount AS fare"].map(expr))?;
    let asked = asked.with_watermark("asked", "10 minutes")?;
    let done = done.with_watermark("done", "10 minutes")?;
    let condition = expr("rider = done_rider AND done >= asked AND done <= asked + INTERVAL 5 MINUTES");
    Ok(asked
        .join(&done, condition, JoinType::LeftOuter)?
        .select(["rider", "asked", "done", "fare"])?
        .write_stream()
        .query_name("pickups")
        .output_mode("append")
        .format("parquet")
        .option("path", directory(settings))
        .option("checkpointLocation", format!("{}/pickups", settings.checkpoints)))
}

/// The rows that were written.
pub fn pickups_in(directory: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in sinks::batches(directory) {
        let riders = batch.column(0).as_string::<i32>();
        let time = |column: usize, row: usize| {
            let times = batch.column(column).as_primitive::<TimestampMicrosecondType>();
            times.is_valid(row).then(|| times.value(row) / 1_000_000)
        };
        let fares = batch.column(3).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let fare = fares.is_valid(row).then(|| fares.value(row).to_bits());
            rows.push((riders.value(row).to_string(), time(1, row).unwrap(), time(2, row), fare));
        }
    }
    rows
}

/// The rows of all rides, those of the closing ones left out, whose time has not come.
pub fn check(rides: &[Ride], mut rows: Vec<Row>) {
    let of = |status: &'static str| rides.iter().filter(move |r| r.status == status);
    let mut expected: Vec<Row> = Vec::new();
    let (mut alone, mut paired) = (0, 0);
    for asked in of("requested").filter(|r| r.partition.is_none()) {
        let done = of("completed")
            .filter(|done| done.rider == asked.rider && done.time >= asked.time && done.time <= asked.time + WITHIN);
        let row = |done: Option<&Ride>| {
            let fare = done.and_then(|done| done.fare).map(f64::to_bits);
            (asked.rider.clone(), asked.time, done.map(|done| done.time), fare)
        };
        let pairs: Vec<Row> = done.map(|done| row(Some(done))).collect();
        match pairs.len() {
            0 => {
                alone += 1;
                expected.push(row(None));
            }
            some => {
                paired += some;
                expected.extend(pairs);
            }
        }
    }
    assert!(alone > 20 && paired > 20, "too few rows to prove anything: {alone} alone, {paired} pairs");
    expected.sort();
    rows.sort();
    assert_eq!(rows, expected);
}
