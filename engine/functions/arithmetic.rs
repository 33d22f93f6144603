//! `+`, `-`, `*`, `/`, `%`, `div` and `pmod` over numbers, decimals, dates, instants and intervals, by Spark's rules.
//!
//! Comes in: two columns. Goes out: a column of the type that Spark gives the operation. Fails under ANSI: what overflows its type,
//! and a division or remainder by zero; `try_` forms and the old mode give NULL (or wrap around, for integers in the old mode).

use super::builtin::{Arguments, Typed, conform};
use super::cast::{CastOptions, cast, sql_name};
use super::datetime::{add_days, add_months, instant_plus};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::Environment;
use crate::types::timestamp;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, Decimal128Array, PrimitiveArray, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
    TimestampMicrosecondType, i256,
};
use datafusion::common::ScalarValue;
use std::sync::Arc;

/// An operation of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Math {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`, with the sign of the dividend
    Remainder,
    /// `div`, to bigint
    IntegralDivide,
    /// The remainder that is not negative
    Pmod,
}

impl Math {
    /// The name in plans.
    pub fn name(self, safe: bool) -> &'static str {
        match (self, safe) {
            (Math::Add, false) => "add",
            (Math::Add, true) => "try_add",
            (Math::Subtract, false) => "subtract",
            (Math::Subtract, true) => "try_subtract",
            (Math::Multiply, false) => "multiply",
            (Math::Multiply, true) => "try_multiply",
            (Math::Divide, false) => "divide",
            (Math::Divide, true) => "try_divide",
            (Math::Remainder, false) => "mod",
            (Math::Remainder, true) => "try_mod",
            (Math::IntegralDivide, _) => "div",
            (Math::Pmod, _) => "pmod",
        }
    }
}

/// How digits that do not fit are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, a half away from zero.
    HalfUp,
    /// To the nearest, a half to the even one.
    HalfEven,
    /// Towards negative infinity.
    Floor,
    /// Towards positive infinity.
    Ceiling,
}

fn power_of_ten(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

/// An unscaled decimal at another scale; None when it does not fit 256 bits.
pub fn rescale(value: i256, from: i8, to: i8, rounding: Rounding) -> Option<i256> {
    if to >= from {
        return value.checked_mul(power_of_ten((i32::from(to) - i32::from(from)) as u32)?);
    }
    match power_of_ten((i32::from(from) - i32::from(to)) as u32) {
        Some(unit) => quotient(value, unit, rounding),
        None => Some(i256::ZERO),
    }
}

fn quotient(value: i256, unit: i256, rounding: Rounding) -> Option<i256> {
    let (cut, rest) = (value.checked_div(unit)?, value.checked_rem(unit)?);
    if rest == i256::ZERO {
        return Some(cut);
    }
    let negative = rest.is_negative() != unit.is_negative();
    let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
    let half = twice.cmp(&unit.wrapping_abs());
    let away = match rounding {
        Rounding::HalfUp => half.is_ge(),
        Rounding::HalfEven => half.is_gt() || (half.is_eq() && cut.checked_rem(i256::from_i128(2))? != i256::ZERO),
        Rounding::Floor => negative,
        Rounding::Ceiling => !negative,
    };
    Some(match (away, negative) {
        (false, _) => cut,
        (true, true) => cut.checked_sub(i256::ONE)?,
        (true, false) => cut.checked_add(i256::ONE)?,
    })
}

/// An unscaled value as it is stored, if it has at most `precision` digits.
pub fn fits(value: i256, precision: u8) -> Option<i128> {
    let limit = power_of_ten(u32::from(precision))?;
    if value.wrapping_abs() < limit { value.to_i128() } else { None }
}

/// `DECIMAL(precision, scale)` within 38 digits: whole digits are kept, and up to six digits of fraction.
fn adjusted(precision: i32, scale: i32) -> DataType {
    if precision <= 38 {
        return DataType::Decimal128(precision.max(1) as u8, scale as i8);
    }
    let whole = precision - scale;
    DataType::Decimal128(38, (38 - whole).max(scale.min(6)).min(38) as i8)
}

/// The decimal that holds every integer of a type.
pub fn decimal_of(integer: &DataType) -> Option<(u8, i8)> {
    match integer {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((20, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// An integer literal as the decimal of just its digits, which it is beside a decimal.
pub fn decimal_literal(value: &ScalarValue) -> Option<ScalarValue> {
    let number = match value {
        ScalarValue::Int8(Some(v)) => i128::from(*v),
        ScalarValue::Int16(Some(v)) => i128::from(*v),
        ScalarValue::Int32(Some(v)) => i128::from(*v),
        ScalarValue::Int64(Some(v)) => i128::from(*v),
        _ => return None,
    };
    let digits = number.unsigned_abs().to_string().len() as u8;
    Some(ScalarValue::Decimal128(Some(number), digits, 0))
}

const YEAR_MONTH: DataType = DataType::Interval(IntervalUnit::YearMonth);
const CALENDAR: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY_TIME: DataType = DataType::Duration(TimeUnit::Microsecond);

fn is_interval(data_type: &DataType) -> bool {
    *data_type == YEAR_MONTH || *data_type == CALENDAR || *data_type == DAY_TIME
}

fn wrong(op: Math, left: &DataType, right: &DataType) -> Error {
    Error::new(
        ErrorCode::DatatypeMismatch,
        format!(
            "{} of {} and {}: there is no such operation; cast one side",
            op.name(false),
            sql_name(left),
            sql_name(right)
        ),
    )
    .with_sub_condition("BINARY_OP_DIFF_TYPES")
    .with_parameter("left", format!("\"{}\"", sql_name(left)))
    .with_parameter("right", format!("\"{}\"", sql_name(right)))
}

/// Types of an operation.
///
/// # Errors
/// [`ErrorCode::DatatypeMismatch`].
pub fn types(op: Math, a: &Arguments) -> Result<Typed> {
    let (left, right) = (a.of(0), a.of(1));
    let mismatch = || wrong(op, left, right);
    let same = |to: &DataType, returns: DataType| Ok(Typed { arguments: vec![to.clone(), to.clone()], returns });
    let is_date = |t: &DataType| *t == DataType::Date32;
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..));
    match (left, right) {
        (DataType::Null, DataType::Null) => {
            let to = if op == Math::IntegralDivide { DataType::Int64 } else { DataType::Float64 };
            return same(&to, to.clone());
        }
        // NULL is of the type that makes the operation possible.
        (DataType::Null, other) | (other, DataType::Null) if other.is_numeric() || *other == DataType::Utf8 => {
            let as_number = if *other == DataType::Utf8 { DataType::Float64 } else { other.clone() };
            let both = [as_number.clone(), as_number];
            return types(op, &Arguments { types: &both, constants: vec![], ..*a });
        }
        _ => {}
    }
    // Dates, instants and intervals.
    let days = |t: &DataType| t.is_integer();
    let two =
        |l: &DataType, r: &DataType, returns: DataType| Ok(Typed { arguments: vec![l.clone(), r.clone()], returns });
    match (op, left, right) {
        (Math::Add | Math::Subtract, date, n) if is_date(date) && days(n) => {
            return two(date, &DataType::Int32, DataType::Date32);
        }
        (Math::Add, n, date) if is_date(date) && days(n) => return two(&DataType::Int32, date, DataType::Date32),
        (Math::Subtract, l, r) if is_date(l) && is_date(r) => return same(l, DAY_TIME),
        (Math::Subtract, l, r)
            if (is_time(l) || is_time(r))
                && (is_time(l) || is_date(l) || *l == DataType::Utf8)
                && (is_time(r) || is_date(r) || *r == DataType::Utf8) =>
        {
            return same(&timestamp(), DAY_TIME);
        }
        (Math::Add | Math::Subtract, l, r) if is_interval(r) && (is_time(l) || is_date(l) || *l == DataType::Utf8) => {
            return time_and_interval(l, r, a.whole_days)
                .map(|(t, returns)| Typed { arguments: vec![t, r.clone()], returns });
        }
        (Math::Add, l, r) if is_interval(l) && (is_time(r) || is_date(r) || *r == DataType::Utf8) => {
            return time_and_interval(r, l, a.whole_days)
                .map(|(t, returns)| Typed { arguments: vec![l.clone(), t], returns });
        }
        (Math::Add | Math::Subtract, l, r) if l == r && (*l == DAY_TIME || *l == YEAR_MONTH) => {
            return same(l, l.clone());
        }
        (Math::Multiply | Math::Divide, l, r) if (*l == DAY_TIME || *l == YEAR_MONTH) && r.is_numeric() => {
            return two(l, &DataType::Float64, l.clone());
        }
        (Math::Multiply, l, r) if (*r == DAY_TIME || *r == YEAR_MONTH) && l.is_numeric() => {
            return two(&DataType::Float64, r, r.clone());
        }
        _ => {}
    }
    // A text beside a number is a number: bigint beside an integer, double otherwise.
    let number = |own: &DataType, other: &DataType| match own {
        DataType::Utf8 if other.is_integer() => Some(DataType::Int64),
        DataType::Utf8 if other.is_numeric() => Some(DataType::Float64),
        own if own.is_numeric() => Some(own.clone()),
        _ => None,
    };
    let (Some(left), Some(right)) = (number(left, right), number(right, left)) else { return Err(mismatch()) };
    if left.is_floating() || right.is_floating() {
        let to = match (&left, &right) {
            (DataType::Float32, DataType::Float32) if op != Math::Divide => DataType::Float32,
            _ => DataType::Float64,
        };
        if op == Math::IntegralDivide {
            return Err(mismatch());
        }
        return same(&to, to.clone());
    }
    if let (DataType::Decimal128(..), _) | (_, DataType::Decimal128(..)) = (&left, &right) {
        let (Some((p1, s1)), Some((p2, s2))) = (decimal_of(&left), decimal_of(&right)) else { return Err(mismatch()) };
        let returns = decimal_result(op, (p1.into(), s1.into()), (p2.into(), s2.into()));
        return two(&DataType::Decimal128(p1, s1), &DataType::Decimal128(p2, s2), returns);
    }
    match op {
        Math::Divide => same(&DataType::Float64, DataType::Float64),
        Math::IntegralDivide => same(&DataType::Int64, DataType::Int64),
        _ => {
            let to = if left.primitive_width() >= right.primitive_width() { left } else { right };
            same(&to, to.clone())
        }
    }
}

fn time_and_interval(time: &DataType, interval: &DataType, whole_days: bool) -> Result<(DataType, DataType)> {
    Ok(match time {
        // A calendar interval must be without hours, which is seen when it is added.
        DataType::Date32 if *interval == YEAR_MONTH || *interval == CALENDAR || whole_days => {
            (DataType::Date32, DataType::Date32)
        }
        DataType::Timestamp(..) => (time.clone(), time.clone()),
        _ => (timestamp(), timestamp()),
    })
}

fn decimal_result(op: Math, (p1, s1): (i32, i32), (p2, s2): (i32, i32)) -> DataType {
    let scale = s1.max(s2);
    match op {
        Math::Add | Math::Subtract => adjusted((p1 - s1).max(p2 - s2) + scale + 1, scale),
        Math::Multiply => adjusted(p1 + p2 + 1, s1 + s2),
        Math::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            adjusted(p1 - s1 + s2 + scale, scale)
        }
        Math::Remainder | Math::Pmod => adjusted((p1 - s1).min(p2 - s2) + scale, scale),
        Math::IntegralDivide => DataType::Int64,
    }
}

/// The columns of an operation, converted; a constant has one row.
pub struct Operands {
    /// Left and right.
    pub arrays: [ArrayRef; 2],
    /// Which are constants.
    pub constant: [bool; 2],
    /// Rows to compute.
    pub rows: usize,
}

impl Operands {
    fn at(&self, side: usize, row: usize) -> usize {
        if self.constant[side] { 0 } else { row }
    }

    fn datum(&self, side: usize) -> Box<dyn Datum> {
        match self.constant[side] && self.rows != 1 {
            true => Box::new(Scalar::new(self.arrays[side].clone())),
            false => Box::new(self.arrays[side].clone()),
        }
    }

    /// Every row through `f`, NULL where a side is.
    fn zip<L: ArrowPrimitiveType, R: ArrowPrimitiveType, O: ArrowPrimitiveType>(
        &self,
        f: impl Fn(L::Native, R::Native) -> Result<Option<O::Native>>,
    ) -> Result<ArrayRef> {
        let (left, right) = (self.arrays[0].as_primitive::<L>(), self.arrays[1].as_primitive::<R>());
        let mut out: Vec<Option<O::Native>> = Vec::with_capacity(self.rows);
        for row in 0..self.rows {
            let (l, r) = (self.at(0, row), self.at(1, row));
            out.push(match left.is_valid(l) && right.is_valid(r) {
                true => f(left.value(l), right.value(r))?,
                false => None,
            });
        }
        Ok(Arc::new(PrimitiveArray::<O>::from_iter(out)))
    }
}

fn by_zero(op: Math) -> Error {
    match op {
        Math::Divide | Math::IntegralDivide => Error::new(
            ErrorCode::DivideByZero,
            "division by zero; guard the divisor with when(), use try_divide, or set spark.sql.ansi.enabled to false to get NULL",
        ),
        _ => Error::new(
            ErrorCode::RemainderByZero,
            "remainder by zero; guard the divisor with when(), use try_mod, or set spark.sql.ansi.enabled to false to get NULL",
        ),
    }
}

fn overflow(op: Math, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorCode::ArithmeticOverflow,
        format!(
            "{what} overflow in {}; cast to a wider type, use try_{} to get NULL, or set spark.sql.ansi.enabled to false",
            op.name(false),
            op.name(false)
        ),
    )
}

/// Computes an operation. `safe` gives NULL where ANSI has an error.
pub fn evaluate(
    op: Math,
    operands: &Operands,
    returns: &DataType,
    safe: bool,
    environment: &Environment,
) -> Result<ArrayRef> {
    let ansi = environment.ansi && !safe;
    // A failure, or what takes its place.
    fn failed<T>(ansi: bool, error: Error) -> Result<Option<T>> {
        if ansi { Err(error) } else { Ok(None) }
    }
    let [left, right] = &operands.arrays;
    macro_rules! integers {
        ($type:ty, $native:ty) => {
            operands.zip::<$type, $type, $type>(|l, r| {
                let value = match op {
                    Math::Add => l.checked_add(r),
                    Math::Subtract => l.checked_sub(r),
                    Math::Multiply => l.checked_mul(r),
                    _ if r == 0 => return failed(ansi, by_zero(op)),
                    Math::IntegralDivide => l.checked_div(r),
                    Math::Remainder => Some(l.wrapping_rem(r)),
                    _ => {
                        let rest = l.wrapping_rem(r);
                        Some(if rest < 0 { rest.wrapping_add(r).wrapping_rem(r) } else { rest })
                    }
                };
                match value {
                    Some(value) => Ok(Some(value)),
                    None if ansi => Err(overflow(op, stringify!($native))),
                    None if safe => Ok(None),
                    None => Ok(Some(match op {
                        Math::Add => l.wrapping_add(r),
                        Math::Subtract => l.wrapping_sub(r),
                        Math::Multiply => l.wrapping_mul(r),
                        _ => l.wrapping_div(r),
                    })),
                }
            })
        };
    }
    macro_rules! floats {
        ($type:ty) => {
            operands.zip::<$type, $type, $type>(|l, r| {
                Ok(Some(match op {
                    Math::Add => l + r,
                    Math::Subtract => l - r,
                    Math::Multiply => l * r,
                    _ if r == 0.0 => return failed(ansi, by_zero(op)),
                    Math::Divide => l / r,
                    Math::Remainder => l % r,
                    _ => {
                        let rest = l % r;
                        if rest < 0.0 { (rest + r) % r } else { rest }
                    }
                }))
            })
        };
    }
    match (left.data_type(), right.data_type()) {
        (l, r) if l.is_integer() && l == r => {
            let (l, r) = (operands.datum(0), operands.datum(1));
            // Whole columns at once, where nothing depends on the row.
            match op {
                Math::Add if ansi => return Ok(numeric::add(&*l, &*r)?),
                Math::Subtract if ansi => return Ok(numeric::sub(&*l, &*r)?),
                Math::Multiply if ansi => return Ok(numeric::mul(&*l, &*r)?),
                _ => {}
            }
            match left.data_type() {
                DataType::Int8 => integers!(Int8Type, tinyint),
                DataType::Int16 => integers!(Int16Type, smallint),
                DataType::Int32 => integers!(Int32Type, int),
                _ => integers!(Int64Type, bigint),
            }
        }
        (DataType::Float32, DataType::Float32) => floats!(Float32Type),
        (DataType::Float64, DataType::Float64) => floats!(Float64Type),
        (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) => {
            decimals(op, operands, (*s1, *s2), returns, &|error| failed(ansi, error))
        }
        _ => times(op, operands, returns, environment, &|error| failed(ansi, error)),
    }
}

fn decimals(
    op: Math,
    operands: &Operands,
    (s1, s2): (i8, i8),
    returns: &DataType,
    failed: &dyn Fn(Error) -> Result<Option<i128>>,
) -> Result<ArrayRef> {
    let (precision, scale) = match returns {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        _ => (38, 0),
    };
    let common = s1.max(s2);
    let compute = |l: i256, r: i256| -> Option<i256> {
        let at = |value, from| rescale(value, from, common, Rounding::HalfUp);
        let rounded = |value, from| rescale(value, from, scale, Rounding::HalfUp);
        match op {
            Math::Add => rounded(at(l, s1)?.checked_add(at(r, s2)?)?, common),
            Math::Subtract => rounded(at(l, s1)?.checked_sub(at(r, s2)?)?, common),
            Math::Multiply => rounded(l.checked_mul(r)?, s1 + s2),
            Math::Divide => {
                let exponent = i32::from(scale) + i32::from(s2) - i32::from(s1);
                let shift = power_of_ten(exponent.unsigned_abs())?;
                match exponent >= 0 {
                    true => quotient(l.checked_mul(shift)?, r, Rounding::HalfUp),
                    false => quotient(l, r.checked_mul(shift)?, Rounding::HalfUp),
                }
            }
            Math::IntegralDivide => at(l, s1)?.checked_div(at(r, s2)?),
            Math::Remainder => rounded(at(l, s1)?.checked_rem(at(r, s2)?)?, common),
            Math::Pmod => {
                let (l, r) = (at(l, s1)?, at(r, s2)?);
                let rest = l.checked_rem(r)?;
                rounded(if rest.is_negative() { rest.checked_add(r)?.checked_rem(r)? } else { rest }, common)
            }
        }
    };
    let values = operands.zip::<Decimal128Type, Decimal128Type, Decimal128Type>(|l, r| {
        if r == 0 && !matches!(op, Math::Add | Math::Subtract | Math::Multiply) {
            return failed(by_zero(op));
        }
        match compute(i256::from_i128(l), i256::from_i128(r)).and_then(|value| fits(value, precision)) {
            Some(value) => Ok(Some(value)),
            None => failed(Error::new(
                ErrorCode::NumericValueOutOfRange,
                format!(
                    "the result of {} does not fit DECIMAL({precision},{scale}); cast the operands to smaller decimals or to \
                     double, or set spark.sql.ansi.enabled to false to get NULL",
                    op.name(false)
                ),
            )),
        }
    })?;
    let values = values.as_primitive::<Decimal128Type>();
    if *returns == DataType::Int64 {
        let mut longs: Vec<Option<i64>> = Vec::with_capacity(values.len());
        for value in values {
            longs.push(match value.map(i64::try_from) {
                Some(Ok(value)) => Some(value),
                Some(Err(_)) => failed(overflow(op, "bigint"))?.map(|_| 0),
                None => None,
            });
        }
        return Ok(Arc::new(PrimitiveArray::<Int64Type>::from_iter(longs)));
    }
    let array: Decimal128Array = values.clone().with_precision_and_scale(precision, scale)?;
    Ok(Arc::new(array))
}

fn times(
    op: Math,
    operands: &Operands,
    returns: &DataType,
    environment: &Environment,
    failed: &dyn Fn(Error) -> Result<Option<i128>>,
) -> Result<ArrayRef> {
    let [left, right] = &operands.arrays;
    let zone = environment.time_zone.into();
    let out_of_range = || overflow(op, sql_name(returns));
    let checked = |value: Option<i64>| match value {
        Some(value) => Ok(Some(value)),
        None => failed(out_of_range()).map(|_| None),
    };
    // The operand on the left is the time, or the interval to be multiplied.
    let swap = is_interval(right.data_type()) && left.data_type().is_floating()
        || (is_interval(left.data_type()) && !is_interval(right.data_type()) && !right.data_type().is_floating())
        || (*right.data_type() == DataType::Date32 && left.data_type().is_integer());
    if swap {
        let [left, right] = operands.arrays.clone();
        let [l, r] = operands.constant;
        let swapped = Operands { arrays: [right, left], constant: [r, l], rows: operands.rows };
        return times(op, &swapped, returns, environment, failed);
    }
    let sign: i64 = if op == Math::Subtract { -1 } else { 1 };
    let local = matches!(returns, DataType::Timestamp(_, None));
    let zone = if local { crate::decode::zone::Zone::Fixed(0) } else { zone };
    let result: ArrayRef = match (left.data_type(), right.data_type()) {
        (DataType::Date32, DataType::Int32) => operands.zip::<Date32Type, Int32Type, Int64Type>(|date, n| {
            checked(add_days(date.into(), sign * i64::from(n)).map(i64::from))
        })?,
        (DataType::Date32, DataType::Date32) => operands.zip::<Date32Type, Date32Type, Int64Type>(|l, r| {
            checked((i64::from(l) - i64::from(r)).checked_mul(crate::decode::zone::DAY))
        })?,
        (DataType::Timestamp(..), DataType::Timestamp(..)) => operands
            .zip::<TimestampMicrosecondType, TimestampMicrosecondType, Int64Type>(|l, r| {
                checked(zone.local(l).checked_sub(zone.local(r)))
            })?,
        (DataType::Date32, r) if *r == YEAR_MONTH => {
            operands.zip::<Date32Type, IntervalYearMonthType, Int64Type>(|date, months| {
                checked(add_months(date.into(), sign * i64::from(months)).map(i64::from))
            })?
        }
        (DataType::Date32, r) if *r == DAY_TIME => {
            operands.zip::<Date32Type, DurationMicrosecondType, Int64Type>(|date, micros| {
                checked(add_days(date.into(), sign * (micros / crate::decode::zone::DAY)).map(i64::from))
            })?
        }
        (DataType::Date32, r) if *r == CALENDAR => {
            operands.zip::<Date32Type, IntervalMonthDayNanoType, Int64Type>(|date, i| {
                if i.nanoseconds != 0 {
                    let error = Error::new(
                        ErrorCode::InvalidParameterValue,
                        "cannot add an interval with hours, minutes or seconds to a date; cast the date to a timestamp",
                    );
                    return failed(error).map(|_| None);
                }
                let moved = add_months(date.into(), sign * i64::from(i.months));
                let moved = moved.and_then(|date| add_days(date.into(), sign * i64::from(i.days)));
                checked(moved.map(i64::from))
            })?
        }
        (DataType::Timestamp(..), r) if *r == YEAR_MONTH => operands
            .zip::<TimestampMicrosecondType, IntervalYearMonthType, Int64Type>(|t, months| {
                checked(instant_plus(t, sign * i64::from(months), 0, 0, zone))
            })?,
        (DataType::Timestamp(..), r) if *r == DAY_TIME => operands
            .zip::<TimestampMicrosecondType, DurationMicrosecondType, Int64Type>(|t, micros| {
                let (days, rest) = (micros / crate::decode::zone::DAY, micros % crate::decode::zone::DAY);
                checked(instant_plus(t, 0, sign * days, sign * rest, zone))
            })?,
        (DataType::Timestamp(..), r) if *r == CALENDAR => operands
            .zip::<TimestampMicrosecondType, IntervalMonthDayNanoType, Int64Type>(|t, i| {
                let (months, days) = (i64::from(i.months), i64::from(i.days));
                checked(instant_plus(t, sign * months, sign * days, sign * (i.nanoseconds / 1000), zone))
            })?,
        (l, r) if *l == DAY_TIME && *r == DAY_TIME => operands
            .zip::<DurationMicrosecondType, DurationMicrosecondType, Int64Type>(|l, r| {
                checked(r.checked_mul(sign).and_then(|r| l.checked_add(r)))
            })?,
        (l, r) if *l == YEAR_MONTH && *r == YEAR_MONTH => operands
            .zip::<IntervalYearMonthType, IntervalYearMonthType, Int64Type>(|l, r| {
                checked(Some(i64::from(l) + sign * i64::from(r)).filter(|v| i32::try_from(*v).is_ok()))
            })?,
        (l, DataType::Float64) if *l == DAY_TIME => {
            operands.zip::<DurationMicrosecondType, Float64Type, Int64Type>(|micros, by| {
                scaled(op, micros as f64, by, i64::MAX as f64).map_or_else(|e| failed(e).map(|_| None), |v| Ok(Some(v)))
            })?
        }
        (l, DataType::Float64) if *l == YEAR_MONTH => {
            operands.zip::<IntervalYearMonthType, Float64Type, Int64Type>(|months, by| {
                let found = scaled(op, f64::from(months), by, f64::from(i32::MAX));
                found.map_or_else(|e| failed(e).map(|_| None), |v| Ok(Some(v)))
            })?
        }
        (l, r) => return Err(wrong(op, l, r)),
    };
    match returns {
        DataType::Date32 | DataType::Interval(IntervalUnit::YearMonth) => {
            conform(arrow::compute::cast(&result, &DataType::Int32)?, returns)
        }
        _ => conform(result, returns),
    }
}

fn scaled(op: Math, value: f64, by: f64, limit: f64) -> Result<i64> {
    if op == Math::Divide && by == 0.0 {
        return Err(by_zero(op));
    }
    let exact = if op == Math::Divide { value / by } else { value * by };
    let rounded = exact.round();
    if rounded.is_finite() && rounded.abs() < limit { Ok(rounded as i64) } else { Err(overflow(op, "interval")) }
}

/// Converts the operands as [`types`] wants them.
pub fn converted(operands: Operands, to: &[DataType], environment: &Environment) -> Result<Operands> {
    let options = CastOptions { ansi: environment.ansi, time_zone: environment.time_zone };
    let [left, right] = operands.arrays;
    let (Some(to_left), Some(to_right)) = (to.first(), to.get(1)) else {
        return Err(Error::internal("an operation without two types"));
    };
    Ok(Operands { arrays: [cast(&left, to_left, options)?, cast(&right, to_right, options)?], ..operands })
}
