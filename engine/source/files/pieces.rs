//! A file read from front to back, in pieces of whole records: for what cannot be cut at line ends without reading it.
//!
//! Comes in: a file, compressed or not, and how its records end. Goes out: pieces of about the wanted size, each with the place of its
//! first byte in the text. No more than a piece and the record that crosses its end is in memory. Fails: a file that cannot be read
//! or decompressed; under `ignoreCorruptFiles` such a file ends there, with a warning.

use super::compression::Compression;
use super::lines::Header;
use super::reader::FileReader;
use crate::decode::{Records, record_ends};
use crate::error::{Error, ErrorCode, Result};
use bytes::Bytes;
use std::io::Read;

/// The pieces of one file.
pub(super) struct Pieces {
    file: FileReader,
    text: Box<dyn Read + Send>,
    records: Records,
    header: Header,
    ignore_corrupt: bool,
    /// Read already, not yet part of a piece.
    rest: Vec<u8>,
    /// Where `rest` begins in the text.
    at: u64,
    ended: bool,
}

impl Pieces {
    pub fn new(
        file: FileReader,
        compression: Option<Compression>,
        records: Records,
        header: Header,
        ignore_corrupt: bool,
    ) -> Result<Self> {
        let bytes = Sequential { file: file.clone(), at: 0, piece: Bytes::new() };
        let text: Box<dyn Read + Send> = match compression {
            Some(compression) => compression.open(bytes).map_err(|cause| damaged(&file, cause))?,
            None => Box::new(bytes),
        };
        Ok(Self { file, text, records, header, ignore_corrupt, rest: Vec::new(), at: 0, ended: false })
    }

    /// The file.
    pub fn file(&self) -> &FileReader {
        &self.file
    }

    /// The next records, about `wanted` bytes of them, and where they begin.
    pub fn next(&mut self, wanted: usize) -> Result<Option<(Bytes, u64)>> {
        let mut wanted = wanted.max(1);
        loop {
            if !self.ended {
                self.fill(wanted)?;
            }
            let whole = if self.ended { self.rest.len() } else { record_ends(&self.rest, &self.records) };
            if whole == 0 && !self.ended {
                // One record is longer than a piece.
                wanted = wanted.saturating_mul(2);
                continue;
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let next = self.rest.split_off(whole);
            let piece = Bytes::from(std::mem::replace(&mut self.rest, next));
            let at = self.at;
            self.at += whole as u64;
            if at > 0 {
                return Ok(Some((piece, at)));
            }
            let body = self.header.body(piece.clone(), &self.records, &self.file.path)?;
            let skipped = (piece.len() - body.len()) as u64;
            return Ok(Some((body, skipped)));
        }
    }

    /// Reads until there are `wanted` bytes, or no more.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        let missing = wanted.saturating_sub(self.rest.len());
        if missing == 0 {
            return Ok(());
        }
        match self.text.by_ref().take(missing as u64).read_to_end(&mut self.rest) {
            Ok(read) => self.ended = read < missing,
            Err(cause) => {
                let error = damaged(&self.file, cause);
                if !self.ignore_corrupt {
                    return Err(error);
                }
                tracing::warn!(file = %self.file.path, %error, "the rest of a corrupt file is left out, as ignoreCorruptFiles says");
                self.ended = true;
            }
        }
        Ok(())
    }
}

fn damaged(file: &FileReader, cause: std::io::Error) -> Error {
    // What the reader below said travels inside.
    match cause.downcast::<Error>() {
        Ok(own) => own,
        Err(cause) => Error::caused_by(
            ErrorCode::Io,
            format!(
                "cannot decompress {}: {cause}; replace the file, or set ignoreCorruptFiles to go on without it",
                file.path
            ),
            cause,
        ),
    }
}

/// The bytes of a file in order.
struct Sequential {
    file: FileReader,
    at: u64,
    piece: Bytes,
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.at.saturating_add(self.file.step()).min(self.file.size);
            if self.at == end {
                return Ok(0);
            }
            self.piece = self.file.bytes(self.at..end).map_err(std::io::Error::other)?;
            self.at = end;
        }
        let length = self.piece.len().min(buffer.len());
        let head = self.piece.split_to(length);
        for (to, from) in buffer.iter_mut().zip(&head) {
            *to = *from;
        }
        Ok(length)
    }
}
