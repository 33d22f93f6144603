//! Samples of tables.
//!
//! Comes in: a table, which part of it, and a seed. Goes out: a table; with a seed and without replacement the rows that Spark takes of a
//! table of one partition. Fails: streams, and parts outside of [0, 1].

use super::column::{Column, IntoColumn, Operand};
use super::data_frame::DataFrame;
use super::functions::{lit, rand, when};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::sequence::Sequence;
use datafusion::logical_expr::Operator;

impl DataFrame {
    /// A sample of the rows: those whose random number is at least `lower` and less than `upper`, so that samples of one seed over parts
    /// that do not overlap have no row in common. With replacement, each row as often as chance has it, `upper - lower` times on average.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let numbers = DataFrame::range(&session, 0, 30, 1)?;
    /// let (some, others) = (numbers.sample(0.0, 0.3, false, 7)?, numbers.sample(0.3, 1.0, false, 7)?);
    /// assert_eq!(some.count().await? + others.count().await?, 30);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Streams; a part that is negative, or outside of [0, 1] without replacement.
    pub fn sample(&self, lower: f64, upper: f64, with_replacement: bool, seed: i64) -> Result<Self> {
        if self.is_streaming() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "sampling is not supported on a stream, because a batch that is replayed must give the same rows; filter by hash() of a column",
            ));
        }
        let part = upper - lower;
        let within = match with_replacement {
            true => part >= 0.0,
            false => part >= 0.0 && lower >= 0.0 && upper <= 1.0,
        };
        if !within {
            return Err(Error::new(
                ErrorCode::InvalidParameterValue,
                format!(
                    "sample: the part from {lower} to {upper} must lie in [0, 1]; with replacement it may be larger"
                ),
            ));
        }
        let call = match with_replacement {
            true => Sequence::Poisson { mean: part, seed },
            false => Sequence::Uniform(seed),
        };
        let width = self.schema().fields().len();
        let drawn = self.with_sequences(vec![call]);
        let number =
            drawn.plan().scope().reference_to(width).ok_or_else(|| Error::internal("a column without a place"))?;
        let number = Column(Ok(number));
        let sampled = match with_replacement {
            false => drawn.filter(number.clone().gt_eq(lower).and(number.lt(upper)))?,
            true => {
                let registry = self.session().functions();
                let times = registry.call("array_repeat", vec![lit(0).0?, number.0?], false)?;
                drawn.generate(registry.call("explode", vec![times], false)?, &[], None)?
            }
        };
        let columns = sampled.plan().scope().all();
        sampled.project(columns.into_iter().take(width).collect())
    }

    /// A sample of the rows of each value of a column: the fraction that is given for the value, and no row of a value without one.
    ///
    /// # Errors
    /// Streams, unknown columns, and fractions outside of [0, 1].
    pub fn sample_by<V: Operand>(
        &self,
        column: impl IntoColumn,
        fractions: impl IntoIterator<Item = (V, f64)>,
        seed: i64,
    ) -> Result<Self> {
        let column = column.into_column();
        let mut fraction: Option<Column> = None;
        for (value, part) in fractions {
            if !(0.0..=1.0).contains(&part) {
                return Err(Error::new(
                    ErrorCode::InvalidParameterValue,
                    format!("sample_by: the fraction {part} must lie in [0, 1]"),
                ));
            }
            let is_value = Column(Ok(datafusion::logical_expr::binary_expr(
                column.clone().0?,
                Operator::IsNotDistinctFrom,
                value.operand().0?,
            )));
            fraction = Some(match fraction {
                None => when(is_value, part),
                Some(before) => before.when(is_value, part),
            });
        }
        let Some(fraction) = fraction else { return self.filter(lit(false)) };
        self.filter(rand(seed).lt(fraction.otherwise(0.0)))
    }
}
