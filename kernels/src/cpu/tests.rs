//! The twins against the row-at-a-time interpreter, their merging, and their refusals.

mod data;
mod reference;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::program::{Bits, Column, ColumnType, Compare, NULL, Pane, TRUE};
use crate::{ExactSum, order_key};
use data::{CITY, DRIVER, FARE, FLAG, PRECISION, SEATS, TIME, Table, column_types, program, table};
use reference::{Key, interpret, value};

fn plain(function: Function) -> Aggregate {
    Aggregate { function, filter: None }
}

/// Every function, without and with a filter.
fn all_functions() -> Vec<Aggregate> {
    let functions = [
        Function::CountRows,
        Function::Count(FARE),
        Function::SumF64(FARE),
        Function::SumI64(SEATS),
        Function::Min(FARE),
        Function::Max(SEATS),
        Function::Hll { column: DRIVER, table: 0, precision: PRECISION },
        Function::Distinct(DRIVER),
    ];
    let filter = Predicate::Compare { column: SEATS, op: Compare::Gt, key: 0 };
    let filtered = functions.clone().map(|function| Aggregate { function, filter: Some(filter.clone()) });
    functions.map(plain).into_iter().chain(filtered).collect()
}

fn city_program() -> Program {
    Program {
        columns: column_types(),
        filter: Some(Predicate::Table { column: CITY, table: 0 }),
        pane: Some(Pane { time: TIME, width: 300, origin: -7 }),
        keys: vec![CITY],
        aggregates: all_functions(),
        max_of: Some(TIME),
    }
}

/// `rows` rows from a linear congruential generator.
fn large(rows: usize, cities: u32, drivers: u32, times: impl Fn(usize, u64) -> i64) -> Table {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    let rows = (0..rows)
        .map(|row| {
            let fare = (next() % 1_000_000) as f64 / 100.0 - 2500.0;
            (
                (next() % 50 != 0).then(|| times(row, next())),
                (next() % u64::from(cities + 1)) as u32,
                (next() % u64::from(drivers + 1)) as u32,
                // Magnitudes change half-way, and now and then there is a value of any kind.
                (next() % 9 != 0).then(|| match next() % 500 {
                    0 => f64::from_bits(next() << 33 | next()),
                    _ if row > 12_000 => fare * 1e60,
                    _ => fare,
                }),
                (next() % 11 != 0).then(|| (next() % 1000) as i64 - 500),
                (next() % 3) as u8,
            )
        })
        .collect();
    Table { rows, cities, drivers, bare: false }
}

fn assert_same(program: &Program, table: &Table, scratch: &mut Scratch) {
    table.with(|batch| {
        let expected = interpret(program, batch);
        assert_eq!(aggregate_with(program, batch, scratch).as_ref(), Ok(&expected));
    });
}

#[test]
fn many_blocks_are_as_one_row_after_the_other() {
    let scratch = &mut Scratch::default();
    let program = city_program();
    assert_same(&program, &large(20_000, 30, 200, |row, _| row as i64 / 10), scratch);
    assert_same(&program, &large(20_000, 30, 200, |_, random| random as i64 % 9000 - 4500), scratch);
    // More groups than the dense tier takes, from the first block on and from a later one on.
    assert_same(&program, &large(20_000, 300, 3, |_, random| random as i64 % 100_000_000), scratch);
    assert_same(&program, &large(20_000, 300, 3, |row, random| (random as i64 % 900) << (row / 9000 * 9)), scratch);
    // Distinct pairs past the bitmap.
    let by_driver = Program { keys: vec![DRIVER, CITY], ..program.clone() };
    assert_same(&by_driver, &large(15_000, 3, 9000, |row, _| row as i64 / 10), scratch);
    // Keys of several words.
    let wide = Program { keys: vec![SEATS, CITY, DRIVER], ..program.clone() };
    assert_same(&wide, &large(15_000, 30, 9000, |row, _| row as i64 / 10), scratch);
    let global = Program { keys: vec![], pane: None, filter: None, ..program };
    assert_same(&global, &large(9000, 3, 9, |row, _| row as i64), scratch);
}

#[test]
fn one_small_batch_by_hand() {
    let row = |time, city, driver, fare| (Some(time), city, driver, fare, None, TRUE);
    let table = Table {
        rows: vec![
            row(299, 2, 0, Some(0.1)),
            row(300, 2, 1, Some(0.2)),
            row(-1, 2, 0, None),
            row(0, 2, 0, Some(0.3)),
            row(299, 1, 0, Some(-0.0)),
            (None, 2, 0, Some(9.0), None, TRUE),
        ],
        cities: 3,
        drivers: 2,
        bare: true,
    };
    let program = Program {
        filter: None,
        pane: Some(Pane { time: TIME, width: 300, origin: 0 }),
        aggregates: [Function::CountRows, Function::SumF64(FARE), Function::Max(FARE), Function::Distinct(DRIVER)]
            .map(plain)
            .to_vec(),
        ..city_program()
    };
    let groups = table.with(|batch| aggregate(&program, batch)).unwrap();
    assert_eq!(groups.first_row, [0, 1, 2, 4]);
    assert_eq!(groups.pane_start, [0, 300, -300, 0]);
    assert_eq!(groups.rows, [2, 1, 1, 1]);
    assert_eq!((groups.rows_passed, groups.max), (6, Some(300)));
    assert_eq!(groups.aggregates[0], Partial::Count(vec![2, 1, 1, 1]));
    let Partial::SumF64 { sums, counts } = &groups.aggregates[1] else { panic!("not a sum") };
    assert_eq!(sums.iter().map(ExactSum::value).collect::<Vec<_>>(), [0.1 + 0.3, 0.2, 0.0, 0.0]);
    assert_eq!(counts, &[2, 1, 0, 1]);
    assert_eq!(groups.aggregates[2], Partial::MinMax(vec![Some(order_key(0.3)), Some(order_key(0.2)), None, Some(0)]));
    assert_eq!(groups.aggregates[3], Partial::Distinct(vec![(0, 0), (1, 1), (2, 0), (3, 0)]));
}

#[test]
fn sums_at_the_edge_of_a_window_do_not_overflow() {
    let program = Program {
        filter: None,
        pane: None,
        keys: vec![],
        aggregates: vec![plain(Function::SumF64(FARE))],
        ..city_program()
    };
    // The median is 1.0; nearly as many values lie ever further above it, and at last beyond the window.
    for distance in 20..60 {
        let far = 2f64.powi(distance) * (2.0 - f64::EPSILON);
        let rows = (0..2000).map(|row| (Some(0), 0, 0, Some(if row < 1001 { 1.0 } else { far }), None, TRUE)).collect();
        assert_same(&program, &Table { rows, cities: 1, drivers: 1, bare: true }, &mut Scratch::default());
    }
}

#[test]
fn nothing_in_nothing_out() {
    let empty = large(0, 3, 3, |_, _| 0);
    let nowhere = Table { rows: vec![(Some(0), 0, 0, None, None, NULL); 5000], ..empty.clone() };
    let never = Program { filter: Some(Predicate::Column(FLAG)), ..city_program() };
    for table in [empty, nowhere] {
        let groups = table.with(|batch| aggregate(&never, batch)).unwrap();
        assert!(groups.first_row.is_empty() && groups.rows.is_empty() && groups.pane_start.is_empty());
        assert_eq!((groups.rows_passed, groups.max, groups.aggregates.len()), (0, None, never.aggregates.len()));
        assert_eq!(groups.aggregates[6], Partial::Hll { precision: PRECISION, registers: vec![] });
    }
}

#[test]
fn contradictions_are_refused() {
    let program = city_program();
    let refused = |program: Program| matches!(program.validate(), Err(KernelError::InvalidProgram { .. }));
    assert_eq!(program.validate(), Ok(()));
    let aggregate = |function| Program { aggregates: vec![plain(function)], ..program.clone() };
    assert!(refused(aggregate(Function::SumF64(TIME))));
    assert!(refused(aggregate(Function::SumI64(99))));
    assert!(refused(aggregate(Function::Min(CITY))));
    assert!(refused(aggregate(Function::Distinct(FARE))));
    for precision in [3, 19, 255] {
        assert!(refused(aggregate(Function::Hll { column: DRIVER, table: 0, precision })));
    }
    assert!(refused(Program { keys: vec![FARE], ..program.clone() }));
    assert!(refused(Program { max_of: Some(FLAG), ..program.clone() }));
    assert!(refused(Program { pane: Some(Pane { time: TIME, width: 0, origin: 0 }), ..program.clone() }));
    assert!(refused(Program { pane: Some(Pane { time: FARE, width: 1, origin: 0 }), ..program.clone() }));
    let deep = (0..300).fold(Predicate::Column(FLAG), |inner, _| Predicate::Not(Box::new(inner)));
    assert!(refused(Program { filter: Some(deep), ..program }));
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let program = Program { columns: vec![ColumnType::Code, ColumnType::I64], ..Program::clone(&city_program()) };
    let program = Program {
        filter: Some(Predicate::Table { column: 0, table: 0 }),
        pane: None,
        keys: vec![0],
        aggregates: vec![plain(Function::Hll { column: 0, table: 0, precision: 4 })],
        max_of: None,
        ..program
    };
    let columns = [
        Column::Code { codes: &[0, 1], cardinality: 1 },
        Column::I64 { values: &[1, 2], valid: Some(Bits { bytes: &[255], offset: 6 }) },
    ];
    let good = Batch { rows: 2, columns: &columns, tables: &[&[0, 1]], hll_tables: &[&[0, 257]] };
    assert!(aggregate(&program, &good).is_ok());
    let refused = |batch: Batch| matches!(aggregate(&program, &batch), Err(KernelError::InvalidBatch { .. }));
    assert!(refused(Batch { rows: 3, ..good }));
    assert!(refused(Batch { columns: &columns[..1], ..good }));
    assert!(refused(Batch { columns: &[columns[1], columns[0]], ..good }));
    assert!(refused(Batch { columns: &[Column::Code { codes: &[0, 2], cardinality: 1 }, columns[1]], ..good }));
    let short = Column::I64 { values: &[1, 2], valid: Some(Bits { bytes: &[255], offset: 7 }) };
    assert!(refused(Batch { columns: &[columns[0], short], ..good }));
    let far = Column::I64 { values: &[1, 2], valid: Some(Bits { bytes: &[255], offset: usize::MAX }) };
    assert!(refused(Batch { columns: &[columns[0], far], ..good }));
    assert!(refused(Batch { tables: &[], ..good }));
    assert!(refused(Batch { tables: &[&[0, 1, 2]], ..good }));
    assert!(refused(Batch { hll_tables: &[&[0]], ..good }));
    assert!(refused(Batch { hll_tables: &[&[0, 16 << 8]], ..good }));
    let huge = Batch { rows: 1 << 31, ..good };
    assert!(matches!(aggregate(&program, &huge), Err(KernelError::BatchTooLarge { .. })));
}

#[test]
fn registers_have_a_limit() {
    let codes: Vec<u32> = (0..5000).collect();
    let updates = vec![0; 5001];
    let program = Program {
        columns: vec![ColumnType::Code],
        filter: None,
        pane: None,
        keys: vec![0],
        aggregates: vec![plain(Function::Hll { column: 0, table: 0, precision: 18 })],
        max_of: None,
    };
    let columns = [Column::Code { codes: &codes, cardinality: 5000 }];
    let batch = Batch { rows: 5000, columns: &columns, tables: &[], hll_tables: &[&updates] };
    let error = aggregate(&program, &batch).unwrap_err();
    assert!(matches!(error, KernelError::BatchTooLarge { limit: 0x4000_0000, .. }), "{error}");
}

/// One group's partial values.
#[derive(Debug, PartialEq)]
enum Value {
    Count(u64),
    SumF64(ExactSum, u64),
    SumI64(i128, u64),
    Key(Option<i64>),
    Registers(Vec<u8>),
    Codes(Vec<u32>),
}

type Merged = BTreeMap<Key, (u64, Vec<Value>)>;

/// Merges the groups of a batch into what earlier batches gave, by key.
fn merge_into(merged: &mut Merged, program: &Program, batch: &Batch, groups: &Groups) {
    for (group, &row) in groups.first_row.iter().enumerate() {
        let keys = program.keys.iter().map(|&column| value(batch, column, row as usize)).collect();
        let key = (groups.pane_start.get(group).copied(), keys);
        let values = program.aggregates.iter().zip(&groups.aggregates).map(|(aggregate, partial)| match partial {
            Partial::Count(counts) => Value::Count(counts[group]),
            Partial::SumF64 { sums, counts } => Value::SumF64(sums[group].clone(), counts[group]),
            Partial::SumI64 { sums, counts } => Value::SumI64(sums[group], counts[group]),
            // Complemented, a least key merges as a greatest one.
            Partial::MinMax(keys) if matches!(aggregate.function, Function::Min(_)) => {
                Value::Key(keys[group].map(|key| !key))
            }
            Partial::MinMax(keys) => Value::Key(keys[group]),
            Partial::Hll { precision, registers } => {
                Value::Registers(registers[group << precision..(group + 1) << precision].to_vec())
            }
            Partial::Distinct(pairs) => {
                Value::Codes(pairs.iter().filter(|pair| pair.0 == group as u32).map(|pair| pair.1).collect())
            }
        });
        let values: Vec<Value> = values.collect();
        match merged.get_mut(&key) {
            None => {
                merged.insert(key, (groups.rows[group], values));
            }
            Some((rows, into)) => {
                *rows += groups.rows[group];
                into.iter_mut().zip(values).for_each(|(into, value)| merge_value(into, value));
            }
        }
    }
}

fn merge_value(into: &mut Value, value: Value) {
    match (into, value) {
        (Value::Count(a), Value::Count(b)) => *a += b,
        (Value::SumF64(a, n), Value::SumF64(b, m)) => {
            a.merge(&b);
            *n += m;
        }
        (Value::SumI64(a, n), Value::SumI64(b, m)) => (*a, *n) = (*a + b, *n + m),
        (Value::Key(a), Value::Key(b)) => *a = (*a).max(b),
        (Value::Registers(a), Value::Registers(b)) => crate::hll::merge(a, &b),
        (Value::Codes(a), Value::Codes(b)) => {
            a.extend(b);
            a.sort_unstable();
            a.dedup();
        }
        (a, b) => panic!("{a:?} and {b:?} are of different aggregates"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_program_is_as_one_row_after_the_other(program in program(), first in table(), second in table()) {
        let scratch = &mut Scratch::default();
        for table in [&first, &second] {
            table.with(|batch| {
                prop_assert_eq!(aggregate_with(&program, batch, scratch), Ok(interpret(&program, batch)));
                Ok(())
            })?;
        }
    }

    #[test]
    fn any_split_merges_to_the_whole(program in program(), table in table(), cuts in prop::array::uniform2(0usize..80)) {
        let mut whole = Merged::new();
        table.with(|batch| merge_into(&mut whole, &program, batch, &aggregate(&program, batch).unwrap()));
        let mut bounds = [0, cuts[0].min(table.rows.len()), cuts[1].min(table.rows.len()), table.rows.len()];
        bounds.sort_unstable();
        let mut merged = Merged::new();
        for pair in bounds.windows(2) {
            let part = table.part(pair[0]..pair[1]);
            part.with(|batch| merge_into(&mut merged, &program, batch, &aggregate(&program, batch).unwrap()));
        }
        prop_assert_eq!(merged, whole);
    }
}
