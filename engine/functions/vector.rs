//! Vectors: arrays of floats.
//!
//! Comes in: vectors of one dimension. Goes out: numbers and vectors; NULL where a vector or one of its numbers is. Fails: vectors of
//! different dimensions, and norms of a degree other than 1, 2 and infinity.

use super::builtin::{Arguments, Builtin, Call, Typed, list_of, typed};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float32Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Float32Type};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("vector_inner_product", (2, 2), pair, |c| of_pairs(c, |l, r| Some(dot(l, r)))),
    typed("vector_l2_distance", (2, 2), pair, |c| {
        of_pairs(c, |l, r| Some(total(l.iter().zip(r).map(|(l, r)| (l - r) * (l - r))).sqrt()))
    }),
    typed("vector_cosine_similarity", (2, 2), pair, |c| {
        of_pairs(c, |l, r| {
            let lengths = (dot(l, l) * dot(r, r)).sqrt();
            (lengths != 0.0).then(|| dot(l, r) / lengths)
        })
    }),
    typed(
        "vector_norm",
        (2, 2),
        |a| with_degree(a, DataType::Float32),
        |c| {
            let values = (0..c.rows).map(|row| {
                Ok(match vector(c, 0, row)?.zip(degree(c, row)?) {
                    Some((vector, degree)) => Some(norm(c, &vector, degree)?),
                    None => None,
                })
            });
            Ok(Arc::new(values.collect::<Result<Float32Array>>()?))
        },
    ),
    typed(
        "vector_normalize",
        (2, 2),
        |a| with_degree(a, vector_type()),
        |c| {
            let mut out =
                ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
            for row in 0..c.rows {
                let scaled = match vector(c, 0, row)?.zip(degree(c, row)?) {
                    Some((vector, degree)) => {
                        let norm = norm(c, &vector, degree)?;
                        (norm != 0.0 || vector.is_empty())
                            .then(|| vector.into_iter().map(|x| x / norm).collect::<Vec<f32>>())
                    }
                    None => None,
                };
                match scaled {
                    Some(scaled) => out.append_value(scaled.into_iter().map(Some)),
                    None => out.append_null(),
                }
            }
            Ok(Arc::new(out.finish()))
        },
    ),
];

fn vector_type() -> DataType {
    list_of(DataType::Float32)
}

fn is_vector(found: &DataType) -> bool {
    matches!(found, DataType::List(element) if *element.data_type() == DataType::Float32)
}

fn pair(a: &Arguments) -> Result<Typed> {
    match (0..2).find(|index| !is_vector(a.of(*index))) {
        Some(index) => Err(a.mismatch(index, "ARRAY<FLOAT>")),
        None => Ok(Typed { arguments: vec![vector_type(); 2], returns: DataType::Float32 }),
    }
}

fn with_degree(a: &Arguments, returns: DataType) -> Result<Typed> {
    if !is_vector(a.of(0)) {
        return Err(a.mismatch(0, "ARRAY<FLOAT>"));
    }
    if !matches!(a.of(1), DataType::Float32 | DataType::Null) {
        return Err(a.mismatch(1, "FLOAT"));
    }
    Ok(Typed { arguments: vec![vector_type(), DataType::Float32], returns })
}

/// The numbers of a row's vector; None where there is a NULL.
fn vector(call: &Call, index: usize, row: usize) -> Result<Option<Vec<f32>>> {
    let (lists, row) = (call.list(index)?, call.at(index, row));
    if lists.is_null(row) {
        return Ok(None);
    }
    let values = lists.value(row);
    Ok((values.null_count() == 0).then(|| values.as_primitive::<Float32Type>().values().to_vec()))
}

fn degree(call: &Call, row: usize) -> Result<Option<f32>> {
    Ok(call.primitive::<Float32Type>(1)?.get(row))
}

fn of_pairs(call: &Call, compute: impl Fn(&[f32], &[f32]) -> Option<f32>) -> Result<ArrayRef> {
    let value = |row: usize| {
        let lengths = |index: usize| -> Result<Option<i32>> {
            let (lists, row) = (call.list(index)?, call.at(index, row));
            Ok(lists.is_valid(row).then(|| lists.value_length(row)))
        };
        if let (Some(left), Some(right)) = (lengths(0)?, lengths(1)?)
            && left != right
        {
            return Err(of_other_dimensions(call.name, left as usize, right as usize));
        }
        Ok(vector(call, 0, row)?.zip(vector(call, 1, row)?).and_then(|(left, right)| compute(&left, &right)))
    };
    Ok(Arc::new((0..call.rows).map(value).collect::<Result<Float32Array>>()?))
}

/// The error for vectors that do not belong together.
pub(crate) fn of_other_dimensions(name: &str, left: usize, right: usize) -> Error {
    Error::new(
        ErrorCode::VectorDimensionMismatch,
        format!("Vectors passed to `{name}` must have the same dimension, but got {left} and {right}."),
    )
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    total(left.iter().zip(right).map(|(l, r)| l * r))
}

/// A sum from the left, 0.0 of nothing.
fn total(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |sum, value| sum + value)
}

fn norm(call: &Call, vector: &[f32], degree: f32) -> Result<f32> {
    if degree == 1.0 {
        return Ok(total(vector.iter().map(|x| x.abs())));
    }
    if degree == 2.0 {
        return Ok(dot(vector, vector).sqrt());
    }
    if degree == f32::INFINITY {
        return Ok(vector.iter().fold(0.0, |most, x| most.max(x.abs())));
    }
    Err(Error::new(
        ErrorCode::InvalidVectorNormDegree,
        format!("For the `{}` function, degree must be 1.0, 2.0, or float('inf'), but got {degree:?}.", call.name),
    ))
}
