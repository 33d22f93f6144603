//! Functions of numbers.
//!
//! Comes in: calls with numbers. Goes out: numbers. Fails under ANSI: results outside of their type; otherwise a value that a function
//! is not defined for gives NULL or NaN, as in Spark.

use super::arithmetic::{Rounding, decimal_of, fits, rescale};
use super::builtin::{ANY, Arguments, Builtin, Call, Typed, converts, partial, strict, total, typed};
use super::java_text;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array, Int32Array,
    Int64Array, PrimitiveArray, StringArray,
};
use arrow::compute::kernels::{cmp, zip};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, i256,
};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("abs", (1, 1), same_number, |c| unary(c, Unary::Abs)),
    typed("negative", (1, 1), same_number, |c| unary(c, Unary::Negate)),
    typed("positive", (1, 1), same_number, |c| c.expanded(0)),
    typed("ceil", (1, 2), |a| whole(a, true), |c| rounded_off(c, Rounding::Ceiling)),
    typed("floor", (1, 2), |a| whole(a, false), |c| rounded_off(c, Rounding::Floor)),
    typed("round", (1, 2), round_types, |c| round(c, Rounding::HalfUp)),
    typed("bround", (1, 2), round_types, |c| round(c, Rounding::HalfEven)),
    total("rint", "d", 'd', |c| of(c, |x| Some(x.round_ties_even()))),
    total("sqrt", "d", 'd', |c| of(c, |x| Some(x.sqrt()))),
    total("cbrt", "d", 'd', |c| of(c, |x| Some(x.cbrt()))),
    total("exp", "d", 'd', |c| of(c, |x| Some(x.exp()))),
    total("expm1", "d", 'd', |c| of(c, |x| Some(x.exp_m1()))),
    total("ln", "d", 'd', |c| of(c, |x| (x > 0.0 || x.is_nan()).then(|| x.ln()))),
    total("log10", "d", 'd', |c| of(c, |x| (x > 0.0 || x.is_nan()).then(|| x.log10()))),
    total("log2", "d", 'd', |c| of(c, |x| (x > 0.0 || x.is_nan()).then(|| x.ln() / std::f64::consts::LN_2))),
    total("log1p", "d", 'd', |c| of(c, |x| (x > -1.0 || x.is_nan()).then(|| x.ln_1p()))),
    total("log", "d|d", 'd', |c| match c.has(1) {
        false => of(c, |x| (x > 0.0 || x.is_nan()).then(|| x.ln())),
        true => strict!(c, Float64Array, |base: double 0, x: double 1| {
            Ok((base > 0.0 && x > 0.0).then(|| x.ln() / base.ln()))
        }),
    }),
    total("pow", "dd", 'd', |c| strict!(c, Float64Array, |x: double 0, y: double 1| Ok(Some(x.powf(y))))),
    total("signum", "d", 'd', |c| of(c, |x| Some(if x == 0.0 || x.is_nan() { x } else { x.signum() }))),
    total("sin", "d", 'd', |c| of(c, |x| Some(x.sin()))),
    total("cos", "d", 'd', |c| of(c, |x| Some(x.cos()))),
    total("tan", "d", 'd', |c| of(c, |x| Some(x.tan()))),
    total("cot", "d", 'd', |c| of(c, |x| Some(1.0 / x.tan()))),
    total("sec", "d", 'd', |c| of(c, |x| Some(1.0 / x.cos()))),
    total("csc", "d", 'd', |c| of(c, |x| Some(1.0 / x.sin()))),
    total("asin", "d", 'd', |c| of(c, |x| Some(x.asin()))),
    total("acos", "d", 'd', |c| of(c, |x| Some(x.acos()))),
    total("atan", "d", 'd', |c| of(c, |x| Some(x.atan()))),
    total(
        "atan2",
        "dd",
        'd',
        |c| strict!(c, Float64Array, |y: double 0, x: double 1| Ok(Some((y + 0.0).atan2(x + 0.0)))),
    ),
    total("sinh", "d", 'd', |c| of(c, |x| Some(x.sinh()))),
    total("cosh", "d", 'd', |c| of(c, |x| Some(x.cosh()))),
    total("tanh", "d", 'd', |c| of(c, |x| Some(x.tanh()))),
    // Spark's own formulas, digit for digit.
    total("asinh", "d", 'd', |c| {
        of(c, |x| {
            let magnitude = (x.abs() + (x * x + 1.0).sqrt()).ln();
            Some(if x < 0.0 { -magnitude } else { magnitude })
        })
    }),
    total("acosh", "d", 'd', |c| of(c, |x| Some((x + (x * x - 1.0).sqrt()).ln()))),
    total("atanh", "d", 'd', |c| of(c, |x| Some(0.5 * (x.ln_1p() - (-x).ln_1p())))),
    total("degrees", "d", 'd', |c| of(c, |x| Some(x.to_degrees()))),
    total("radians", "d", 'd', |c| of(c, |x| Some(x.to_radians()))),
    total("pi", "", 'd', |c| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::PI; c.rows])))),
    total("e", "", 'd', |c| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::E; c.rows])))),
    total("hypot", "dd", 'd', |c| strict!(c, Float64Array, |x: double 0, y: double 1| Ok(Some(x.hypot(y))))),
    total(
        "factorial",
        "i",
        'l',
        |c| strict!(c, Int64Array, |n: int 0| Ok((0..=20).contains(&n).then(|| (1..=i64::from(n)).product()))),
    ),
    total(
        "width_bucket",
        "dddl",
        'l',
        |c| strict!(c, Int64Array, |v: double 0, low: double 1, high: double 2, n: long 3| Ok(width_bucket(v, low, high, n))),
    ),
    total("isnan", "d", 'o', |c| {
        let values = c.double(0)?;
        let nan = (0..c.rows).map(|row| Some(values.get(row).is_some_and(f64::is_nan)));
        Ok(Arc::new(BooleanArray::from_iter(nan)))
    }),
    total("nanvl", "dd", 'd', |c| {
        let (values, others) = (c.double(0)?, c.double(1)?);
        let chosen = (0..c.rows).map(|row| match values.get(row) {
            Some(value) if value.is_nan() => others.get(row),
            value => value,
        });
        Ok(Arc::new(Float64Array::from_iter(chosen)))
    }),
    typed("greatest", (2, ANY), common, |c| extreme(c, true)),
    typed("least", (2, ANY), common, |c| extreme(c, false)),
    typed("bitand", (2, 2), integers, |c| bits(c, |l, r| l & r)),
    typed("bitor", (2, 2), integers, |c| bits(c, |l, r| l | r)),
    typed("bitxor", (2, 2), integers, |c| bits(c, |l, r| l ^ r)),
    typed("bitnot", (1, 1), integers, |c| {
        strict!(c, Int64Array, |n: long 0| Ok(Some(!n))).and_then(|longs| Ok(arrow::compute::cast(&longs, c.returns)?))
    }),
    typed(
        "bit_count",
        (1, 1),
        |a| match a.of(0) {
            DataType::Boolean | DataType::Null => {
                Ok(Typed { arguments: vec![DataType::Int64], returns: DataType::Int32 })
            }
            t if t.is_integer() => Ok(Typed { arguments: vec![DataType::Int64], returns: DataType::Int32 }),
            _ => Err(a.mismatch(0, "an integer or BOOLEAN")),
        },
        |c| strict!(c, Int32Array, |n: long 0| Ok(Some(n.count_ones() as i32))),
    ),
    typed(
        "getbit",
        (2, 2),
        |a| {
            if !(a.of(0).is_integer() || a.of(0).is_null()) {
                return Err(a.mismatch(0, "an integer"));
            }
            Ok(Typed { arguments: vec![a.of(0).clone(), DataType::Int32], returns: DataType::Int8 })
        },
        get_bit,
    ),
    typed("shiftleft", (2, 2), shift_types, |c| shift(c, |n, by| n.wrapping_shl(by), |n, by| n.wrapping_shl(by))),
    typed("shiftright", (2, 2), shift_types, |c| shift(c, |n, by| n.wrapping_shr(by), |n, by| n.wrapping_shr(by))),
    typed("shiftrightunsigned", (2, 2), shift_types, |c| {
        shift(c, |n, by| (n as u32).wrapping_shr(by) as i32, |n, by| (n as u64).wrapping_shr(by) as i64)
    }),
    partial("conv", "sii", 's', |c| strict!(c, StringArray, |s: text 0, from: int 1, to: int 2| conv(c, s, from, to))),
];

fn of(call: &Call, f: impl Fn(f64) -> Option<f64>) -> Result<ArrayRef> {
    strict!(call, Float64Array, |x: double 0| Ok(f(x)))
}

fn same_number(a: &Arguments) -> Result<Typed> {
    let to = match a.of(0) {
        DataType::Utf8 | DataType::Null => DataType::Float64,
        t if t.is_numeric() => t.clone(),
        t @ (DataType::Duration(_) | DataType::Interval(_)) if a.name != "positive" => t.clone(),
        _ => return Err(a.mismatch(0, "a number")),
    };
    Ok(Typed { arguments: vec![to.clone()], returns: to })
}

#[derive(Clone, Copy)]
enum Unary {
    Abs,
    Negate,
}

fn unary(call: &Call, op: Unary) -> Result<ArrayRef> {
    macro_rules! integers {
        ($type:ty) => {{
            let values = call.primitive::<$type>(0)?;
            let mut out: Vec<Option<_>> = Vec::with_capacity(call.rows);
            for row in 0..call.rows {
                out.push(match values.get(row) {
                    None => None,
                    Some(v) => {
                        let (exact, wrapped) = match op {
                            Unary::Abs => (v.checked_abs(), v.wrapping_abs()),
                            Unary::Negate => (v.checked_neg(), v.wrapping_neg()),
                        };
                        if exact.is_none() && call.ansi() {
                            return Err(overflowed(call, v));
                        }
                        Some(wrapped)
                    }
                });
            }
            super::builtin::conform(Arc::new(PrimitiveArray::<$type>::from_iter(out)), call.returns)
        }};
    }
    macro_rules! floats {
        ($type:ty) => {{
            let values = call.primitive::<$type>(0)?;
            let value = |v: <$type as arrow::array::ArrowPrimitiveType>::Native| match op {
                Unary::Abs => v.abs(),
                Unary::Negate => -v,
            };
            let out = (0..call.rows).map(|row| values.get(row).map(value));
            Ok(Arc::new(PrimitiveArray::<$type>::from_iter(out)) as ArrayRef)
        }};
    }
    use arrow::datatypes::{DurationMicrosecondType, IntervalYearMonthType};
    match call.array(0)?.data_type() {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::Duration(_) => integers!(DurationMicrosecondType),
        DataType::Interval(_) => integers!(IntervalYearMonthType),
        DataType::Float32 => floats!(Float32Type),
        DataType::Float64 => floats!(Float64Type),
        _ => {
            let values = call.primitive::<Decimal128Type>(0)?;
            let out = (0..call.rows).map(|row| {
                values.get(row).map(|v| match op {
                    Unary::Abs => v.abs(),
                    Unary::Negate => -v,
                })
            });
            super::builtin::conform(Arc::new(Decimal128Array::from_iter(out)), call.returns)
        }
    }
}

fn overflowed(call: &Call, value: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorCode::ArithmeticOverflow,
        format!(
            "{}({value}) does not fit {}; cast to a wider type, or set spark.sql.ansi.enabled to false",
            call.name,
            super::cast::sql_name(call.returns)
        ),
    )
}

/// The decimal that `round` and its like give of `DECIMAL(precision, scale)`.
fn rounded_decimal(precision: u8, scale: i8, to: i64) -> DataType {
    let whole = i64::from(precision) - i64::from(scale) + 1;
    match to < 0 {
        true => DataType::Decimal128(whole.max(1 - to).min(38) as u8, 0),
        false => {
            let scale = i64::from(scale).min(to);
            DataType::Decimal128((whole + scale).min(38) as u8, scale as i8)
        }
    }
}

fn whole(a: &Arguments, _up: bool) -> Result<Typed> {
    if a.types.len() == 2 {
        // To places of a decimal; a double becomes one.
        let (precision, scale) = match a.of(0) {
            t if decimal_of(t).is_some() => decimal_of(t).unwrap_or((38, 0)),
            t if converts(t, &DataType::Float64) => (30, 15),
            _ => return Err(a.mismatch(0, "a number")),
        };
        let Some(to) = a.integer(1) else { return Err(a.mismatch(1, "a constant INT")) };
        let arguments = vec![DataType::Decimal128(precision, scale), DataType::Int32];
        return Ok(Typed { arguments, returns: rounded_decimal(precision, scale, to) });
    }
    Ok(match a.of(0) {
        DataType::Decimal128(p, s) => {
            let whole = (i32::from(*p) - i32::from(*s) + 1).clamp(1, 38);
            let to = if *s == 0 { DataType::Decimal128(*p, 0) } else { DataType::Decimal128(whole as u8, 0) };
            Typed { arguments: vec![a.of(0).clone()], returns: to }
        }
        t if t.is_integer() => Typed { arguments: vec![DataType::Int64], returns: DataType::Int64 },
        t if t.is_numeric() || matches!(t, DataType::Utf8 | DataType::Null) => {
            Typed { arguments: vec![DataType::Float64], returns: DataType::Int64 }
        }
        _ => return Err(a.mismatch(0, "a number")),
    })
}

fn rounded_off(call: &Call, rounding: Rounding) -> Result<ArrayRef> {
    match call.array(0)?.data_type() {
        DataType::Int64 => call.expanded(0),
        DataType::Decimal128(_, scale) => round_decimals(call, *scale, rounding),
        _ => strict!(call, Int64Array, |x: double 0| {
            Ok(Some(if rounding == Rounding::Floor { x.floor() } else { x.ceil() } as i64))
        }),
    }
}

fn round_types(a: &Arguments) -> Result<Typed> {
    let to = match a.types.len() {
        1 => 0,
        _ if *a.of(1) == DataType::Null => 0,
        _ => a.integer(1).ok_or_else(|| a.mismatch(1, "a constant INT"))?,
    };
    let (argument, returns) = match a.of(0) {
        DataType::Decimal128(precision, scale) => (a.of(0).clone(), rounded_decimal(*precision, *scale, to)),
        DataType::Utf8 | DataType::Null => (DataType::Float64, DataType::Float64),
        t if t.is_numeric() => (t.clone(), t.clone()),
        _ => return Err(a.mismatch(0, "a number")),
    };
    let places = (a.types.len() == 2).then_some(DataType::Int32);
    Ok(Typed { arguments: [argument].into_iter().chain(places).collect(), returns })
}

fn round_decimals(call: &Call, from: i8, rounding: Rounding) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = call.returns else {
        return Err(Error::internal("rounding a decimal to something else"));
    };
    let values = call.primitive::<Decimal128Type>(0)?;
    let places = if call.has(1) { call.int(1)?.get(0).unwrap_or(0).clamp(-38, 38) as i8 } else { 0 };
    let mut out: Vec<Option<i128>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let Some(value) = values.get(row) else {
            out.push(None);
            continue;
        };
        let cut = rescale(i256::from_i128(value), from, places.min(from), rounding);
        let scaled = cut.and_then(|cut| rescale(cut, places.min(from), *scale, rounding));
        match scaled.and_then(|scaled| fits(scaled, *precision)) {
            None if call.ansi() => return Err(overflowed(call, value)),
            fitting => out.push(fitting),
        }
    }
    Ok(Arc::new(Decimal128Array::from_iter(out).with_precision_and_scale(*precision, *scale)?))
}

fn round(call: &Call, rounding: Rounding) -> Result<ArrayRef> {
    let places = match call.has(1) {
        true => match call.int(1)?.get(0) {
            Some(places) => places.clamp(-400, 400),
            None => return Ok(arrow::array::new_null_array(call.returns, call.rows)),
        },
        false => 0,
    };
    macro_rules! integers {
        ($type:ty, $native:ty) => {{
            let values = call.primitive::<$type>(0)?;
            let mut out: Vec<Option<$native>> = Vec::with_capacity(call.rows);
            for row in 0..call.rows {
                out.push(match values.get(row) {
                    Some(v) if places < 0 => {
                        let places = places.max(-38) as i8;
                        let cut = rescale(i256::from_i128(v.into()), 0, places, rounding);
                        let back = cut.and_then(|cut| rescale(cut, places, 0, rounding)).and_then(|v| v.to_i128());
                        match back.map(<$native>::try_from) {
                            Some(Ok(value)) => Some(value),
                            _ if call.ansi() => return Err(overflowed(call, v)),
                            wrapped => wrapped.and(back).map(|v| v as $native),
                        }
                    }
                    value => value,
                });
            }
            Ok(Arc::new(PrimitiveArray::<$type>::from_iter(out)))
        }};
    }
    match call.array(0)?.data_type() {
        DataType::Int8 => integers!(Int8Type, i8),
        DataType::Int16 => integers!(Int16Type, i16),
        DataType::Int32 => integers!(Int32Type, i32),
        DataType::Int64 => integers!(Int64Type, i64),
        DataType::Decimal128(_, scale) => round_decimals(call, *scale, rounding),
        DataType::Float32 => {
            let values = call.primitive::<Float32Type>(0)?;
            let each =
                |v: f32| round_text(&java_text::float(v), places, rounding).and_then(|t| t.parse().ok()).unwrap_or(v);
            Ok(Arc::new(Float32Array::from_iter((0..call.rows).map(|row| values.get(row).map(each)))))
        }
        _ => {
            let values = call.double(0)?;
            let each =
                |v: f64| round_text(&java_text::double(v), places, rounding).and_then(|t| t.parse().ok()).unwrap_or(v);
            Ok(Arc::new(Float64Array::from_iter((0..call.rows).map(|row| values.get(row).map(each)))))
        }
    }
}

/// A number's shortest digits, rounded; None where there is nothing to round.
fn round_text(text: &str, places: i32, rounding: Rounding) -> Option<String> {
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.')?;
    let fraction = if fraction == "0" { "" } else { fraction };
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = fraction.len() as i32 - exponent.parse::<i32>().ok()?;
    if scale <= places {
        return None;
    }
    // All digits go: the value is nearer to 0 than to the least step.
    let dropped = scale - places;
    let rounded = match dropped {
        0..=60 => rescale(i256::from_i128(unscaled), dropped as i8, 0, rounding)?,
        _ => i256::ZERO,
    };
    let sign = if rounded == i256::ZERO && text.starts_with('-') { "-" } else { "" };
    Some(format!("{sign}{rounded}E{}", -places))
}

fn width_bucket(value: f64, low: f64, high: f64, buckets: i64) -> Option<i64> {
    if buckets <= 0 || buckets == i64::MAX || value.is_nan() || low == high || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let (least, most) = (low.min(high), low.max(high));
    let ascending = low < high;
    if (ascending && value < least) || (!ascending && value > most) {
        return Some(0);
    }
    if (ascending && value >= most) || (!ascending && value <= least) {
        return Some(buckets + 1);
    }
    let distance = if ascending { value - least } else { most - value };
    Some((buckets as f64 * distance / (most - least)) as i64 + 1)
}

fn common(a: &Arguments) -> Result<Typed> {
    let to = crate::plan::coerce::common_type(a.types).ok_or_else(|| a.mismatch(1, "of a type like the first"))?;
    Ok(Typed { arguments: vec![to.clone(); a.types.len()], returns: to })
}

fn extreme(call: &Call, greatest: bool) -> Result<ArrayRef> {
    let mut best = call.expanded(0)?;
    for index in 1..call.arguments.len() {
        let next = call.expanded(index)?;
        let (left, right) =
            (crate::plan::spark_function::normalize(&next), crate::plan::spark_function::normalize(&best));
        let beats = if greatest { cmp::gt(&left, &right)? } else { cmp::lt(&left, &right)? };
        let take =
            BooleanArray::from_iter((0..call.rows).map(|row| {
                Some(next.is_valid(row) && (best.is_null(row) || (beats.is_valid(row) && beats.value(row))))
            }));
        best = zip::zip(&take, &next, &best)?;
    }
    Ok(best)
}

fn integers(a: &Arguments) -> Result<Typed> {
    let mut to = DataType::Int8;
    for (index, found) in a.types.iter().enumerate() {
        let found = match found {
            DataType::Null => continue,
            t if t.is_integer() => t.clone(),
            DataType::Utf8 => DataType::Int64,
            _ => return Err(a.mismatch(index, "an integer")),
        };
        if found.primitive_width() > to.primitive_width() {
            to = found;
        }
    }
    Ok(Typed { arguments: vec![DataType::Int64; a.types.len()], returns: to })
}

fn bits(call: &Call, f: impl Fn(i64, i64) -> i64) -> Result<ArrayRef> {
    let longs: Result<ArrayRef> = strict!(call, Int64Array, |l: long 0, r: long 1| Ok(Some(f(l, r))));
    Ok(arrow::compute::cast(&longs?, call.returns)?)
}

fn get_bit(call: &Call) -> Result<ArrayRef> {
    let width = call.array(0)?.data_type().primitive_width().unwrap_or(8) as i32 * 8;
    let longs = arrow::compute::cast(call.array(0)?, &DataType::Int64)?;
    let (longs, places) = (longs.as_primitive::<Int64Type>(), call.int(1)?);
    let mut out: Vec<Option<i8>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let at = call.at(0, row);
        out.push(match (longs.is_valid(at), places.get(row)) {
            (true, Some(place)) if (0..width).contains(&place) => Some((longs.value(at) >> place & 1) as i8),
            (true, Some(place)) => {
                return Err(call.invalid(format!("the position {place} is not between 0 and {}", width - 1)));
            }
            _ => None,
        });
    }
    Ok(Arc::new(Int8Array::from_iter(out)))
}

fn shift_types(a: &Arguments) -> Result<Typed> {
    let to = match a.of(0) {
        DataType::Int64 => DataType::Int64,
        t if t.is_integer() || matches!(t, DataType::Null | DataType::Utf8) => DataType::Int32,
        _ => return Err(a.mismatch(0, "INT or BIGINT")),
    };
    Ok(Typed { arguments: vec![to.clone(), DataType::Int32], returns: to })
}

fn shift(call: &Call, narrow: impl Fn(i32, u32) -> i32, wide: impl Fn(i64, u32) -> i64) -> Result<ArrayRef> {
    match call.array(0)?.data_type() {
        DataType::Int64 => strict!(call, Int64Array, |n: long 0, by: int 1| Ok(Some(wide(n, by as u32)))),
        _ => strict!(call, Int32Array, |n: int 0, by: int 1| Ok(Some(narrow(n, by as u32)))),
    }
}

/// A number's text in another base, as an unsigned 64-bit value; a negative base writes it with a sign.
fn conv(call: &Call, text: &str, from: i32, to: i32) -> Result<Option<String>> {
    let text = text.trim();
    if !(2..=36).contains(&from) || !(2..=36).contains(&to.unsigned_abs()) || text.is_empty() {
        return Ok(None);
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let mut value: u64 = 0;
    for digit in digits.chars().map_while(|c| c.to_digit(from as u32)) {
        value = match value.checked_mul(from as u64).and_then(|v| v.checked_add(digit.into())) {
            Some(value) => value,
            None if call.ansi() => return Err(overflowed(call, text)),
            None => {
                value = u64::MAX;
                break;
            }
        };
    }
    if negative && to > 0 {
        value = if (value as i64) < 0 { u64::MAX } else { value.wrapping_neg() };
    }
    let minus = to < 0 && (negative || (value as i64) < 0);
    if to < 0 && (value as i64) < 0 {
        value = value.wrapping_neg();
    }
    let base = u64::from(to.unsigned_abs());
    let mut out = Vec::new();
    loop {
        out.extend(char::from_digit((value % base) as u32, base as u32).map(|c| c.to_ascii_uppercase()));
        value /= base;
        if value == 0 {
            break;
        }
    }
    if minus {
        out.push('-');
    }
    Ok(Some(out.iter().rev().collect()))
}
