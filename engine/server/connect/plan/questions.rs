//! Answers about schemas: their tree, and DDL texts.
//!
//! Comes in: schemas and texts. Goes out: texts and types. Fails: texts that are no schemas.

use super::types::{to_proto, type_to_proto};
use crate::error::Result;
use crate::functions::collection::type_name;
use crate::functions::interval::Fields;
use crate::functions::schema_text;
use crate::plan::nullness::is_never_null;
use crate::types;
use arrow::datatypes::{DataType, SchemaRef};
use spark_connect_proto as proto;

/// Spark's `printSchema`, down to `level` levels of nesting, all of them for None and 0.
pub(crate) fn tree_string(schema: &SchemaRef, level: Option<i32>) -> String {
    let depth = level.and_then(|level| usize::try_from(level).ok()).filter(|level| *level > 0).unwrap_or(usize::MAX);
    let mut text = String::from("root\n");
    for field in schema.fields() {
        let note = format!(" (nullable = {})", field.is_nullable() && !is_never_null(field));
        let name =
            Fields::of(field).map_or_else(|| name(field.data_type()), |fields| format!("interval {}", fields.name()));
        branch(&mut text, " |-- ", (field.name().as_str(), name.as_str()), field.data_type(), &note, depth);
    }
    text
}

/// The name of a type in a tree.
fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(_) => "struct".to_string(),
        DataType::List(_) => "array".to_string(),
        DataType::Map(_, _) => "map".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "long".to_string(),
        DataType::Int16 => "short".to_string(),
        DataType::Int8 => "byte".to_string(),
        other => type_name(other).to_lowercase(),
    }
}

fn branch(
    text: &mut String,
    prefix: &str,
    (label, type_name): (&str, &str),
    data_type: &DataType,
    note: &str,
    depth: usize,
) {
    text.push_str(&format!("{prefix}{label}: {type_name}{note}\n"));
    let Some(depth) = depth.checked_sub(1).filter(|depth| *depth > 0) else { return };
    let below = format!(" |   {prefix}");
    match data_type {
        DataType::Struct(fields) => {
            for field in fields {
                let named = (field.name().as_str(), name(field.data_type()));
                branch(text, &below, (named.0, named.1.as_str()), field.data_type(), " (nullable = true)", depth);
            }
        }
        DataType::List(element) => branch(
            text,
            &below,
            ("element", name(element.data_type()).as_str()),
            element.data_type(),
            " (containsNull = true)",
            depth,
        ),
        DataType::Map(entries, _) => {
            if let DataType::Struct(fields) = entries.data_type()
                && let [key, value] = fields.as_ref()
            {
                branch(text, &below, ("key", name(key.data_type()).as_str()), key.data_type(), "", depth);
                branch(
                    text,
                    &below,
                    ("value", name(value.data_type()).as_str()),
                    value.data_type(),
                    " (valueContainsNull = true)",
                    depth,
                );
            }
        }
        _ => {}
    }
}

/// The type that a text is: of one column, or of several.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR`.
pub(crate) fn parse_ddl(text: &str) -> Result<proto::DataType> {
    match schema_text::parse(text)? {
        types::DataType::Struct(columns) => Ok(to_proto(&super::local::declared_schema(&columns))),
        one => Ok(type_to_proto(&one.to_arrow())),
    }
}

/// A schema's JSON as DDL.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR`.
pub(crate) fn json_to_ddl(json: &str) -> Result<String> {
    let columns = super::relation::schema(json)?.to_arrow();
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let columns = columns.iter().map(|field| {
        let name = match plain(field.name()) {
            true => field.name().clone(),
            false => format!("`{}`", field.name().replace('`', "``")),
        };
        format!("{name} {}", sql_name(field.data_type()))
    });
    Ok(columns.collect::<Vec<_>>().join(","))
}

/// A type as DDL writes it: names of types in capitals, names of fields as they are.
fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), sql_name(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::List(element) => format!("ARRAY<{}>", sql_name(element.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let parts: Vec<String> = fields.iter().map(|field| sql_name(field.data_type())).collect();
                format!("MAP<{}>", parts.join(", "))
            }
            _ => "MAP".to_string(),
        },
        other => type_name(other).to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::StructType;

    const DDL: &str = "a INT, s STRUCT<x: BIGINT, l: ARRAY<STRING>>, m MAP<STRING, DECIMAL(10,2)>";

    #[test]
    fn a_schema_is_shown_as_a_tree() {
        let schema = StructType::from_ddl(DDL).unwrap().to_arrow_schema();
        let whole = "\
root
 |-- a: integer (nullable = true)
 |-- s: struct (nullable = true)
 |    |-- x: long (nullable = true)
 |    |-- l: array (nullable = true)
 |    |    |-- element: string (containsNull = true)
 |-- m: map (nullable = true)
 |    |-- key: string
 |    |-- value: decimal(10,2) (valueContainsNull = true)
";
        assert_eq!(tree_string(&schema, None), whole);
        let top = "\
root
 |-- a: integer (nullable = true)
 |-- s: struct (nullable = true)
 |-- m: map (nullable = true)
";
        assert_eq!(tree_string(&schema, Some(1)), top);
    }

    #[test]
    fn texts_become_types_and_types_texts() {
        assert_eq!(parse_ddl("BIGINT").unwrap(), type_to_proto(&DataType::Int64));
        let schema = StructType::from_ddl(DDL).unwrap().to_arrow_schema();
        assert_eq!(parse_ddl(DDL).unwrap(), to_proto(&schema));
        assert!(parse_ddl("a NOSUCHTYPE").is_err());
        let json = r#"{"type":"struct","fields":[{"name":"a b","type":"long","nullable":true,"metadata":{}},
            {"name":"s","type":{"type":"struct","fields":[{"name":"x","type":"integer","nullable":true,"metadata":{}}]},"nullable":true,"metadata":{}}]}"#;
        assert_eq!(json_to_ddl(json).unwrap(), "`a b` BIGINT,s STRUCT<x: INT>");
    }
}
