//! Accumulators of counts, sums, means and products.
//!
//! Comes in: arguments with the types that `coerce_types` gave them. Goes out: exact state (i128, limbs, 256-bit decimals) and one
//! rounded result. Fails: results outside their type where that is an error.

use super::Overflow;
use crate::error::{Error, ErrorCode};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use tidemill_kernels::ExactSum;

/// Type of a sum of integers in state: enough for 2^64 of them.
pub const INTEGER_STATE: DataType = DataType::Decimal128(38, 0);

/// Type of a sum of decimals in state.
pub fn decimal_state(scale: i8) -> DataType {
    DataType::Decimal256(76, scale)
}

/// The column `index` as what it must be.
pub fn column<T>(columns: &[ArrayRef], index: usize, of: impl Fn(&ArrayRef) -> Option<T>) -> Result<T> {
    columns.get(index).and_then(of).ok_or_else(|| {
        let found: Vec<&DataType> = columns.iter().map(|c| c.data_type()).collect();
        Error::internal(format!("column {index} of an accumulator is not what it should be: {found:?}")).into()
    })
}

fn overflow(what: &str) -> datafusion::error::DataFusionError {
    Error::new(
        ErrorCode::ArithmeticOverflow,
        format!("{what}; use try_sum or try_avg to get NULL, or cast the argument to double"),
    )
    .into()
}

fn add_counts(total: &mut i64, states: &[ArrayRef], index: usize) -> Result<()> {
    let counts = column(states, index, |c| c.as_primitive_opt::<Int64Type>().cloned())?;
    *total = counts.iter().flatten().fold(*total, i64::saturating_add);
    Ok(())
}

/// How many of a batch's rows count.
type Counted = fn(&[ArrayRef]) -> Result<usize>;

/// A count of rows.
#[derive(Debug)]
pub struct Count {
    count: i64,
    counted: Counted,
}

impl Count {
    /// Rows where every argument has a value.
    pub fn of_values() -> Self {
        let counted = |values: &[ArrayRef]| {
            let rows = values.first().map_or(0, |v| v.len());
            let nulls = values.iter().filter(|v| v.data_type() != &DataType::Null).map(|v| v.logical_nulls());
            let nulls = nulls.fold(None, |all, own| arrow::buffer::NullBuffer::union(all.as_ref(), own.as_ref()));
            let none = values.iter().any(|v| v.data_type() == &DataType::Null);
            let missing = if none { rows } else { nulls.map_or(0, |n| n.null_count()) };
            Ok(rows - missing)
        };
        Self { count: 0, counted }
    }

    /// Rows where the condition is TRUE.
    pub fn of_truths() -> Self {
        let counted = |values: &[ArrayRef]| Ok(column(values, 0, |c| c.as_boolean_opt().cloned())?.true_count());
        Self { count: 0, counted }
    }
}

impl Accumulator for Count {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += (self.counted)(values)? as i64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.count)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        add_counts(&mut self.count, states, 0)
    }
}

/// Sum of 64-bit integers.
#[derive(Debug)]
pub struct IntegerSum {
    sum: Option<i128>,
    overflow: Overflow,
}

impl IntegerSum {
    pub fn new(overflow: Overflow) -> Self {
        Self { sum: None, overflow }
    }

    fn add(&mut self, value: i128) -> Result<()> {
        let sum = self.sum.unwrap_or(0).checked_add(value).ok_or_else(|| overflow("sum() is outside BIGINT"))?;
        self.sum = Some(sum);
        Ok(())
    }
}

/// A sum as a `bigint`.
pub fn as_bigint(sum: i128, policy: Overflow) -> Result<Option<i64>> {
    match (i64::try_from(sum), policy) {
        (Ok(sum), _) => Ok(Some(sum)),
        (Err(_), Overflow::Null) => Ok(None),
        (Err(_), Overflow::Wrap) => Ok(Some(sum as i64)),
        (Err(_), Overflow::Error) => Err(overflow("sum() is outside BIGINT")),
    }
}

impl Accumulator for IntegerSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| c.as_primitive_opt::<Int64Type>().cloned())?;
        if values.null_count() == values.len() {
            return Ok(());
        }
        self.add(values.iter().flatten().map(i128::from).sum())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.sum.map(|sum| as_bigint(sum, self.overflow)).transpose()?;
        Ok(ScalarValue::Int64(sum.flatten()))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.sum, 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = column(states, 0, |c| c.as_primitive_opt::<Decimal128Type>().cloned())?;
        sums.iter().flatten().try_for_each(|sum| self.add(sum))
    }
}

/// Sum or mean of doubles, rounded once.
#[derive(Debug)]
pub struct DoubleSum {
    mean: bool,
    sum: ExactSum,
    count: i64,
}

impl DoubleSum {
    pub fn new(mean: bool) -> Self {
        Self { mean, sum: ExactSum::default(), count: 0 }
    }
}

/// Merges sums in state into `into`.
pub fn merge_sums(into: &mut ExactSum, states: &[ArrayRef], index: usize) -> Result<()> {
    let sums = column(states, index, |c| c.as_binary_opt::<i32>().cloned())?;
    for bytes in sums.iter().flatten() {
        let sum = ExactSum::from_bytes(bytes).map_err(|e| {
            Error::caused_by(ErrorCode::CheckpointCorrupt, format!("a sum in state does not decode: {e}"), e)
        })?;
        into.merge(&sum);
    }
    Ok(())
}

impl Accumulator for DoubleSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| c.as_primitive_opt::<Float64Type>().cloned())?;
        values.iter().flatten().for_each(|v| self.sum.add(v));
        self.count += (values.len() - values.null_count()) as i64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = match (self.count, self.mean) {
            (0, _) => None,
            (count, true) => self.sum.mean(count.unsigned_abs()),
            (_, false) => Some(self.sum.value()),
        };
        Ok(ScalarValue::Float64(result))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.sum.to_bytes())), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        merge_sums(&mut self.sum, states, 0)?;
        add_counts(&mut self.count, states, 1)
    }
}

/// Sum or mean of decimals.
#[derive(Debug)]
pub struct DecimalSum {
    /// Digits of Spark's sum, past which it overflows.
    precision: u8,
    scale: i8,
    /// Precision and scale of the mean.
    mean: Option<(u8, i8)>,
    overflow: Overflow,
    sum: i256,
    count: i64,
}

impl DecimalSum {
    pub fn new(precision: u8, scale: i8, mean: Option<(u8, i8)>, overflow: Overflow) -> Self {
        Self { precision, scale, mean, overflow, sum: i256::ZERO, count: 0 }
    }

    fn add(&mut self, value: i256) -> Result<()> {
        self.sum = self.sum.checked_add(value).ok_or_else(|| overflow("Overflow in sum of decimals"))?;
        Ok(())
    }

    fn fit(&self, value: Option<i256>, precision: u8) -> Result<Option<i128>> {
        let limit = i256::from_i128(10).checked_pow(u32::from(precision));
        let fits = value.filter(|v| limit.is_some_and(|limit| v.wrapping_abs() < limit)).and_then(|v| v.to_i128());
        match (fits, self.overflow) {
            (None, Overflow::Error) => Err(overflow("Overflow in sum of decimals")),
            (fits, _) => Ok(fits),
        }
    }

    /// The mean, rounded half away from zero.
    fn divided(&self, to: i8) -> Option<i256> {
        let widened = i256::from_i128(10).checked_pow(u32::try_from(to - self.scale).ok()?)?;
        let (dividend, divisor) = (self.sum.checked_mul(widened)?, i256::from_i128(i128::from(self.count)));
        let quotient = dividend.checked_div(divisor)?;
        let rest = dividend.checked_rem(divisor)?.wrapping_abs();
        let half_up = rest.checked_add(rest)? >= divisor;
        let step = if dividend.is_negative() { i256::MINUS_ONE } else { i256::ONE };
        if half_up { quotient.checked_add(step) } else { Some(quotient) }
    }
}

impl Accumulator for DecimalSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| c.as_primitive_opt::<Decimal128Type>().cloned())?;
        values.iter().flatten().try_for_each(|v| self.add(i256::from_i128(v)))?;
        self.count += (values.len() - values.null_count()) as i64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = match self.count {
            0 => None,
            _ => self.fit(Some(self.sum), self.precision)?,
        };
        match (self.mean, sum) {
            (None, sum) => Ok(ScalarValue::Decimal128(sum, self.precision, self.scale)),
            (Some((precision, scale)), None) => Ok(ScalarValue::Decimal128(None, precision, scale)),
            (Some((precision, scale)), Some(_)) => {
                let mean = self.fit(self.divided(scale), precision)?;
                Ok(ScalarValue::Decimal128(mean, precision, scale))
            }
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal256(Some(self.sum), 76, self.scale), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = column(states, 0, |c| c.as_primitive_opt::<Decimal256Type>().cloned())?;
        sums.iter().flatten().try_for_each(|sum| self.add(sum))?;
        add_counts(&mut self.count, states, 1)
    }
}

/// Product of doubles, in the order of the input.
#[derive(Debug, Default)]
pub struct Product {
    product: Option<f64>,
}

impl Accumulator for Product {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| c.as_primitive_opt::<Float64Type>().cloned())?;
        self.product = values.iter().flatten().fold(self.product, |product, v| Some(product.unwrap_or(1.0) * v));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.product))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Float64(self.product)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
