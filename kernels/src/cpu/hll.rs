//! HyperLogLog++ registers.
//!
//! Comes in: selected rows with their groups, and the batch's table of packed updates. Goes out: `2^precision` registers a
//! group. Fails with [`KernelError::BatchTooLarge`] when the groups' registers would pass a gibibyte.

use super::column::{Codes, codes};
use crate::error::KernelError;
use crate::program::{Batch, ColumnId, TableId};
use crate::validate::invalid_batch;

/// Bytes of registers that one batch may make.
const MAX_BYTES: usize = 1 << 30;

/// Registers of one aggregate.
pub(super) struct Registers<'a> {
    codes: Codes<'a>,
    updates: &'a [u32],
    precision: u8,
    registers: Vec<u8>,
}

impl<'a> Registers<'a> {
    pub fn new(batch: &Batch<'a>, column: ColumnId, table: TableId, precision: u8) -> Result<Self, KernelError> {
        let updates = batch
            .hll_tables
            .get(table)
            .ok_or_else(|| invalid_batch(&format!("hll_tables[{table}]"), "missing".to_owned()))?;
        Ok(Self { codes: codes(batch, column)?, updates, precision, registers: Vec::new() })
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) -> Result<(), KernelError> {
        self.grow(group_count)?;
        let (codes, updates, precision) = (self.codes.codes, self.updates, self.precision);
        let registers = self.registers.as_mut_slice();
        for (&row, &group) in rows.iter().zip(groups) {
            let update = updates[codes[row as usize] as usize];
            // A word of 0, for NULL, has rank 0, which raises no register.
            let register = &mut registers[((group as usize) << precision) + (update >> 8) as usize];
            let rank = update as u8;
            if *register < rank {
                *register = rank;
            }
        }
        Ok(())
    }

    fn grow(&mut self, group_count: usize) -> Result<(), KernelError> {
        let needed = group_count << self.precision;
        if needed > MAX_BYTES {
            return Err(KernelError::BatchTooLarge {
                what: "bytes of HyperLogLog++ registers",
                needed: needed as u64,
                limit: MAX_BYTES as u64,
            });
        }
        self.registers.resize(needed, 0);
        Ok(())
    }

    pub fn finish(mut self, group_count: usize) -> Result<Vec<u8>, KernelError> {
        self.grow(group_count)?;
        Ok(self.registers)
    }
}
