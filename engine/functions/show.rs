//! The table that Spark's `show()` and console sink print.
//!
//! Comes in: batches of one schema. Goes out: text with borders; cells to the right when they are cut to a width, to the left
//! when they are not. Fails: a type that has no text.

use super::java_text::{Style, write_value};
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use chrono_tz::Tz;

/// Narrower columns are padded to this.
const MIN_WIDTH: usize = 3;

/// The first `num_rows` rows; cells longer than `truncate` characters are cut, 0 cuts none.
///
/// # Errors
/// [`ErrorCode::DatatypeMismatch`](crate::ErrorCode::DatatypeMismatch) for a column that no text can show.
pub fn show(
    batches: &[RecordBatch],
    schema: &Schema,
    num_rows: usize,
    truncate: usize,
    time_zone: Tz,
) -> Result<String> {
    let table = cells(batches, schema, num_rows, truncate, time_zone)?;
    let mut widths = vec![MIN_WIDTH; schema.fields().len()];
    for row in &table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(half_width(cell));
        }
    }
    let mut border = String::from("+");
    for width in &widths {
        border.extend(std::iter::repeat_n('-', *width));
        border.push('+');
    }
    border.push('\n');

    let mut out = border.clone();
    for (index, row) in table.iter().enumerate() {
        out.push('|');
        for (width, cell) in widths.iter().zip(row) {
            let blanks = std::iter::repeat_n(' ', width.saturating_sub(half_width(cell)));
            if truncate > 0 {
                out.extend(blanks);
                out.push_str(cell);
            } else {
                out.push_str(cell);
                out.extend(blanks);
            }
            out.push('|');
        }
        out.push('\n');
        if index == 0 {
            out.push_str(&border);
        }
    }
    out.push_str(&border);
    out.push_str(&more(batches, num_rows));
    Ok(out)
}

/// As [`show`], a line for each value.
///
/// # Errors
/// As [`show`].
pub fn vertical(
    batches: &[RecordBatch],
    schema: &Schema,
    num_rows: usize,
    truncate: usize,
    time_zone: Tz,
) -> Result<String> {
    let mut table = cells(batches, schema, num_rows, truncate, time_zone)?;
    let rows = table.split_off(1.min(table.len()));
    let names = table.pop().unwrap_or_default();
    if rows.is_empty() {
        return Ok("(0 rows)\n".to_string());
    }
    let widest = |cells: &[String]| cells.iter().map(|cell| half_width(cell)).max().unwrap_or(0).max(MIN_WIDTH);
    let name_width = widest(&names);
    let value_width = rows.iter().map(|row| widest(row)).max().unwrap_or(MIN_WIDTH);
    let padded = |text: &str, width: usize| format!("{text}{}", " ".repeat(width.saturating_sub(half_width(text))));
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let head = format!("-RECORD {index}");
        out.push_str(&format!("{head:-<width$}\n", width = name_width + value_width + 5));
        for (name, cell) in names.iter().zip(row) {
            out.push_str(&format!(" {} | {} \n", padded(name, name_width), padded(cell, value_width)));
        }
    }
    out.push_str(&more(batches, num_rows));
    Ok(out)
}

/// As [`show`], as a table of HTML.
///
/// # Errors
/// As [`show`].
pub fn html(
    batches: &[RecordBatch],
    schema: &Schema,
    num_rows: usize,
    truncate: usize,
    time_zone: Tz,
) -> Result<String> {
    let mut out = String::from("<table border='1'>\n");
    for (index, row) in cells(batches, schema, num_rows, truncate, time_zone)?.iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        let cells: Vec<String> = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", entities(cell))).collect();
        out.push_str(&format!("<tr>{}</tr>\n", cells.concat()));
    }
    out.push_str("</table>\n");
    out.push_str(&more(batches, num_rows));
    Ok(out)
}

/// The text in HTML.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// What follows a table that has more rows than are shown.
fn more(batches: &[RecordBatch], num_rows: usize) -> String {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let noun = if num_rows == 1 { "row" } else { "rows" };
    if rows > num_rows { format!("only showing top {num_rows} {noun}\n") } else { String::new() }
}

/// The names of the columns, then the texts of each row's values.
fn cells(
    batches: &[RecordBatch],
    schema: &Schema,
    num_rows: usize,
    truncate: usize,
    time_zone: Tz,
) -> Result<Vec<Vec<String>>> {
    let style = Style { zone: time_zone.into(), null: "NULL", hex: true, interval: None };
    let header: Vec<String> = schema.fields().iter().map(|field| escape(field.name())).collect();
    let mut table = vec![header];
    for batch in batches {
        for row in 0..batch.num_rows() {
            if table.len() > num_rows {
                return Ok(table);
            }
            let mut cells = Vec::with_capacity(batch.num_columns());
            for (column, field) in batch.columns().iter().zip(schema.fields()) {
                let mut cell = String::new();
                write_value(column, row, style.of(field), &mut cell)?;
                cells.push(cut(escape(&cell), truncate));
            }
            table.push(cells);
        }
    }
    Ok(table)
}

/// Makes characters visible that would break the table.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{7}' => out.push_str("\\a"),
            other => out.push(other),
        }
    }
    out
}

fn cut(text: String, truncate: usize) -> String {
    if truncate == 0 || text.chars().count() <= truncate {
        return text;
    }
    if truncate < 4 {
        return text.chars().take(truncate).collect();
    }
    text.chars().take(truncate - 3).chain("...".chars()).collect()
}

/// Columns of a terminal: letters of East Asian scripts take two.
fn half_width(text: &str) -> usize {
    let wide = |letter: char| {
        matches!(letter, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}' | '\u{FE10}'..='\u{FE19}' | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}'
            | '\u{FFE0}'..='\u{FFE6}')
    };
    text.chars().map(|letter| 1 + usize::from(wide(letter))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{JsonDecoder, JsonOptions, Wanted};
    use crate::source::Origin;
    use crate::types::StructType;

    fn batch(ddl: &str, lines: &str) -> RecordBatch {
        let schema = StructType::from_ddl(ddl).unwrap();
        let mut decoder = JsonDecoder::new(&schema, &Wanted::all(schema.fields.len()), JsonOptions::default()).unwrap();
        let decoded = decoder.decode_lines(lines.as_bytes(), &Origin::Process).unwrap();
        RecordBatch::try_new(schema.to_arrow_schema(), decoded.columns).unwrap()
    }

    fn text(batch: &RecordBatch, num_rows: usize, truncate: usize) -> String {
        show(std::slice::from_ref(batch), &batch.schema(), num_rows, truncate, Tz::UTC).unwrap()
    }

    #[test]
    fn cut_cells_stand_right() {
        let batch = batch(
            "window STRUCT<start: TIMESTAMP, end: TIMESTAMP>, city STRING, n BIGINT, d DOUBLE",
            "{\"window\":{\"start\":\"2024-01-01\",\"end\":\"2024-01-01T00:05:00.5Z\"},\"city\":\"sf\",\"n\":3,\"d\":1e7}\n{\"city\":\"a\\nb\"}\n",
        );
        assert_eq!(
            text(&batch, 20, 20),
            "\
+--------------------+----+----+-----+
|              window|city|   n|    d|
+--------------------+----+----+-----+
|{2024-01-01 00:00...|  sf|   3|1.0E7|
|                NULL|a\\nb|NULL| NULL|
+--------------------+----+----+-----+
"
        );
    }

    #[test]
    fn whole_cells_stand_left() {
        let batch = batch(
            "window STRUCT<start: TIMESTAMP, end: TIMESTAMP>, a ARRAY<INT>, m MAP<STRING, INT>, x BINARY, p DECIMAL(5,2)",
            "{\"window\":{\"start\":\"2024-01-01\",\"end\":null},\"a\":[1,null],\"m\":{\"k\":1},\"x\":\"YWI=\",\"p\":1}\n",
        );
        assert_eq!(
            text(&batch, 20, 0),
            "\
+---------------------------+---------+--------+-------+----+
|window                     |a        |m       |x      |p   |
+---------------------------+---------+--------+-------+----+
|{2024-01-01 00:00:00, NULL}|[1, NULL]|{k -> 1}|[61 62]|1.00|
+---------------------------+---------+--------+-------+----+
"
        );
    }

    #[test]
    fn limits_width_and_empty_tables() {
        let batch = batch("a STRING", "{\"a\":\"東京\"}\n{\"a\":\"abcdef\"}\n{}\n");
        assert_eq!(text(&batch, 1, 20), "+----+\n|   a|\n+----+\n|東京|\n+----+\nonly showing top 1 row\n");
        assert_eq!(
            text(&batch, 2, 5),
            "+-----+\n|    a|\n+-----+\n| 東京|\n|ab...|\n+-----+\nonly showing top 2 rows\n"
        );
        assert_eq!(text(&batch, 3, 2), "+----+\n|   a|\n+----+\n|東京|\n|  ab|\n|  NU|\n+----+\n");
        assert_eq!(text(&batch.slice(0, 0), 20, 20), "+---+\n|  a|\n+---+\n+---+\n");
    }
}
