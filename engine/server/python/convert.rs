//! Columns as PySpark's workers take them.
//!
//! Comes in: Arrow columns of any layout. Goes out: the layouts that Spark sends, and their types in Spark's JSON. Fails: a type that Spark
//! has no name for.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};
use std::sync::Arc;

/// The layout that Spark sends columns of a type in.
pub(super) fn layout(data_type: &DataType) -> Result<DataType> {
    let field = |field: &Field| -> Result<Field> {
        Ok(Field::new(field.name(), layout(field.data_type())?, field.is_nullable()))
    };
    Ok(match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Decimal128(_, _) => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Interval(IntervalUnit::DayTime) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Dictionary(_, value) => layout(value)?,
        DataType::List(element) | DataType::LargeList(element) | DataType::ListView(element) => {
            DataType::List(Arc::new(field(element)?))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|inner| field(inner)).collect::<Result<Fields>>()?)
        }
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(field(entries)?), *sorted),
        other => {
            let text =
                format!("a Python function cannot take a value of the type {other}; cast it to a type of Spark first");
            return Err(Error::new(ErrorCode::DatatypeMismatch, text));
        }
    })
}

/// A type in Spark's JSON.
pub(super) fn json_type(data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Null => json!("void"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(_, Some(_)) => json!("timestamp"),
        DataType::Timestamp(_, None) => json!("timestamp_ntz"),
        DataType::Duration(_) => json!("interval day to second"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::List(element) => json!({
            "type": "array", "elementType": json_type(element.data_type())?, "containsNull": element.is_nullable(),
        }),
        DataType::Struct(fields) => json_struct(fields)?,
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => json!({
                "type": "map", "keyType": json_type(pair[0].data_type())?, "valueType": json_type(pair[1].data_type())?,
                "valueContainsNull": pair[1].is_nullable(),
            }),
            other => return Err(Error::internal(format!("the entries of a map are {other}"))),
        },
        other => return Err(Error::internal(format!("the type {other} has no layout for Python"))),
    })
}

/// A schema in Spark's JSON.
pub(super) fn json_struct(fields: &Fields) -> Result<Value> {
    let field = |field: &Arc<Field>| -> Result<Value> {
        let data_type = json_type(field.data_type())?;
        Ok(json!({"name": field.name(), "type": data_type, "nullable": field.is_nullable(), "metadata": {}}))
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(json!({"type": "struct", "fields": fields}))
}

/// The schema with the layouts that Spark sends.
pub(super) fn schema(fields: &Fields) -> Result<SchemaRef> {
    let field =
        |field: &Arc<Field>| -> Result<Field> { Ok(Field::new(field.name(), layout(field.data_type())?, true)) };
    Ok(Arc::new(Schema::new(fields.iter().map(field).collect::<Result<Fields>>()?)))
}

/// Columns in the layouts of `schema`, in batches of at most `limit` rows.
pub(super) fn batches(schema: &SchemaRef, columns: &[ArrayRef], rows: usize, limit: usize) -> Result<Vec<RecordBatch>> {
    let layouts = schema.fields().iter().zip(columns);
    let columns = layouts.map(|(field, column)| fit(column, field.data_type())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let whole = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    let limit = limit.max(1);
    Ok((0..rows.div_ceil(limit)).map(|at| whole.slice(at * limit, limit.min(rows - at * limit))).collect())
}

/// A column in another layout of its type.
pub(super) fn fit(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type { Ok(column.clone()) } else { Ok(cast(column, data_type)?) }
}
