//! `from_json`: a column of JSON texts to a column of structs.
//!
//! Comes in: strings or binary values, and a decoder made for the schema. Goes out: a struct per row; NULL for a NULL or
//! blank text, a struct of NULLs for one that does not parse. Fails: a malformed text under `FAILFAST`; `DROPMALFORMED`, which
//! Spark refuses too, because a function cannot drop rows.

use crate::decode::{JsonDecoder, ParseMode, Rejected};
use crate::error::{Error, ErrorCode, Result};
use crate::source::Origin;
use arrow::array::{Array, StructArray};

/// Decodes `values` to the decoder's columns, and says how many were malformed.
///
/// # Errors
/// [`ErrorCode::MalformedRecord`] under `FAILFAST`, [`ErrorCode::UnsupportedOperation`] for a decoder that drops records.
pub fn from_json(values: &dyn Array, decoder: &mut JsonDecoder, origin: &Origin) -> Result<(StructArray, Rejected)> {
    if decoder.mode() == ParseMode::DropMalformed {
        return Err(Error::new(
            ErrorCode::UnsupportedOperation,
            "from_json has no mode DROPMALFORMED; use PERMISSIVE and filter, or FAILFAST",
        ));
    }
    let decoded = decoder.decode_values(values, origin)?;
    let structs =
        StructArray::try_new_with_length(decoder.fields(), decoded.columns, decoded.null_record, decoded.rows)?;
    Ok((structs, decoded.rejected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{JsonOptions, Wanted};
    use crate::types::StructType;
    use arrow::array::{AsArray, StringArray};
    use arrow::datatypes::Int32Type;

    #[test]
    fn blank_is_null_and_garbage_is_a_struct_of_nulls() {
        let schema = StructType::from_ddl("n INT, s STRING").unwrap();
        let wanted = [Wanted { field: 1, dictionary: true }, Wanted { field: 0, dictionary: false }];
        let mut decoder = JsonDecoder::new(&schema, &wanted, JsonOptions::default()).unwrap();
        let values = StringArray::from(vec![Some("{\"n\":1,\"s\":\"a\"}"), Some("garbage"), Some("  "), None]);
        let (structs, rejected) = from_json(&values, &mut decoder, &Origin::Process).unwrap();
        assert_eq!((0..4).map(|row| structs.is_null(row)).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(structs.column_names(), ["s", "n"]);
        let numbers: Vec<_> = structs.column(1).as_primitive::<Int32Type>().iter().collect();
        assert_eq!(numbers, [Some(1), None, None, None]);
        assert_eq!(rejected.malformed, 1);
        let options = JsonOptions { mode: ParseMode::DropMalformed, ..Default::default() };
        let mut decoder = JsonDecoder::new(&schema, &wanted, options).unwrap();
        let error = from_json(&values, &mut decoder, &Origin::Process).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    }
}
