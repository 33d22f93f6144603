//! Bitmaps of 32,768 bits: where a number's bit is, and how many bits are set.
//!
//! Comes in: numbers, and bitmaps. Goes out: numbers. Fails: counts of what are no bytes.

use super::builtin::{Builtin, Typed, strict, total, typed};
use crate::error::Result;
use arrow::array::Int64Array;
use arrow::datatypes::DataType;

/// Bits of a bitmap.
pub(crate) const BITS: i64 = 32_768;

pub(super) static FUNCTIONS: &[Builtin] = &[
    total("bitmap_bit_position", "l", 'l', |c| strict!(c, Int64Array, |n: long 0| Ok(Some(position(n))))),
    total("bitmap_bucket_number", "l", 'l', |c| strict!(c, Int64Array, |n: long 0| Ok(Some(bucket(n))))),
    typed(
        "bitmap_count",
        (1, 1),
        |a| match a.of(0) {
            DataType::Binary => Ok(Typed { arguments: vec![DataType::Binary], returns: DataType::Int64 }),
            _ => Err(a.mismatch(0, "BINARY")),
        },
        |c| {
            strict!(c, Int64Array, |bytes: binary 0| {
                Ok(Some(bytes.iter().map(|byte| i64::from(byte.count_ones())).sum::<i64>()))
            })
        },
    ),
];

/// Positive numbers are counted from 1, the others from 0 downwards.
fn position(n: i64) -> i64 {
    if n > 0 { (n - 1) % BITS } else { (n.wrapping_neg() % BITS).abs() }
}

fn bucket(n: i64) -> i64 {
    if n > 0 { 1 + (n - 1) / BITS } else { n / BITS }
}
