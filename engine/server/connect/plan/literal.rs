//! Constants of the protocol and of the engine.
//!
//! Comes in: literals, and values. Goes out: the one as the other. Fails: types that the engine has not, by name, and decimals that are none.

use super::types::{constant_type, type_to_proto};
use super::{required, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::cast::{CastOptions, cast};
use crate::types::UTC;
use arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, IntervalMonthDayNano};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use proto::data_type::Kind;
use proto::expression::Literal;
use proto::expression::literal as parts;
use proto::expression::literal::LiteralType;
use spark_connect_proto as proto;
use std::sync::Arc;

/// The value of a literal.
///
/// # Errors
/// Types that the engine has not, and numbers outside of their type.
pub(crate) fn scalar(literal: &Literal) -> Result<ScalarValue> {
    let kind = required(literal.literal_type.as_ref(), "the value of a literal")?;
    let outside = |value: i32, name: &str| {
        Error::new(ErrorCode::InvalidExpression, format!("the literal {value} is outside of {name}"))
    };
    Ok(match kind {
        LiteralType::Null(data_type) => ScalarValue::try_from(&constant_type(data_type)?)?,
        LiteralType::Binary(bytes) => ScalarValue::Binary(Some(bytes.to_vec())),
        LiteralType::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        LiteralType::Byte(value) => {
            ScalarValue::Int8(Some(i8::try_from(*value).map_err(|_| outside(*value, "TINYINT"))?))
        }
        LiteralType::Short(value) => {
            ScalarValue::Int16(Some(i16::try_from(*value).map_err(|_| outside(*value, "SMALLINT"))?))
        }
        LiteralType::Integer(value) => ScalarValue::Int32(Some(*value)),
        LiteralType::Long(value) => ScalarValue::Int64(Some(*value)),
        LiteralType::Float(value) => ScalarValue::Float32(Some(*value)),
        LiteralType::Double(value) => ScalarValue::Float64(Some(*value)),
        LiteralType::Decimal(decimal) => decimal_value(decimal)?,
        LiteralType::String(text) => ScalarValue::Utf8(Some(text.clone())),
        LiteralType::Date(days) => ScalarValue::Date32(Some(*days)),
        LiteralType::Timestamp(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), Some(UTC.into())),
        LiteralType::TimestampNtz(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), None),
        LiteralType::CalendarInterval(interval) => {
            let nanos = interval.microseconds.checked_mul(1000).ok_or_else(|| {
                Error::new(ErrorCode::InvalidExpression, "an interval is too long: its time does not fit nanoseconds")
            })?;
            let value = IntervalMonthDayNano::new(interval.months, interval.days, nanos);
            ScalarValue::IntervalMonthDayNano(Some(value))
        }
        LiteralType::YearMonthInterval(months) => ScalarValue::IntervalYearMonth(Some(*months)),
        LiteralType::DayTimeInterval(micros) => ScalarValue::DurationMicrosecond(Some(*micros)),
        LiteralType::Array(array) => list(literal, array)?,
        LiteralType::Map(map) => map_value(literal, map)?,
        LiteralType::Struct(value) => struct_value(literal, value)?,
        LiteralType::SpecializedArray(array) => specialized(array)?,
        LiteralType::Time(_) => return unsupported("literals of type TIME"),
        LiteralType::TimestampNtzNanos(_) | LiteralType::TimestampLtzNanos(_) => {
            return unsupported("timestamps of nanoseconds as literals; instants have microseconds here");
        }
    })
}

/// `-12.50` with at least the declared precision and scale.
fn decimal_value(decimal: &parts::Decimal) -> Result<ScalarValue> {
    let refuse = || Error::new(ErrorCode::InvalidExpression, format!("{:?} is no decimal of 38 digits", decimal.value));
    let text = decimal.value.trim();
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().map_err(|_| refuse())?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut unscaled: i128 = format!("{whole}{fraction}").parse().map_err(|_| refuse())?;
    let mut scale = i32::try_from(fraction.len()).map_err(|_| refuse())?.checked_sub(exponent).ok_or_else(refuse)?;
    let wanted = decimal.scale.unwrap_or(0).max(0);
    while scale < wanted {
        unscaled = unscaled.checked_mul(10).ok_or_else(refuse)?;
        scale += 1;
    }
    let significant = i32::try_from(unscaled.unsigned_abs().to_string().len()).map_err(|_| refuse())?;
    // A declared precision leaves room for as many digits before the point as it had.
    let declared = decimal.precision.unwrap_or(1).max(1);
    let precision = significant.max(scale).max(declared);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => Ok(ScalarValue::Decimal128(Some(unscaled), precision, scale)),
        _ => Err(refuse()),
    }
}

/// Values as a column of one type.
fn column(values: &[Literal], data_type: Option<DataType>) -> Result<ArrayRef> {
    let values = values.iter().map(scalar).collect::<Result<Vec<_>>>()?;
    let found = values.iter().map(ScalarValue::data_type).find(|found| *found != DataType::Null);
    let data_type = data_type.filter(|declared| *declared != DataType::Null).or(found).unwrap_or(DataType::Null);
    let options = CastOptions { ansi: true, time_zone: Tz::UTC };
    let columns =
        values.iter().map(|value| cast(&value.to_array()?, &data_type, options)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
    match parts.is_empty() {
        true => Ok(new_empty_array(&data_type)),
        false => Ok(arrow::compute::concat(&parts)?),
    }
}

fn list_of(elements: ArrayRef) -> Result<ScalarValue> {
    let field = Arc::new(Field::new("element", elements.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([elements.len()]);
    Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, offsets, elements, None)?)))
}

#[allow(deprecated)] // Clients still send the type of elements in the older place.
fn list(literal: &Literal, array: &parts::Array) -> Result<ScalarValue> {
    let declared = match literal.data_type.as_ref().and_then(|t| t.kind.as_ref()) {
        Some(Kind::Array(of)) => of.element_type.as_deref(),
        _ => array.element_type.as_ref(),
    };
    list_of(column(&array.elements, declared.map(constant_type).transpose()?)?)
}

#[allow(deprecated)]
fn map_value(literal: &Literal, map: &parts::Map) -> Result<ScalarValue> {
    let (key, value) = match literal.data_type.as_ref().and_then(|t| t.kind.as_ref()) {
        Some(Kind::Map(of)) => (of.key_type.as_deref(), of.value_type.as_deref()),
        _ => (map.key_type.as_ref(), map.value_type.as_ref()),
    };
    let keys = column(&map.keys, key.map(constant_type).transpose()?)?;
    let values = column(&map.values, value.map(constant_type).transpose()?)?;
    let fields = Fields::from(vec![
        Field::new("key", keys.data_type().clone(), false),
        Field::new("value", values.data_type().clone(), true),
    ]);
    let length = keys.len();
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    Ok(ScalarValue::Map(Arc::new(MapArray::try_new(
        field,
        OffsetBuffer::from_lengths([length]),
        entries,
        None,
        false,
    )?)))
}

#[allow(deprecated)]
fn struct_value(literal: &Literal, value: &parts::Struct) -> Result<ScalarValue> {
    let declared = literal.data_type.as_ref().or(value.struct_type.as_ref()).and_then(|t| t.kind.as_ref());
    let names: Vec<(String, Option<DataType>)> = match declared {
        Some(Kind::Struct(of)) => {
            let field = |field: &proto::data_type::StructField| {
                Ok((field.name.clone(), field.data_type.as_ref().map(constant_type).transpose()?))
            };
            of.fields.iter().map(field).collect::<Result<_>>()?
        }
        _ => (1..=value.elements.len()).map(|index| (format!("col{index}"), None)).collect(),
    };
    if names.len() != value.elements.len() {
        return Err(Error::new(ErrorCode::InvalidExpression, "a literal struct has more or fewer values than fields"));
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (element, (name, data_type)) in value.elements.iter().zip(names) {
        let values = column(std::slice::from_ref(element), data_type)?;
        fields.push(Field::new(name, values.data_type().clone(), true));
        columns.push(values);
    }
    Ok(ScalarValue::Struct(Arc::new(StructArray::try_new_with_length(fields.into(), columns, None, 1)?)))
}

fn specialized(array: &parts::SpecializedArray) -> Result<ScalarValue> {
    use arrow::array::{BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray};
    use parts::specialized_array::ValueType;
    list_of(match required(array.value_type.as_ref(), "the values of an array")? {
        ValueType::Bools(of) => Arc::new(BooleanArray::from(of.values.clone())),
        ValueType::Ints(of) => Arc::new(Int32Array::from(of.values.clone())),
        ValueType::Longs(of) => Arc::new(Int64Array::from(of.values.clone())),
        ValueType::Floats(of) => Arc::new(Float32Array::from(of.values.clone())),
        ValueType::Doubles(of) => Arc::new(Float64Array::from(of.values.clone())),
        ValueType::Strings(of) => Arc::new(StringArray::from(of.values.clone())),
    })
}

/// The literal of a value, as observed metrics are sent.
///
/// # Errors
/// Values of a type that Spark has not.
pub(crate) fn to_proto(value: &ScalarValue) -> Result<Literal> {
    let data_type = type_to_proto(&value.data_type());
    let literal = |kind: LiteralType| Literal { literal_type: Some(kind), data_type: None };
    if value.is_null() {
        return Ok(literal(LiteralType::Null(data_type)));
    }
    let refuse = || Error::new(ErrorCode::DatatypeMismatch, format!("{} is no type of a literal", value.data_type()));
    Ok(literal(match value {
        ScalarValue::Boolean(Some(v)) => LiteralType::Boolean(*v),
        ScalarValue::Int8(Some(v)) => LiteralType::Byte((*v).into()),
        ScalarValue::Int16(Some(v)) => LiteralType::Short((*v).into()),
        ScalarValue::Int32(Some(v)) => LiteralType::Integer(*v),
        ScalarValue::Int64(Some(v)) => LiteralType::Long(*v),
        ScalarValue::Float32(Some(v)) => LiteralType::Float(*v),
        ScalarValue::Float64(Some(v)) => LiteralType::Double(*v),
        ScalarValue::Decimal128(Some(_), precision, scale) => LiteralType::Decimal(parts::Decimal {
            value: ScalarValue::try_from_array(&arrow::compute::cast(&value.to_array()?, &DataType::Utf8)?, 0)?
                .to_string(),
            precision: Some((*precision).into()),
            scale: Some((*scale).into()),
        }),
        ScalarValue::Utf8(Some(v)) | ScalarValue::LargeUtf8(Some(v)) | ScalarValue::Utf8View(Some(v)) => {
            LiteralType::String(v.clone())
        }
        ScalarValue::Binary(Some(v)) | ScalarValue::LargeBinary(Some(v)) => LiteralType::Binary(v.clone().into()),
        ScalarValue::Date32(Some(v)) => LiteralType::Date(*v),
        ScalarValue::TimestampMicrosecond(Some(v), Some(_)) => LiteralType::Timestamp(*v),
        ScalarValue::TimestampMicrosecond(Some(v), None) => LiteralType::TimestampNtz(*v),
        ScalarValue::IntervalYearMonth(Some(v)) => LiteralType::YearMonthInterval(*v),
        ScalarValue::DurationMicrosecond(Some(v)) => LiteralType::DayTimeInterval(*v),
        ScalarValue::IntervalMonthDayNano(Some(v)) => LiteralType::CalendarInterval(parts::CalendarInterval {
            months: v.months,
            days: v.days,
            microseconds: v.nanoseconds / 1000,
        }),
        ScalarValue::Dictionary(_, value) => return to_proto(value),
        ScalarValue::List(list) => array_to_proto(&list.value(0), data_type)?,
        ScalarValue::Struct(of) => struct_to_proto(of, data_type)?,
        ScalarValue::Map(map) => map_to_proto(&map.value(0), data_type)?,
        _ => return Err(refuse()),
    }))
}

fn literals(values: &ArrayRef) -> Result<Vec<Literal>> {
    (0..values.len()).map(|row| to_proto(&ScalarValue::try_from_array(values, row)?)).collect()
}

#[allow(deprecated)]
fn array_to_proto(values: &ArrayRef, data_type: proto::DataType) -> Result<LiteralType> {
    let element_type = match data_type.kind {
        Some(Kind::Array(of)) => of.element_type.map(|element| *element),
        _ => None,
    };
    Ok(LiteralType::Array(parts::Array { element_type, elements: literals(values)? }))
}

#[allow(deprecated)]
fn struct_to_proto(of: &StructArray, data_type: proto::DataType) -> Result<LiteralType> {
    let first = |values: &ArrayRef| to_proto(&ScalarValue::try_from_array(values, 0)?);
    let elements = of.columns().iter().map(first).collect::<Result<_>>()?;
    Ok(LiteralType::Struct(parts::Struct { struct_type: Some(data_type), elements }))
}

#[allow(deprecated)]
fn map_to_proto(entries: &StructArray, data_type: proto::DataType) -> Result<LiteralType> {
    let (key_type, value_type) = match data_type.kind {
        Some(Kind::Map(of)) => (of.key_type.map(|t| *t), of.value_type.map(|t| *t)),
        _ => (None, None),
    };
    let side = |index: usize| entries.columns().get(index).map_or(Ok(vec![]), literals);
    Ok(LiteralType::Map(parts::Map { key_type, value_type, keys: side(0)?, values: side(1)? }))
}
