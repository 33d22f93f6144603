//! The three queries of the ride example, as programs, and rides for them.
//!
//! Comes in: a number of rows and cities or drivers. Goes out: programs and batches. Nothing fails.

use tidemill_kernels::{Aggregate, ColumnType, Function, Pane, Predicate, Program};

use crate::generate::{Data, Rng, Values};

const MINUTE: i64 = 60_000_000;

const TIME: usize = 0;
const CITY: usize = 1;
const STATUS: usize = 2;
const FARE: usize = 3;
const DRIVER: usize = 4;
const RIDER: usize = 5;

const CLEAN: usize = 0;
const COMPLETED: usize = 1;
const IN_PROGRESS: usize = 2;

fn status(table: usize) -> Predicate {
    Predicate::Table { column: STATUS, table }
}

fn all(function: Function) -> Aggregate {
    Aggregate { function, filter: None }
}

fn program(filter: Predicate, minutes: i64, key: usize, aggregates: Vec<Aggregate>) -> Program {
    let columns =
        vec![ColumnType::I64, ColumnType::Code, ColumnType::Code, ColumnType::F64, ColumnType::Code, ColumnType::Code];
    let pane = Some(Pane { time: TIME, width: minutes * MINUTE, origin: 0 });
    Program { columns, filter: Some(filter), pane, keys: vec![key], aggregates, max_of: Some(TIME) }
}

const DRIVERS: Function = Function::Hll { column: DRIVER, table: 0, precision: 9 };

/// Rides per city and five minutes.
pub fn city() -> Program {
    let completed = Aggregate { function: Function::CountRows, filter: Some(status(COMPLETED)) };
    let aggregates = vec![all(Function::CountRows), completed, all(Function::SumF64(FARE)), all(DRIVERS)];
    program(status(CLEAN), 5, CITY, aggregates)
}

/// Demand per city and five minutes.
pub fn surge() -> Program {
    let active = Aggregate { function: Function::CountRows, filter: Some(status(IN_PROGRESS)) };
    program(status(CLEAN), 5, CITY, vec![all(Function::CountRows), active, all(DRIVERS)])
}

/// Performance per driver and fifteen minutes.
pub fn driver() -> Program {
    let filter = Predicate::And(Box::new(status(CLEAN)), Box::new(status(COMPLETED)));
    let aggregates = vec![all(Function::CountRows), all(Function::SumF64(FARE)), all(Function::Distinct(RIDER))];
    program(filter, 15, DRIVER, aggregates)
}

/// Rides over twenty minutes, in order of time but for a few.
pub fn rides(rows: usize, cities: u32, drivers: u32) -> Data {
    let mut rng = Rng(42);
    let riders = drivers.saturating_mul(4).max(1);
    let mut codes =
        |cardinality: u32| -> Vec<u32> { (0..rows).map(|_| rng.below(u64::from(cardinality)) as u32).collect() };
    let columns = vec![codes(cities), codes(4), codes(drivers), codes(riders)];
    let mut rng = Rng(43);
    let time = |row: usize| 1_700_000_000_000_000 + row as i64 * (20 * MINUTE) / rows.max(1) as i64;
    let times = (0..rows).map(|row| time(row) - rng.below(MINUTE as u64) as i64).collect();
    let fares = (0..rows).map(|_| rng.below(10_000) as f64 / 100.0 + 2.5).collect();
    let hll = (0..drivers).map(|_| tidemill_kernels::hll::pack(rng.next(), 9)).chain([0]).collect();
    let [city, status, driver, rider] = <[Vec<u32>; 4]>::try_from(columns).expect("four columns");
    Data {
        rows,
        columns: vec![
            Values::I64(times, None),
            Values::Code(city, cities),
            Values::Code(status, 4),
            Values::F64(fares, None),
            Values::Code(driver, drivers),
            Values::Code(rider, riders),
        ],
        // completed, cancelled, in_progress, requested, NULL
        tables: vec![vec![1, 1, 1, 0, 2], vec![1, 0, 0, 0, 2], vec![0, 0, 1, 0, 2]],
        hll_tables: vec![hll],
    }
}
