//! Where the records of a text end.
//!
//! Comes in: bytes, and how their records are told apart. Goes out: the records, without their ends. Nothing fails: a last record
//! needs no end, and quotes that nothing closes end with the text.

/// How the records of a text file are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Records {
    /// By line ends: `\n`, `\r\n`, and in CSV and text files `\r`.
    #[default]
    Lines,
    /// By `lineSep`.
    Separated(Vec<u8>),
    /// By line ends outside quotes: CSV under `multiLine`.
    Quoted(QuoteRules),
    /// Not at all: JSON under `multiLine`, text under `wholetext`.
    Whole,
}

/// What CSV under `multiLine` needs to know of quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteRules {
    /// Between fields.
    pub delimiter: Vec<u8>,
    /// Around fields.
    pub quote: Option<u8>,
    /// Before a quote inside quotes.
    pub escape: u8,
    /// At the start of lines that are no records.
    pub comment: Option<u8>,
    /// Whether blanks before a quote do not count.
    pub skip_blanks: bool,
}

/// How a quoted field ends.
enum Close {
    /// Before this place.
    At(usize),
    /// It is no quoted field: its quotes are text.
    Never,
    /// Not in these bytes.
    Unknown,
}

impl QuoteRules {
    /// The end of the record that begins at `start`, line end included; None when it is not in these bytes.
    pub(crate) fn record_end(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let comment = self.comment.is_some() && bytes.get(start).copied() == self.comment;
        let mut at = start;
        loop {
            if self.skip_blanks {
                at += bytes.get(at..)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            }
            if !comment && self.quote.is_some() && bytes.get(at).copied() == self.quote {
                match self.close(bytes, at + 1) {
                    Close::At(end) => at = end,
                    Close::Never => {}
                    Close::Unknown => return None,
                }
            }
            // To the next field, or out of the line.
            loop {
                let first = self.delimiter.first().copied().unwrap_or(b'\n');
                let stop = at + memchr::memchr3(first, b'\n', b'\r', bytes.get(at..)?)?;
                match bytes.get(stop).copied() {
                    Some(b'\n') => return Some(stop + 1),
                    Some(b'\r') => {
                        return match bytes.get(stop + 1) {
                            Some(b'\n') => Some(stop + 2),
                            Some(_) => Some(stop + 1),
                            None => None,
                        };
                    }
                    _ if !comment && bytes.get(stop..)?.starts_with(&self.delimiter) => {
                        at = stop + self.delimiter.len();
                        break;
                    }
                    _ => at = stop + 1,
                }
            }
        }
    }

    /// Looks for the quote that closes the field whose text begins at `at`.
    fn close(&self, bytes: &[u8], mut at: usize) -> Close {
        let Some(quote) = self.quote else { return Close::Never };
        loop {
            let Some(rest) = bytes.get(at..) else { return Close::Unknown };
            let Some(found) = memchr::memchr2(quote, self.escape, rest) else { return Close::Unknown };
            at += found;
            let Some(next) = bytes.get(at + 1).copied() else { return Close::Unknown };
            let byte = bytes.get(at).copied();
            if byte == Some(self.escape) && self.escape != quote {
                at += if next == quote || next == self.escape { 2 } else { 1 };
            } else if next == quote {
                at += 2;
            } else {
                let after = at + 1;
                let blanks = bytes.iter().skip(after).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                for end in [after, after + blanks] {
                    match bytes.get(end..) {
                        None | Some([]) => return Close::Unknown,
                        Some([b'\n' | b'\r', ..]) => return Close::At(end),
                        Some(rest) if rest.starts_with(&self.delimiter) => return Close::At(end),
                        Some(_) => {}
                    }
                }
                return Close::Never;
            }
        }
    }
}

/// The end of the last record that is whole, 0 when none is.
pub(crate) fn record_ends(bytes: &[u8], records: &Records) -> usize {
    match records {
        Records::Lines => memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1),
        Records::Separated(separator) => memchr::memmem::rfind(bytes, separator).map_or(0, |at| at + separator.len()),
        Records::Quoted(rules) => {
            let mut end = 0;
            while let Some(next) = rules.record_end(bytes, end) {
                end = next;
            }
            end
        }
        Records::Whole => 0,
    }
}

/// The records of a text with their places, without their ends.
pub(super) fn records<'a>(bytes: &'a [u8], by: &'a Records) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let (record, length) = match by {
            Records::Lines => match memchr::memchr2(b'\n', b'\r', rest) {
                Some(end) if rest.get(end..end + 2) == Some(b"\r\n") => (rest.get(..end)?, end + 2),
                Some(end) => (rest.get(..end)?, end + 1),
                None => (rest, rest.len()),
            },
            Records::Separated(separator) => match memchr::memmem::find(rest, separator) {
                Some(end) => (rest.get(..end)?, end + separator.len()),
                None => (rest, rest.len()),
            },
            Records::Quoted(rules) => {
                let end = rules.record_end(bytes, start).unwrap_or(bytes.len());
                let record = bytes.get(start..end)?;
                let record = record.strip_suffix(b"\n").unwrap_or(record);
                (record.strip_suffix(b"\r").unwrap_or(record), end - start)
            }
            Records::Whole => (rest, rest.len()),
        };
        at += length;
        Some((start, record))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, by: &Records) -> Vec<String> {
        records(text.as_bytes(), by).map(|(_, record)| String::from_utf8_lossy(record).into_owned()).collect()
    }

    fn quoted() -> Records {
        let (delimiter, quote, escape) = (b",".to_vec(), Some(b'"'), b'\\');
        Records::Quoted(QuoteRules { delimiter, quote, escape, comment: Some(b'#'), skip_blanks: false })
    }

    #[test]
    fn lines_end_in_three_ways() {
        assert_eq!(split("a\rb\r\nc\n\nd", &Records::Lines), ["a", "b", "c", "", "d"]);
        assert_eq!(split("a;;b\nc;;", &Records::Separated(b";;".to_vec())), ["a", "b\nc"]);
        assert_eq!(split("a\nb\n", &Records::Whole), ["a\nb\n"]);
    }

    #[test]
    fn quotes_hold_line_ends() {
        let text = "a,\"x\ny\"\n#\"no\nb\"q,\"z\"\"\r\n\\\"\n\" ,w\r\n\"odd\"x\nlast,\"open\nend";
        let expected = ["a,\"x\ny\"", "#\"no", "b\"q,\"z\"\"\r\n\\\"\n\" ,w", "\"odd\"x", "last,\"open\nend"];
        assert_eq!(split(text, &quoted()), expected);
        assert_eq!(&text[record_ends(text.as_bytes(), &quoted())..], "last,\"open\nend");
    }

    #[test]
    fn pieces_end_where_records_do() {
        let text = "a,\"x\ny\"\nb,\"1\n2\"\nc\n";
        for cut in 0..text.len() {
            let end = record_ends(&text.as_bytes()[..cut], &quoted());
            assert!([0, 8, 16, 18].contains(&end), "{cut}: {end}");
        }
        assert_eq!(record_ends(b"a;b;c", &Records::Separated(b";".to_vec())), 4);
        assert_eq!(record_ends(b"a\nb", &Records::Lines), 2);
    }
}
