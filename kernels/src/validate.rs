//! Checks that stand between hostile input and the kernels.
//!
//! Comes in: a [`Program`], or a program and a [`Batch`]. Goes out: nothing, or the first thing that is wrong, as
//! [`KernelError::InvalidProgram`] or [`KernelError::InvalidBatch`]. Past these checks every column, table and code that
//! a kernel looks up exists.

use crate::error::KernelError;
use crate::hll::{MAX_PRECISION, MIN_PRECISION};
use crate::program::{Batch, Bits, Column, ColumnId, ColumnType, Function, Predicate, Program};

/// Rows of a batch end below this: row indices are kept in 31 bits.
pub const MAX_ROWS: usize = 1 << 31;
/// Depth of the deepest predicate; evaluation recurses.
const MAX_DEPTH: usize = 256;

impl Program {
    /// Whether the program agrees with itself.
    pub fn validate(&self) -> Result<(), KernelError> {
        if let Some(filter) = &self.filter {
            self.validate_predicate(filter, "filter", 0)?;
        }
        if let Some(pane) = &self.pane {
            self.expect("pane.time", pane.time, &[ColumnType::I64])?;
            if pane.width <= 0 {
                return Err(invalid_program("pane.width", format!("{} is not greater than 0", pane.width)));
            }
        }
        for (index, &key) in self.keys.iter().enumerate() {
            self.expect(&format!("keys[{index}]"), key, &[ColumnType::I64, ColumnType::Code])?;
        }
        for (index, aggregate) in self.aggregates.iter().enumerate() {
            let place = format!("aggregates[{index}]");
            match aggregate.function {
                Function::CountRows => {}
                Function::Count(column) => {
                    let any = [ColumnType::I64, ColumnType::F64, ColumnType::Code, ColumnType::Truth];
                    self.expect(&place, column, &any)?;
                }
                Function::SumF64(column) => self.expect(&place, column, &[ColumnType::F64])?,
                Function::SumI64(column) => self.expect(&place, column, &[ColumnType::I64])?,
                Function::Min(column) | Function::Max(column) => {
                    self.expect(&place, column, &[ColumnType::I64, ColumnType::F64])?;
                }
                Function::Hll { column, precision, .. } => {
                    self.expect(&place, column, &[ColumnType::Code])?;
                    if !(MIN_PRECISION..=MAX_PRECISION).contains(&precision) {
                        let reason = format!("precision {precision} is not in {MIN_PRECISION}..={MAX_PRECISION}");
                        return Err(invalid_program(&place, reason));
                    }
                }
                Function::Distinct(column) => self.expect(&place, column, &[ColumnType::Code])?,
            }
            if let Some(filter) = &aggregate.filter {
                self.validate_predicate(filter, &format!("{place}.filter"), 0)?;
            }
        }
        match self.max_of {
            Some(column) => self.expect("max_of", column, &[ColumnType::I64]),
            None => Ok(()),
        }
    }

    /// Whether `batch` is one for this program, which must be valid.
    pub fn check(&self, batch: &Batch) -> Result<(), KernelError> {
        if batch.rows >= MAX_ROWS {
            return Err(KernelError::BatchTooLarge {
                what: "rows",
                needed: batch.rows as u64,
                limit: MAX_ROWS as u64 - 1,
            });
        }
        if batch.columns.len() != self.columns.len() {
            let reason = format!("{} columns, the program has {}", batch.columns.len(), self.columns.len());
            return Err(invalid_batch("columns", reason));
        }
        for (index, (column, &expected)) in batch.columns.iter().zip(&self.columns).enumerate() {
            check_column(column, expected, batch.rows)
                .map_err(|reason| invalid_batch(&format!("columns[{index}]"), reason))?;
        }
        let filters = self.aggregates.iter().filter_map(|aggregate| aggregate.filter.as_ref());
        for filter in self.filter.iter().chain(filters) {
            check_tables(filter, batch)?;
        }
        for aggregate in &self.aggregates {
            if let Function::Hll { column, table, precision } = aggregate.function {
                let words = check_table("hll_tables", batch, column, table, batch.hll_tables)?;
                if words.iter().any(|word| word >> 8 >= 1 << precision) {
                    let reason = format!("a register past the last one of precision {precision}");
                    return Err(invalid_batch(&format!("hll_tables[{table}]"), reason));
                }
            }
        }
        Ok(())
    }

    fn expect(&self, place: &str, column: ColumnId, allowed: &[ColumnType]) -> Result<(), KernelError> {
        match self.columns.get(column) {
            Some(found) if allowed.contains(found) => Ok(()),
            Some(found) => {
                let reason = format!("column {column} is of type {found:?}, allowed are {allowed:?}");
                Err(invalid_program(place, reason))
            }
            None => Err(invalid_program(place, format!("no column {column}, there are {}", self.columns.len()))),
        }
    }

    fn validate_predicate(&self, predicate: &Predicate, place: &str, depth: usize) -> Result<(), KernelError> {
        if depth == MAX_DEPTH {
            return Err(invalid_program(place, format!("nested deeper than {MAX_DEPTH}")));
        }
        match predicate {
            Predicate::Column(column) => self.expect(place, *column, &[ColumnType::Truth]),
            Predicate::Table { column, .. } => self.expect(place, *column, &[ColumnType::Code]),
            Predicate::Compare { column, .. } => self.expect(place, *column, &[ColumnType::I64, ColumnType::F64]),
            Predicate::IsNull(column) => {
                let any = [ColumnType::I64, ColumnType::F64, ColumnType::Code, ColumnType::Truth];
                self.expect(place, *column, &any)
            }
            Predicate::And(left, right) | Predicate::Or(left, right) => {
                self.validate_predicate(left, place, depth + 1)?;
                self.validate_predicate(right, place, depth + 1)
            }
            Predicate::Not(inner) => self.validate_predicate(inner, place, depth + 1),
        }
    }
}

/// Type, length, validity bitmap and codes of one column.
fn check_column(column: &Column, expected: ColumnType, rows: usize) -> Result<(), String> {
    let (found, length, valid) = match *column {
        Column::I64 { values, valid } => (ColumnType::I64, values.len(), valid),
        Column::F64 { values, valid } => (ColumnType::F64, values.len(), valid),
        Column::Code { codes, .. } => (ColumnType::Code, codes.len(), None),
        Column::Truth(values) => (ColumnType::Truth, values.len(), None),
    };
    if found != expected {
        return Err(format!("of type {found:?}, the program has {expected:?}"));
    }
    if length != rows {
        return Err(format!("{length} values for {rows} rows"));
    }
    if let Some(Bits { bytes, offset }) = valid
        && offset.checked_add(rows).is_none_or(|end| end.div_ceil(8) > bytes.len())
    {
        return Err(format!("{} bytes of validity from bit {offset} on for {rows} rows", bytes.len()));
    }
    if let Column::Code { codes, cardinality } = *column {
        if cardinality == u32::MAX {
            return Err("a dictionary of 2^32 - 1 entries, one less is allowed".to_owned());
        }
        let greatest = codes.iter().fold(0, |greatest, &code| code.max(greatest));
        if greatest > cardinality {
            return Err(format!("code {greatest} in a dictionary of {cardinality} entries"));
        }
    }
    Ok(())
}

fn check_tables(predicate: &Predicate, batch: &Batch) -> Result<(), KernelError> {
    match predicate {
        Predicate::Table { column, table } => check_table("tables", batch, *column, *table, batch.tables).map(|_| ()),
        Predicate::And(left, right) | Predicate::Or(left, right) => {
            check_tables(left, batch)?;
            check_tables(right, batch)
        }
        Predicate::Not(inner) => check_tables(inner, batch),
        Predicate::Column(_) | Predicate::Compare { .. } | Predicate::IsNull(_) => Ok(()),
    }
}

/// The table, if it has one entry a code of the column and one for NULL.
fn check_table<'a, T>(
    kind: &str,
    batch: &Batch,
    column: ColumnId,
    table: usize,
    tables: &'a [&'a [T]],
) -> Result<&'a [T], KernelError> {
    let place = format!("{kind}[{table}]");
    let entries =
        tables.get(table).ok_or_else(|| invalid_batch(&place, format!("there are {} tables", tables.len())))?;
    let Some(Column::Code { cardinality, .. }) = batch.columns.get(column) else {
        return Err(invalid_batch(&place, format!("column {column} has no codes")));
    };
    if entries.len() != *cardinality as usize + 1 {
        let reason = format!("{} entries for {cardinality} codes and NULL of column {column}", entries.len());
        return Err(invalid_batch(&place, reason));
    }
    Ok(entries)
}

pub(crate) fn invalid_program(place: &str, reason: String) -> KernelError {
    KernelError::InvalidProgram { place: place.to_owned(), reason }
}

pub(crate) fn invalid_batch(place: &str, reason: String) -> KernelError {
    KernelError::InvalidBatch { place: place.to_owned(), reason }
}
