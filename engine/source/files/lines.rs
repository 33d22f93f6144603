//! Text files cut into chunks of whole records, by the workers that decode them.
//!
//! Comes in: files and a wanted chunk size. Goes out: for plain lines, byte ranges of about that size; the worker that takes range
//! `a..b` reads the records that start in it: from the first line start at or after `a` to the first at or after `b`. So every
//! record is in exactly one chunk, whatever the sizes, and handing out chunks reads nothing. Lines end with `\n`; a `\r`
//! before it is left to the decoder. Files whose records cannot be found from the middle (compressed ones, other separators,
//! quotes over several lines) are read from front to back. The first chunk drops a byte order mark and, when asked, the header.
//! Fails: a file that cannot be read, a header that the schema does not have.

use super::compression::Compression;
use super::pieces::Pieces;
use super::reader::FileReader;
use crate::decode::{CsvOptions, Records, split_record};
use crate::error::{Error, ErrorCode, Result};
use crate::source::{Chunk, Chunks, Lines};
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;

/// What is read past a range's end at first, to find the end of its last record in the same read.
const SLACK: u64 = 4096;
/// Text of a compressed file that one worker may hold at once.
const SMALL: u64 = 256 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What begins a file before its first record.
#[derive(Debug, Clone, Default)]
pub(super) struct Header {
    /// Whether there is a header line at all.
    pub skip: bool,
    /// Options of the lines before it, and names that it must have (`enforceSchema` off).
    pub csv: Option<Arc<(CsvOptions, Option<Vec<String>>)>>,
}

impl Header {
    /// The start of a file without byte order mark and header.
    pub fn body(&self, mut bytes: Bytes, records: &Records, path: &str) -> Result<Bytes> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes = bytes.slice(BYTE_ORDER_MARK.len()..);
        }
        if !self.skip {
            return Ok(bytes);
        }
        let comment = self.csv.as_deref().and_then(|(options, _)| options.comment);
        loop {
            let length = first_record(&bytes, records);
            let line = bytes.slice(..length);
            bytes = bytes.slice(length..);
            // Blank lines and comments before the header are neither header nor record.
            let ignored =
                line.iter().all(|byte| *byte <= b' ') || comment.is_some_and(|comment| line.first() == Some(&comment));
            if ignored && !bytes.is_empty() {
                continue;
            }
            if let Some((options, Some(names))) = self.csv.as_deref()
                && !ignored
            {
                agree(&split_record(&line, options), names, path)?;
            }
            return Ok(bytes);
        }
    }
}

/// Length of the first record with its end.
fn first_record(bytes: &[u8], records: &Records) -> usize {
    match records {
        Records::Lines => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1),
        Records::Separated(separator) => {
            memchr::memmem::find(bytes, separator).map_or(bytes.len(), |at| at + separator.len())
        }
        Records::Quoted(rules) => rules.record_end(bytes, 0).unwrap_or(bytes.len()),
        Records::Whole => bytes.len(),
    }
}

fn agree(found: &[String], names: &[String], path: &str) -> Result<()> {
    let differ = found.iter().zip(names).find(|(found, name)| !found.eq_ignore_ascii_case(name));
    let reason = match differ {
        Some((found, name)) => format!("has '{found}' where the schema has '{name}'"),
        None if found.len() != names.len() => {
            format!("has {} columns and the schema {}", found.len(), names.len())
        }
        None => return Ok(()),
    };
    Err(Error::new(
        ErrorCode::DatatypeMismatch,
        format!(
            "the header of {path} {reason}; correct one of them, or set enforceSchema to true to match columns by position"
        ),
    ))
}

/// How the files of a source are read.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub records: Records,
    pub header: Header,
    pub ignore_corrupt: bool,
}

/// Hands out the chunks of files in order.
pub(super) struct LineChunks {
    files: std::vec::IntoIter<FileReader>,
    layout: Layout,
    chunk_bytes: u64,
    current: Option<Current>,
}

/// The file being read.
enum Current {
    /// Its number of parts, and the next part.
    Cut(FileReader, u64, u64),
    Pieces(Box<Pieces>),
}

impl LineChunks {
    pub fn new(files: Vec<FileReader>, layout: Layout, chunk_bytes: usize) -> Self {
        Self { files: files.into_iter(), layout, chunk_bytes: (chunk_bytes as u64).max(1), current: None }
    }

    fn open(&self, file: FileReader) -> Result<Current> {
        let compression = Compression::of(&file.path)?;
        if compression.is_none() && self.layout.records == Records::Lines {
            let parts = file.size.div_ceil(self.chunk_bytes);
            return Ok(Current::Cut(file, parts, 0));
        }
        let Layout { records, header, ignore_corrupt } = self.layout.clone();
        Pieces::new(file, compression, records, header, ignore_corrupt).map(|pieces| Current::Pieces(Box::new(pieces)))
    }

    /// A compressed file whose text surely fits into memory: workers unpack such files side by side.
    fn small(file: &FileReader) -> bool {
        let expansion = Compression::of(&file.path).ok().flatten().and_then(Compression::most_expansion);
        expansion.is_some_and(|times| file.size.saturating_mul(times) <= SMALL)
    }

    fn whole(&self, file: FileReader) -> Result<Chunk> {
        let Layout { records, header, ignore_corrupt } = self.layout.clone();
        let (path, partition) = (file.path.clone(), file.partition.clone());
        let compression = Compression::of(&file.path)?;
        let load = move || {
            let mut pieces = Pieces::new(file, compression, records, header, ignore_corrupt)?;
            Ok(pieces.next(usize::MAX)?.unwrap_or_default())
        };
        Ok(Chunk::Lines(Lines { load: Box::new(load), path, partition }))
    }
}

impl Chunks for LineChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            match &mut self.current {
                Some(Current::Cut(file, parts, next)) if *next < *parts => {
                    // Equal parts, so that no worker is left with a crumb.
                    let cut = |part: u64| (u128::from(file.size) * u128::from(part) / u128::from(*parts)) as u64;
                    let range = cut(*next)..cut(*next + 1);
                    *next += 1;
                    let (path, partition) = (file.path.clone(), file.partition.clone());
                    let (file, header) = (file.clone(), self.layout.header.clone());
                    let load = Box::new(move || load(&file, range, &header));
                    return Ok(Some(Chunk::Lines(Lines { load, path, partition })));
                }
                Some(Current::Pieces(pieces)) => {
                    let wanted = usize::try_from(self.chunk_bytes).unwrap_or(usize::MAX);
                    if let Some(piece) = pieces.next(wanted)? {
                        let (path, partition) = (pieces.file().path.clone(), pieces.file().partition.clone());
                        return Ok(Some(Chunk::Lines(Lines { load: Box::new(move || Ok(piece)), path, partition })));
                    }
                    self.current = None;
                }
                _ => {
                    let Some(file) = self.files.next() else { return Ok(None) };
                    if Self::small(&file) {
                        return self.whole(file).map(Some);
                    }
                    self.current = Some(self.open(file)?);
                }
            }
        }
    }
}

/// The records that start in `range`, and where in the file the first one does.
fn load(file: &FileReader, range: Range<u64>, header: &Header) -> Result<(Bytes, u64)> {
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
    let records = header.body(whole.clone(), &Records::Lines, &file.path)?;
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
