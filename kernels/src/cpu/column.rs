//! Columns of a batch by their physical type.
//!
//! Comes in: a batch and a column's index. Goes out: the typed slices that a twin's loop runs over, resolved once a batch.
//! Fails with [`KernelError::InvalidBatch`] if the column is missing or of another type.

use crate::error::KernelError;
use crate::program::{Batch, Bits, Column, ColumnId, NULL};
use crate::validate::invalid_batch;

/// Whether a row has a value. One implementation a loop, so that columns without NULLs pay nothing.
pub(super) trait Validity: Copy {
    fn is_valid(self, row: u32) -> bool;
}

/// No row is NULL.
#[derive(Clone, Copy)]
pub(super) struct AllValid;

impl Validity for AllValid {
    #[inline(always)]
    fn is_valid(self, _row: u32) -> bool {
        true
    }
}

impl Validity for Bits<'_> {
    #[inline(always)]
    fn is_valid(self, row: u32) -> bool {
        self.get(row as usize)
    }
}

/// A code that is not NULL's.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub codes: &'a [u32],
    pub cardinality: u32,
}

impl Validity for Codes<'_> {
    #[inline(always)]
    fn is_valid(self, row: u32) -> bool {
        self.codes[row as usize] != self.cardinality
    }
}

/// A truth value that is not NULL.
#[derive(Clone, Copy)]
pub(super) struct Truths<'a>(pub &'a [u8]);

impl Validity for Truths<'_> {
    #[inline(always)]
    fn is_valid(self, row: u32) -> bool {
        self.0[row as usize] < NULL
    }
}

/// Integers and their validity.
#[derive(Clone, Copy)]
pub(super) struct Integers<'a> {
    pub values: &'a [i64],
    pub valid: Option<Bits<'a>>,
}

/// Doubles and their validity.
#[derive(Clone, Copy)]
pub(super) struct Doubles<'a> {
    pub values: &'a [f64],
    pub valid: Option<Bits<'a>>,
}

pub(super) fn column<'a>(batch: &Batch<'a>, id: ColumnId) -> Result<Column<'a>, KernelError> {
    batch.columns.get(id).copied().ok_or_else(|| invalid_batch(&format!("columns[{id}]"), "missing".to_owned()))
}

pub(super) fn integers<'a>(batch: &Batch<'a>, id: ColumnId) -> Result<Integers<'a>, KernelError> {
    match column(batch, id)? {
        Column::I64 { values, valid } => Ok(Integers { values, valid }),
        _ => Err(wrong_type(id, "integers")),
    }
}

pub(super) fn doubles<'a>(batch: &Batch<'a>, id: ColumnId) -> Result<Doubles<'a>, KernelError> {
    match column(batch, id)? {
        Column::F64 { values, valid } => Ok(Doubles { values, valid }),
        _ => Err(wrong_type(id, "doubles")),
    }
}

pub(super) fn codes<'a>(batch: &Batch<'a>, id: ColumnId) -> Result<Codes<'a>, KernelError> {
    match column(batch, id)? {
        Column::Code { codes, cardinality } => Ok(Codes { codes, cardinality }),
        _ => Err(wrong_type(id, "codes")),
    }
}

pub(super) fn wrong_type(id: ColumnId, wanted: &str) -> KernelError {
    invalid_batch(&format!("columns[{id}]"), format!("not {wanted}"))
}
