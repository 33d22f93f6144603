//! Spark's text of an expression, which names the column that it makes.
//!
//! Comes in: an unresolved expression. Goes out: `(a + 1)`, `CASE WHEN (a IS NULL) THEN 0 ELSE a END`, `sum((a * 2))`. Nothing fails.

use super::resolve::{output_name, split_path};
use super::spark_function::{Kind, SparkFunction};
use crate::functions::cast::{CastOptions, cast};
use crate::functions::interval::{Fields, write_day_time, write_year_month};
use crate::functions::java_text;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef, IntervalUnit};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The text of an expression inside of another.
pub(super) fn text(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => format!("{} AS {}", text(&alias.expr), alias.name),
        Expr::Column(column) => split_path(&column.name).join("."),
        Expr::Literal(value, metadata) => match Fields::of_literal(value, metadata.as_ref()) {
            Some(fields) if !value.is_null() => interval(value, fields),
            _ => constant(value),
        },
        Expr::BinaryExpr(binary) if is_interval(&binary.left) != is_interval(&binary.right) => moved(binary),
        Expr::BinaryExpr(binary) => operation(text(&binary.left), binary.op, text(&binary.right)),
        Expr::Not(inner) => format!("(NOT {})", text(inner)),
        Expr::Negative(inner) => format!("(- {})", text(inner)),
        Expr::IsNull(inner) => format!("({} IS NULL)", text(inner)),
        Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", text(inner)),
        Expr::InList(list) => {
            let within = format!("({} IN ({}))", text(&list.expr), texts(&list.list));
            if list.negated { format!("(NOT {within})") } else { within }
        }
        Expr::Between(between) => {
            let within = format!("between({}, {}, {})", text(&between.expr), text(&between.low), text(&between.high));
            if between.negated { format!("(NOT {within})") } else { within }
        }
        Expr::Like(like) => {
            let name = if like.case_insensitive { "ILIKE" } else { "LIKE" };
            let matches = format!("{} {name} {}", text(&like.expr), text(&like.pattern));
            let matches = if like.case_insensitive {
                format!("ilike({}, {})", text(&like.expr), text(&like.pattern))
            } else {
                matches
            };
            if like.negated { format!("(NOT {matches})") } else { matches }
        }
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter().map(|(when, then)| (text(when), text(then)));
            choice(branches, case.else_expr.as_deref().map(text))
        }
        Expr::Cast(cast) => match (&*cast.expr, cast.field.data_type()) {
            (Expr::Literal(value, _), DataType::Date32) => format!("DATE '{}'", constant(value)),
            (Expr::Literal(value, _), DataType::Timestamp(_, Some(_))) => format!("TIMESTAMP '{}'", constant(value)),
            (inner, to) => format!("CAST({} AS {})", text(inner), type_name(to).to_uppercase()),
        },
        Expr::ScalarFunction(call) => called(call).unwrap_or_else(|| output_name(expr)),
        other => output_name(other),
    }
}

fn is_interval(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if Fields::all(&value.data_type()).is_some())
}

/// A time and an interval that is added to it or taken from it, which Spark writes without parentheses.
fn moved(binary: &BinaryExpr) -> String {
    let (time, length) = match is_interval(&binary.left) {
        true => (&binary.right, &binary.left),
        false => (&binary.left, &binary.right),
    };
    let plain = operation(text(&binary.left), binary.op, text(&binary.right));
    let is_date = match &**time {
        Expr::Literal(ScalarValue::Date32(_), _) => true,
        Expr::Cast(cast) => matches!((&*cast.expr, cast.field.data_type()), (Expr::Literal(..), DataType::Date32)),
        _ => false,
    };
    let days = match &**length {
        Expr::Literal(value, metadata) => Fields::of_literal(value, metadata.as_ref()) == Some(Fields::DAYS),
        _ => false,
    };
    match binary.op {
        Operator::Plus if is_date && days => {
            format!("date_add({}, extractansiintervaldays({}))", text(time), text(length))
        }
        Operator::Minus if is_date && days => {
            format!("date_add({}, (- extractansiintervaldays({})))", text(time), text(length))
        }
        Operator::Plus | Operator::Minus => format!("{} {} {}", text(time), binary.op, text(length)),
        _ => plain,
    }
}

fn interval(value: &ScalarValue, fields: Fields) -> String {
    let mut out = String::new();
    match value {
        ScalarValue::DurationMicrosecond(Some(micros)) => write_day_time(*micros, fields, &mut out),
        ScalarValue::IntervalYearMonth(Some(months)) => write_year_month(*months, fields, &mut out),
        other => out.push_str(&constant(other)),
    }
    out
}

/// The texts of arguments.
pub(super) fn texts(expressions: &[Expr]) -> String {
    expressions.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn operation(left: String, op: Operator, right: String) -> String {
    let sign = match op {
        // Spark writes what is not equal as the negation of what is.
        Operator::NotEq => return format!("(NOT ({left} = {right}))"),
        Operator::IsDistinctFrom => return format!("(NOT ({left} <=> {right}))"),
        Operator::IsNotDistinctFrom => "<=>".to_string(),
        Operator::BitwiseXor => "^".to_string(),
        other => other.to_string(),
    };
    format!("({left} {sign} {right})")
}

fn choice(branches: impl Iterator<Item = (String, String)>, otherwise: Option<String>) -> String {
    let branches: String = branches.map(|(when, then)| format!(" WHEN {when} THEN {then}")).collect();
    let otherwise = otherwise.map_or(String::new(), |value| format!(" ELSE {value}"));
    format!("CASE{branches}{otherwise} END")
}

/// Calls that Spark writes in a way of their own.
pub(super) fn called(call: &ScalarFunction) -> Option<String> {
    let arguments = call.args.as_slice();
    if let Some(Kind::Cast { to, safe }) = SparkFunction::of(call).map(|function| &function.kind) {
        let name = if *safe { "TRY_CAST" } else { "CAST" };
        return Some(format!("{name}({} AS {})", texts(arguments), type_name(to).to_uppercase()));
    }
    match (call.name(), arguments) {
        ("case", [_, _, ..]) => {
            let pairs = arguments.chunks_exact(2);
            let otherwise = pairs.remainder().first().map(text);
            Some(choice(pairs.filter_map(|p| p.first().zip(p.last())).map(|(w, t)| (text(w), text(t))), otherwise))
        }
        ("get_item", [parent, key]) => Some(format!("{}[{}]", text(parent), text(key))),
        ("get_field", [parent, Expr::Literal(name, _)]) => Some(format!("{}.{}", text(parent), constant(name))),
        ("isnull", [value]) => Some(format!("({} IS NULL)", text(value))),
        ("isnotnull", [value]) => Some(format!("({} IS NOT NULL)", text(value))),
        ("div", [left, right]) => Some(format!("({} div {})", text(left), text(right))),
        ("bitand", [left, right]) => Some(format!("({} & {})", text(left), text(right))),
        ("bitor", [left, right]) => Some(format!("({} | {})", text(left), text(right))),
        ("bitxor", [left, right]) => Some(format!("({} ^ {})", text(left), text(right))),
        ("like", [value, pattern]) => Some(format!("{} LIKE {}", text(value), text(pattern))),
        ("ceil" | "floor", [_]) => Some(format!("{}({})", call.name().to_uppercase(), texts(arguments))),
        // Arguments that are left out are shown.
        ("round" | "bround", [_]) => Some(format!("{}({}, 0)", call.name(), texts(arguments))),
        ("split", [_, _]) => Some(format!("split({}, -1)", texts(arguments))),
        ("regexp_replace", [_, _, _]) => Some(format!("regexp_replace({}, 1)", texts(arguments))),
        ("schema_of_csv", [csv, ..]) => Some(format!("schema_of_csv({})", text(csv))),
        ("shuffle", [array, ..]) => Some(format!("shuffle({})", text(array))),
        ("pow", _) => Some(format!("POWER({})", texts(arguments))),
        ("rlike", _) => Some(format!("RLIKE({})", texts(arguments))),
        ("from_json", [value, ..]) => Some(format!("from_json({})", text(value))),
        _ => None,
    }
}

/// A constant without quotes.
pub(super) fn constant(value: &ScalarValue) -> String {
    let written = || {
        let options = CastOptions { ansi: true, time_zone: Tz::UTC };
        let texts = cast(&value.to_array().ok()?, &DataType::Utf8, options).ok()?;
        texts.as_string_opt::<i32>().filter(|texts| texts.len() == 1).map(|texts| texts.value(0).to_string())
    };
    match value {
        value if value.is_null() => "NULL".to_string(),
        ScalarValue::Float32(Some(number)) => java_text::float(*number),
        ScalarValue::Float64(Some(number)) => java_text::double(*number),
        ScalarValue::Date32(_) => format!("DATE '{}'", written().unwrap_or_else(|| value.to_string())),
        ScalarValue::TimestampMicrosecond(_, zone) => {
            let name = if zone.is_some() { "TIMESTAMP" } else { "TIMESTAMP_NTZ" };
            format!("{name} '{}'", written().unwrap_or_else(|| value.to_string()))
        }
        ScalarValue::Binary(Some(bytes)) => {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("X'{}'", digits.concat())
        }
        ScalarValue::Decimal128(..) => written().unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    }
}

/// Spark's name of a type in lower case, as a schema in DDL has it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let field = |field: &FieldRef| format!("{}:{}", field.name(), type_name(field.data_type()));
    match data_type {
        DataType::Null => "void".to_string(),
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 => "tinyint".to_string(),
        DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "int".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "float".to_string(),
        DataType::Float64 => "double".to_string(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 => "string".to_string(),
        DataType::Binary => "binary".to_string(),
        DataType::Date32 => "date".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_string(),
        DataType::Timestamp(_, None) => "timestamp_ntz".to_string(),
        DataType::Duration(_) => "interval day to second".to_string(),
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".to_string(),
        DataType::Interval(_) => "interval".to_string(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::List(element) => format!("array<{}>", type_name(element.data_type())),
        DataType::Struct(fields) => format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(",")),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| type_name(part.data_type())).collect();
                format!("map<{}>", parts.join(","))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
