//! `spark.sql(text, args)`: a query whose parameters are written into its text.
//!
//! Comes in: a text with `:name` or `?` in it, and expressions. Goes out: the query's frame. Fails: parameters without a value, values that
//! cannot be written as SQL, and what the text does wrong.

use super::{Planner, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataFrame;
use crate::functions::cast::{CastOptions, cast};
use crate::functions::java_text;
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use spark_connect_proto as proto;
use std::collections::HashMap;
use std::fmt::Write;

/// The frame of a query.
pub(super) async fn query(planner: &Planner<'_>, sql: &proto::Sql) -> Result<DataFrame> {
    let text = bound(planner, sql)?;
    planner.session().spark_sql(&text).await
}

/// What stands for the parameters of a text.
enum Values {
    Named(HashMap<String, String>),
    Positional(Vec<String>),
}

#[allow(deprecated)] // Older clients send literals.
fn bound(planner: &Planner<'_>, sql: &proto::Sql) -> Result<String> {
    let value = |expression: &proto::Expression| written(&planner.expression(expression)?.0?);
    let constant = |literal: &proto::expression::Literal| text_of(&super::literal::scalar(literal)?);
    let values = if !sql.named_arguments.is_empty() || !sql.args.is_empty() {
        let mut named = HashMap::new();
        for (name, expression) in &sql.named_arguments {
            named.insert(name.clone(), value(expression)?);
        }
        for (name, literal) in &sql.args {
            named.insert(name.clone(), constant(literal)?);
        }
        Values::Named(named)
    } else if !sql.pos_arguments.is_empty() {
        Values::Positional(sql.pos_arguments.iter().map(value).collect::<Result<_>>()?)
    } else if !sql.pos_args.is_empty() {
        Values::Positional(sql.pos_args.iter().map(constant).collect::<Result<_>>()?)
    } else {
        return Ok(sql.query.clone());
    };
    replaced(&sql.query, &values)
}

/// The text with its parameters replaced; quoted texts and comments stay as they are.
fn replaced(text: &str, values: &Values) -> Result<String> {
    let unbound = |name: &str| {
        Error::new(ErrorCode::InvalidParameterValue, format!("the parameter {name} of the query has no value in args"))
    };
    let mut out = String::with_capacity(text.len());
    let mut used = 0;
    let mut characters = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        match (c, characters.peek().copied()) {
            ('\'' | '"' | '`', _) => {
                out.push(c);
                while let Some(inside) = characters.next() {
                    out.push(inside);
                    if inside == '\\' && c != '`' {
                        out.extend(characters.next());
                    } else if inside == c {
                        break;
                    }
                }
            }
            ('-', Some('-')) => {
                out.push(c);
                for inside in characters.by_ref() {
                    out.push(inside);
                    if inside == '\n' {
                        break;
                    }
                }
            }
            ('/', Some('*')) => {
                out.push(c);
                let mut last = ' ';
                for inside in characters.by_ref() {
                    out.push(inside);
                    if last == '*' && inside == '/' {
                        break;
                    }
                    last = inside;
                }
            }
            // `a::INT` and `a:b` are no parameters.
            (':', Some(next)) if (next.is_alphabetic() || next == '_') && before != ':' && !is_word(before) => {
                let Values::Named(named) = values else { return Err(unbound(":")) };
                let mut name = String::new();
                while let Some(letter) = characters.next_if(|letter| is_word(*letter)) {
                    name.push(letter);
                }
                out.push_str(named.get(&name).ok_or_else(|| unbound(&format!(":{name}")))?);
            }
            ('?', _) => {
                let Values::Positional(values) = values else { return Err(unbound("?")) };
                used += 1;
                out.push_str(values.get(used - 1).ok_or_else(|| unbound(&format!("number {used}")))?);
            }
            _ => out.push(c),
        }
        before = c;
    }
    Ok(out)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// A parameter's value as SQL writes it.
fn written(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Literal(value, _) => text_of(value),
        Expr::ScalarFunction(call) if matches!(call.name(), "array" | "map" | "struct" | "named_struct") => {
            let arguments = call.args.iter().map(written).collect::<Result<Vec<_>>>()?;
            Ok(format!("{}({})", call.name(), arguments.join(", ")))
        }
        Expr::Negative(inner) => Ok(format!("(-{})", written(inner)?)),
        other => unsupported(format!(
            "the value {other} of a parameter: give constants, array(...), map(...) or struct(...)"
        )),
    }
}

fn text_of(value: &ScalarValue) -> Result<String> {
    let quoted = |text: &str| {
        let mut out = String::from("'");
        for c in text.chars() {
            match c {
                '\'' => out.push_str("\\'"),
                '\\' => out.push_str("\\\\"),
                other => out.push(other),
            }
        }
        out.push('\'');
        out
    };
    let as_text = || -> Result<String> {
        let options = CastOptions { ansi: true, time_zone: Tz::UTC };
        let texts = cast(&value.to_array()?, &DataType::Utf8, options)?;
        Ok(texts.as_string::<i32>().value(0).to_string())
    };
    // In parentheses, so that a minus in front is no comment.
    let number = |digits: String, suffix: &str| format!("({digits}{suffix})");
    Ok(match value {
        value if value.is_null() => "NULL".to_string(),
        ScalarValue::Boolean(Some(v)) => v.to_string(),
        // The least number of a type is a minus and a number that the type cannot hold.
        ScalarValue::Int8(Some(v)) => format!("CAST({v} AS TINYINT)"),
        ScalarValue::Int16(Some(v)) => format!("CAST({v} AS SMALLINT)"),
        ScalarValue::Int32(Some(v)) => format!("CAST({v} AS INT)"),
        ScalarValue::Int64(Some(v)) => format!("CAST('{v}' AS BIGINT)"),
        ScalarValue::Float32(Some(v)) => format!("CAST('{}' AS FLOAT)", java_text::float(*v)),
        ScalarValue::Float64(Some(v)) => format!("CAST('{}' AS DOUBLE)", java_text::double(*v)),
        ScalarValue::Decimal128(Some(_), _, _) => number(as_text()?, "BD"),
        ScalarValue::Utf8(Some(v)) | ScalarValue::LargeUtf8(Some(v)) | ScalarValue::Utf8View(Some(v)) => quoted(v),
        ScalarValue::Binary(Some(bytes)) => {
            let mut digits = String::new();
            for byte in bytes {
                let _ = write!(digits, "{byte:02X}");
            }
            format!("X'{digits}'")
        }
        ScalarValue::Date32(Some(_)) => format!("DATE '{}'", as_text()?),
        ScalarValue::TimestampMicrosecond(Some(_), Some(_)) => format!("TIMESTAMP '{}Z'", as_text()?),
        ScalarValue::TimestampMicrosecond(Some(_), None) => format!("CAST('{}' AS TIMESTAMP_NTZ)", as_text()?),
        ScalarValue::DurationMicrosecond(Some(_)) | ScalarValue::IntervalYearMonth(Some(_)) => as_text()?,
        ScalarValue::List(list) => {
            let elements = list.value(0);
            let elements = (0..elements.len()).map(|row| text_of(&ScalarValue::try_from_array(&elements, row)?));
            format!("array({})", elements.collect::<Result<Vec<_>>>()?.join(", "))
        }
        ScalarValue::Map(map) => {
            let entries = map.value(0);
            let [keys, values] = entries.columns() else { return Err(Error::internal("a map of no pairs")) };
            let mut parts = Vec::new();
            for row in 0..entries.len() {
                parts.push(text_of(&ScalarValue::try_from_array(keys, row)?)?);
                parts.push(text_of(&ScalarValue::try_from_array(values, row)?)?);
            }
            format!("map({})", parts.join(", "))
        }
        other => {
            return unsupported(format!("a parameter of type {}: write the value into the text", other.data_type()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_replaced_outside_of_texts_and_comments() {
        let named = Values::Named([("n".to_string(), "CAST(1 AS INT)".to_string())].into());
        let text = "SELECT ':n', `:n`, a::INT, :n -- :n\n, :n /* :n */";
        assert_eq!(
            replaced(text, &named).unwrap(),
            "SELECT ':n', `:n`, a::INT, CAST(1 AS INT) -- :n\n, CAST(1 AS INT) /* :n */"
        );
        let positional = Values::Positional(vec!["'it\\'s ?'".to_string(), "2".to_string()]);
        assert_eq!(replaced("SELECT ?, '?', ?", &positional).unwrap(), "SELECT 'it\\'s ?', '?', 2");
        let error = replaced("SELECT ?, ?, ?", &positional).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameterValue);
        assert!(replaced("SELECT :m", &named).unwrap_err().message().contains(":m"));
    }
}
