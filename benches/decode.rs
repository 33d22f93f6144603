//! How fast ride records are decoded: five of eleven fields, city and status as dictionaries.
//!
//! `cargo bench --bench decode`. Reports bytes and records per second on one core.

mod rides;

use chrono_tz::Tz;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rides::{Rides, SCHEMA};
use std::hint::black_box;
use tidemill::decode::{JsonDecoder, JsonOptions, Wanted};
use tidemill::source::Origin;
use tidemill::types::StructType;

const RECORDS: usize = 50_000;
/// driver_id, city, fare_amount, status, event_time.
const WANTED: [(usize, bool); 5] = [(1, true), (3, true), (8, false), (9, true), (10, false)];

fn decode(criterion: &mut Criterion) {
    let schema = StructType::from_ddl(SCHEMA).expect("the schema parses");
    let wanted = WANTED.map(|(field, dictionary)| Wanted { field, dictionary });
    let lines = Rides::new().lines(RECORDS);
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
