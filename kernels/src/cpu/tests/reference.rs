//! A row-at-a-time interpreter of programs: the meaning in `program.rs`, as plainly as it can be written.

use std::collections::{BTreeSet, HashMap};

use crate::{Batch, Column, Compare, ExactSum, FALSE, Function, Groups, Partial, Predicate, Program, TRUE, order_key};

/// A row's value in a column, as the interpreter sees it: an integer, a double's order key, a code or a truth value.
pub fn value(batch: &Batch, column: usize, row: usize) -> Option<i64> {
    match batch.columns[column] {
        Column::I64 { values, valid } => valid.is_none_or(|bits| bits.get(row)).then_some(values[row]),
        Column::F64 { values, valid } => valid.is_none_or(|bits| bits.get(row)).then_some(order_key(values[row])),
        Column::Code { codes, cardinality } => (codes[row] != cardinality).then_some(i64::from(codes[row])),
        Column::Truth(values) => truth(values[row]).map(i64::from),
    }
}

fn truth(value: u8) -> Option<bool> {
    match value {
        FALSE => Some(false),
        TRUE => Some(true),
        _ => None,
    }
}

fn test(predicate: &Predicate, batch: &Batch, row: usize) -> Option<bool> {
    match predicate {
        Predicate::Column(column) => value(batch, *column, row).map(|value| value == 1),
        Predicate::Table { column, table } => {
            let Column::Code { codes, .. } = batch.columns[*column] else { unreachable!() };
            truth(batch.tables[*table][codes[row] as usize])
        }
        Predicate::Compare { column, op, key } => value(batch, *column, row).map(|value| match op {
            Compare::Eq => value == *key,
            Compare::NotEq => value != *key,
            Compare::Lt => value < *key,
            Compare::LtEq => value <= *key,
            Compare::Gt => value > *key,
            Compare::GtEq => value >= *key,
        }),
        Predicate::IsNull(column) => Some(value(batch, *column, row).is_none()),
        Predicate::And(left, right) => match (test(left, batch, row), test(right, batch, row)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Predicate::Or(left, right) => match (test(left, batch, row), test(right, batch, row)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Predicate::Not(inner) => test(inner, batch, row).map(|truth| !truth),
    }
}

/// Key of a group: start of its pane, values of its key columns.
pub type Key = (Option<i64>, Vec<Option<i64>>);

/// What `aggregate` must give.
pub fn interpret(program: &Program, batch: &Batch) -> Groups {
    let mut groups = Groups::default();
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut numbers: HashMap<Key, usize> = HashMap::new();
    for row in 0..batch.rows {
        if program.filter.as_ref().is_some_and(|filter| test(filter, batch, row) != Some(true)) {
            continue;
        }
        groups.rows_passed += 1;
        let watched = program.max_of.and_then(|column| value(batch, column, row));
        groups.max = groups.max.max(watched);
        watched.into_iter().for_each(|value| groups.watched.add(value));
        let mut start = None;
        if let Some(pane) = program.pane {
            let Some(time) = value(batch, pane.time, row) else { continue };
            let (width, origin) = (i128::from(pane.width), i128::from(pane.origin));
            let exact = origin + (i128::from(time) - origin).div_euclid(width) * width;
            start = Some(exact.max(i128::from(i64::MIN)) as i64);
        }
        let key = (start, program.keys.iter().map(|&column| value(batch, column, row)).collect());
        let number = *numbers.entry(key).or_insert(members.len());
        if number == members.len() {
            members.push(Vec::new());
            groups.first_row.push(row as u32);
            groups.pane_start.extend(start);
        }
        members[number].push(row);
    }
    groups.rows = members.iter().map(|rows| rows.len() as u64).collect();
    groups.aggregates = program
        .aggregates
        .iter()
        .map(|aggregate| {
            let passing: Vec<Vec<usize>> = members
                .iter()
                .map(|rows| {
                    let filter = |&&row: &&usize| {
                        aggregate.filter.as_ref().is_none_or(|filter| test(filter, batch, row) == Some(true))
                    };
                    rows.iter().filter(filter).copied().collect()
                })
                .collect();
            partial(aggregate.function.clone(), batch, &passing)
        })
        .collect();
    groups
}

fn partial(function: Function, batch: &Batch, groups: &[Vec<usize>]) -> Partial {
    let values = |column: usize| -> Vec<Vec<i64>> {
        groups.iter().map(|rows| rows.iter().filter_map(|&row| value(batch, column, row)).collect()).collect()
    };
    let counts = |column: usize| values(column).iter().map(|values| values.len() as u64).collect();
    match function {
        Function::CountRows => Partial::Count(groups.iter().map(|rows| rows.len() as u64).collect()),
        Function::Count(column) => Partial::Count(counts(column)),
        Function::SumF64(column) => {
            let Column::F64 { values, .. } = batch.columns[column] else { unreachable!() };
            let sums = groups
                .iter()
                .map(|rows| {
                    let mut sum = ExactSum::default();
                    rows.iter()
                        .filter(|&&row| value(batch, column, row).is_some())
                        .for_each(|&row| sum.add(values[row]));
                    sum
                })
                .collect();
            Partial::SumF64 { sums, counts: counts(column) }
        }
        Function::SumI64(column) => {
            let sums =
                values(column).iter().map(|values| values.iter().map(|&value| i128::from(value)).sum()).collect();
            Partial::SumI64 { sums, counts: counts(column) }
        }
        Function::Min(column) => Partial::MinMax(values(column).iter().map(|v| v.iter().min().copied()).collect()),
        Function::Max(column) => Partial::MinMax(values(column).iter().map(|v| v.iter().max().copied()).collect()),
        Function::Hll { column, table, precision } => {
            let Column::Code { codes, .. } = batch.columns[column] else { unreachable!() };
            let mut registers = vec![0u8; groups.len() << precision];
            for (group, rows) in groups.iter().enumerate() {
                for &row in rows {
                    let word = batch.hll_tables[table][codes[row] as usize];
                    let register = &mut registers[(group << precision) + (word >> 8) as usize];
                    *register = (*register).max(word as u8);
                }
            }
            Partial::Hll { precision, registers }
        }
        Function::Distinct(column) => {
            let pairs: BTreeSet<(u32, u32)> = values(column)
                .iter()
                .enumerate()
                .flat_map(|(group, codes)| codes.iter().map(move |&code| (group as u32, code as u32)))
                .collect();
            Partial::Distinct(pairs.into_iter().collect())
        }
    }
}
