//! Keys of records, which a stream repeats in the same order.
//!
//! Comes in: a cursor on a key. Goes out: the column that the key names, or [`UNWANTED`]. Remembers the keys of the records
//! before, quotes and colon included, and compares them first; a key that is left out only skips its place.

use crate::decode::scan::{Cursor, Syntax};
use rustc_hash::FxHashMap;

/// A key that names no wanted column.
pub(super) const UNWANTED: usize = usize::MAX;

/// Keys remembered at most: records of ever new keys gain nothing from it.
const MEMORY: usize = 256;
/// How many remembered keys are tried before a look-up.
const TRIES: usize = 4;

#[derive(Debug)]
pub(super) struct Keys {
    columns: FxHashMap<Box<[u8]>, usize>,
    remembered: Vec<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    /// `"key":`
    token: Box<[u8]>,
    /// Its first 16 bytes, and which of them count.
    word: u128,
    mask: u128,
    column: usize,
}

impl Keys {
    pub(super) fn new(names: &[(&str, usize)]) -> Self {
        let columns = names.iter().map(|(name, column)| (name.as_bytes().into(), *column)).collect();
        Self { columns, remembered: Vec::new() }
    }

    /// Steps over a key, its colon and the blanks around it. `place` is where the record is in the remembered order.
    #[inline]
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: &mut usize,
        scratch: &mut Vec<u8>,
    ) -> Result<usize, Syntax> {
        if let Some(key) = self.remembered.get(*place)
            && cursor.eat_token(&key.token, key.word, key.mask)
        {
            *place += 1;
            if cursor.peek() <= b' ' {
                cursor.skip_blank();
            }
            return Ok(key.column);
        }
        self.search(cursor, place, scratch)
    }

    /// Tries the next few remembered keys, for records that leave some out, and then the schema.
    #[inline(never)]
    fn search(&mut self, cursor: &mut Cursor<'_>, place: &mut usize, scratch: &mut Vec<u8>) -> Result<usize, Syntax> {
        for (ahead, key) in self.remembered.iter().skip(*place).take(TRIES).enumerate() {
            if cursor.eat_token(&key.token, key.word, key.mask) {
                *place += ahead + 1;
                cursor.skip_blank();
                return Ok(key.column);
            }
        }
        self.look_up(cursor, place, scratch)
    }

    fn look_up(&mut self, cursor: &mut Cursor<'_>, place: &mut usize, scratch: &mut Vec<u8>) -> Result<usize, Syntax> {
        let key = cursor.key()?;
        let name = key.resolve(scratch);
        let column = self.columns.get(name).copied().unwrap_or(UNWANTED);
        if !key.escaped && self.remembered.len() < MEMORY && name.len() <= 64 && !name.contains(&b'"') {
            self.remembered.insert((*place).min(self.remembered.len()), Remembered::new(name, column));
            *place += 1;
        }
        Ok(column)
    }
}

impl Remembered {
    fn new(name: &[u8], column: usize) -> Self {
        let token: Box<[u8]> = [b"\"", name, b"\":"].concat().into();
        let mut head = [0; 16];
        let length = token.len().min(16);
        head[..length].copy_from_slice(&token[..length]);
        let mask = if length == 16 { u128::MAX } else { (1 << (8 * length)) - 1 };
        Self { token, word: u128::from_le_bytes(head), mask, column }
    }
}
