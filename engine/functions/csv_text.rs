//! `from_csv`, `to_csv` and `schema_of_csv`: CSV texts of single records.
//!
//! Comes in: a column of texts, or of structs. Goes out: the other. Fails: nested values, which CSV does not have, and options that
//! cannot be.

use super::builtin::{ANY, Builtin, Call, Typed, typed};
use super::cast::sql_name;
use super::java_text::{Style, write_value};
use crate::decode::pattern::Pattern;
use crate::decode::zone::Zone;
use crate::decode::{CsvDecoder, CsvInference, CsvOptions, Sampling, Wanted, split_record};
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::source::Origin;
use crate::types::StructType;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray, new_null_array};
use arrow::datatypes::{DataType, Date32Type, Field, TimestampMicrosecondType};
use chrono_tz::Tz;
use std::sync::Arc;

/// A struct of each text; NULL of NULL.
pub fn from_csv(texts: &ArrayRef, schema: &StructType, options: &[(String, String)], zone: Tz) -> Result<ArrayRef> {
    let given: Options = options.iter().map(|(key, value)| (key, value.as_str())).collect();
    let mut reader = given.reader("from_csv");
    let csv = CsvOptions::read(&mut reader, zone)?;
    reader.finish()?;
    let texts = texts
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::new(ErrorCode::DatatypeMismatch, format!("from_csv of {}", texts.data_type())))?;
    let fields = schema.to_arrow();
    let struct_type = DataType::Struct(fields.clone());
    let mut decoder = CsvDecoder::new(schema, &Wanted::all(schema.fields.len()), csv)?;
    let mut rows: Vec<ArrayRef> = Vec::with_capacity(texts.len());
    for text in texts {
        let decoded = match text {
            Some(text) => Some(decoder.decode_lines(text.as_bytes(), &Origin::Process)?),
            None => None,
        };
        rows.push(match decoded {
            Some(decoded) if decoded.rows > 0 => {
                let record = StructArray::try_new(fields.clone(), decoded.columns, None)?;
                Arc::new(record.slice(0, 1))
            }
            // A blank text is a record without values.
            Some(_) => {
                let columns = fields.iter().map(|f| new_null_array(f.data_type(), 1)).collect();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, 1)?)
            }
            None => new_null_array(&struct_type, 1),
        });
    }
    if rows.is_empty() {
        return Ok(new_null_array(&struct_type, 0));
    }
    Ok(arrow::compute::concat(&rows.iter().map(|row| row.as_ref()).collect::<Vec<_>>())?)
}

/// The schema of a record: a constant, with options as constants behind it, name and value in turn.
pub(super) static FUNCTIONS: &[Builtin] = &[typed(
    "schema_of_csv",
    (1, ANY),
    |a| match (a.text(0), a.constants.first()) {
        (Some(text), _) if !text.is_empty() => Ok(Typed { arguments: a.types.to_vec(), returns: DataType::Utf8 }),
        (None, Some(Some(value))) if value.is_null() => {
            Err(Error::new(ErrorCode::DatatypeMismatch, "schema_of_csv: The csv must not be null")
                .with_sub_condition("UNEXPECTED_NULL"))
        }
        _ => {
            Err(Error::new(ErrorCode::DatatypeMismatch, "schema_of_csv: the CSV must be a constant text with a record")
                .with_sub_condition("NON_FOLDABLE_INPUT"))
        }
    },
    schema_of_csv,
)];

fn schema_of_csv(call: &Call) -> Result<ArrayRef> {
    let texts = (0..call.arguments.len()).map(|index| Ok(call.text(index)?.get(0).unwrap_or_default()));
    let texts = texts.collect::<Result<Vec<&str>>>()?;
    let (csv, given) = texts.split_first().ok_or_else(|| Error::internal("schema_of_csv of nothing"))?;
    let given: Options = given.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect();
    let mut reader = given.reader("schema_of_csv");
    let prefer_date = reader.bool("preferDate")?.unwrap_or(true);
    let csv_options = CsvOptions::read(&mut reader, call.environment.time_zone)?;
    reader.finish()?;
    let first = split_record(csv.as_bytes(), &csv_options);
    let mut inference = CsvInference::new(csv_options, &first, false, true, prefer_date, Sampling::new(1.0))?;
    inference.add(csv.as_bytes());
    let found = inference.finish();
    let field =
        |field: &crate::types::StructField| format!("{}: {}", field.name, sql_name(&field.data_type.to_arrow()));
    let text = format!("STRUCT<{}>", found.fields.iter().map(field).collect::<Vec<_>>().join(", "));
    Ok(Arc::new(StringArray::from(vec![text; call.rows])))
}

struct Layout {
    separator: String,
    null: String,
    /// Whether blanks before and after a value are left out.
    leading: bool,
    trailing: bool,
    timestamp: Pattern,
    timestamp_ntz: Pattern,
    date: Pattern,
    zone: Zone,
}

/// A CSV text of each struct.
pub fn to_csv(structs: &ArrayRef, options: &[(String, String)], zone: Tz) -> Result<ArrayRef> {
    let given: Options = options.iter().map(|(key, value)| (key, value.as_str())).collect();
    let mut reader = given.reader("to_csv");
    let layout = Layout {
        separator: reader.text("sep").or(reader.text("delimiter")).unwrap_or(",").to_string(),
        null: reader.text("nullValue").unwrap_or_default().to_string(),
        leading: reader.bool("ignoreLeadingWhiteSpace")?.unwrap_or(true),
        trailing: reader.bool("ignoreTrailingWhiteSpace")?.unwrap_or(true),
        timestamp: Pattern::new(reader.text("timestampFormat").unwrap_or("yyyy-MM-dd'T'HH:mm:ss.SSSXXX"))?,
        timestamp_ntz: Pattern::new(reader.text("timestampNTZFormat").unwrap_or("yyyy-MM-dd'T'HH:mm:ss.SSS"))?,
        date: Pattern::new(reader.text("dateFormat").unwrap_or("yyyy-MM-dd"))?,
        zone: zone.into(),
    };
    reader.finish()?;
    let rows = structs
        .as_struct_opt()
        .ok_or_else(|| Error::new(ErrorCode::DatatypeMismatch, format!("to_csv of {}", structs.data_type())))?;
    let mut out: Vec<Option<String>> = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        if rows.is_null(row) {
            out.push(None);
            continue;
        }
        let columns = rows.columns().iter().zip(rows.fields());
        let cells = columns.map(|(column, field)| cell(column, field, row, &layout)).collect::<Result<Vec<_>>>()?;
        // A record of one NULL is none.
        let nothing = matches!(cells.as_slice(), [only] if only.is_empty());
        out.push((!nothing).then(|| cells.join(&layout.separator)));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

fn cell(column: &ArrayRef, field: &Field, row: usize, layout: &Layout) -> Result<String> {
    let mut text = String::new();
    // NULL as a literal is of a type without a mask of NULLs.
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(layout.null.clone());
    }
    match column.data_type() {
        DataType::Timestamp(_, None) => {
            let local = column.as_primitive::<TimestampMicrosecondType>().value(row);
            layout.timestamp_ntz.write_timestamp(local, Zone::Fixed(0), &mut text);
        }
        DataType::Timestamp(..) => {
            let instant = column.as_primitive::<TimestampMicrosecondType>().value(row);
            layout.timestamp.write_timestamp(instant, layout.zone, &mut text);
        }
        DataType::Date32 => layout.date.write_date(column.as_primitive::<Date32Type>().value(row).into(), &mut text),
        other if other.is_nested() => {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("to_csv: CSV has no nested values, but a field is {other}; use to_json for it"),
            ));
        }
        _ => {
            let style = Style { zone: layout.zone, null: "", hex: false, interval: None };
            write_value(column, row, style.of(field), &mut text)?;
        }
    }
    let blank = |c: char| c <= ' ';
    let text = if layout.leading { text.trim_start_matches(blank) } else { text.as_str() };
    let text = if layout.trailing { text.trim_end_matches(blank) } else { text };
    let quoted = text.contains(&layout.separator) || text.contains(['"', '\n', '\r']) || text.is_empty();
    Ok(if quoted { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text.to_string() })
}
