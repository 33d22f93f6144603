//! Data types of the protocol and of the engine.
//!
//! Comes in: Arrow schemas, and the protocol's types. Goes out: the one as the other. Fails: types that Spark has and the engine has not,
//! by name.

use super::required;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::interval::Fields;
use crate::functions::schema_text;
use crate::plan::grouping::SESSION;
use crate::plan::logical::{TIME_WINDOW_KEY, USER_METADATA_KEY, WATERMARK_DELAY_KEY};
use crate::plan::nullness::is_never_null;
use crate::types::{DataType, StructField, StructType};
use arrow::datatypes::{DataType as Arrow, Field, IntervalUnit, SchemaRef, TimeUnit};
use proto::data_type::Kind;
use serde_json::{Map, Value};
use spark_connect_proto as proto;
use std::sync::Arc;

/// The type of a frame's rows.
pub(crate) fn to_proto(schema: &SchemaRef) -> proto::DataType {
    let fields = schema.fields().iter().map(|field| field_to_proto(field)).collect();
    of(Kind::Struct(proto::data_type::Struct { fields, ..Default::default() }))
}

/// A column, with the user's metadata and the marks of event time and of windows, as Spark writes them.
pub(crate) fn field_to_proto(field: &Field) -> proto::data_type::StructField {
    let given = field.metadata().get(USER_METADATA_KEY).and_then(|text| serde_json::from_str(text).ok());
    let mut marks: Map<String, Value> = given.unwrap_or_default();
    if let Some(delay) = field.metadata().get(WATERMARK_DELAY_KEY).and_then(|delay| delay.parse::<i64>().ok()) {
        marks.insert(WATERMARK_DELAY_KEY.to_string(), Value::from(delay));
    }
    if let Some(window) = field.metadata().get(TIME_WINDOW_KEY) {
        let key = if window == SESSION { "spark.sessionWindow" } else { TIME_WINDOW_KEY };
        marks.insert(key.to_string(), Value::Bool(true));
    }
    let metadata = (!marks.is_empty()).then(|| Value::Object(marks).to_string());
    proto::data_type::StructField {
        name: field.name().clone(),
        data_type: Some(Fields::of(field).map_or_else(|| type_to_proto(field.data_type()), interval)),
        nullable: field.is_nullable() && !is_never_null(field),
        metadata,
    }
}

/// The type of a column.
pub(crate) fn type_to_proto(data_type: &Arrow) -> proto::DataType {
    of(match data_type {
        Arrow::Null => Kind::Null(Default::default()),
        Arrow::Boolean => Kind::Boolean(Default::default()),
        Arrow::Int8 => Kind::Byte(Default::default()),
        Arrow::Int16 | Arrow::UInt8 => Kind::Short(Default::default()),
        Arrow::Int32 | Arrow::UInt16 => Kind::Integer(Default::default()),
        Arrow::Int64 | Arrow::UInt32 => Kind::Long(Default::default()),
        Arrow::UInt64 => decimal(20, 0),
        Arrow::Float16 | Arrow::Float32 => Kind::Float(Default::default()),
        Arrow::Float64 => Kind::Double(Default::default()),
        Arrow::Decimal32(p, s) | Arrow::Decimal64(p, s) | Arrow::Decimal128(p, s) | Arrow::Decimal256(p, s) => {
            decimal(*p, *s)
        }
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View => Kind::String(Default::default()),
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView | Arrow::FixedSizeBinary(_) => {
            Kind::Binary(Default::default())
        }
        Arrow::Date32 | Arrow::Date64 => Kind::Date(Default::default()),
        Arrow::Timestamp(_, Some(_)) => Kind::Timestamp(Default::default()),
        Arrow::Timestamp(_, None) => Kind::TimestampNtz(Default::default()),
        Arrow::Time32(_) | Arrow::Time64(_) => Kind::Time(Default::default()),
        interval_type @ (Arrow::Duration(_) | Arrow::Interval(IntervalUnit::YearMonth)) => {
            return Fields::all(interval_type).map_or_else(|| of(unparsed(interval_type)), interval);
        }
        Arrow::Interval(_) => Kind::CalendarInterval(Default::default()),
        Arrow::Dictionary(_, values) => return type_to_proto(values),
        Arrow::RunEndEncoded(_, values) => return type_to_proto(values.data_type()),
        Arrow::List(element)
        | Arrow::LargeList(element)
        | Arrow::ListView(element)
        | Arrow::LargeListView(element)
        | Arrow::FixedSizeList(element, _) => Kind::Array(Box::new(proto::data_type::Array {
            element_type: Some(Box::new(type_to_proto(element.data_type()))),
            contains_null: element.is_nullable(),
            ..Default::default()
        })),
        Arrow::Struct(fields) => Kind::Struct(proto::data_type::Struct {
            fields: fields.iter().map(|field| field_to_proto(field)).collect(),
            ..Default::default()
        }),
        Arrow::Map(entries, _) => match entries.data_type() {
            Arrow::Struct(fields) if fields.len() == 2 => {
                let part = |index: usize| fields.get(index).map(|field| Box::new(type_to_proto(field.data_type())));
                Kind::Map(Box::new(proto::data_type::Map {
                    key_type: part(0),
                    value_type: part(1),
                    value_contains_null: fields.get(1).is_some_and(|field| field.is_nullable()),
                    ..Default::default()
                }))
            }
            other => unparsed(other),
        },
        other => unparsed(other),
    })
}

/// The type of intervals with these fields.
fn interval(fields: Fields) -> proto::DataType {
    let (start_field, end_field) = (Some(fields.start.number()), Some(fields.end.number()));
    of(match fields.is_months() {
        true => Kind::YearMonthInterval(proto::data_type::YearMonthInterval {
            start_field,
            end_field,
            ..Default::default()
        }),
        false => {
            Kind::DayTimeInterval(proto::data_type::DayTimeInterval { start_field, end_field, ..Default::default() })
        }
    })
}

fn of(kind: Kind) -> proto::DataType {
    proto::DataType { kind: Some(kind) }
}

fn decimal(precision: u8, scale: i8) -> Kind {
    let (precision, scale) = (Some(i32::from(precision)), Some(i32::from(scale)));
    Kind::Decimal(proto::data_type::Decimal { precision, scale, ..Default::default() })
}

/// A type that Spark does not have, by Arrow's name.
fn unparsed(data_type: &Arrow) -> Kind {
    Kind::Unparsed(proto::data_type::Unparsed { data_type_string: data_type.to_string() })
}

/// The engine's type.
///
/// # Errors
/// [`ErrorCode::UnsupportedDataType`] for what columns cannot be declared as.
pub(crate) fn from_proto(data_type: &proto::DataType) -> Result<DataType> {
    let refuse = |name: &str| {
        Err(Error::new(ErrorCode::UnsupportedDataType, format!("columns cannot be declared or cast as {name} here")))
    };
    Ok(match required(data_type.kind.as_ref(), "a data type")? {
        Kind::Boolean(_) => DataType::Boolean,
        Kind::Byte(_) => DataType::Byte,
        Kind::Short(_) => DataType::Short,
        Kind::Integer(_) => DataType::Integer,
        Kind::Long(_) => DataType::Long,
        Kind::Float(_) => DataType::Float,
        Kind::Double(_) => DataType::Double,
        Kind::Decimal(decimal) => {
            let (precision, scale) = (decimal.precision.unwrap_or(10), decimal.scale.unwrap_or(0));
            match (u8::try_from(precision), i8::try_from(scale)) {
                (Ok(p @ 1..=38), Ok(s @ 0..)) if i32::from(s) <= precision => DataType::Decimal(p, s),
                _ => return refuse(&format!("DECIMAL({precision},{scale})")),
            }
        }
        Kind::String(_) | Kind::Char(_) | Kind::VarChar(_) => DataType::String,
        Kind::Binary(_) => DataType::Binary,
        Kind::Date(_) => DataType::Date,
        Kind::Timestamp(_) => DataType::Timestamp,
        Kind::TimestampNtz(_) => DataType::TimestampNtz,
        Kind::Array(array) => {
            DataType::Array(Box::new(from_proto(required(array.element_type.as_deref(), "the type of elements")?)?))
        }
        Kind::Map(map) => {
            let key = from_proto(required(map.key_type.as_deref(), "the type of keys")?)?;
            let value = from_proto(required(map.value_type.as_deref(), "the type of values")?)?;
            DataType::Map(Box::new(key), Box::new(value))
        }
        Kind::Struct(fields) => DataType::Struct(struct_from_proto(fields)?),
        Kind::Udt(udt) => from_proto(required(udt.sql_type.as_deref(), "the SQL type of a user-defined type")?)?,
        Kind::Unparsed(text) => schema_text::parse(&text.data_type_string)?,
        Kind::Null(_) => return refuse("VOID"),
        Kind::DayTimeInterval(interval) => match (interval.start_field, interval.end_field) {
            (None | Some(0), None | Some(3)) => DataType::DayTimeInterval,
            _ => return refuse("an INTERVAL of some fields; take INTERVAL DAY TO SECOND"),
        },
        Kind::YearMonthInterval(interval) => match (interval.start_field, interval.end_field) {
            (None | Some(0), None | Some(1)) => DataType::YearMonthInterval,
            _ => return refuse("an INTERVAL of some fields; take INTERVAL YEAR TO MONTH"),
        },
        Kind::CalendarInterval(_) => return refuse("INTERVAL"),
        Kind::Variant(_) => return refuse("VARIANT"),
        Kind::Geometry(_) => return refuse("GEOMETRY"),
        Kind::Geography(_) => return refuse("GEOGRAPHY"),
        Kind::Time(_) => return refuse("TIME"),
        Kind::TimestampNtzNanos(_) | Kind::TimestampLtzNanos(_) => return refuse("a timestamp of nanoseconds"),
    })
}

/// A schema.
///
/// # Errors
/// As [`from_proto`].
pub(crate) fn struct_from_proto(of: &proto::data_type::Struct) -> Result<StructType> {
    let field = |field: &proto::data_type::StructField| {
        let data_type = from_proto(required(field.data_type.as_ref(), "the type of a field")?)?;
        Ok(StructField::new(&field.name, data_type, field.nullable))
    };
    Ok(StructType { fields: of.fields.iter().map(field).collect::<Result<_>>()? })
}

/// The Arrow type of a constant, which may be an interval or NULL of no type.
///
/// # Errors
/// As [`from_proto`].
pub(super) fn constant_type(data_type: &proto::DataType) -> Result<Arrow> {
    Ok(match data_type.kind.as_ref() {
        None | Some(Kind::Null(_)) => Arrow::Null,
        Some(Kind::CalendarInterval(_)) => Arrow::Interval(IntervalUnit::MonthDayNano),
        Some(Kind::YearMonthInterval(_)) => Arrow::Interval(IntervalUnit::YearMonth),
        Some(Kind::DayTimeInterval(_)) => Arrow::Duration(TimeUnit::Microsecond),
        Some(Kind::Array(array)) => {
            let element = constant_type(required(array.element_type.as_deref(), "the type of elements")?)?;
            Arrow::List(Arc::new(Field::new("element", element, true)))
        }
        Some(Kind::Struct(of)) => {
            let field = |field: &proto::data_type::StructField| {
                let data_type = constant_type(required(field.data_type.as_ref(), "the type of a field")?)?;
                Ok(Field::new(&field.name, data_type, true))
            };
            Arrow::Struct(of.fields.iter().map(field).collect::<Result<Vec<_>>>()?.into())
        }
        Some(_) => from_proto(data_type)?.to_arrow(),
    })
}
