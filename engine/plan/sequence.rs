//! Values that follow from the order of a table's rows: random numbers and the numbers of rows.
//!
//! Comes in: a function with its seed, and how many rows there are. Goes out: a column. With one seed the values are Spark's over a table
//! of one partition. Fails: nothing.
//!
//! A stream has no such values: a batch that is replayed after a failure must give the same rows.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
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
    /// How often a row stands in a sample with replacement.
    Poisson { mean: f64, seed: i64 },
    /// `uuid()`.
    Uuid(i64),
    /// `monotonically_increasing_id()`.
    RowNumber,
    /// `spark_partition_id()`: a table is one partition.
    Partition,
}

impl Sequence {
    /// The function that a call of this name is.
    ///
    /// # Errors
    /// Seeds that are no constant integers.
    pub fn of(name: &str, arguments: &[Expr]) -> Result<Option<Self>> {
        let seed = || match arguments.first() {
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
            Sequence::Uuid(_) => DataType::Utf8,
            Sequence::RowNumber => DataType::Int64,
        }
    }

    /// Values for the rows that come.
    pub fn start(&self) -> Values {
        let seed = match self {
            Sequence::Uniform(seed)
            | Sequence::Normal(seed)
            | Sequence::Uuid(seed)
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
            Sequence::Partition => Arc::new(Int32Array::from(vec![0; rows])),
            Sequence::RowNumber => {
                let first = self.next;
                self.next = first.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
                Arc::new((first..self.next).collect::<Int64Array>())
            }
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
