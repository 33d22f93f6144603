//! Text files: every line, or whatever `lineSep` ends, is a row of the one column `value`; under `wholetext` a file is.
//!
//! Comes in: bytes. Goes out: [`Decoded`]. Nothing is malformed; bytes that are no UTF-8 become U+FFFD.

use super::column::Column;
use super::records::{Records, records};
use super::{Decoded, Rejected, Wanted, check_size};
use crate::error::{Error, Result};
use crate::types::DataType;

/// Decodes lines of text.
#[derive(Debug)]
pub struct TextDecoder {
    by: Records,
    columns: Vec<Column>,
}

impl TextDecoder {
    /// A decoder of `value`, or of no column at all, when a query only counts lines.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`](crate::ErrorCode::Internal) for another column than the first, or more than one.
    pub fn new(wanted: &[Wanted], by: Records) -> Result<Self> {
        if wanted.len() > 1 || wanted.iter().any(|want| want.field != 0) {
            return Err(Error::internal("a text file has the one column `value`"));
        }
        Ok(Self { by, columns: wanted.iter().map(|want| Column::new(&DataType::String, want.dictionary)).collect() })
    }

    /// Decodes a chunk; an empty line is a row.
    ///
    /// # Errors
    /// A chunk past 715 MB.
    pub fn decode_lines(&mut self, bytes: &[u8]) -> Result<Decoded> {
        check_size(bytes.len())?;
        for column in &mut self.columns {
            column.begin(bytes.len() * 3)?;
        }
        let valid = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut rows = 0;
        for (_, line) in records(bytes, &self.by) {
            for column in &mut self.columns {
                if valid {
                    column.push_text(line);
                } else {
                    column.push_text(String::from_utf8_lossy(line).as_bytes());
                }
            }
            rows += 1;
        }
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        Ok(Decoded { columns, rows, null_record: None, kept: None, rejected: Rejected::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    #[test]
    fn lines_are_rows() {
        let mut decoder = TextDecoder::new(&Wanted::all(1), Records::Lines).unwrap();
        let decoded = decoder.decode_lines(b"one\r\n\n\xff{two}").unwrap();
        let values: Vec<_> = decoded.columns[0].as_string::<i32>().iter().flatten().collect();
        assert_eq!(values, ["one", "", "\u{fffd}{two}"]);
        assert_eq!(TextDecoder::new(&[], Records::Whole).unwrap().decode_lines(b"a\nb\n").unwrap().rows, 1);
    }
}
