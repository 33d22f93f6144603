//! Text files cut into chunks of whole lines, by the workers that decode them.
//!
//! Comes in: files and a wanted chunk size. Goes out: byte ranges of about that size; the worker that takes range `a..b`
//! reads the records that start in it: from the first line start at or after `a` to the first at or after `b`. So every
//! record is in exactly one chunk, whatever the sizes, and handing out chunks reads nothing. Lines end with `\n`; a `\r`
//! before it is left to the decoder. The first chunk drops a byte order mark and, when asked, the header line.
//! Fails: a file that cannot be read.

use super::reader::FileReader;
use crate::error::Result;
use crate::source::{Chunk, Chunks, Lines};
use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// What is read past a range's end at first, to find the end of its last record in the same read.
const SLACK: u64 = 4096;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Hands out the ranges of files in order.
pub(super) struct LineChunks {
    files: std::vec::IntoIter<FileReader>,
    header: bool,
    chunk_bytes: u64,
    /// The file being cut, its number of parts, and the next part.
    current: Option<(FileReader, u64, u64)>,
}

impl LineChunks {
    pub fn new(files: Vec<FileReader>, header: bool, chunk_bytes: usize) -> Self {
        Self { files: files.into_iter(), header, chunk_bytes: (chunk_bytes as u64).max(1), current: None }
    }
}

impl Chunks for LineChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some((file, parts, next)) = &mut self.current
                && *next < *parts
            {
                // Equal parts, so that no worker is left with a crumb.
                let cut = |part: u64| (u128::from(file.size) * u128::from(part) / u128::from(*parts)) as u64;
                let range = cut(*next)..cut(*next + 1);
                *next += 1;
                let path = file.path.clone();
                let (file, header) = (file.clone(), self.header);
                return Ok(Some(Chunk::Lines(Lines { load: Box::new(move || load(&file, range, header)), path })));
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            let parts = file.size.div_ceil(self.chunk_bytes);
            self.current = Some((file, parts, 0));
        }
    }
}

/// The records that start in `range`, and where in the file the first one does.
fn load(file: &FileReader, range: Range<u64>, header: bool) -> Result<(Bytes, u64)> {
    // The byte before tells whether a record starts exactly at `range.start`.
    let from = range.start.saturating_sub(1);
    let read_to = range.end.saturating_add(SLACK).min(file.size);
    let bytes = file.bytes(from..read_to)?;
    let at = |position: u64| (position - from) as usize;
    let start = if range.start == 0 {
        0
    } else {
        match memchr::memchr(b'\n', &bytes[..at(range.end)]) {
            // A line end on the range's last byte starts the next range's first record.
            Some(newline) if newline + 1 < at(range.end) => newline + 1,
            _ => return Ok((Bytes::new(), range.end)),
        }
    };
    let last = at(range.end).saturating_sub(1);
    let whole = match memchr::memchr(b'\n', &bytes[last..]) {
        Some(newline) => bytes.slice(start..last + newline + 1),
        None if read_to == file.size => bytes.slice(start..),
        None => extend(file, &bytes[start..], read_to)?,
    };
    if range.start > 0 {
        return Ok((whole, from + start as u64));
    }
    let records = body(whole.clone(), header);
    let skipped = (whole.len() - records.len()) as u64;
    Ok((records, skipped))
}

/// Reads on from `read_to` until the line ends, in growing steps.
fn extend(file: &FileReader, head: &[u8], mut read_to: u64) -> Result<Bytes> {
    let mut whole = BytesMut::from(head);
    let mut step = 4 * SLACK;
    while read_to < file.size {
        let next = read_to.saturating_add(step).min(file.size);
        let more = file.bytes(read_to..next)?;
        if let Some(newline) = memchr::memchr(b'\n', &more) {
            whole.extend_from_slice(&more[..=newline]);
            break;
        }
        whole.extend_from_slice(&more);
        read_to = next;
        step = step.saturating_mul(2);
    }
    Ok(whole.freeze())
}

/// The start of a file without byte order mark and header line.
fn body(mut bytes: Bytes, header: bool) -> Bytes {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes = bytes.slice(BYTE_ORDER_MARK.len()..);
    }
    if !header {
        return bytes;
    }
    match memchr::memchr(b'\n', &bytes) {
        Some(newline) => bytes.slice(newline + 1..),
        None => Bytes::new(),
    }
}
