//! Spark's xxHash64 of a column, by the type of its values.
//!
//! Comes in: an array without NULLs. Goes out: one hash a value; doubles hash with -0.0 as 0.0 and one NaN. Fails: types that have no hash
//! here.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use tidemill_kernels::{from_order_key, hll, order_key};

/// Digits of a decimal that Spark keeps in 64 bits.
const COMPACT_DECIMAL: u8 = 18;

/// Whether [`hashes`] knows the type.
pub fn hashable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Null
            | DataType::Utf8
            | DataType::Binary
            | DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
    )
}

/// The hash of every value.
pub fn hashes(values: &ArrayRef) -> Result<Vec<u64>> {
    macro_rules! each {
        ($type:ty, $hash:expr) => {
            values.as_primitive::<$type>().values().iter().map(|v| $hash(*v)).collect()
        };
    }
    Ok(match values.data_type() {
        DataType::Null => vec![],
        DataType::Utf8 => {
            values.as_string::<i32>().iter().map(|v| hll::hash_bytes(v.unwrap_or_default().as_bytes())).collect()
        }
        DataType::Binary => values.as_binary::<i32>().iter().map(|v| hll::hash_bytes(v.unwrap_or_default())).collect(),
        DataType::Boolean => {
            values.as_boolean().iter().map(|v| hll::hash_i32(i32::from(v.unwrap_or_default()))).collect()
        }
        DataType::Int8 => each!(Int8Type, |v| hll::hash_i32(i32::from(v))),
        DataType::Int16 => each!(Int16Type, |v| hll::hash_i32(i32::from(v))),
        DataType::Int32 => each!(Int32Type, hll::hash_i32),
        DataType::Date32 => each!(Date32Type, hll::hash_i32),
        DataType::Int64 => each!(Int64Type, hll::hash_i64),
        DataType::Timestamp(TimeUnit::Microsecond, _) => each!(TimestampMicrosecondType, hll::hash_i64),
        DataType::Float64 => each!(Float64Type, |v: f64| hll::hash_i64(canonical(v).to_bits() as i64)),
        DataType::Float32 => each!(Float32Type, |v: f32| hll::hash_i32(canonical_single(v).to_bits() as i32)),
        DataType::Decimal128(precision, _) if *precision <= COMPACT_DECIMAL => {
            each!(Decimal128Type, |v: i128| hll::hash_i64(v as i64))
        }
        DataType::Decimal128(_, _) => each!(Decimal128Type, |v: i128| hll::hash_bytes(&java_bytes(v))),
        other => {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!("approx_count_distinct of {other} is not computed; cast it to string"),
            ));
        }
    })
}

/// Java's `BigInteger.toByteArray`: two's complement, most significant byte first, as short as the sign allows.
fn java_bytes(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let redundant = |pair: &[u8]| pair[0] == sign && (pair[1] & 0x80) == (sign & 0x80);
    let skipped = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    bytes[skipped..].to_vec()
}

fn canonical(value: f64) -> f64 {
    from_order_key(order_key(value))
}

fn canonical_single(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}
