//! Accumulators of a few bits: conditions, bitwise operations, and HyperLogLog++ registers.
//!
//! Comes in: conditions, integers, values that Spark can hash. Goes out: one value. Nothing fails but state of another function.

use super::hashing::hashes;
use super::sums::column;
use crate::error::{Error, ErrorCode};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use std::sync::Arc;
use tidemill_kernels::hll;

/// Which bitwise operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitOperation {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
}

/// A bitwise operation over all integers.
#[derive(Debug)]
pub struct Bits {
    operation: BitOperation,
    data_type: DataType,
    value: Option<i64>,
}

impl Bits {
    pub fn new(operation: BitOperation, data_type: DataType) -> Self {
        Self { operation, data_type, value: None }
    }
}

impl Accumulator for Bits {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| cast(c, &DataType::Int64).ok())?;
        let values: &Int64Array = values.as_primitive::<Int64Type>();
        for value in values.iter().flatten() {
            self.value = Some(match (self.value, self.operation) {
                (None, _) => value,
                (Some(old), BitOperation::And) => old & value,
                (Some(old), BitOperation::Or) => old | value,
                (Some(old), BitOperation::Xor) => old ^ value,
            });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::Int64(self.value).cast_to(&self.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// Whether all values are TRUE, or any is.
#[derive(Debug)]
pub struct Truth {
    all: bool,
    value: Option<bool>,
}

impl Truth {
    pub fn new(all: bool) -> Self {
        Self { all, value: None }
    }
}

impl Accumulator for Truth {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| c.as_boolean_opt().cloned())?;
        for value in values.iter().flatten() {
            let old = self.value.unwrap_or(self.all);
            self.value = Some(if self.all { old && value } else { old || value });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Boolean(self.value))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Boolean(self.value)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// HyperLogLog++ registers.
#[derive(Debug)]
pub struct Hll {
    precision: u8,
    registers: Vec<u8>,
}

impl Hll {
    pub fn new(precision: u8) -> Self {
        Self { precision, registers: vec![0; 1 << precision] }
    }
}

impl Accumulator for Hll {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| Some(c.clone()))?;
        let rows: UInt32Array = super::extremes::present(&values).map(|row| row as u32).collect();
        let present: ArrayRef = if rows.len() == values.len() { values } else { Arc::new(take(&values, &rows, None)?) };
        for hash in hashes(&present)? {
            let packed = hll::pack(hash, self.precision);
            if let Some(register) = self.registers.get_mut((packed >> 8) as usize) {
                *register = (*register).max(packed as u8);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(hll::estimate(&self.registers, self.precision))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.registers.len()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.registers.clone()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = column(states, 0, |c| c.as_binary_opt::<i32>().cloned())?;
        for registers in states.iter().flatten() {
            if registers.len() != self.registers.len() {
                let text = "HyperLogLog registers of another precision in state";
                return Err(Error::new(ErrorCode::CheckpointCorrupt, text).into());
            }
            hll::merge(&mut self.registers, registers);
        }
        Ok(())
    }
}
