//! Base32 (RFC 4648).
//!
//! Comes in: bytes, or their texts. Goes out: the other. Fails: nothing; letters that stand for nothing are passed over, and what follows an
//! `=` is not read.

use crate::error::Result;
use crate::functions::builtin::{Call, strict};
use arrow::array::{ArrayRef, BinaryArray, StringArray};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) fn encode(call: &Call) -> Result<ArrayRef> {
    strict!(call, StringArray, |bytes: binary 0| {
        let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
        for chunk in bytes.chunks(5) {
            let value = chunk.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte)) << (8 * (5 - chunk.len()));
            let letters = (chunk.len() * 8).div_ceil(5);
            for index in 0..8 {
                let letter = ALPHABET.get((value >> (35 - 5 * index) & 31) as usize).copied();
                out.push(if index < letters { letter.map_or('=', char::from) } else { '=' });
            }
        }
        Ok(Some(out))
    })
}

pub(super) fn decode(call: &Call) -> Result<ArrayRef> {
    strict!(call, BinaryArray, |text: text 0| {
        let (mut out, mut bits, mut width) = (Vec::new(), 0u64, 0u32);
        for letter in text.bytes().take_while(|letter| *letter != b'=') {
            let Some(value) = ALPHABET.iter().position(|known| *known == letter.to_ascii_uppercase()) else { continue };
            bits = (bits << 5) | value as u64;
            width += 5;
            if width == 40 {
                out.extend(bits.to_be_bytes().iter().skip(3));
                // Bits stay, as an odd letter at the end reads them in Spark.
                width = 0;
            }
        }
        match width {
            0 => {}
            // Half of a byte, which Spark gives too.
            5 => out.push((bits >> 2) as u8),
            _ => {
                let bytes = width / 8;
                let kept = (bits >> (width % 8)).to_be_bytes();
                out.extend(kept.iter().skip(8 - bytes as usize));
            }
        }
        Ok(Some(out))
    })
}
