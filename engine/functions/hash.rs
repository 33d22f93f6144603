//! `hash` (Murmur3) and `xxhash64` of rows, with Spark's seed 42.
//!
//! Comes in: columns of any type but maps. Goes out: an INT or a BIGINT a row; NULL leaves the hash as it was. Fails: nothing that
//! the analysis has not refused.

use super::builtin::{ANY, Arguments, Builtin, Call, Typed, typed};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed(
        "hash",
        (1, ANY),
        |a| types(a, DataType::Int32),
        |c| {
            let hashes = rows::<Murmur>(c)?.into_iter().map(|hash| hash as i32);
            Ok(Arc::new(Int32Array::from_iter_values(hashes)))
        },
    ),
    typed(
        "xxhash64",
        (1, ANY),
        |a| types(a, DataType::Int64),
        |c| {
            let hashes = rows::<Xx>(c)?.into_iter().map(|hash| hash as i64);
            Ok(Arc::new(Int64Array::from_iter_values(hashes)))
        },
    ),
];

fn types(a: &Arguments, returns: DataType) -> Result<Typed> {
    fn has_map(t: &DataType) -> bool {
        match t {
            DataType::Map(..) => true,
            DataType::List(field) => has_map(field.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
            _ => false,
        }
    }
    match a.types.iter().position(has_map) {
        Some(index) => Err(a.mismatch(index, "something without a MAP; hash map_entries() of it")),
        None => Typed::new(a.types, returns),
    }
}

fn rows<H: Hashing>(call: &Call) -> Result<Vec<u64>> {
    let mut hashes = vec![42u64; call.rows];
    for (index, array) in call.arguments.iter().enumerate() {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = value::<H>(array, call.at(index, row), *hash)?;
        }
    }
    Ok(hashes)
}

trait Hashing {
    fn int(value: i32, seed: u64) -> u64;
    fn long(value: i64, seed: u64) -> u64;
    fn bytes(value: &[u8], seed: u64) -> u64;
}

fn value<H: Hashing>(array: &ArrayRef, row: usize, seed: u64) -> Result<u64> {
    if array.is_null(row) {
        return Ok(seed);
    }
    Ok(match array.data_type() {
        DataType::Null => seed,
        DataType::Boolean => H::int(array.as_boolean().value(row).into(), seed),
        DataType::Int8 => H::int(array.as_primitive::<Int8Type>().value(row).into(), seed),
        DataType::Int16 => H::int(array.as_primitive::<Int16Type>().value(row).into(), seed),
        DataType::Int32 => H::int(array.as_primitive::<Int32Type>().value(row), seed),
        DataType::Date32 => H::int(array.as_primitive::<Date32Type>().value(row), seed),
        DataType::Int64 => H::long(array.as_primitive::<Int64Type>().value(row), seed),
        DataType::Timestamp(..) => H::long(array.as_primitive::<TimestampMicrosecondType>().value(row), seed),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            let canonical = if value.is_nan() { f32::NAN } else { value + 0.0 };
            H::int(canonical.to_bits() as i32, seed)
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            let canonical = if value.is_nan() { f64::NAN } else { value + 0.0 };
            H::long(canonical.to_bits() as i64, seed)
        }
        DataType::Decimal128(precision, _) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            match *precision <= 18 {
                true => H::long(unscaled as i64, seed),
                false => {
                    // The shortest two's complement, as Java's BigInteger has it.
                    let bytes = unscaled.to_be_bytes();
                    let sign = if unscaled < 0 { 0xff } else { 0 };
                    let redundant = bytes.windows(2).take_while(|w| w[0] == sign && (w[1] ^ sign) < 0x80).count();
                    H::bytes(&bytes[redundant..], seed)
                }
            }
        }
        DataType::Utf8 => H::bytes(array.as_string::<i32>().value(row).as_bytes(), seed),
        DataType::Binary => H::bytes(array.as_binary::<i32>().value(row), seed),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().try_fold(seed, |seed, column| value::<H>(column, row, seed))?
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).try_fold(seed, |seed, index| value::<H>(&elements, index, seed))?
        }
        other => return Err(Error::new(ErrorCode::DatatypeMismatch, format!("a value of type {other} has no hash"))),
    })
}

struct Murmur;

impl Murmur {
    fn mix(hash: u32, word: u32) -> u32 {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    }

    fn finish(hash: u32, length: u32) -> u64 {
        let hash = hash ^ length;
        let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        u64::from(hash ^ hash >> 16)
    }
}

impl Hashing for Murmur {
    fn int(value: i32, seed: u64) -> u64 {
        Self::finish(Self::mix(seed as u32, value as u32), 4)
    }

    fn long(value: i64, seed: u64) -> u64 {
        Self::finish(Self::mix(Self::mix(seed as u32, value as u32), (value >> 32) as u32), 8)
    }

    /// Whole words, then a word for each byte that is left over, with its sign.
    fn bytes(value: &[u8], seed: u64) -> u64 {
        let (words, rest) = value.as_chunks::<4>();
        let hash = words.iter().fold(seed as u32, |hash, word| Self::mix(hash, u32::from_le_bytes(*word)));
        let hash = rest.iter().fold(hash, |hash, byte| Self::mix(hash, *byte as i8 as u32));
        Self::finish(hash, value.len() as u32)
    }
}

struct Xx;

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

impl Xx {
    fn finish(hash: u64) -> u64 {
        let hash = (hash ^ hash >> 33).wrapping_mul(PRIME_2);
        let hash = (hash ^ hash >> 29).wrapping_mul(PRIME_3);
        hash ^ hash >> 32
    }

    fn lane(lane: u64, word: u64) -> u64 {
        lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
    }

    fn eight(hash: u64, word: u64) -> u64 {
        (hash ^ Self::lane(0, word)).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
    }

    fn four(hash: u64, word: u32) -> u64 {
        let hash = hash ^ u64::from(word).wrapping_mul(PRIME_1);
        hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3)
    }
}

impl Hashing for Xx {
    fn int(value: i32, seed: u64) -> u64 {
        Self::finish(Self::four(seed.wrapping_add(PRIME_5).wrapping_add(4), value as u32))
    }

    fn long(value: i64, seed: u64) -> u64 {
        Self::finish(Self::eight(seed.wrapping_add(PRIME_5).wrapping_add(8), value as u64))
    }

    fn bytes(value: &[u8], seed: u64) -> u64 {
        let mut rest = value;
        let mut hash = seed.wrapping_add(PRIME_5);
        if value.len() >= 32 {
            let mut lanes = [
                seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
                seed.wrapping_add(PRIME_2),
                seed,
                seed.wrapping_sub(PRIME_1),
            ];
            let (stripes, after) = value.as_chunks::<32>();
            for stripe in stripes {
                for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
                    *lane = Self::lane(*lane, u64::from_le_bytes(*word));
                }
            }
            rest = after;
            let [a, b, c, d] = lanes;
            hash = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            for lane in lanes {
                hash = (hash ^ Self::lane(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
            }
        }
        hash = hash.wrapping_add(value.len() as u64);
        let (words, rest) = rest.as_chunks::<8>();
        hash = words.iter().fold(hash, |hash, word| Self::eight(hash, u64::from_le_bytes(*word)));
        let (words, rest) = rest.as_chunks::<4>();
        hash = words.iter().fold(hash, |hash, word| Self::four(hash, u32::from_le_bytes(*word)));
        hash = rest.iter().fold(hash, |hash, byte| {
            (hash ^ u64::from(*byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1)
        });
        Self::finish(hash)
    }
}
