//! Functions that look into JSON texts: `get_json_object` and its like.
//!
//! Comes in: texts and paths. Goes out: texts and numbers; NULL for a text that is no JSON and for a path that leads nowhere. Nothing
//! fails.

use super::builtin::{Builtin, Call, Typed, strict, total, typed};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    total("get_json_object", "ss", 's', |c| {
        let mut last: Option<(String, Option<Vec<Step>>)> = None;
        strict!(c, StringArray, |json: text 0, path: text 1| {
            if last.as_ref().is_none_or(|(known, _)| known != path) {
                last = Some((path.to_string(), steps(path)));
            }
            let steps = last.as_ref().and_then(|(_, steps)| steps.as_ref());
            let value = serde_json::from_str::<Value>(json).ok();
            Ok(steps.zip(value).and_then(|(steps, value)| at_path(&value, steps)))
        })
    }),
    total("json_array_length", "s", 'i', |c| {
        strict!(c, Int32Array, |json: text 0| {
            Ok(serde_json::from_str::<Value>(json).ok().and_then(|v| v.as_array().map(|a| a.len() as i32)))
        })
    }),
    total("json_object_keys", "s", 'S', keys),
    typed(
        "schema_of_json",
        (1, 2),
        |a| {
            a.text(0).ok_or_else(|| a.mismatch(0, "a constant STRING of JSON"))?;
            Typed::new(a.types, DataType::Utf8)
        },
        |c| {
            strict!(c, StringArray, |json: text 0| {
                let value: Value = serde_json::from_str(json)
                    .map_err(|e| Error::new(ErrorCode::InvalidParameterValue, format!("schema_of_json: {json:?} is no JSON: {e}")))?;
                Ok(Some(ddl(&value)))
            })
        },
    ),
];

enum Step {
    Field(String),
    Index(usize),
    EveryElement,
}

/// `$.a['b c'][0][*]`
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let (name, after) = after.split_once("']")?;
            steps.push(Step::Field(name.to_string()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            steps.push(if index == "*" { Step::EveryElement } else { Step::Index(index.parse().ok()?) });
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" { Step::EveryElement } else { Step::Field(name.to_string()) });
            rest = after;
        }
    }
    Some(steps)
}

fn collect<'a>(value: &'a Value, steps: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            fields.get(name).into_iter().for_each(|value| collect(value, rest, found));
        }
        // A name asks every element of an array for its field.
        (Step::Field(_), Value::Array(elements)) => elements.iter().for_each(|value| collect(value, steps, found)),
        (Step::Index(index), Value::Array(elements)) => {
            elements.get(*index).into_iter().for_each(|value| collect(value, rest, found));
        }
        (Step::EveryElement, Value::Array(elements)) => elements.iter().for_each(|value| collect(value, rest, found)),
        _ => {}
    }
}

fn at_path(value: &Value, steps: &[Step]) -> Option<String> {
    let mut found = Vec::new();
    collect(value, steps, &mut found);
    let every = steps.iter().any(|step| matches!(step, Step::EveryElement));
    match found.as_slice() {
        [] | [Value::Null] => None,
        [Value::String(text)] if !every => Some(text.clone()),
        [single] => Some(single.to_string()),
        several => Some(format!("[{}]", several.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(","))),
    }
}

fn keys(call: &Call) -> Result<ArrayRef> {
    let texts = call.text(0)?;
    let mut out = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for row in 0..call.rows {
        match texts.get(row).and_then(|json| serde_json::from_str::<Value>(json).ok()) {
            Some(Value::Object(fields)) => {
                fields.keys().for_each(|key| out.values().append_value(key));
                out.append(true);
            }
            _ => out.append(false),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// What `schema_of_json` finds, as a tree.
#[derive(Clone, PartialEq)]
enum Found {
    Nothing,
    Scalar(&'static str),
    Array(Box<Found>),
    Struct(Vec<(String, Found)>),
}

fn infer(value: &Value) -> Found {
    match value {
        Value::Null => Found::Nothing,
        Value::Bool(_) => Found::Scalar("BOOLEAN"),
        Value::Number(number) if number.is_i64() => Found::Scalar("BIGINT"),
        Value::Number(number) if number.is_u64() => Found::Scalar("DECIMAL(20,0)"),
        Value::Number(_) => Found::Scalar("DOUBLE"),
        Value::String(_) => Found::Scalar("STRING"),
        Value::Array(elements) => Found::Array(Box::new(elements.iter().map(infer).fold(Found::Nothing, merge))),
        Value::Object(fields) => {
            let mut found: Vec<(String, Found)> =
                fields.iter().map(|(name, value)| (name.clone(), infer(value))).collect();
            // Spark sorts the fields that it finds.
            found.sort_by(|a, b| a.0.cmp(&b.0));
            Found::Struct(found)
        }
    }
}

fn merge(left: Found, right: Found) -> Found {
    match (left, right) {
        (Found::Nothing, other) | (other, Found::Nothing) => other,
        (left, right) if left == right => left,
        (Found::Scalar("BIGINT" | "DOUBLE"), Found::Scalar("BIGINT" | "DOUBLE")) => Found::Scalar("DOUBLE"),
        (Found::Array(left), Found::Array(right)) => Found::Array(Box::new(merge(*left, *right))),
        (Found::Struct(mut left), Found::Struct(right)) => {
            for (name, found) in right {
                match left.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = merge(known.clone(), found),
                    None => left.push((name, found)),
                }
            }
            left.sort_by(|a, b| a.0.cmp(&b.0));
            Found::Struct(left)
        }
        _ => Found::Scalar("STRING"),
    }
}

fn ddl(value: &Value) -> String {
    fn text(found: &Found) -> String {
        match found {
            Found::Nothing => "STRING".into(),
            Found::Scalar(name) => (*name).into(),
            Found::Array(element) => format!("ARRAY<{}>", text(element)),
            Found::Struct(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, found)| format!("{name}: {}", text(found))).collect();
                format!("STRUCT<{}>", fields.join(", "))
            }
        }
    }
    text(&infer(value))
}
