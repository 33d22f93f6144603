//! Strings to dictionary codes while decoding.
//!
//! Comes in: the bytes of one string at a time. Goes out: a code per string, and the Arrow array of the strings by code,
//! which stays the same array while no new string comes. Fails when the strings of one batch pass 2 GiB.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Past either bound the next batch starts with an empty dictionary: a column of unique values must not grow for ever.
const MAX_ENTRIES: usize = 65_536;
const MAX_BYTES: usize = 4 << 20;
/// An empty place of the table.
const FREE: u32 = u32::MAX;

/// A string's first 15 bytes and its length; decides equality alone up to 15 bytes.
type Prefix = u128;

/// The dictionary of one column.
#[derive(Debug)]
pub(super) struct Interner {
    /// Open addressing, linear probing; a power of two, at most half full.
    table: Vec<u32>,
    prefixes: Vec<Prefix>,
    ends: Vec<i32>,
    bytes: Vec<u8>,
    last: (Prefix, u32),
    values: Option<ArrayRef>,
}

impl Interner {
    pub(super) fn new() -> Self {
        Self {
            table: vec![FREE; 1024],
            prefixes: Vec::new(),
            ends: vec![0],
            bytes: Vec::new(),
            last: (0, FREE),
            values: None,
        }
    }

    /// Call before a batch: forgets everything when a bound is passed.
    pub(super) fn begin(&mut self) {
        if self.prefixes.len() > MAX_ENTRIES || self.bytes.len() > MAX_BYTES {
            *self = Self::new();
        }
    }

    /// The code of a string.
    #[inline]
    pub(super) fn code(&mut self, text: &[u8]) -> u32 {
        let prefix = prefix(text);
        if self.last.0 == prefix && self.last.1 != FREE && text.len() <= 15 {
            return self.last.1;
        }
        self.find(prefix, text)
    }

    fn find(&mut self, prefix: Prefix, text: &[u8]) -> u32 {
        let mask = self.table.len() - 1;
        let mut place = hash(prefix, text) as usize & mask;
        let code = loop {
            let code = self.table[place];
            if code == FREE {
                break self.insert(place, prefix, text);
            }
            if self.prefixes[code as usize] == prefix && (text.len() <= 15 || self.text(code) == text) {
                break code;
            }
            place = (place + 1) & mask;
        };
        self.last = (prefix, code);
        code
    }

    fn text(&self, code: u32) -> &[u8] {
        let code = code as usize;
        &self.bytes[self.ends[code] as usize..self.ends[code + 1] as usize]
    }

    fn insert(&mut self, place: usize, prefix: Prefix, text: &[u8]) -> u32 {
        let code = self.prefixes.len() as u32;
        self.table[place] = code;
        self.prefixes.push(prefix);
        self.bytes.extend_from_slice(text);
        // Wraps only past the limit that `values` reports.
        self.ends.push(self.bytes.len() as i32);
        self.values = None;
        if self.prefixes.len() * 2 > self.table.len() {
            self.grow();
        }
        code
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![FREE; mask + 1];
        for code in 0..self.prefixes.len() as u32 {
            let mut place = hash(self.prefixes[code as usize], self.text(code)) as usize & mask;
            while table[place] != FREE {
                place = (place + 1) & mask;
            }
            table[place] = code;
        }
        self.table = table;
    }

    /// The strings by code.
    pub(super) fn values(&mut self) -> Result<ArrayRef> {
        if let Some(values) = &self.values {
            return Ok(values.clone());
        }
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends.clone()));
        let array = StringArray::try_new(ends, Buffer::from(self.bytes.as_slice()), None)?;
        let values: ArrayRef = Arc::new(array);
        self.values = Some(values.clone());
        Ok(values)
    }

    /// Bytes of text held; the decoder refuses batches that could pass what 32-bit offsets reach.
    pub(super) fn check(&self, more: usize) -> Result<()> {
        if self.bytes.len() + more > i32::MAX as usize {
            return Err(Error::new(
                ErrorCode::MalformedRecord,
                format!("a batch of {more} bytes of text does not fit one Arrow column; read smaller chunks"),
            ));
        }
        Ok(())
    }
}

#[inline]
fn prefix(text: &[u8]) -> Prefix {
    let mut word = [0u8; 16];
    let length = text.len();
    if length >= 8 {
        let kept = length.min(15);
        // Two loads that may overlap are faster than a copy of a variable length.
        word[..8].copy_from_slice(&text[..8]);
        let mut tail = [0u8; 8];
        tail.copy_from_slice(&text[kept - 8..kept]);
        let tail = u64::from_le_bytes(tail) >> ((8 * (16 - kept)) & 63);
        let head = u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        let tail = if kept == 8 { 0 } else { tail };
        return u128::from(head) | u128::from(tail) << 64 | (length.min(255) as u128) << 120;
    }
    word[..length].copy_from_slice(text);
    u128::from_le_bytes(word) | (length as u128) << 120
}

#[inline]
fn hash(prefix: Prefix, text: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = ((prefix as u64).wrapping_mul(K)).rotate_left(29) ^ (prefix >> 64) as u64;
    if text.len() > 15 {
        for group in text[15..].chunks(8) {
            let mut word = [0u8; 8];
            word[..group.len()].copy_from_slice(group);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(K).rotate_left(29);
        }
    }
    hash = hash.wrapping_mul(K);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use std::collections::HashMap;

    #[test]
    fn codes_and_values_agree_with_a_map_for_every_length() {
        let mut interner = Interner::new();
        let mut map: HashMap<String, u32> = HashMap::new();
        for round in 0..3 {
            for i in 0..5000usize {
                let text = format!("{}{i}", "x".repeat(i % 23));
                let code = interner.code(text.as_bytes());
                assert_eq!(*map.entry(text).or_insert(code), code, "round {round}");
            }
        }
        assert_eq!(map.len(), 5000);
        let values = interner.values().unwrap();
        for (text, code) in &map {
            assert_eq!(values.as_string::<i32>().value(*code as usize), text);
        }
        assert!(Arc::ptr_eq(&values, &interner.values().unwrap()));
    }

    #[test]
    fn prefixes_separate_strings_that_share_bytes() {
        let mut interner = Interner::new();
        let texts = [
            "",
            "\0",
            "\0\0",
            "a",
            "a\0",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghabcdefg",
            "abcdefghabcdefgh",
            "abcdefghabcdefgX",
        ];
        let codes: Vec<u32> = texts.iter().map(|text| interner.code(text.as_bytes())).collect();
        assert_eq!(codes, (0..texts.len() as u32).collect::<Vec<_>>());
        // The same string right after itself, short and long.
        for (text, code) in texts.iter().zip(codes) {
            assert_eq!((interner.code(text.as_bytes()), interner.code(text.as_bytes())), (code, code));
        }
    }

    #[test]
    fn a_dictionary_past_its_bound_starts_again() {
        let mut interner = Interner::new();
        for i in 0..=MAX_ENTRIES {
            interner.code(i.to_string().as_bytes());
        }
        assert_eq!(interner.code(b"0"), 0);
        interner.begin();
        assert_eq!(interner.code(b"fresh"), 0);
    }
}
