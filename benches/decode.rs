//! How fast ride records are decoded: five of eleven fields, city and status as dictionaries.
//!
//! `cargo bench --bench decode`. Reports bytes and records per second on one core.

use chrono_tz::Tz;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;
use std::hint::black_box;
use tidemill::decode::{JsonDecoder, JsonOptions, Wanted};
use tidemill::source::Origin;
use tidemill::types::StructType;

const RECORDS: usize = 50_000;
const SCHEMA: &str = "ride_id STRING, driver_id STRING, rider_id STRING, city STRING, pickup_lat DOUBLE, pickup_lon DOUBLE, \
                      dropoff_lat DOUBLE, dropoff_lon DOUBLE, fare_amount DOUBLE, status STRING, event_time TIMESTAMP";
/// driver_id, city, fare_amount, status, event_time.
const WANTED: [(usize, bool); 5] = [(1, true), (3, true), (8, false), (9, true), (10, false)];

/// Rides as the example's producer writes them.
fn rides() -> String {
    let mut random = StdRng::seed_from_u64(7);
    let mut lines = String::new();
    for ride in 0..RECORDS {
        let status = match random.random_range(0..100) {
            0..70 => "completed",
            70..80 => "cancelled",
            80..95 => "in_progress",
            _ => "requested",
        };
        let millis = ride * 2;
        writeln!(
            lines,
            r#"{{"ride_id":"r{ride}","driver_id":"d{}","rider_id":"u{}","city":"city{:03}","pickup_lat":{:.6},"pickup_lon":{:.6},"dropoff_lat":{:.6},"dropoff_lon":{:.6},"fare_amount":{:.2},"status":"{status}","event_time":"2026-01-01T00:{:02}:{:02}.{:03}Z"}}"#,
            random.random_range(0..20_000),
            random.random_range(0..200_000),
            random.random_range(0..100),
            random.random_range(-90.0..90.0),
            random.random_range(-180.0..180.0),
            random.random_range(-90.0..90.0),
            random.random_range(-180.0..180.0),
            random.random_range(3.0..80.0),
            millis / 60_000,
            millis / 1000 % 60,
            millis % 1000,
        )
        .expect("writing to a string");
    }
    lines
}

fn decode(criterion: &mut Criterion) {
    let schema = StructType::from_ddl(SCHEMA).expect("the schema parses");
    let wanted = WANTED.map(|(field, dictionary)| Wanted { field, dictionary });
    let lines = rides();
    let mut group = criterion.benchmark_group("decode json, 5 of 11 fields");
    for (unit, throughput) in
        [("records", Throughput::Elements(RECORDS as u64)), ("bytes", Throughput::Bytes(lines.len() as u64))]
    {
        group.throughput(throughput);
        let options = JsonOptions { time_zone: Tz::UTC, ..Default::default() };
        let mut decoder = JsonDecoder::new(&schema, &wanted, options).expect("the decoder is made");
        group.bench_function(unit, |bencher| {
            bencher.iter(|| {
                let decoded =
                    decoder.decode_lines(black_box(lines.as_bytes()), &Origin::Process).expect("rides decode");
                assert_eq!((decoded.rows, decoded.rejected.malformed), (RECORDS, 0));
                decoded
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
