//! Rows a second of the kernels: the city query of the ride analytics example on ready columns.
//!
//! Comes in: a million rows made here, with 20, a thousand or 400,000 groups. Goes out: criterion's report, in elements
//! (rows) a second. `cargo bench -p tidemill-kernels --bench kernels`.
//!
//! `city` is the whole query: filter by a table over the status, five-minute panes, cities, a count, a conditional count,
//! an exact sum and HyperLogLog++ registers of the drivers. `count_sum` leaves the registers out: half a kilobyte a group.
//!
//! The same batches run on the GPU, upload and readback included, or on llvmpipe where there is none but Mesa's software
//! driver; what a device cannot bind (registers of 400,000 groups) is left out.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_kernels::cpu::{Scratch, aggregate_with};
use tidemill_kernels::{
    Aggregate, Batch, Column, ColumnType, Device, DeviceChoice, Function, Pane, Predicate, Program,
    Scratch as DeviceScratch, hll,
};

const ROWS: usize = 1 << 20;
const PANE: i64 = 300_000_000;
/// 2024-01-01T00:00:00Z in microseconds.
const BEGIN: i64 = 1_704_067_200_000_000;
const DRIVERS: u32 = 20_000;
const PRECISION: u8 = 9;

/// Columns of rides in random order of times, `panes` of them, and of `cities`.
struct Rides {
    times: Vec<i64>,
    cities: Vec<u32>,
    statuses: Vec<u32>,
    fares: Vec<f64>,
    drivers: Vec<u32>,
    city_count: u32,
    updates: Vec<u32>,
}

impl Rides {
    fn new(city_count: u32, panes: i64) -> Self {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = move |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((u128::from(state) * u128::from(bound)) >> 64) as u64
        };
        let mut column = |bound: u64| -> Vec<u64> { (0..ROWS).map(|_| below(bound)).collect() };
        let codes = |values: Vec<u64>| values.into_iter().map(|value| value as u32).collect();
        let hash = |driver: u32| hll::pack(hll::hash_bytes(format!("driver-{driver}").as_bytes()), PRECISION);
        Self {
            times: column((PANE * panes) as u64).into_iter().map(|time| BEGIN + time as i64).collect(),
            cities: codes(column(city_count.into())),
            statuses: codes(column(4)),
            fares: column(1_000_000).into_iter().map(|cents| cents as f64 / 100.0).collect(),
            drivers: codes(column(DRIVERS.into())),
            city_count,
            updates: (0..DRIVERS).map(hash).chain([0]).collect(),
        }
    }

    fn with(&self, use_batch: impl FnOnce(&Batch)) {
        let columns = [
            Column::I64 { values: &self.times, valid: None },
            Column::Code { codes: &self.cities, cardinality: self.city_count },
            Column::Code { codes: &self.statuses, cardinality: 4 },
            Column::F64 { values: &self.fares, valid: None },
            Column::Code { codes: &self.drivers, cardinality: DRIVERS },
        ];
        // Three statuses of four pass; one is "completed"; NULL is neither.
        let tables: [&[u8]; 2] = [&[1, 1, 1, 0, 2], &[1, 0, 0, 0, 2]];
        use_batch(&Batch { rows: ROWS, columns: &columns, tables: &tables, hll_tables: &[&self.updates] });
    }
}

fn city_query(registers: bool) -> Program {
    let plain = |function| Aggregate { function, filter: None };
    let completed = Aggregate { function: Function::CountRows, filter: Some(Predicate::Table { column: 2, table: 1 }) };
    let mut aggregates = vec![plain(Function::CountRows), completed, plain(Function::SumF64(3))];
    if registers {
        aggregates.push(plain(Function::Hll { column: 4, table: 0, precision: PRECISION }));
    }
    Program {
        columns: vec![ColumnType::I64, ColumnType::Code, ColumnType::Code, ColumnType::F64, ColumnType::Code],
        filter: Some(Predicate::Table { column: 2, table: 0 }),
        pane: Some(Pane { time: 0, width: PANE, origin: 0 }),
        keys: vec![1],
        aggregates,
        max_of: Some(0),
    }
}

/// A GPU, or else the software driver, with a name for the report.
fn device() -> Option<(&'static str, Device)> {
    let named = |name: &str| Device::open(&DeviceChoice::Named(name.to_owned())).ok();
    let gpu = Device::open(&DeviceChoice::Gpu).ok().map(|device| ("gpu", device));
    gpu.or_else(|| Some(("llvmpipe", named("llvmpipe")?)))
}

fn kernels(criterion: &mut Criterion) {
    let device = device();
    for (name, registers) in [("city", true), ("count_sum", false)] {
        let program = city_query(registers);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(ROWS as u64)).measurement_time(Duration::from_secs(3)).sample_size(20);
        for (groups, cities, panes) in [("20", 10, 2), ("1k", 100, 10), ("400k", 200_000, 2)] {
            let mut scratch = Scratch::default();
            Rides::new(cities, panes).with(|batch| {
                group.bench_with_input(BenchmarkId::new("cpu", groups), batch, |bencher, batch| {
                    bencher.iter(|| black_box(aggregate_with(&program, batch, &mut scratch)));
                });
                let Some((name, device)) = &device else { return };
                let mut scratch = DeviceScratch::default();
                // Compiles the kernel, sizes its tables, and tells whether the device can bind them.
                if !device.aggregate(&program, batch, &mut scratch).is_ok_and(|(_, ran)| ran.gpu) {
                    return;
                }
                group.bench_with_input(BenchmarkId::new(*name, groups), batch, |bencher, batch| {
                    bencher.iter(|| black_box(device.aggregate(&program, batch, &mut scratch)));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
