//! Whether bytes are UTF-8.
//!
//! Comes in: texts, which always are, and bytes. Goes out: the answer, or texts. Fails: `validate_utf8` of bytes that are none.

use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed, converts, strict};
use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::datatypes::DataType;

/// Texts are read as their bytes.
pub(super) fn types(a: &Arguments, returns: DataType) -> Result<Typed> {
    let to = match a.of(0) {
        DataType::Binary | DataType::Utf8 | DataType::Null => DataType::Binary,
        other if converts(other, &DataType::Utf8) => DataType::Utf8,
        _ => return Err(a.mismatch(0, "a STRING")),
    };
    Ok(Typed { arguments: vec![to], returns })
}

/// The argument as bytes.
fn bytes<'a>(call: &Call<'a>) -> Result<Call<'a>> {
    Ok(Call {
        name: call.name,
        arguments: vec![call.cast(0, &DataType::Binary)?],
        constant: call.constant.clone(),
        rows: call.rows,
        returns: call.returns,
        environment: call.environment,
    })
}

pub(super) fn is_valid(call: &Call) -> Result<ArrayRef> {
    let call = bytes(call)?;
    strict!(call, BooleanArray, |text: binary 0| Ok(Some(std::str::from_utf8(text).is_ok())))
}

pub(super) fn make_valid(call: &Call) -> Result<ArrayRef> {
    let call = bytes(call)?;
    strict!(call, StringArray, |text: binary 0| Ok(Some(String::from_utf8_lossy(text).into_owned())))
}

pub(super) fn validate(call: &Call) -> Result<ArrayRef> {
    let call = bytes(call)?;
    strict!(call, StringArray, |text: binary 0| match std::str::from_utf8(text) {
        Ok(text) => Ok(Some(text.to_string())),
        Err(_) if call.name.starts_with("try_") => Ok(None),
        Err(at) => {
            let shown: String = text.iter().skip(at.valid_up_to()).take(1).map(|byte| format!("\\x{byte:02X}")).collect();
            Err(Error::new(
                ErrorCode::InvalidUtf8,
                format!("Invalid UTF8 byte sequence found in string: {shown}; make_valid_utf8 replaces it, try_validate_utf8 gives NULL"),
            ))
        }
    })
}
