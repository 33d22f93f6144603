//! Strings to dictionary codes while decoding.
//!
//! Comes in: the bytes of one string at a time. Goes out: a code per string, and the Arrow array of the strings by code,
//! which stays the same array while no new string comes. Fails when the strings of one batch pass 2 GiB.
//!
//! Short strings wait and are looked up in groups. A dictionary of many thousand strings lies outside the first-level cache: one look-up
//! a record waits for memory each time, the look-ups of a group wait together.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Past either bound the next batch starts with an empty dictionary: a column of unique values must not grow for ever.
const MAX_ENTRIES: usize = 65_536;
const MAX_BYTES: usize = 4 << 20;
/// An empty place of the table.
const FREE: u32 = u32::MAX;

/// Bytes of the strings that a prefix holds whole.
const SHORT: usize = 15;
/// Strings that wait at most: many look-ups at once, in a few kilobytes.
const WAITING: usize = 256;

/// A string's first 15 bytes and its length; decides equality alone up to 15 bytes.
type Prefix = u128;

/// The codes of a column's rows, and their dictionary, which outlives the batch.
#[derive(Debug)]
pub(super) struct Dictionary {
    codes: Vec<u32>,
    /// Short strings of the rows after `codes`.
    waiting: Vec<Prefix>,
    /// For each of them the code at its place of the table.
    guesses: Vec<u32>,
    interner: Interner,
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self { codes: Vec::new(), waiting: Vec::new(), guesses: Vec::new(), interner: Interner::new() }
    }

    /// Call before a batch whose strings have at most `bytes` bytes in all.
    pub(super) fn begin(&mut self, bytes: usize) -> Result<()> {
        self.interner.begin();
        self.interner.check(bytes)
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.codes.len() + self.waiting.len()
    }

    /// Takes back the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.waiting.truncate(rows.saturating_sub(self.codes.len()));
        self.codes.truncate(rows);
    }

    /// Adds a row.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        if text.len() > SHORT {
            return self.push_long(text);
        }
        self.waiting.push(prefix(text));
        if self.waiting.len() == WAITING {
            self.look_up();
        }
    }

    #[inline(never)]
    fn push_long(&mut self, text: &[u8]) {
        self.look_up();
        self.codes.push(self.interner.find(prefix(text), text));
    }

    /// Adds a row that is NULL, whose code says nothing.
    pub(super) fn push_null(&mut self) {
        self.look_up();
        self.codes.push(0);
    }

    #[inline(never)]
    fn look_up(&mut self) {
        let Self { codes, waiting, guesses, interner } = self;
        // No step of these loops needs the one before it, so their loads overlap.
        let mask = interner.table.len() - 1;
        guesses.clear();
        guesses.extend(waiting.iter().map(|prefix| interner.table[hash(*prefix, &[]) as usize & mask]));
        for (prefix, guess) in waiting.iter().zip(guesses.iter()) {
            codes.push(match interner.prefixes.get(*guess as usize) {
                Some(found) if found == prefix => *guess,
                _ => {
                    let text = prefix.to_le_bytes();
                    interner.find(*prefix, &text[..usize::from(text[SHORT]).min(SHORT)])
                }
            });
        }
        waiting.clear();
    }

    /// The codes of all rows, and the strings by code; no row is left.
    pub(super) fn finish(&mut self) -> Result<(Vec<u32>, ArrayRef)> {
        self.look_up();
        let next = Vec::with_capacity(self.codes.len());
        Ok((std::mem::replace(&mut self.codes, next), self.interner.values()?))
    }
}

/// Strings by code.
#[derive(Debug)]
struct Interner {
    /// Open addressing, linear probing; a power of two, at most half full.
    table: Vec<u32>,
    prefixes: Vec<Prefix>,
    ends: Vec<i32>,
    bytes: Vec<u8>,
    values: Option<ArrayRef>,
}

impl Interner {
    fn new() -> Self {
        Self { table: vec![FREE; 1024], prefixes: Vec::new(), ends: vec![0], bytes: Vec::new(), values: None }
    }

    /// Call before a batch: forgets everything when a bound is passed.
    fn begin(&mut self) {
        if self.prefixes.len() > MAX_ENTRIES || self.bytes.len() > MAX_BYTES {
            *self = Self::new();
        }
    }

    /// The code of a string.
    fn find(&mut self, prefix: Prefix, text: &[u8]) -> u32 {
        let mask = self.table.len() - 1;
        let mut place = hash(prefix, text) as usize & mask;
        loop {
            let code = self.table[place];
            if code == FREE {
                return self.insert(place, prefix, text);
            }
            if self.prefixes[code as usize] == prefix && (text.len() <= SHORT || self.text(code) == text) {
                return code;
            }
            place = (place + 1) & mask;
        }
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
    fn values(&mut self) -> Result<ArrayRef> {
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
    fn check(&self, more: usize) -> Result<()> {
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
    let length = text.len();
    let byte = |at: usize| u64::from(text[at]) << (8 * at);
    // Two loads that may overlap are faster than a copy of a variable length.
    let (head, tail) = match length {
        0 => (0, 0),
        1..=3 => (byte(0) | byte(length / 2) | byte(length - 1), 0),
        4..=7 => (quarter(text, 0) | quarter(text, length - 4) << (8 * (length - 4)), 0),
        8 => (half(text, 0), 0),
        _ => {
            let kept = length.min(SHORT);
            (half(text, 0), half(text, kept - 8) >> (8 * (16 - kept)))
        }
    };
    u128::from(head) | u128::from(tail) << 64 | (length.min(255) as u128) << 120
}

#[inline]
fn quarter(text: &[u8], at: usize) -> u64 {
    let mut word = [0; 4];
    word.copy_from_slice(&text[at..at + 4]);
    u64::from(u32::from_le_bytes(word))
}

#[inline]
fn half(text: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&text[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
fn hash(prefix: Prefix, text: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = ((prefix as u64).wrapping_mul(K)).rotate_left(29) ^ (prefix >> 64) as u64;
    if text.len() > SHORT {
        for group in text[SHORT..].chunks(8) {
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

    /// The codes of one batch, and the dictionary's strings.
    fn batch<'a>(dictionary: &mut Dictionary, texts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u32>, ArrayRef) {
        dictionary.begin(0).unwrap();
        texts.into_iter().for_each(|text| dictionary.push(text));
        dictionary.finish().unwrap()
    }

    #[test]
    fn codes_and_values_agree_with_a_map_for_every_length() {
        let texts: Vec<String> = (0..5000usize).map(|i| format!("{}{i}", "x".repeat(i % 23))).collect();
        let mut dictionary = Dictionary::new();
        let mut map: HashMap<&str, u32> = HashMap::new();
        let mut last: Option<ArrayRef> = None;
        for round in 0..3 {
            let (codes, values) = batch(&mut dictionary, texts.iter().map(String::as_bytes));
            for (text, code) in texts.iter().zip(codes) {
                let next = map.len() as u32;
                assert_eq!(*map.entry(text).or_insert(next), code, "round {round}");
                assert_eq!(values.as_string::<i32>().value(code as usize), text);
            }
            assert!(last.is_none_or(|last| Arc::ptr_eq(&last, &values)), "no new string, the same array");
            last = Some(values);
        }
        assert_eq!(map.len(), 5000);
    }

    #[test]
    fn prefixes_separate_strings_that_share_bytes() {
        let texts: [&[u8]; 14] = [
            b"",
            b"\0",
            b"\0\0",
            b"a",
            b"a\0",
            b"aba",
            b"abca",
            b"abcabca",
            b"abcdefgh",
            b"abcdefgh\0",
            b"abcdefghabcdefg",
            b"abcdefghabcdefgh",
            b"abcdefghabcdefgX",
            b"bcdefghabcdefg",
        ];
        // Each string right after itself, short and long, and once more after all others.
        let twice = texts.iter().flat_map(|text| [*text, *text]).chain(texts);
        let (codes, values) = batch(&mut Dictionary::new(), twice);
        let expected: Vec<u32> = (0..14).flat_map(|code| [code, code]).chain(0..14).collect();
        assert_eq!(codes, expected);
        let values: Vec<&[u8]> = values.as_string::<i32>().iter().map(|text| text.unwrap().as_bytes()).collect();
        assert_eq!(values, texts);
    }

    #[test]
    fn rows_are_taken_back_whether_they_wait_or_not() {
        let mut dictionary = Dictionary::new();
        dictionary.push(b"a");
        dictionary.push_null();
        dictionary.push(b"b");
        dictionary.push(b"c");
        assert_eq!(dictionary.len(), 4);
        dictionary.truncate(3);
        assert_eq!(dictionary.len(), 3);
        dictionary.truncate(1);
        dictionary.push(b"b");
        dictionary.push(b"a");
        assert_eq!(dictionary.finish().unwrap().0, [0, 1, 0]);
        assert_eq!(dictionary.len(), 0);
    }

    #[test]
    fn a_dictionary_past_its_bound_starts_again() {
        let mut dictionary = Dictionary::new();
        let texts: Vec<String> = (0..=MAX_ENTRIES).map(|i| i.to_string()).collect();
        let (codes, _) = batch(&mut dictionary, texts.iter().map(String::as_bytes));
        assert_eq!(codes.last(), Some(&(MAX_ENTRIES as u32)));
        let (codes, values) = batch(&mut dictionary, [&b"fresh"[..]]);
        assert_eq!((codes, values.len()), (vec![0], 1));
    }
}
