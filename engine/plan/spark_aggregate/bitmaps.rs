//! Accumulators of bitmaps of 32,768 bits.
//!
//! Comes in: places of bits, or bitmaps, of which short ones lack zeros. Goes out: a bitmap. Fails: places outside of it.

use super::sums::column;
use crate::error::{Error, ErrorCode};
use crate::functions::bitmap::BITS;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;

/// What is done with what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitmapOperation {
    /// Bits at places are set.
    Construct,
    /// Bits of any bitmap.
    Or,
    /// Bits of all bitmaps.
    And,
}

impl BitmapOperation {
    /// The bitmap of nothing.
    pub fn empty(self) -> ScalarValue {
        ScalarValue::Binary(Some(vec![if self == BitmapOperation::And { u8::MAX } else { 0 }; BITS as usize / 8]))
    }
}

/// A bitmap.
#[derive(Debug)]
pub struct Bitmap {
    operation: BitmapOperation,
    bytes: Vec<u8>,
}

impl Bitmap {
    pub fn new(operation: BitmapOperation) -> Self {
        let bytes = match operation.empty() {
            ScalarValue::Binary(Some(bytes)) => bytes,
            _ => vec![],
        };
        Self { operation, bytes }
    }

    fn merge(&mut self, other: &[u8]) {
        let other = other.iter().copied().chain(std::iter::repeat(0));
        for (byte, more) in self.bytes.iter_mut().zip(other) {
            match self.operation {
                BitmapOperation::And => *byte &= more,
                BitmapOperation::Construct | BitmapOperation::Or => *byte |= more,
            }
        }
    }
}

impl Accumulator for Bitmap {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.operation != BitmapOperation::Construct {
            return self.merge_batch(values);
        }
        let places = column(values, 0, |c| c.as_primitive_opt::<Int64Type>().cloned())?;
        for place in places.iter().flatten() {
            match usize::try_from(place / 8).ok().filter(|_| place >= 0).and_then(|at| self.bytes.get_mut(at)) {
                Some(byte) => *byte |= 1 << (place % 8),
                None => {
                    return Err(Error::new(
                        ErrorCode::InvalidBitmapPosition,
                        format!(
                            "The 0-indexed bitmap position {place} is out of bounds. The bitmap has {BITS} bits ({} bytes).",
                            self.bytes.len()
                        ),
                    )
                    .into());
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.bytes.clone())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes.len()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let bitmaps = column(states, 0, |c| c.as_binary_opt::<i32>().cloned())?;
        bitmaps.iter().flatten().for_each(|bitmap| self.merge(bitmap));
        Ok(())
    }
}
