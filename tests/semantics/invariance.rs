//! One input, however it is split into batches and ordered within the watermark, gives one table, bit for bit, on every device.

use crate::device::software_gpu;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::path::Path;
use tidemill::prelude::*;

const ROWS: usize = 6000;

/// Rides with fares whose sum depends on the order of a floating-point addition, NULLs among them.
fn lines() -> Vec<String> {
    let mut random = StdRng::seed_from_u64(7);
    (0..ROWS)
        .map(|n| {
            let millis = random.random_range(0..1_200_000);
            let time = format!("2024-01-01T00:{:02}:{:02}.{:03}Z", millis / 60_000, millis / 1000 % 60, millis % 1000);
            let city = ["sf", "nyc", "la", "oslo", ""][random.random_range(0..5)];
            let fare = match random.random_range(0..20) {
                0 => "null".to_string(),
                1 => format!("{:e}", random.random_range(-1.0..1.0f64) * 1e18),
                2 => format!("{:e}", random.random_range(-1.0..1.0f64) * 1e-18),
                _ => format!("{:.2}", random.random_range(3.0..90.0f64)),
            };
            let status = ["completed", "cancelled", "in_progress", "requested"][random.random_range(0..4)];
            format!(
                r#"{{"city":"{city}","fare":{fare},"driver":"d{}","tip":{},"status":"{status}","t":"{time}"}}"#,
                n % 700,
                n % 97
            )
        })
        .collect()
}

fn write(directory: &Path, lines: &[String], batches: usize) {
    for (number, part) in lines.chunks(lines.len().div_ceil(batches)).enumerate() {
        std::fs::write(directory.join(format!("{number:03}.json")), part.join("\n")).unwrap();
    }
}

/// One row of the result; doubles by their bits.
type Row = (i64, String, i64, i64, Option<u64>, Option<u64>, Option<i64>, Option<u64>, Option<u64>, i64, i64);

/// Calls that no kernel computes and whose result does not depend on the order of the rows; doubles by their bits.
fn hosted() -> Vec<Column> {
    vec![
        stddev("fare"),
        kurtosis("tip"),
        corr("tip", "fare"),
        avg_distinct("fare"),
        percentile("fare", [0.1, 0.5]),
        percentile_approx("tip", 0.25, 100),
        collect_set("driver"),
        mode("status"),
        bit_xor("tip"),
        sum(col("tip").cast("decimal(12,2)")),
        sum("fare").filter_where(col("tip").gt(40)),
        count_distinct(["driver", "status"]),
    ]
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let start = batch.column(0).as_struct().column(0).as_primitive::<TimestampMicrosecondType>();
    let text = batch.column(1).as_string::<i32>();
    let int = |c: usize, r: usize| batch.column(c).as_primitive::<Int64Type>().value(r);
    let double = |c: usize, r: usize| {
        let column = batch.column(c).as_primitive::<Float64Type>();
        column.is_valid(r).then(|| column.value(r).to_bits())
    };
    let mut rows: Vec<Row> = (0..batch.num_rows())
        .map(|r| {
            let (sum, mean, least, most) = (double(4, r), double(5, r), double(7, r), double(8, r));
            (
                start.value(r),
                text.value(r).to_string(),
                int(2, r),
                int(3, r),
                sum,
                mean,
                Some(int(6, r)),
                least,
                most,
                int(9, r),
                int(10, r),
            )
        })
        .collect();
    rows.sort();
    rows
}

async fn table(lines: &[String], batches: usize, device: &str) -> Vec<Row> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), lines, batches);
    let session =
        Session::builder().config("tidemill.device", device).config("tidemill.workers", 2).build().await.unwrap();
    let rides = session
        .read_stream()
        .format("json")
        .schema("city STRING, fare DOUBLE, driver STRING, tip BIGINT, status STRING, t TIMESTAMP")
        .option("maxFilesPerTrigger", 1)
        .load_path(&directory.path().to_string_lossy())
        .await
        .unwrap();
    let city = rides
        .filter(col("status").isin(["completed", "cancelled", "in_progress"]))
        .unwrap()
        .with_watermark("t", "1 hour")
        .unwrap()
        .group_by([window_sliding("t", "10 minutes", "5 minutes"), col("city")])
        .unwrap()
        .agg([
            count_all().alias("rides"),
            sum(when(col("status").eq("completed"), 1).otherwise(0)).alias("completed"),
            sum("fare").alias("total"),
            avg("fare").alias("mean"),
            sum("tip").alias("tips"),
            min("fare").alias("least"),
            max("fare").alias("most"),
            approx_count_distinct("driver").alias("about"),
            count_distinct("driver").alias("drivers"),
        ])
        .unwrap();
    let result = MemoryTable::new(Some("out")).unwrap();
    let query =
        city.write_stream().output_mode(Complete).trigger(Trigger::AvailableNow).table(&result).start().await.unwrap();
    query.await_termination().await.unwrap();
    assert_eq!(query.recent_progress().len(), batches);
    rows(&result.concat().unwrap())
}

/// Kernels' calls beside the host's: every cell as text, doubles with all of their digits.
async fn mixed(lines: &[String], batches: usize, device: &str, ordered: bool) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), lines, batches);
    let session =
        Session::builder().config("tidemill.device", device).config("tidemill.workers", 2).build().await.unwrap();
    let reader = session.read_stream().format("json").option("maxFilesPerTrigger", 1);
    let rides = reader
        .schema("city STRING, fare DOUBLE, driver STRING, tip BIGINT, status STRING, t TIMESTAMP")
        .load_path(&directory.path().to_string_lossy())
        .await
        .unwrap();
    let of_order = [first("driver"), last("fare"), collect_list("tip"), max_by("driver", "tip"), listagg("status", "")];
    let calls = [count_all(), sum("fare"), approx_count_distinct("driver")].into_iter();
    let calls = calls.chain(if ordered { of_order.to_vec() } else { hosted() });
    let keys = [window_sliding("t", "10 minutes", "5 minutes"), col("city")];
    let city = rides.with_watermark("t", "1 hour").unwrap().group_by(keys).unwrap().agg(calls).unwrap();
    let result = MemoryTable::new(Some("out")).unwrap();
    let query =
        city.write_stream().output_mode(Complete).trigger(Trigger::AvailableNow).table(&result).start().await.unwrap();
    query.await_termination().await.unwrap();
    let batch = result.concat().unwrap();
    let options = arrow::util::display::FormatOptions::default();
    let columns = batch.columns().iter();
    let texts: Vec<_> =
        columns.map(|c| arrow::util::display::ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    let row = |r: usize| texts.iter().map(|f| f.value(r).to_string()).collect::<Vec<_>>().join("|");
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

async fn every_split_on_the_host(device: &str) {
    let mut lines = lines();
    lines.truncate(1500);
    // In the order of the input whatever the split ...
    let expected = mixed(&lines, 1, "cpu", true).await;
    for batches in [1, 7, 40] {
        assert_eq!(mixed(&lines, batches, device, true).await, expected, "{batches} ordered batches on {device}");
    }
    // ... and in any order where order does not matter.
    let expected = mixed(&lines, 1, "cpu", false).await;
    assert_eq!(expected.len(), 5 * 5, "five windows of five cities");
    let mut random = StdRng::seed_from_u64(11);
    for batches in [1, 7, 40] {
        lines.shuffle(&mut random);
        assert_eq!(mixed(&lines, batches, device, false).await, expected, "{batches} batches on {device}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_table_without_kernels() {
    every_split_on_the_host("cpu").await;
    let Some(device) = software_gpu("any_split_gives_the_same_table_without_kernels") else { return };
    every_split_on_the_host(&device).await;
}

async fn every_split(device: &str) {
    let mut lines = lines();
    let expected = table(&lines, 1, "cpu").await;
    assert_eq!(expected.len(), 5 * 5, "five windows of five cities");
    let mut random = StdRng::seed_from_u64(11);
    for batches in [1, 2, 7, 50] {
        lines.shuffle(&mut random);
        assert_eq!(table(&lines, batches, device).await, expected, "{batches} batches on {device}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_table_on_the_cpu() {
    every_split("cpu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_gives_the_same_table_on_a_software_gpu() {
    let Some(device) = software_gpu("any_split_gives_the_same_table_on_a_software_gpu") else { return };
    every_split(&device).await;
}
