//! Unions, intersections and differences.
//!
//! Comes in: two frames. Goes out: one, whose columns have a type that those of both sides fit. Fails: types that do not fit together, and
//! combinations that there are not.

use super::unsupported;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::DataType;
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use proto::SetOperation;
use proto::set_operation::SetOpType;
use spark_connect_proto as proto;

/// The rows of both frames as the operation combines them.
pub(super) fn combined(left: &DataFrame, right: &DataFrame, operation: &SetOperation) -> Result<DataFrame> {
    let all = operation.is_all();
    match operation.set_op_type() {
        SetOpType::Union => {
            let united = match operation.by_name() {
                true => {
                    let (left, right) = widened_by_name(left, right)?;
                    left.union_by_name(&right, operation.allow_missing_columns())?
                }
                false => {
                    let (left, right) = widened(left, right, "union")?;
                    left.union(&right)?
                }
            };
            if all { Ok(united) } else { united.distinct() }
        }
        SetOpType::Intersect if all => unsupported("intersectAll(): use intersect(), which keeps each row once"),
        SetOpType::Intersect => {
            let (left, right) = widened(left, right, "intersect")?;
            left.intersect(&right)
        }
        SetOpType::Except if all => unsupported("exceptAll(): use subtract(), which keeps each row once"),
        SetOpType::Except => {
            let (left, right) = widened(left, right, "except")?;
            left.except(&right)
        }
        SetOpType::Unspecified => unsupported("a set operation that the client does not name"),
    }
}

/// Both frames with the types that the columns of both fit, by position.
fn widened(left: &DataFrame, right: &DataFrame, name: &str) -> Result<(DataFrame, DataFrame)> {
    let (l, r) = (left.schema().fields(), right.schema().fields());
    if l.len() != r.len() {
        return Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{name} needs the same number of columns on both sides: {} and {}", l.len(), r.len()),
        ));
    }
    let pairs = l.iter().zip(r).map(|(l, r)| common(l.data_type(), r.data_type(), l.name()));
    let types = pairs.collect::<Result<Vec<DataType>>>()?;
    Ok((cast(left, &types)?, cast(right, &types)?))
}

/// As [`widened`], of the columns that have a name in common.
fn widened_by_name(left: &DataFrame, right: &DataFrame) -> Result<(DataFrame, DataFrame)> {
    let types = |of: &DataFrame, other: &DataFrame| -> Result<Vec<DataType>> {
        let partner =
            |name: &str| other.schema().fields().iter().find(|f| f.name().eq_ignore_ascii_case(name)).cloned();
        let field = |field: &arrow::datatypes::FieldRef| match partner(field.name()) {
            Some(partner) => common(field.data_type(), partner.data_type(), field.name()),
            None => Ok(field.data_type().clone()),
        };
        of.schema().fields().iter().map(field).collect()
    };
    Ok((cast(left, &types(left, right)?)?, cast(right, &types(right, left)?)?))
}

fn common(left: &DataType, right: &DataType, name: &str) -> Result<DataType> {
    if left == right {
        return Ok(left.clone());
    }
    let texts = |one: &DataType, other: &DataType| *one == DataType::Utf8 && !other.is_nested();
    let fits = match texts(left, right) || texts(right, left) {
        true => Some(DataType::Utf8),
        false => type_union_resolution(&[left.clone(), right.clone()]),
    };
    fits.ok_or_else(|| {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("the column {name:?} is {left} on one side and {right} on the other"),
        )
    })
}

/// The frame with columns of these types; the same frame where it has them.
fn cast(frame: &DataFrame, types: &[DataType]) -> Result<DataFrame> {
    let fields = frame.schema().fields();
    if fields.iter().zip(types).all(|(field, wanted)| field.data_type() == wanted) {
        return Ok(frame.clone());
    }
    let columns = frame.plan().scope().all().into_iter().zip(fields.iter().zip(types));
    frame.select(columns.map(|(column, (field, wanted))| {
        Column::from(match field.data_type() == wanted {
            true => column,
            false => SparkFunction::cast(wanted.clone(), false).call(vec![column]).alias(field.name()),
        })
    }))
}
