//! Schemas written as text: DDL (`a INT, b STRING`, `ARRAY<INT>`) and the JSON that Spark writes of a `StructType`.
//!
//! Comes in: a text. Goes out: the type. Fails: a text that is neither, by the place where it stops to be one.

use crate::error::{Error, ErrorCode, Result};
use crate::types::{DataType, IntoDataType, StructField, StructType};
use serde_json::Value;

/// The type of a text; a list of columns is a struct.
///
/// # Errors
/// [`ErrorCode::ParseSyntaxError`].
pub fn parse(text: &str) -> Result<DataType> {
    let trimmed = text.trim();
    if trimmed.starts_with(['{', '"']) {
        let value: Value = serde_json::from_str(trimmed).map_err(|e| refuse(text, &e.to_string()))?;
        return of_json(&value, text);
    }
    match trimmed.into_data_type() {
        Ok(data_type) => Ok(data_type),
        Err(_) => Ok(DataType::Struct(StructType::from_ddl(trimmed)?)),
    }
}

fn refuse(text: &str, why: &str) -> Error {
    Error::new(ErrorCode::ParseSyntaxError, format!("{text:?} is no schema: {why}"))
}

fn of_json(value: &Value, text: &str) -> Result<DataType> {
    let missing = |what: &str| refuse(text, &format!("{what} is missing"));
    match value {
        Value::String(name) => {
            let ddl = match name.as_str() {
                "integer" => "int",
                "long" => "bigint",
                "short" => "smallint",
                "byte" => "tinyint",
                other => other,
            };
            ddl.into_data_type()
        }
        Value::Object(fields) => match fields.get("type").and_then(Value::as_str) {
            Some("struct") => {
                let list = fields.get("fields").and_then(Value::as_array).ok_or_else(|| missing("fields"))?;
                let mut columns = Vec::with_capacity(list.len());
                for field in list {
                    let name = field.get("name").and_then(Value::as_str).ok_or_else(|| missing("a field's name"))?;
                    let data_type = of_json(field.get("type").ok_or_else(|| missing("a field's type"))?, text)?;
                    let nullable = field.get("nullable").and_then(Value::as_bool).unwrap_or(true);
                    columns.push(StructField::new(name, data_type, nullable));
                }
                Ok(DataType::Struct(StructType { fields: columns }))
            }
            Some("array") => {
                let element = of_json(fields.get("elementType").ok_or_else(|| missing("elementType"))?, text)?;
                Ok(DataType::Array(Box::new(element)))
            }
            Some("map") => {
                let key = of_json(fields.get("keyType").ok_or_else(|| missing("keyType"))?, text)?;
                let value = of_json(fields.get("valueType").ok_or_else(|| missing("valueType"))?, text)?;
                Ok(DataType::Map(Box::new(key), Box::new(value)))
            }
            _ => Err(refuse(text, "its type is none of struct, array and map")),
        },
        _ => Err(refuse(text, "it is neither an object nor a name")),
    }
}
