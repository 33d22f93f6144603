//! Types as SQL writes them in CAST.
//!
//! Comes in: the parser's type. Goes out: Spark's. Fails: types that Spark or this engine does not have.

use super::place::{Failure, Parsed};
use crate::error::ErrorCode;
use crate::types::{DataType, IntoDataType, StructField, StructType};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as Tree, ExactNumberInfo};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Spark's type of a type name.
pub(super) fn data_type(tree: &Tree) -> Parsed<DataType> {
    Ok(match tree {
        Tree::Bool | Tree::Boolean => DataType::Boolean,
        Tree::TinyInt(None) => DataType::Byte,
        Tree::SmallInt(None) => DataType::Short,
        Tree::Int(None) | Tree::Integer(None) => DataType::Integer,
        Tree::BigInt(None) => DataType::Long,
        Tree::Float(ExactNumberInfo::None) | Tree::Real => DataType::Float,
        Tree::Double(ExactNumberInfo::None) => DataType::Double,
        Tree::String(None) => DataType::String,
        // Spark's casts neither cut nor fill.
        Tree::Varchar(_) | Tree::CharVarying(_) | Tree::CharacterVarying(_) | Tree::Char(_) | Tree::Character(_) => {
            DataType::String
        }
        Tree::Interval { fields: Some(fields), precision: None } => named(&format!("INTERVAL {fields}"))?,
        Tree::Binary(None) => DataType::Binary,
        Tree::Date => DataType::Date,
        Tree::Timestamp(None, _) => DataType::Timestamp,
        Tree::TimestampNtz(None) => DataType::TimestampNtz,
        Tree::Decimal(info) | Tree::Dec(info) | Tree::Numeric(info) => match info {
            ExactNumberInfo::None => named("DECIMAL")?,
            ExactNumberInfo::Precision(precision) => named(&format!("DECIMAL({precision})"))?,
            ExactNumberInfo::PrecisionAndScale(precision, scale) => named(&format!("DECIMAL({precision},{scale})"))?,
        },
        Tree::Array(ArrayElemTypeDef::AngleBracket(element)) => DataType::Array(Box::new(data_type(element)?)),
        Tree::Map(key, value) => DataType::Map(Box::new(data_type(key)?), Box::new(data_type(value)?)),
        Tree::Struct(fields, _) => {
            let field = |field: &datafusion::sql::sqlparser::ast::StructField| {
                let name = field.field_name.as_ref().map(|name| name.value.clone()).ok_or_else(|| unknown(tree))?;
                Ok(StructField::new(name, data_type(&field.field_type)?, true))
            };
            DataType::Struct(StructType { fields: fields.iter().map(field).collect::<Parsed<_>>()? })
        }
        Tree::Custom(name, parameters) if parameters.is_empty() => named(&name.to_string())?,
        other => return Err(unknown(other)),
    })
}

fn named(text: &str) -> Parsed<DataType> {
    text.into_data_type().map_err(|_| refused(text))
}

fn unknown(tree: &Tree) -> Failure {
    refused(&tree.to_string())
}

fn refused(text: &str) -> Failure {
    let message = format!(
        "{text} is not a type here; there are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), STRING, BINARY, DATE, TIMESTAMP, ARRAY<...>, MAP<...> and STRUCT<...>"
    );
    Failure::new(ErrorCode::ParseSyntaxError, message, Span::empty())
}
