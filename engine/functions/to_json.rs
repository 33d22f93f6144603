//! `to_json`: a column of structs, arrays or maps to JSON texts, byte for byte as Spark writes them.
//!
//! Comes in: a nested column. Goes out: a text per row, NULL for NULL. NULL fields of structs are left out, elements of arrays
//! and values of maps are not; timestamps have milliseconds and the session's offset; doubles have Java's text, and as strings
//! where JSON has no number for them. Fails: a column that is not nested, and a date pattern that is not understood.

use super::java_text::{Style, plain, write_double, write_float, write_value};
use crate::decode::base64;
use crate::decode::pattern::Pattern;
use crate::decode::timestamp::{write_date, write_iso_millis, write_local_millis};
use crate::decode::zone::Zone;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int64Array, StringArray, StringBuilder, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use chrono_tz::Tz;
use std::fmt::Write;

/// How JSON is to be written; the names are Spark's options.
#[derive(Debug, Clone)]
pub struct ToJsonOptions {
    /// `timeZone`: the session's zone.
    pub time_zone: Tz,
    /// `timestampFormat`; without one `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`.
    pub timestamp_format: Option<String>,
    /// `timestampNTZFormat`; without one `yyyy-MM-dd'T'HH:mm:ss.SSS`.
    pub timestamp_ntz_format: Option<String>,
    /// `dateFormat`; without one `yyyy-MM-dd`.
    pub date_format: Option<String>,
    /// `ignoreNullFields`.
    pub ignore_null_fields: bool,
}

impl Default for ToJsonOptions {
    fn default() -> Self {
        Self {
            time_zone: Tz::UTC,
            timestamp_format: None,
            timestamp_ntz_format: None,
            date_format: None,
            ignore_null_fields: true,
        }
    }
}

/// The JSON text of every row.
///
/// # Errors
/// [`ErrorCode::DatatypeMismatch`] for a column that is no struct, array or map, [`ErrorCode::InvalidOption`] for a pattern.
pub fn to_json(array: &ArrayRef, options: &ToJsonOptions) -> Result<StringArray> {
    if !matches!(
        array.data_type(),
        DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..)
    ) {
        return Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!(
                "to_json takes a struct, an array or a map, not {}; wrap the column in struct(...)",
                array.data_type()
            ),
        ));
    }
    let layout = Layout {
        zone: options.time_zone.into(),
        timestamp: options.timestamp_format.as_deref().map(Pattern::new).transpose()?,
        timestamp_ntz: options.timestamp_ntz_format.as_deref().map(Pattern::new).transpose()?,
        date: options.date_format.as_deref().map(Pattern::new).transpose()?,
        ignore_null_fields: options.ignore_null_fields,
    };
    let values = Values::new(array)?;
    let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 64);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        values.write(row, &layout, &mut text)?;
        texts.append_value(&text);
    }
    Ok(texts.finish())
}

struct Layout {
    zone: Zone,
    timestamp: Option<Pattern>,
    timestamp_ntz: Option<Pattern>,
    date: Option<Pattern>,
    ignore_null_fields: bool,
}

/// A column whose type has been looked at once.
struct Values {
    nulls: Option<NullBuffer>,
    kind: Kind,
}

enum Kind {
    Null,
    Boolean(BooleanArray),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Float(Float32Array),
    Double(Float64Array),
    Decimal(Decimal128Array),
    String(StringArray),
    Binary(BinaryArray),
    Date(Date32Array),
    Timestamp(TimestampMicrosecondArray),
    /// Local times, which no zone moves.
    TimestampNtz(TimestampMicrosecondArray),
    /// Each field with its `"name":`.
    Struct(Vec<(String, Values)>),
    List(OffsetBuffer<i32>, Box<Values>),
    Map(OffsetBuffer<i32>, ArrayRef, Box<Values>),
}

impl Values {
    fn new(array: &ArrayRef) -> Result<Self> {
        let array = plain(array)?;
        let widened = |to| arrow::compute::cast(&array, &to);
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Kind::Integer(widened(DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Kind::Unsigned(widened(DataType::UInt64)?.as_primitive::<UInt64Type>().clone())
            }
            DataType::Float32 => Kind::Float(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Kind::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(..) => Kind::Decimal(array.as_primitive::<Decimal128Type>().clone()),
            DataType::Utf8 => Kind::String(array.as_string::<i32>().clone()),
            DataType::Binary => Kind::Binary(array.as_binary::<i32>().clone()),
            DataType::Date32 => Kind::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Timestamp(_, None) => {
                Kind::TimestampNtz(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            DataType::Timestamp(..) => Kind::Timestamp(array.as_primitive::<TimestampMicrosecondType>().clone()),
            DataType::Struct(fields) => {
                let mut columns = Vec::with_capacity(fields.len());
                for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                    let mut key = String::new();
                    write_string(field.name(), &mut key);
                    key.push(':');
                    columns.push((key, Values::new(column)?));
                }
                Kind::Struct(columns)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list.offsets().clone(), Box::new(Values::new(list.values())?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map(map.offsets().clone(), plain(map.keys())?, Box::new(Values::new(map.values())?))
            }
            other => {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!("to_json has no text for the type {other}"),
                ));
            }
        };
        Ok(Self { nulls: array.nulls().cloned(), kind })
    }

    fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn write(&self, row: usize, layout: &Layout, out: &mut String) -> Result<()> {
        if self.is_null(row) {
            out.push_str("null");
            return Ok(());
        }
        // Writing to a String cannot fail.
        let _ = match &self.kind {
            Kind::Null => out.write_str("null"),
            Kind::Boolean(values) => write!(out, "{}", values.value(row)),
            Kind::Integer(values) => write!(out, "{}", values.value(row)),
            Kind::Unsigned(values) => write!(out, "{}", values.value(row)),
            Kind::Float(values) => {
                let value = values.value(row);
                quoted_unless(value.is_finite(), out, |out| write_float(value, out));
                Ok(())
            }
            Kind::Double(values) => {
                let value = values.value(row);
                quoted_unless(value.is_finite(), out, |out| write_double(value, out));
                Ok(())
            }
            Kind::Decimal(values) => out.write_str(&values.value_as_string(row)),
            Kind::String(values) => {
                write_string(values.value(row), out);
                Ok(())
            }
            Kind::Binary(values) => {
                out.push('"');
                base64::encode(values.value(row), out);
                out.write_char('"')
            }
            Kind::Date(values) => {
                let days = values.value(row).into();
                match &layout.date {
                    None => quoted_unless(false, out, |out| write_date(days, out)),
                    Some(pattern) => {
                        let mut text = String::new();
                        pattern.write_date(days, &mut text);
                        write_string(&text, out);
                    }
                }
                Ok(())
            }
            Kind::Timestamp(values) => {
                let instant = values.value(row);
                match &layout.timestamp {
                    None => quoted_unless(false, out, |out| write_iso_millis(instant, layout.zone, out)),
                    Some(pattern) => {
                        let mut text = String::new();
                        pattern.write_timestamp(instant, layout.zone, &mut text);
                        write_string(&text, out);
                    }
                }
                Ok(())
            }
            Kind::TimestampNtz(values) => {
                let local = values.value(row);
                match &layout.timestamp_ntz {
                    None => quoted_unless(false, out, |out| write_local_millis(local, out)),
                    Some(pattern) => {
                        let mut text = String::new();
                        pattern.write_timestamp(local, Zone::Fixed(0), &mut text);
                        write_string(&text, out);
                    }
                }
                Ok(())
            }
            Kind::Struct(fields) => {
                out.push('{');
                let mut first = true;
                for (key, values) in fields {
                    if layout.ignore_null_fields && values.is_null(row) {
                        continue;
                    }
                    out.push_str(if first { "" } else { "," });
                    first = false;
                    out.push_str(key);
                    values.write(row, layout, out)?;
                }
                out.write_char('}')
            }
            Kind::List(offsets, values) => {
                out.push('[');
                for (index, row) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    values.write(row, layout, out)?;
                }
                out.write_char(']')
            }
            Kind::Map(offsets, keys, values) => {
                let style = Style { zone: layout.zone, null: "null", hex: false, interval: None };
                let mut key = String::new();
                out.push('{');
                for (index, row) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    key.clear();
                    write_value(keys, row, style, &mut key)?;
                    write_string(&key, out);
                    out.push(':');
                    values.write(row, layout, out)?;
                }
                out.write_char('}')
            }
        };
        Ok(())
    }
}

fn quoted_unless(bare: bool, out: &mut String, write: impl FnOnce(&mut String)) {
    out.push_str(if bare { "" } else { "\"" });
    write(out);
    out.push_str(if bare { "" } else { "\"" });
}

/// Appends a JSON string with the escapes that Jackson writes: the short ones, and `\u00XX` for other control characters.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            8 => out.push_str("\\b"),
            9 => out.push_str("\\t"),
            10 => out.push_str("\\n"),
            12 => out.push_str("\\f"),
            13 => out.push_str("\\r"),
            other => {
                let _ = write!(out, "\\u{other:04X}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{JsonDecoder, JsonOptions, Wanted};
    use crate::functions::from_json::from_json;
    use crate::source::Origin;
    use crate::types::StructType;
    use std::sync::Arc;

    /// The texts of `rows`, read by `from_json` first.
    fn round(ddl: &str, rows: &[&str], options: &ToJsonOptions) -> Vec<Option<String>> {
        let schema = StructType::from_ddl(ddl).unwrap();
        let mut decoder = JsonDecoder::new(&schema, &Wanted::all(schema.fields.len()), JsonOptions::default()).unwrap();
        let (structs, rejected) = from_json(&StringArray::from(rows.to_vec()), &mut decoder, &Origin::Process).unwrap();
        assert_eq!(rejected.malformed, 0);
        let array: ArrayRef = Arc::new(structs);
        to_json(&array, options).unwrap().iter().map(|text| text.map(str::to_string)).collect()
    }

    #[test]
    fn f11_to_json_format() {
        let ddl = "window STRUCT<start: TIMESTAMP, end: TIMESTAMP>, city STRING, c BIGINT, n STRING, d DOUBLE, x DOUBLE, \
                   big DOUBLE, e7 DOUBLE, e8 DOUBLE, s3 DOUBLE, s4 DOUBLE, nan DOUBLE, inf DOUBLE, dt DATE, a ARRAY<INT>, \
                   m MAP<STRING, INT>, b BOOLEAN, tsu TIMESTAMP";
        let input = r#"{"window":{"start":"2024-01-01T00:00:00Z","end":"2024-01-01T00:05:00Z"},"city":"sf","c":3,"n":null,
            "d":1,"x":0.1,"big":1e20,"e7":1e7,"e8":12345678.9,"s3":0.001,"s4":0.0001,"nan":"NaN","inf":"Infinity",
            "dt":"2024-01-01","a":[1,null],"m":{"k":1},"b":true,"tsu":"2024-01-01T00:00:00.123456Z"}"#;
        let expected = "{\"window\":{\"start\":\"2024-01-01T00:00:00.000Z\",\"end\":\"2024-01-01T00:05:00.000Z\"},\"city\":\"sf\",\"c\":3,\"d\":1.0,\"x\":0.1,\"big\":1.0E20,\"e7\":1.0E7,\"e8\":1.23456789E7,\"s3\":0.001,\"s4\":1.0E-4,\"nan\":\"NaN\",\"inf\":\"Infinity\",\"dt\":\"2024-01-01\",\"a\":[1,null],\"m\":{\"k\":1},\"b\":true,\"tsu\":\"2024-01-01T00:00:00.123Z\"}";
        assert_eq!(round(ddl, &[input], &ToJsonOptions::default()), [Some(expected.to_string())]);
    }

    #[test]
    fn escapes_decimals_binary_and_nulls() {
        let ddl = "s STRING, p DECIMAL(10,2), x BINARY, f FLOAT, m MAP<STRING, STRUCT<a: INT, b: INT>>";
        let rows = [
            r#"{"s":"\"\\\/\b\f\n\r\t\u0001\u001f\u007f é😀","p":1.5,"x":"Zm8=","f":0.1,"m":{"\"":null,"k":{"b":1}}}"#,
            "{}",
            "",
        ];
        let texts = round(ddl, &rows, &ToJsonOptions::default());
        assert_eq!(
            texts[0].as_deref(),
            Some(
                "{\"s\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\u{7f} é😀\",\"p\":1.50,\"x\":\"Zm8=\",\"f\":0.1,\"m\":{\"\\\"\":null,\"k\":{\"b\":1}}}"
            )
        );
        assert_eq!(texts[1].as_deref(), Some("{}"));
        assert_eq!(texts[2], None);
    }

    #[test]
    fn options_and_refusals() {
        let options = ToJsonOptions {
            time_zone: Tz::Europe__Paris,
            timestamp_format: Some("dd/MM/yyyy HH:mm Z".into()),
            date_format: Some("yyyyMMdd".into()),
            ignore_null_fields: false,
            ..Default::default()
        };
        let texts =
            round("t TIMESTAMP, d DATE, n INT", &[r#"{"t":"2024-07-01T00:00:00Z","d":"2024-01-01"}"#], &options);
        assert_eq!(texts[0].as_deref(), Some(r#"{"t":"01/07/2024 02:00 +0200","d":"20240101","n":null}"#));
        let paris = ToJsonOptions { time_zone: Tz::Europe__Paris, ..Default::default() };
        let texts = round("t TIMESTAMP", &[r#"{"t":"2024-07-01T00:00:00Z"}"#], &paris);
        assert_eq!(texts[0].as_deref(), Some(r#"{"t":"2024-07-01T02:00:00.000+02:00"}"#));
        // A local time is the same in every zone.
        let local: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_704_067_200_123_456]));
        let field = Arc::new(arrow::datatypes::Field::new("l", local.data_type().clone(), true));
        let row: ArrayRef = Arc::new(arrow::array::StructArray::from(vec![(field, local)]));
        assert_eq!(to_json(&row, &paris).unwrap().value(0), r#"{"l":"2024-01-01T00:00:00.123"}"#);
        let minutes = ToJsonOptions { timestamp_ntz_format: Some("dd.MM.yyyy HH:mm".into()), ..paris };
        assert_eq!(to_json(&row, &minutes).unwrap().value(0), r#"{"l":"01.01.2024 00:00"}"#);
        let array: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        assert_eq!(to_json(&array, &options).unwrap_err().code(), ErrorCode::DatatypeMismatch);
    }
}
