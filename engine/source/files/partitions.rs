//! Columns in the names of directories: `p=1/q=x/`.
//!
//! Comes in: the directories of files, below a base path. Goes out: the columns that they name, with the types that their values have
//! in common, and each file's values. Fails: directories that disagree about the columns, a name without a value, a value that the
//! user's type cannot hold.

use crate::decode::read_text;
use crate::error::{Error, ErrorCode, Result};
use crate::source::PartitionValues;
use crate::types::{DataType, StructField, StructType};
use chrono_tz::Tz;
use std::collections::BTreeSet;

/// The value of NULL in a directory's name.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What the directories of one file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directories {
    /// Names and texts of columns, outermost first; None for NULL.
    pub columns: Vec<(String, Option<String>)>,
    /// Where the first of them lies, relative to the base path.
    pub base: String,
}

/// Reads the columns in a relative directory: `year=2026/month=1`.
///
/// # Errors
/// [`ErrorCode::InvalidPartitionValue`] for `p=`.
pub(super) fn parse(directory: &str) -> Result<Directories> {
    let segments: Vec<&str> = directory.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut columns = Vec::new();
    let mut at = segments.len();
    while let Some(segment) = at.checked_sub(1).and_then(|last| segments.get(last)) {
        match segment.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                if value.is_empty() {
                    return Err(Error::new(
                        ErrorCode::InvalidPartitionValue,
                        format!(
                            "the directory '{segment}' in {directory} names a column without a value; call it {name}={NULL} for NULL"
                        ),
                    ));
                }
                let value = unescape(value);
                columns.push((unescape(name), (value != NULL).then_some(value)));
            }
            // Directories below the last column are passed over; one above the first is where the table begins.
            _ if !columns.is_empty() => break,
            _ => {}
        }
        at -= 1;
    }
    columns.reverse();
    let base = if columns.is_empty() { segments.join("/") } else { segments[..at].join("/") };
    Ok(Directories { columns, base })
}

/// `%3A` for characters that a directory's name cannot have.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match code.and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The columns that all directories name, with types: the user's where the schema has the column, else what the values are.
///
/// # Errors
/// [`ErrorCode::ConflictingPartitionColumnNames`] when the directories do not name the same columns.
pub(super) fn columns<'a>(
    all: impl Iterator<Item = &'a Directories> + Clone,
    user: Option<&StructType>,
    infer: bool,
    time_zone: Tz,
) -> Result<Vec<StructField>> {
    let names = |directories: &Directories| -> Vec<String> {
        directories.columns.iter().map(|(name, _)| name.clone()).collect()
    };
    let distinct: BTreeSet<Vec<String>> = all.clone().map(names).collect();
    if distinct.len() > 1 {
        let lists: Vec<String> = distinct.iter().map(|names| format!("[{}]", names.join(", "))).collect();
        return Err(Error::new(
            ErrorCode::ConflictingPartitionColumnNames,
            format!(
                "the directories name different partition columns: {}; give every directory the same ones",
                lists.join(" and ")
            ),
        ));
    }
    let Some(names) = distinct.into_iter().next() else { return Ok(Vec::new()) };
    let given =
        |name: &str| user.and_then(|user| user.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)));
    let column = |(index, name): (usize, &String)| match given(name) {
        Some(field) => field.clone(),
        None => {
            let values = all.clone().filter_map(|directories| directories.columns.get(index)?.1.as_deref());
            let data_type = if infer { type_of(values, time_zone) } else { DataType::String };
            StructField::new(name, data_type, true)
        }
    };
    Ok(names.iter().enumerate().map(column).collect())
}

/// The narrowest type that holds every value.
fn type_of<'a>(values: impl Iterator<Item = &'a str>, time_zone: Tz) -> DataType {
    let mut found: Option<DataType> = None;
    for value in values {
        let this = type_of_one(value, time_zone);
        found = Some(match found {
            None => this,
            Some(so_far) => common(so_far, this),
        });
    }
    found.unwrap_or(DataType::String)
}

fn type_of_one(value: &str, time_zone: Tz) -> DataType {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    if value.parse::<i32>().is_ok() {
        return DataType::Integer;
    }
    if value.parse::<i64>().is_ok() {
        return DataType::Long;
    }
    if !digits.is_empty() && digits.len() <= 38 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return DataType::Decimal(digits.len() as u8, 0);
    }
    let number = value.trim();
    let plain = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
    if (plain && number.parse::<f64>().is_ok()) || number == "NaN" {
        return DataType::Double;
    }
    // A year alone is a number; a date has its dashes, and nothing after its day.
    let day = !value.contains([' ', 'T', ':']);
    let fits =
        |data_type: &DataType| value.contains('-') && matches!(read_text(value, data_type, time_zone), Ok(Some(_)));
    if day && fits(&DataType::Date) {
        DataType::Date
    } else if fits(&DataType::Timestamp) {
        DataType::Timestamp
    } else {
        DataType::String
    }
}

fn common(a: DataType, b: DataType) -> DataType {
    use DataType::{Date, Decimal, Double, Integer, Long, Timestamp};
    match (a, b) {
        (a, b) if a == b => a,
        (Integer, Long) | (Long, Integer) => Long,
        (Integer | Long, Double) | (Double, Integer | Long) => Double,
        (Integer | Long, Decimal(p, s)) | (Decimal(p, s), Integer | Long) => Decimal(p, s),
        (Decimal(p, _), Decimal(q, _)) => Decimal(p.max(q), 0),
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        _ => DataType::String,
    }
}

/// The values of a file for those columns of `schema` that its directories name; None when they name none of them.
///
/// # Errors
/// [`ErrorCode::InvalidPartitionValue`] for a text that is no value of the column's type.
pub(super) fn values(
    directories: &Directories,
    schema: &StructType,
    path: &str,
    time_zone: Tz,
) -> Result<Option<PartitionValues>> {
    let mut columns = Vec::new();
    for (name, text) in &directories.columns {
        let Some(index) = schema.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let Some(field) = schema.fields.get(index) else { continue };
        let invalid = || {
            Error::new(
                ErrorCode::InvalidPartitionValue,
                format!(
                    "'{}' is no {:?}, the type of the partition column {}, in {path}; give the column another type or rename the directory",
                    text.as_deref().unwrap_or(NULL),
                    field.data_type,
                    field.name
                ),
            )
        };
        let value = match text {
            None => datafusion::common::ScalarValue::try_from(&field.data_type.to_arrow()).map_err(Error::from)?,
            Some(text) => read_text(text, &field.data_type, time_zone)?.ok_or_else(invalid)?,
        };
        columns.push((index, value));
    }
    columns.sort_by_key(|(index, _)| *index);
    Ok((!columns.is_empty()).then_some(PartitionValues { columns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(values: &[&str]) -> DataType {
        type_of(values.iter().copied(), Tz::UTC)
    }

    #[test]
    fn directories_give_columns() {
        let parsed = parse("a/p=1/q=x%3Ay/below").unwrap();
        assert_eq!(parsed.base, "a");
        assert_eq!(parsed.columns, [("p".into(), Some("1".into())), ("q".into(), Some("x:y".into()))]);
        assert_eq!(parse("a/b").unwrap(), Directories { columns: vec![], base: "a/b".into() });
        assert_eq!(parse(&format!("p={NULL}")).unwrap().columns, [("p".into(), None)]);
        assert_eq!(parse("p=").unwrap_err().code(), ErrorCode::InvalidPartitionValue);
    }

    /// Recorded from Spark 4.3.
    #[test]
    fn types_are_what_the_values_have_in_common() {
        use DataType::*;
        for (values, expected) in [
            (&["1", "2"][..], Integer),
            (&["1", "2147483648"], Long),
            (&["1", "2.5"], Double),
            (&["1", "x"], String),
            (&["2020-01-01"], Date),
            (&["2020-01-01 10:00:00"], Timestamp),
            (&["2020-01-01", "2020-01-01 10:00:00"], Timestamp),
            (&["12345678901234567890"], Decimal(20, 0)),
            (&["01", "007"], Integer),
            (&["true"], String),
            (&["1", "2020-01-01"], String),
            (&["12345678901234567890", "1.5"], String),
            (&["-5"], Integer),
            (&["NaN"], Double),
            (&["1d", "2L"], String),
            (&[" 7"], Double),
        ] {
            assert_eq!(typed(values), expected, "{values:?}");
        }
    }

    #[test]
    fn directories_must_agree() {
        let both = [parse("p=1").unwrap(), parse("p=2/q=x").unwrap()];
        let error = columns(both.iter(), None, true, Tz::UTC).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ConflictingPartitionColumnNames);
        assert!(error.message().contains("[p] and [p, q]"), "{error}");
    }

    #[test]
    fn values_take_the_users_types() {
        let schema = StructType::from_ddl("a INT, P STRING").unwrap();
        let directories = parse("p=01").unwrap();
        let found = columns([directories.clone()].iter(), Some(&schema), true, Tz::UTC).unwrap();
        assert_eq!(found, [StructField::new("P", DataType::String, true)]);
        let given = values(&directories, &schema, "f", Tz::UTC).unwrap().unwrap();
        assert_eq!(given.columns, [(1, datafusion::common::ScalarValue::Utf8(Some("01".into())))]);
        let schema = StructType::from_ddl("p INT").unwrap();
        let error = values(&parse("p=x").unwrap(), &schema, "p=x/f", Tz::UTC).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidPartitionValue);
        let null = values(&parse(&format!("p={NULL}")).unwrap(), &schema, "f", Tz::UTC).unwrap().unwrap();
        assert!(null.columns[0].1.is_null());
        assert!(values(&parse("z=1").unwrap(), &schema, "f", Tz::UTC).unwrap().is_none());
    }
}
