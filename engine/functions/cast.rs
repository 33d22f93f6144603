//! Spark's casts, where they differ from Arrow's: texts, instants, and numbers that do not fit.
//!
//! Comes in: a column and an Arrow type. Goes out: the column in that type. Fails under ANSI: a value that the type cannot
//! hold, with Spark's words; without ANSI that value is NULL, or wraps around between integers, as in Java.

#[cfg(test)]
mod tests;
mod text;

use super::arithmetic::{Rounding, fits, rescale};
use super::java_text::{Style, plain, texts};
use crate::decode::parse_decimal;
use crate::decode::timestamp::{TimestampReader, read_date};
use crate::decode::zone::{DAY, SECOND, Zone};
use crate::error::{Error, ErrorCode, Result};
use crate::types::{self, UTC};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, ListArray, MapArray, PrimitiveArray,
    StructArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit, TimestampMicrosecondType, i256,
};
use chrono_tz::Tz;
use std::sync::Arc;

/// What a cast needs to know of the session.
#[derive(Debug, Clone, Copy)]
pub struct CastOptions {
    /// `spark.sql.ansi.enabled`.
    pub ansi: bool,
    /// `spark.sql.session.timeZone`.
    pub time_zone: Tz,
}

/// Casts a column.
///
/// # Errors
/// Under ANSI [`ErrorCode::CastInvalidInput`] for a text that is no such value and [`ErrorCode::CastOverflow`] for a
/// number that does not fit; always [`ErrorCode::DatatypeMismatch`] for types that no cast connects.
pub fn cast(array: &ArrayRef, to: &DataType, options: CastOptions) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    if *array.data_type() == DataType::Null {
        return Ok(new_null_array(to, array.len()));
    }
    if let Some(done) = local_times(array, to, options)? {
        return Ok(done);
    }
    let array = &plain(array)?;
    let cast = Cast { array, to, options, zone: options.time_zone.into() };
    let done = match (array.data_type(), to) {
        (from, to) if from == to => array.clone(),
        (_, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)) => cast.to_text()?,
        (DataType::Utf8, _) => cast.of_text()?,
        (_, DataType::Timestamp(..)) => cast.to_timestamp()?,
        (DataType::Timestamp(..), _) => cast.of_timestamp()?,
        (DataType::Float32 | DataType::Float64, _) if is_integer(to) => cast.float_to_integer()?,
        (DataType::Float32 | DataType::Float64, DataType::Decimal128(precision, scale)) => {
            cast.float_to_decimal(*precision, *scale)?
        }
        (DataType::Decimal128(..), DataType::Decimal128(precision, scale)) => cast.of_decimal(*precision, *scale)?,
        (from, DataType::Decimal128(precision, scale)) if is_integer(from) => {
            // Every bigint has at most 19 digits.
            let wide = arrow::compute::cast(array, &DataType::Decimal128(20, 0))?;
            Cast { array: &wide, to, options, zone: cast.zone }.of_decimal(*precision, *scale)?
        }
        (DataType::Decimal128(_, scale), to) if is_integer(to) => cast.decimal_to_integer(*scale)?,
        (from, to) if is_integer(from) && is_integer(to) => {
            let exact = arrow::compute::CastOptions { safe: !options.ansi, ..Default::default() };
            let longs = arrow::compute::cast_with_options(array, &DataType::Int64, &exact)?;
            cast.narrow(longs.as_primitive::<Int64Type>())?
        }
        (DataType::Date32, to) | (to, DataType::Date32)
            if is_integer(to) || to.is_floating() || *to == DataType::Boolean =>
        {
            return Err(cast.no_such_cast());
        }
        (DataType::Struct(_), DataType::Struct(_)) => cast.of_struct()?,
        (DataType::List(_), DataType::List(_)) => cast.of_list()?,
        (DataType::Map(..), DataType::Map(..)) => cast.of_map()?,
        _ => array.clone(),
    };
    if done.data_type() == to {
        return Ok(done);
    }
    if !arrow::compute::can_cast_types(done.data_type(), to) {
        return Err(cast.no_such_cast());
    }
    let arrow_options = arrow::compute::CastOptions { safe: !options.ansi, ..Default::default() };
    Ok(arrow::compute::cast_with_options(&done, to, &arrow_options)?)
}

/// Casts from and to local times: `TIMESTAMP_NTZ` is an instant of UTC to everything but `TIMESTAMP`.
fn local_times(array: &ArrayRef, to: &DataType, options: CastOptions) -> Result<Option<ArrayRef>> {
    let local = |t: &DataType| *t == DataType::Timestamp(TimeUnit::Microsecond, None);
    let zone: Zone = options.time_zone.into();
    let utc = CastOptions { time_zone: Tz::UTC, ..options };
    Ok(match (array.data_type(), to) {
        (from, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) if local(from) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Some(instants(times.iter().map(|time| time.and_then(|time| zone.instant(time))).collect()))
        }
        (from, to) if local(from) => {
            let times = array.as_primitive::<TimestampMicrosecondType>().clone();
            let instants: ArrayRef = Arc::new(times.with_timezone(UTC));
            Some(cast(&instants, to, utc)?)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, Some(_)), to) if local(to) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let times = times.iter().map(|time| time.map(|time| zone.local(time)));
            Some(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter(times)))
        }
        (_, to) if local(to) => {
            let instants = cast(array, &types::timestamp(), utc)?;
            let times = instants.as_primitive::<TimestampMicrosecondType>().clone();
            Some(Arc::new(times.with_timezone_opt(None::<&str>)))
        }
        _ => None,
    })
}

/// Whether a cast connects the types, as Spark's ANSI casts do.
pub(crate) fn connects(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, Decimal128, Duration, List, Map, Null, Struct, Timestamp, Utf8};
    let number = |t: &DataType| t.is_integer() || t.is_floating() || matches!(t, Decimal128(..));
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        // Layouts that Spark does not have are for Arrow to know.
        (
            DataType::Utf8View
            | DataType::LargeUtf8
            | DataType::BinaryView
            | DataType::LargeBinary
            | DataType::Dictionary(..),
            _,
        )
        | (
            _,
            DataType::Utf8View
            | DataType::LargeUtf8
            | DataType::BinaryView
            | DataType::LargeBinary
            | DataType::Dictionary(..),
        ) => true,
        (_, Utf8) => true,
        (Utf8, to) => !to.is_nested(),
        (from, to) if number(from) && number(to) => true,
        (from, Boolean) | (Boolean, from) if number(from) => true,
        (from, Timestamp(..)) | (Timestamp(..), from) if number(from) => true,
        (Date32 | Timestamp(..), Date32 | Timestamp(..)) => true,
        (from, Binary) if from.is_integer() => true,
        (Duration(_), Duration(_)) => true,
        (List(from), List(to)) => connects(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| connects(from.data_type(), to.data_type()))
        }
        (Map(from, _), Map(to, _)) => connects(from.data_type(), to.data_type()),
        _ => false,
    }
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

/// One cast; its methods give the nearest type that this crate works with, and `cast` the rest of the way.
struct Cast<'a> {
    array: &'a ArrayRef,
    to: &'a DataType,
    options: CastOptions,
    zone: Zone,
}

impl Cast<'_> {
    fn no_such_cast(&self) -> Error {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("cannot cast {} to {}", sql_name(self.array.data_type()), sql_name(self.to)),
        )
        .with_sub_condition("CAST_WITHOUT_SUGGESTION")
    }

    fn malformed(&self, text: &str) -> Error {
        Error::new(
            ErrorCode::CastInvalidInput,
            format!(
                "The value '{text}' of the type \"{}\" cannot be cast to \"{}\" because it is malformed. Correct the value as \
                 per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and return NULL instead.",
                sql_name(self.array.data_type()),
                sql_name(self.to)
            ),
        )
        .with_parameter("expression", format!("'{text}'"))
        .with_parameter("sourceType", format!("\"{}\"", sql_name(self.array.data_type())))
        .with_parameter("targetType", format!("\"{}\"", sql_name(self.to)))
    }

    fn overflow_code(&self) -> ErrorCode {
        match self.to {
            DataType::Decimal128(..) => ErrorCode::NumericValueOutOfRange,
            _ => ErrorCode::CastOverflow,
        }
    }

    fn overflow(&self, value: impl std::fmt::Display) -> Error {
        Error::new(
            self.overflow_code(),
            format!(
                "The value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow. Use `try_cast` to tolerate \
                 overflow and return NULL instead.",
                sql_name(self.array.data_type()),
                sql_name(self.to)
            ),
        )
    }

    fn to_text(&self) -> Result<ArrayRef> {
        if *self.array.data_type() == DataType::Utf8 {
            return Ok(self.array.clone());
        }
        texts(self.array, Style { zone: self.zone, null: "null", hex: false, interval: None })
    }

    /// Reads every text; one that cannot be read is an error under ANSI and NULL otherwise.
    fn read<T>(&self, mut read: impl FnMut(&str) -> Option<T>) -> Result<Vec<Option<T>>> {
        let texts = self.array.as_string::<i32>();
        texts
            .iter()
            .map(|text| match text.map(|text| (text, read(text))) {
                Some((text, None)) if self.options.ansi => Err(self.malformed(text)),
                Some((_, value)) => Ok(value),
                None => Ok(None),
            })
            .collect()
    }

    fn of_text(&self) -> Result<ArrayRef> {
        let truncates = !self.options.ansi;
        macro_rules! integers {
            ($type:ty, $native:ty) => {
                Arc::new(PrimitiveArray::<$type>::from_iter(
                    self.read(|text| text::integer(text, truncates).and_then(|value| <$native>::try_from(value).ok()))?,
                ))
            };
        }
        Ok(match self.to {
            DataType::Timestamp(..) => {
                let mut reader = TimestampReader::new(self.zone);
                let values = self.read(|text| reader.read(text.as_bytes()))?;
                instants(values)
            }
            DataType::Date32 => {
                Arc::new(PrimitiveArray::<Date32Type>::from_iter(self.read(|text| read_date(text.as_bytes()))?))
            }
            DataType::Boolean => Arc::new(BooleanArray::from_iter(self.read(text::boolean)?)),
            DataType::Int8 => integers!(Int8Type, i8),
            DataType::Int16 => integers!(Int16Type, i16),
            DataType::Int32 => integers!(Int32Type, i32),
            DataType::Int64 => integers!(Int64Type, i64),
            DataType::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter(self.read(text::number::<f32>)?)),
            DataType::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from_iter(self.read(text::number::<f64>)?)),
            DataType::Decimal128(precision, scale) => {
                let values = self.read(|text| parse_decimal(text::trim(text), *precision, *scale))?;
                Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => self.array.clone(),
            DataType::Duration(TimeUnit::Microsecond) => {
                Arc::new(PrimitiveArray::<DurationMicrosecondType>::from_iter(
                    self.read(|text| super::interval::of_text(text, self.to))?,
                ))
            }
            DataType::Interval(IntervalUnit::YearMonth) => {
                let months = |text: &str| super::interval::of_text(text, self.to).and_then(|v| i32::try_from(v).ok());
                Arc::new(PrimitiveArray::<IntervalYearMonthType>::from_iter(self.read(months)?))
            }
            _ => return Err(self.no_such_cast()),
        })
    }

    fn to_timestamp(&self) -> Result<ArrayRef> {
        let values: Vec<Option<i64>> = match self.array.data_type() {
            DataType::Timestamp(..) => return Ok(self.array.clone()),
            DataType::Date32 => {
                let days = self.array.as_primitive::<Date32Type>();
                days.iter().map(|days| days.and_then(|days| self.zone.instant(i64::from(days) * DAY))).collect()
            }
            from if is_integer(from) => {
                let seconds = arrow::compute::cast(self.array, &DataType::Int64)?;
                let seconds = seconds.as_primitive::<Int64Type>();
                seconds.iter().map(|seconds| seconds.map(|seconds| seconds.saturating_mul(SECOND))).collect()
            }
            DataType::Float32 | DataType::Float64 => {
                let seconds = arrow::compute::cast(self.array, &DataType::Float64)?;
                let mut values = Vec::with_capacity(seconds.len());
                for seconds in seconds.as_primitive::<Float64Type>() {
                    values.push(match seconds {
                        Some(seconds) if seconds.is_finite() => Some((seconds * SECOND as f64) as i64),
                        Some(seconds) if self.options.ansi => {
                            return Err(self.malformed(&super::java_text::double(seconds)));
                        }
                        _ => None,
                    });
                }
                values
            }
            DataType::Decimal128(_, scale) => {
                let unit = 10i128.pow(u32::from(scale.unsigned_abs()));
                let micros = |value: i128| value.checked_mul(i128::from(SECOND)).map(|value| value / unit);
                let values = self.array.as_primitive::<Decimal128Type>();
                let mut instants = Vec::with_capacity(values.len());
                for value in values {
                    let instant = value.map(|value| micros(value).and_then(|micros| i64::try_from(micros).ok()));
                    instants.push(match (value, instant) {
                        (Some(value), Some(None)) if self.options.ansi => return Err(self.overflow(value)),
                        (_, instant) => instant.flatten(),
                    });
                }
                instants
            }
            _ => return Err(self.no_such_cast()),
        };
        Ok(instants(values))
    }

    fn of_timestamp(&self) -> Result<ArrayRef> {
        let instants = self.array.as_primitive::<TimestampMicrosecondType>();
        match self.to {
            DataType::Date32 => Ok(Arc::new(PrimitiveArray::<Date32Type>::from_iter(
                instants.iter().map(|instant| instant.map(|instant| self.zone.local(instant).div_euclid(DAY) as i32)),
            ))),
            DataType::Float32 | DataType::Float64 => Ok(Arc::new(PrimitiveArray::<Float64Type>::from_iter(
                instants.iter().map(|instant| instant.map(|instant| instant as f64 / SECOND as f64)),
            ))),
            to if is_integer(to) => {
                let seconds = instants.iter().map(|instant| instant.map(|instant| instant.div_euclid(SECOND)));
                self.narrow(&PrimitiveArray::<Int64Type>::from_iter(seconds))
            }
            DataType::Decimal128(..) => {
                let micros =
                    PrimitiveArray::<Decimal128Type>::from_iter(instants.iter().map(|instant| instant.map(i128::from)));
                Ok(Arc::new(micros.with_precision_and_scale(20, 6)?))
            }
            _ => Err(self.no_such_cast()),
        }
    }

    /// Longs to the integer type wanted.
    fn narrow(&self, longs: &PrimitiveArray<Int64Type>) -> Result<ArrayRef> {
        macro_rules! narrow {
            ($type:ty, $native:ty) => {
                self.each::<Int64Type, $type>(longs, |long| <$native>::try_from(long).ok(), |long| long as $native)
            };
        }
        match self.to {
            DataType::Int8 => narrow!(Int8Type, i8),
            DataType::Int16 => narrow!(Int16Type, i16),
            DataType::Int32 => narrow!(Int32Type, i32),
            _ => Ok(Arc::new(longs.clone())),
        }
    }

    fn float_to_integer(&self) -> Result<ArrayRef> {
        let doubles = arrow::compute::cast(self.array, &DataType::Float64)?;
        let doubles = doubles.as_primitive::<Float64Type>();
        // Java goes through int for the narrow types, and saturates there.
        macro_rules! integers {
            ($type:ty, $native:ty, $through:ty) => {
                self.each::<Float64Type, $type>(
                    doubles,
                    |value| {
                        let fits = value.floor() <= <$native>::MAX as f64 && value.ceil() >= <$native>::MIN as f64;
                        fits.then_some(value as $native)
                    },
                    |value| value as $through as $native,
                )
            };
        }
        match self.to {
            DataType::Int8 => integers!(Int8Type, i8, i32),
            DataType::Int16 => integers!(Int16Type, i16, i32),
            DataType::Int32 => integers!(Int32Type, i32, i32),
            _ => integers!(Int64Type, i64, i64),
        }
    }

    /// Converts exactly under ANSI, where a value that does not fit is an error, and as Java does otherwise.
    fn each<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
        &self,
        values: &PrimitiveArray<F>,
        exact: impl Fn(F::Native) -> Option<T::Native>,
        java: impl Fn(F::Native) -> T::Native,
    ) -> Result<ArrayRef>
    where
        F::Native: std::fmt::Debug,
    {
        if !self.options.ansi {
            return Ok(Arc::new(values.unary::<_, T>(java)));
        }
        let converted: PrimitiveArray<T> =
            values.try_unary(|value| exact(value).ok_or_else(|| self.overflow(format!("{value:?}"))))?;
        Ok(Arc::new(converted))
    }

    fn of_decimal(&self, precision: u8, scale: i8) -> Result<ArrayRef> {
        let DataType::Decimal128(_, from) = *self.array.data_type() else { return Err(self.no_such_cast()) };
        let decimals = self.array.as_primitive::<Decimal128Type>();
        let mut values = Vec::with_capacity(decimals.len());
        for value in decimals {
            let fitting = value.map(|value| {
                rescale(i256::from_i128(value), from, scale, Rounding::HalfUp).and_then(|value| fits(value, precision))
            });
            values.push(match (value, fitting) {
                (Some(value), Some(None)) if self.options.ansi => return Err(self.overflow(value)),
                (_, fitting) => fitting.flatten(),
            });
        }
        Ok(Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale)?))
    }

    fn decimal_to_integer(&self, scale: i8) -> Result<ArrayRef> {
        let unit = 10i128.checked_pow(u32::from(scale.unsigned_abs())).unwrap_or(i128::MAX);
        let mut longs = Vec::with_capacity(self.array.len());
        for value in self.array.as_primitive::<Decimal128Type>() {
            longs.push(match value.map(|value| (value, i64::try_from(value / unit))) {
                Some((_, Ok(long))) => Some(long),
                Some((value, Err(_))) if self.options.ansi => return Err(self.overflow(value)),
                Some((value, Err(_))) => Some((value / unit) as i64),
                None => None,
            });
        }
        self.narrow(&PrimitiveArray::<Int64Type>::from_iter(longs))
    }

    fn float_to_decimal(&self, precision: u8, scale: i8) -> Result<ArrayRef> {
        let doubles = arrow::compute::cast(self.array, &DataType::Float64)?;
        let mut values = Vec::with_capacity(doubles.len());
        for value in doubles.as_primitive::<Float64Type>() {
            // The decimal of a double is that of its shortest digits.
            let decimal = value.map(|value| parse_decimal(&value.to_string(), precision, scale));
            values.push(match (value, decimal) {
                (Some(value), Some(None)) if self.options.ansi => {
                    return Err(self.overflow(super::java_text::double(value)));
                }
                (_, decimal) => decimal.flatten(),
            });
        }
        Ok(Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale)?))
    }

    /// Field by field, by position.
    fn of_struct(&self) -> Result<ArrayRef> {
        let from = self.array.as_struct();
        let DataType::Struct(fields) = self.to else { return Err(self.no_such_cast()) };
        if fields.len() != from.num_columns() {
            return Err(self.no_such_cast());
        }
        let columns = from.columns().iter().zip(fields);
        let columns =
            columns.map(|(column, field)| cast(column, field.data_type(), self.options)).collect::<Result<_>>()?;
        let nulls = from.nulls().cloned();
        Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, from.len())?))
    }

    fn of_map(&self) -> Result<ArrayRef> {
        let from = self.array.as_map();
        let DataType::Map(field, ordered) = self.to else { return Err(self.no_such_cast()) };
        let entries: ArrayRef = Arc::new(from.entries().clone());
        let entries = cast(&entries, field.data_type(), self.options)?;
        let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
        Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries.as_struct().clone(), nulls, *ordered)?))
    }

    fn of_list(&self) -> Result<ArrayRef> {
        let from = self.array.as_list::<i32>();
        let DataType::List(field) = self.to else { return Err(self.no_such_cast()) };
        let values = cast(from.values(), field.data_type(), self.options)?;
        Ok(Arc::new(ListArray::try_new(field.clone(), from.offsets().clone(), values, from.nulls().cloned())?))
    }
}

fn instants(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter(values).with_timezone(UTC))
}

/// A type's name in Spark's messages.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        other if *other == types::timestamp() => "TIMESTAMP".into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP_NTZ".into(),
        DataType::Duration(_) => "INTERVAL DAY TO SECOND".into(),
        DataType::Interval(IntervalUnit::YearMonth) => "INTERVAL YEAR TO MONTH".into(),
        DataType::Interval(_) => "INTERVAL".into(),
        other => other.to_string().to_uppercase(),
    }
}
