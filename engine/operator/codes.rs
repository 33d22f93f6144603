//! Values as dictionary codes: what kernels group, count and look up by.
//!
//! Comes in: an array of any type. Goes out: [`Codes`]: one code a row, and the distinct values. Dictionary arrays are taken as they are;
//! others are interned row by row. Codes mean something within one chunk only.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_empty_array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, UInt32Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// One code a row; the code `cardinality` stands for NULL.
#[derive(Debug, Clone)]
pub struct Codes {
    /// The codes.
    pub codes: ScalarBuffer<u32>,
    /// The values; code c stands for value c.
    pub values: ArrayRef,
}

impl Codes {
    /// Number of values, and the code of NULL.
    pub fn cardinality(&self) -> u32 {
        self.values.len() as u32
    }

    /// Encodes an array.
    pub fn of(array: &ArrayRef) -> Result<Self> {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let keys = dictionary
                .keys()
                .as_primitive_opt::<UInt32Type>()
                .ok_or_else(|| Error::internal(format!("{} does not have 32-bit codes", array.data_type())))?;
            let values = dictionary.values().clone();
            let null = values.len() as u32;
            let codes = match keys.null_count() {
                0 => keys.values().clone(),
                _ => keys.iter().map(|k| k.unwrap_or(null)).collect(),
            };
            return Ok(Self { codes, values });
        }
        match array.data_type() {
            // NULL of no type has no validity bitmap.
            DataType::Null => Ok(Self { codes: vec![0; array.len()].into(), values: new_empty_array(&DataType::Null) }),
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                intern(array, |row| texts.value(row).as_bytes())
            }
            DataType::Binary => {
                let bytes = array.as_binary::<i32>();
                intern(array, |row| bytes.value(row))
            }
            other => {
                let converter = RowConverter::new(vec![SortField::new(other.clone())])?;
                let rows = converter.convert_columns(std::slice::from_ref(array))?;
                intern(array, |row| rows.row(row).data())
            }
        }
    }
}

fn intern<'a>(array: &ArrayRef, bytes: impl Fn(usize) -> &'a [u8]) -> Result<Codes> {
    let mut table: HashTable<(u64, u32)> = HashTable::new();
    let mut first_rows: Vec<u32> = Vec::new();
    let mut codes: Vec<u32> = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            codes.push(u32::MAX);
            continue;
        }
        let value = bytes(row);
        let hash = FxBuildHasher.hash_one(value);
        let same = |(h, code): &(u64, u32)| *h == hash && bytes(first_rows[*code as usize] as usize) == value;
        let code = match table.find(hash, same) {
            Some((_, code)) => *code,
            None => {
                let code = first_rows.len() as u32;
                first_rows.push(row as u32);
                table.insert_unique(hash, (hash, code), |(h, _)| *h);
                code
            }
        };
        codes.push(code);
    }
    let null = first_rows.len() as u32;
    if array.null_count() > 0 {
        codes.iter_mut().filter(|c| **c == u32::MAX).for_each(|c| *c = null);
    }
    let values = match first_rows.is_empty() {
        true => new_empty_array(array.data_type()),
        false => take(array, &UInt32Array::from(first_rows), None)?,
    };
    Ok(Codes { codes: codes.into(), values })
}
