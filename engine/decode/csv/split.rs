//! The fields of one CSV line.
//!
//! Comes in: a line. Goes out: its fields, without quotes and escapes. Inside quotes, the escape before a quote or before
//! itself, and a doubled quote, stand for the character; a quote that neither ends the field nor is escaped makes the field
//! plain text up to the next delimiter, quotes and all. Quotes that the line does not close end with it.

/// Splits lines.
#[derive(Debug)]
pub(in crate::decode) struct Splitter {
    delimiter: Vec<u8>,
    quote: Option<u8>,
    escape: u8,
    trim: Trim,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Which fields stood in quotes.
    quoted: Vec<bool>,
}

/// Blanks around fields that do not count: `ignoreLeadingWhiteSpace` and `ignoreTrailingWhiteSpace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::decode) struct Trim {
    pub(in crate::decode) leading: bool,
    pub(in crate::decode) trailing: bool,
}

/// The fields of a line.
pub(in crate::decode) struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
    quoted: &'a [bool],
}

impl<'a> Fields<'a> {
    pub(in crate::decode) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(in crate::decode) fn get(&self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }

    /// Whether a field stood in quotes.
    pub(in crate::decode) fn quoted(&self, index: usize) -> bool {
        self.quoted.get(index).copied().unwrap_or_default()
    }
}

impl Splitter {
    pub(in crate::decode) fn new(delimiter: &[u8], quote: Option<u8>, escape: u8, trim: Trim) -> Self {
        let (bytes, ends, quoted) = (Vec::new(), Vec::new(), Vec::new());
        Self { delimiter: delimiter.to_vec(), quote, escape, trim, bytes, ends, quoted }
    }

    pub(in crate::decode) fn split(&mut self, line: &[u8]) -> Fields<'_> {
        self.bytes.clear();
        self.ends.clear();
        self.quoted.clear();
        let mut at = 0;
        loop {
            if self.trim.leading {
                at += line[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            }
            let quoted = self.quote.filter(|quote| line.get(at) == Some(quote));
            let closed = quoted.and_then(|quote| self.quoted(line, at + 1, quote));
            self.quoted.push(closed.is_some());
            at = match closed {
                Some(end) => end,
                None => self.plain(line, at),
            };
            self.ends.push(self.bytes.len());
            if at >= line.len() {
                return Fields { bytes: &self.bytes, ends: &self.ends, quoted: &self.quoted };
            }
            at += self.delimiter.len();
        }
    }

    /// Reads from `start` to the next delimiter; gives the delimiter's place, or the line's end.
    fn plain(&mut self, line: &[u8], start: usize) -> usize {
        let rest = &line[start..];
        let length = match self.delimiter.as_slice() {
            [single] => memchr::memchr(*single, rest),
            several => memchr::memmem::find(rest, several),
        }
        .unwrap_or(rest.len());
        let mut text = &rest[..length];
        if self.trim.trailing {
            text = text.trim_ascii_end();
        }
        self.bytes.extend_from_slice(text);
        start + length
    }

    /// Reads after an opening quote; None, and nothing read, when the quotes are not quotes after all.
    fn quoted(&mut self, line: &[u8], start: usize, quote: u8) -> Option<usize> {
        let before = self.bytes.len();
        let mut at = start;
        while let Some(byte) = line.get(at).copied() {
            let next = line.get(at + 1).copied();
            if byte == self.escape && self.escape != quote && (next == Some(quote) || next == Some(self.escape)) {
                self.bytes.extend(next);
                at += 2;
            } else if byte == quote && next == Some(quote) {
                self.bytes.push(quote);
                at += 2;
            } else if byte == quote {
                let blanks = line[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let rest = &line[at + 1..];
                for skipped in [0, blanks] {
                    let rest = &rest[skipped..];
                    if rest.is_empty() || rest.starts_with(&self.delimiter) {
                        return Some(at + 1 + skipped);
                    }
                }
                self.bytes.truncate(before);
                return None;
            } else {
                self.bytes.push(byte);
                at += 1;
            }
        }
        Some(line.len())
    }
}
