//! Values that follow from the order of a table's rows: random numbers and the numbers of rows.
//!
//! Comes in: a function with its seed, and how many rows there are. Goes out: a column. With one seed the values are Spark's over a table
//! of one partition. Fails: nothing.
//!
//! A stream has no such values: a batch that is replayed after a failure must give the same rows.

use super::coerce::common_type;
use super::spark_function::SparkFunction;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{
    ArrayRef, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray,
};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use std::fmt;
use std::sync::Arc;

/// A function of the order of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sequence {
    /// `rand(seed)`: doubles in [0, 1).
    Uniform(i64),
    /// `randn(seed)`: doubles of the standard normal distribution.
    Normal(i64),
    /// `randstr(length, seed)`: texts of letters and digits.
    Text { length: usize, seed: i64 },
    /// `uniform(low, high, seed)`: numbers between two, of their type.
    Between { low: f64, high: f64, whole: Option<Whole>, seed: i64 },
    /// How often a row stands in a sample with replacement.
    Poisson { mean: f64, seed: i64 },
    /// `uuid()`.
    Uuid(i64),
    /// `monotonically_increasing_id()`.
    RowNumber,
    /// `spark_partition_id()`: a table is one partition.
    Partition,
}

/// A type of numbers that [`Sequence::Between`] gives other than doubles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Whole {
    /// Integers of so many bytes.
    Integer(u8),
    /// Floats.
    Float,
    /// Decimals.
    Decimal(u8, i8),
}

impl Whole {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int8 => Whole::Integer(1),
            DataType::Int16 => Whole::Integer(2),
            DataType::Int32 => Whole::Integer(4),
            DataType::Int64 => Whole::Integer(8),
            DataType::Float32 => Whole::Float,
            DataType::Decimal128(precision, scale) => Whole::Decimal(*precision, *scale),
            _ => return None,
        })
    }

    fn data_type(self) -> DataType {
        match self {
            Whole::Integer(1) => DataType::Int8,
            Whole::Integer(2) => DataType::Int16,
            Whole::Integer(4) => DataType::Int32,
            Whole::Integer(_) => DataType::Int64,
            Whole::Float => DataType::Float32,
            Whole::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        }
    }
}

impl Sequence {
    /// The type of numbers between two of these types.
    ///
    /// # Errors
    /// What is no number.
    pub fn range(types: &[DataType]) -> Result<DataType> {
        let [low, high, ..] = types else { return Err(Error::internal("a range without two ends")) };
        if let Some(other) = [low, high].into_iter().find(|end| !end.is_numeric() && !end.is_null()) {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("uniform(): the ends must be numbers, not {other}"),
            )
            .with_sub_condition("UNEXPECTED_INPUT_TYPE"));
        }
        if low.is_null() || high.is_null() {
            return Ok(DataType::Float64);
        }
        let decimal = |end: &DataType| matches!(end, DataType::Decimal128(..));
        Ok(match (low, high) {
            (DataType::Float64, _) | (_, DataType::Float64) => DataType::Float64,
            (DataType::Float32, _) | (_, DataType::Float32) => DataType::Float32,
            // A decimal keeps its digits beside an integer.
            (low, high) if decimal(low) && !decimal(high) => low.clone(),
            (low, high) if decimal(high) && !decimal(low) => high.clone(),
            _ => common_type(&[low.clone(), high.clone()]).unwrap_or(DataType::Float64),
        })
    }

    /// The function that a call of this name is.
    ///
    /// # Errors
    /// Seeds that are no constant integers.
    pub fn of(name: &str, arguments: &[Expr]) -> Result<Option<Self>> {
        let place = match name {
            "randstr" => 1,
            "uniform" => 2,
            _ => 0,
        };
        let seed = || match arguments.get(place) {
            None => {
                let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
                Ok((high ^ low) as i64)
            }
            Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64)?.try_into() {
                Ok(seed) => Ok(seed),
                Err(_) if value.is_null() => Ok(0),
                Err(_) => {
                    Err(Error::new(ErrorCode::DatatypeMismatch, format!("{name}(): the seed {value} is no integer")))
                }
            },
            Some(other) => Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("{name}(): the seed must be a constant, not {other}"),
            )),
        };
        Ok(Some(match name {
            "rand" => Sequence::Uniform(seed()?),
            "randn" => Sequence::Normal(seed()?),
            "uuid" => Sequence::Uuid(seed()?),
            "randstr" => {
                let length = match end(name, arguments.first())?.cast_to(&DataType::Int32)? {
                    ScalarValue::Int32(length) => length.unwrap_or(0),
                    other => return Err(Error::internal(format!("a length of {other}"))),
                };
                let length = usize::try_from(length).map_err(|_| {
                    Error::new(ErrorCode::DatatypeMismatch, format!("randstr(): the length {length} is below 0"))
                        .with_sub_condition("VALUE_OUT_OF_RANGE")
                })?;
                Sequence::Text { length, seed: seed()? }
            }
            "uniform" => {
                let (low, high) = (end(name, arguments.first())?, end(name, arguments.get(1))?);
                let data_type = Self::range(&[low.data_type(), high.data_type()])?;
                let double = |value: &ScalarValue| match value.cast_to(&DataType::Float64) {
                    Ok(ScalarValue::Float64(Some(value))) => value,
                    _ => f64::NAN,
                };
                let (low, high) = (double(&low), double(&high));
                if let DataType::Decimal128(precision, scale) = data_type
                    && low.abs().max(high.abs()) >= 10f64.powi(i32::from(precision) - i32::from(scale))
                {
                    return Err(Error::new(
                        ErrorCode::NumericValueOutOfRange,
                        format!(
                            "uniform(): {low} and {high} cannot both be represented as Decimal({precision}, {scale})"
                        ),
                    ));
                }
                Sequence::Between { low, high, whole: Whole::of(&data_type), seed: seed()? }
            }
            "monotonically_increasing_id" => Sequence::RowNumber,
            "spark_partition_id" => Sequence::Partition,
            _ => return Ok(None),
        }))
    }

    /// Type of the values.
    pub fn data_type(&self) -> DataType {
        match self {
            Sequence::Uniform(_) | Sequence::Normal(_) => DataType::Float64,
            Sequence::Poisson { .. } | Sequence::Partition => DataType::Int32,
            Sequence::Uuid(_) | Sequence::Text { .. } => DataType::Utf8,
            Sequence::Between { whole, .. } => whole.map_or(DataType::Float64, Whole::data_type),
            Sequence::RowNumber => DataType::Int64,
        }
    }

    /// Values for the rows that come.
    pub fn start(&self) -> Values {
        let seed = match self {
            Sequence::Uniform(seed)
            | Sequence::Normal(seed)
            | Sequence::Uuid(seed)
            | Sequence::Text { seed, .. }
            | Sequence::Between { seed, .. }
            | Sequence::Poisson { seed, .. } => *seed,
            Sequence::RowNumber | Sequence::Partition => 0,
        };
        Values { sequence: *self, random: XorShift::new(seed), next: 0 }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sequence::Uniform(seed) => write!(f, "rand({seed})"),
            Sequence::Normal(seed) => write!(f, "randn({seed})"),
            Sequence::Poisson { mean, seed } => write!(f, "poisson({mean}, {seed})"),
            Sequence::Uuid(seed) => write!(f, "uuid({seed})"),
            Sequence::Text { length, seed } => write!(f, "randstr({length}, {seed})"),
            Sequence::Between { low, high, seed, .. } => write!(f, "uniform({low}, {high}, {seed})"),
            Sequence::RowNumber => f.write_str("monotonically_increasing_id()"),
            Sequence::Partition => f.write_str("spark_partition_id()"),
        }
    }
}

/// A sequence while rows come.
#[derive(Debug)]
pub struct Values {
    sequence: Sequence,
    random: XorShift,
    next: i64,
}

impl Values {
    /// The values of the next rows.
    pub fn take(&mut self, rows: usize) -> ArrayRef {
        let random = &mut self.random;
        match self.sequence {
            Sequence::Uniform(_) => Arc::new((0..rows).map(|_| Some(random.next_double())).collect::<Float64Array>()),
            Sequence::Normal(_) => Arc::new((0..rows).map(|_| Some(random.next_gaussian())).collect::<Float64Array>()),
            Sequence::Poisson { mean, .. } => {
                Arc::new((0..rows).map(|_| Some(random.next_poisson(mean))).collect::<Int32Array>())
            }
            Sequence::Uuid(_) => Arc::new((0..rows).map(|_| Some(random.next_uuid())).collect::<StringArray>()),
            Sequence::Text { length, .. } => {
                Arc::new((0..rows).map(|_| Some(random.next_text(length))).collect::<StringArray>())
            }
            Sequence::Between { low, high, whole, .. } => {
                let values = (0..rows).map(|_| Some(low + (high - low) * random.next_double()).filter(|x| !x.is_nan()));
                between(values.collect(), whole)
            }
            Sequence::Partition => Arc::new(Int32Array::from(vec![0; rows])),
            Sequence::RowNumber => {
                let first = self.next;
                self.next = first.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
                Arc::new((first..self.next).collect::<Int64Array>())
            }
        }
    }
}

/// An end of a range, or a length.
fn end(name: &str, argument: Option<&Expr>) -> Result<ScalarValue> {
    match argument {
        Some(argument) => match SparkFunction::constant(argument)? {
            Expr::Literal(value, _) => Ok(value),
            Expr::Negative(inner) => match *inner {
                Expr::Literal(value, _) => Ok(value.arithmetic_negate()?),
                other => Err(not_constant(name, &other)),
            },
            other => Err(not_constant(name, &other)),
        },
        None => Err(Error::internal(format!("{name} without an argument"))),
    }
}

fn not_constant(name: &str, found: &Expr) -> Error {
    Error::new(ErrorCode::DatatypeMismatch, format!("{name}(): {found} must be a constant"))
        .with_sub_condition("NON_FOLDABLE_INPUT")
}

/// Doubles in another type: integers are cut, decimals are rounded.
fn between(values: Float64Array, whole: Option<Whole>) -> ArrayRef {
    match whole {
        None => Arc::new(values),
        Some(Whole::Float) => Arc::new(values.iter().map(|x| x.map(|x| x as f32)).collect::<Float32Array>()),
        Some(Whole::Integer(1)) => Arc::new(values.iter().map(|x| x.map(|x| x as i8)).collect::<Int8Array>()),
        Some(Whole::Integer(2)) => Arc::new(values.iter().map(|x| x.map(|x| x as i16)).collect::<Int16Array>()),
        Some(Whole::Integer(4)) => Arc::new(values.iter().map(|x| x.map(|x| x as i32)).collect::<Int32Array>()),
        Some(Whole::Integer(_)) => Arc::new(values.iter().map(|x| x.map(|x| x as i64)).collect::<Int64Array>()),
        Some(decimal @ Whole::Decimal(_, scale)) => {
            let unit = 10f64.powi(scale.into());
            let scaled = values.iter().map(|x| x.map(|x| (x * unit).round() as i128));
            Arc::new(scaled.collect::<Decimal128Array>().with_data_type(decimal.data_type()))
        }
    }
}

/// Spark's generator of random numbers, with the derived numbers of `java.util.Random`.
#[derive(Debug)]
struct XorShift {
    state: i64,
    spare: Option<f64>,
}

impl XorShift {
    fn new(seed: i64) -> Self {
        let bytes = seed.to_be_bytes();
        let low = murmur3(&bytes, ARRAY_SEED);
        let high = murmur3(&bytes, low);
        Self { state: (i64::from(high as i32) << 32) | i64::from(low), spare: None }
    }

    fn next(&mut self, bits: u32) -> i32 {
        let mut next = self.state ^ (self.state << 21);
        next ^= ((next as u64) >> 35) as i64;
        next ^= next << 4;
        self.state = next;
        (next & ((1i64 << bits) - 1)) as i32
    }

    fn next_double(&mut self) -> f64 {
        let (high, low) = (i64::from(self.next(26)), i64::from(self.next(27)));
        ((high << 27) + low) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Marsaglia's polar method.
    fn next_gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.next_double() - 1.0, 2.0 * self.next_double() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Knuth's method, in steps that no product can vanish in.
    fn next_poisson(&mut self, mean: f64) -> i32 {
        let (mut left, mut product, mut count) = (mean, 1.0f64, -1i32);
        loop {
            count = count.saturating_add(1);
            product *= self.next_double();
            while product < 1.0 && left > 0.0 {
                let step = left.min(500.0);
                product *= step.exp();
                left -= step;
            }
            if product <= 1.0 {
                return count;
            }
        }
    }

    fn next_text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut letter = || LETTERS.get((self.next(32) % 62).unsigned_abs() as usize).copied().map_or('0', char::from);
        (0..length).map(|_| letter()).collect()
    }

    fn next_uuid(&mut self) -> String {
        let mut half = || (i64::from(self.next(32)) << 32) | (i64::from(self.next(32)) & 0xFFFF_FFFF);
        let (high, low) = (half() as u64, half() as u64);
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
            .into_uuid()
            .to_string()
    }
}

/// The seed of Scala's hash of an array.
const ARRAY_SEED: u32 = 0x3c07_4a61;

/// Scala's Murmur3 of bytes.
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed;
    for word in bytes.chunks_exact(4) {
        let mut k = word.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
