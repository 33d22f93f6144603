//! Batches and programs at random: small domains, so that groups and coincidences happen, and hostile values.

use proptest::prelude::*;

use crate::{Aggregate, Batch, Bits, Column, ColumnType, Compare, Function, Pane, Predicate, Program, hll, order_key};

/// The columns of every test batch.
pub const TIME: usize = 0;
pub const CITY: usize = 1;
pub const DRIVER: usize = 2;
pub const FARE: usize = 3;
pub const SEATS: usize = 4;
pub const FLAG: usize = 5;
/// Precision of the batch's one HLL table.
pub const PRECISION: u8 = 4;

/// One row: time, city, driver, fare, seats, flag.
pub type Row = (Option<i64>, u32, u32, Option<f64>, Option<i64>, u8);

/// A batch that owns its buffers.
#[derive(Debug, Clone)]
pub struct Table {
    pub rows: Vec<Row>,
    pub cities: u32,
    pub drivers: u32,
    /// Whether columns without NULLs come without a bitmap.
    pub bare: bool,
}

impl Table {
    /// Calls `use_batch` with the batch of these rows. Bitmaps start in the middle of a byte.
    pub fn with<T>(&self, use_batch: impl FnOnce(&Batch) -> T) -> T {
        let times: Vec<i64> = self.rows.iter().map(|row| row.0.unwrap_or(i64::MAX)).collect();
        let cities: Vec<u32> = self.rows.iter().map(|row| row.1).collect();
        let drivers: Vec<u32> = self.rows.iter().map(|row| row.2).collect();
        let fares: Vec<f64> = self.rows.iter().map(|row| row.3.unwrap_or(f64::NAN)).collect();
        let seats: Vec<i64> = self.rows.iter().map(|row| row.4.unwrap_or(-7)).collect();
        let flags: Vec<u8> = self.rows.iter().map(|row| row.5).collect();
        let bitmaps = [
            self.bitmap(self.rows.iter().map(|row| row.0.is_some())),
            self.bitmap(self.rows.iter().map(|row| row.3.is_some())),
            self.bitmap(self.rows.iter().map(|row| row.4.is_some())),
        ];
        let valid = |index: usize| bitmaps[index].as_deref().map(|bytes: &[u8]| Bits { bytes, offset: 3 });
        let columns = [
            Column::I64 { values: &times, valid: valid(0) },
            Column::Code { codes: &cities, cardinality: self.cities },
            Column::Code { codes: &drivers, cardinality: self.drivers },
            Column::F64 { values: &fares, valid: valid(1) },
            Column::I64 { values: &seats, valid: valid(2) },
            Column::Truth(&flags),
        ];
        let truths: Vec<u8> = (0..=self.cities).map(|code| (code * 7 % 3) as u8).collect();
        let mut updates: Vec<u32> =
            (0..self.drivers).map(|code| hll::pack(hll::hash_i64(code.into()), PRECISION)).collect();
        updates.push(0);
        use_batch(&Batch { rows: self.rows.len(), columns: &columns, tables: &[&truths], hll_tables: &[&updates] })
    }

    fn bitmap(&self, valid: impl Iterator<Item = bool> + Clone) -> Option<Vec<u8>> {
        if self.bare && valid.clone().all(|valid| valid) {
            return None;
        }
        let mut bytes = vec![0u8; (self.rows.len() + 3).div_ceil(8)];
        valid.enumerate().for_each(|(row, valid)| bytes[(row + 3) / 8] |= u8::from(valid) << ((row + 3) % 8));
        Some(bytes)
    }

    pub fn part(&self, rows: std::ops::Range<usize>) -> Self {
        Self { rows: self.rows[rows].to_vec(), ..self.clone() }
    }
}

pub fn column_types() -> Vec<ColumnType> {
    use ColumnType::{Code, F64, I64, Truth};
    vec![I64, Code, Code, F64, I64, Truth]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -40i64..40,
        2 => -5_000_000i64..5_000_000,
        1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MIN + 9, i64::MAX, i64::MAX - 1, 0, -1]),
    ]
}

fn fare() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-500i32..500).prop_map(|cents| f64::from(cents) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, -5e-324, 1e300, 1e-300,
        ]),
    ]
}

fn nullable<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    prop_oneof![5 => values.prop_map(Some), 1 => Just(None)].boxed()
}

pub fn table() -> impl Strategy<Value = Table> {
    (0u32..4, prop_oneof![0u32..100, Just(5000)], any::<bool>(), any::<bool>()).prop_flat_map(
        |(cities, drivers, bare, wild)| {
            // Tame times keep a batch in the fast paths, which a single wild one leaves.
            let times = if wild { time().boxed() } else { (-40i64..400).boxed() };
            let times = if bare { times.prop_map(Some).boxed() } else { nullable(times) };
            let row = (times, 0..=cities, 0..=drivers, nullable(fare()), nullable(any_seats()), 0u8..4);
            prop::collection::vec(row, 0..80).prop_map(move |rows| Table { rows, cities, drivers, bare })
        },
    )
}

fn any_seats() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -3i64..3, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

pub fn predicate() -> impl Strategy<Value = Predicate> {
    let op =
        prop::sample::select(vec![Compare::Eq, Compare::NotEq, Compare::Lt, Compare::LtEq, Compare::Gt, Compare::GtEq]);
    let leaf = prop_oneof![
        Just(Predicate::Column(FLAG)),
        Just(Predicate::Table { column: CITY, table: 0 }),
        (op.clone(), any_seats()).prop_map(|(op, key)| Predicate::Compare { column: SEATS, op, key }),
        (op, fare()).prop_map(|(op, value)| Predicate::Compare { column: FARE, op, key: order_key(value) }),
        (0usize..6).prop_map(Predicate::IsNull),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Predicate::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Predicate::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Predicate::Not(Box::new(a))),
        ]
    })
}

pub fn program() -> impl Strategy<Value = Program> {
    let width = prop_oneof![
        prop::sample::select(vec![1i64, 2, 3, 7, 8, 12, 64, 1 << 40, 5_000_000_011, i64::MAX, 1 << 62]),
        1..=i64::MAX
    ];
    let origin = prop_oneof![Just(0i64), -9i64..9, any::<i64>()];
    let pane = (width, origin).prop_map(|(width, origin)| Pane { time: TIME, width, origin });
    let keys = prop::collection::vec(prop::sample::select(vec![CITY, DRIVER, SEATS, TIME]), 0..4);
    let function = prop::sample::select(vec![
        Function::CountRows,
        Function::Count(CITY),
        Function::Count(FARE),
        Function::Count(FLAG),
        Function::SumF64(FARE),
        Function::SumI64(SEATS),
        Function::Min(FARE),
        Function::Max(FARE),
        Function::Min(SEATS),
        Function::Max(TIME),
        Function::Hll { column: DRIVER, table: 0, precision: PRECISION },
        Function::Distinct(DRIVER),
    ]);
    let aggregate =
        (function, prop::option::of(predicate())).prop_map(|(function, filter)| Aggregate { function, filter });
    (
        prop::option::of(predicate()),
        prop::option::of(pane),
        keys,
        prop::collection::vec(aggregate, 0..6),
        prop::option::of(prop::sample::select(vec![TIME, SEATS])),
    )
        .prop_map(|(filter, pane, keys, aggregates, max_of)| Program {
            columns: column_types(),
            filter,
            pane,
            keys,
            aggregates,
            max_of,
        })
}
