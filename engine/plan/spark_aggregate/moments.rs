//! Deviations, higher moments, correlations and regressions, from exact sums of powers.
//!
//! Comes in: one column of doubles, or two. Goes out: state (a count and the exact sums of the powers that a statistic needs) and a
//! result that is rounded only after everything that cancels has cancelled. Nothing fails but state that does not decode.
//! A power of a double is a sum of a few doubles (each product with its rounding error), so sums of powers are exact too, and no
//! order or split of the rows changes them. A value whose square is beyond the doubles makes the result infinite or NaN.

use super::sums::{column, merge_sums};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use tidemill_kernels::ExactSum;

/// Which statistic. Of pairs, the regression's are called with the dependent variable first: x is the second argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Statistic {
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    Skewness,
    Kurtosis,
    CovarSamp,
    CovarPop,
    Corr,
    RegrCount,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
    RegrSlope,
    RegrIntercept,
    RegrR2,
}

/// A product of powers: of the first and of the second column.
type Term = (usize, usize);

impl Statistic {
    /// Whether it takes two columns.
    pub fn of_pairs(self) -> bool {
        !matches!(
            self,
            Statistic::VarSamp
                | Statistic::VarPop
                | Statistic::StddevSamp
                | Statistic::StddevPop
                | Statistic::Skewness
                | Statistic::Kurtosis
        )
    }

    /// The sums that are kept.
    pub fn terms(self) -> &'static [Term] {
        match self {
            Statistic::VarSamp | Statistic::VarPop | Statistic::StddevSamp | Statistic::StddevPop => &[(1, 0), (2, 0)],
            Statistic::Skewness => &[(1, 0), (2, 0), (3, 0)],
            Statistic::Kurtosis => &[(1, 0), (2, 0), (3, 0), (4, 0)],
            Statistic::CovarSamp | Statistic::CovarPop | Statistic::RegrSxy => &[(1, 0), (0, 1), (1, 1)],
            Statistic::RegrCount => &[],
            Statistic::RegrAvgX => &[(0, 1)],
            Statistic::RegrAvgY => &[(1, 0)],
            Statistic::RegrSxx => &[(0, 1), (0, 2)],
            Statistic::RegrSyy => &[(1, 0), (2, 0)],
            Statistic::Corr | Statistic::RegrSlope | Statistic::RegrIntercept | Statistic::RegrR2 => {
                &[(1, 0), (0, 1), (2, 0), (0, 2), (1, 1)]
            }
        }
    }
}

/// Exact sums of powers.
#[derive(Debug)]
pub struct Moments {
    statistic: Statistic,
    count: i64,
    sums: Vec<ExactSum>,
}

impl Moments {
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, count: 0, sums: vec![ExactSum::default(); statistic.terms().len()] }
    }

    fn add(&mut self, x: f64, y: f64) {
        self.count += 1;
        for (sum, term) in self.sums.iter_mut().zip(self.statistic.terms()) {
            match term {
                (1, 0) => sum.add(x),
                (0, 1) => sum.add(y),
                _ if !(x.is_finite() && y.is_finite()) => sum.add(f64::NAN),
                (left, right) => {
                    let factors = std::iter::repeat_n(x, *left).chain(std::iter::repeat_n(y, *right));
                    factors
                        .fold(vec![1.0], |parts, factor| products(&parts, factor))
                        .into_iter()
                        .for_each(|p| sum.add(p));
                }
            }
        }
    }

    /// The sum of a term.
    fn sum(&self, term: Term) -> Exact {
        let index = self.statistic.terms().iter().position(|t| *t == term);
        Exact(index.and_then(|i| self.sums.get(i)).cloned().unwrap_or_default())
    }

    /// n times the sum of the products of deviations of the two terms of degree one: exact, then rounded.
    fn deviations(&self, left: Term, right: Term) -> f64 {
        let n = self.count as f64;
        let both = self.sum((left.0 + right.0, left.1 + right.1));
        both.scaled(n).plus(&self.sum(left).times(&self.sum(right)).scaled(-1.0)).value()
    }

    fn result(&self) -> Option<f64> {
        const X: Term = (1, 0);
        const Y: Term = (0, 1);
        let n = self.count as f64;
        if self.count == 0 {
            return None;
        }
        let several = self.count > 1;
        let sum = |parts: f64| parts / n;
        match self.statistic {
            Statistic::VarPop => Some(sum(self.deviations(X, X)) / n),
            Statistic::VarSamp => several.then(|| sum(self.deviations(X, X)) / (n - 1.0)),
            Statistic::StddevPop => Some((sum(self.deviations(X, X)) / n).sqrt()),
            Statistic::StddevSamp => several.then(|| (sum(self.deviations(X, X)) / (n - 1.0)).sqrt()),
            Statistic::Skewness => {
                let m2 = sum(self.deviations(X, X));
                let (s1, s2, s3) = (self.sum(X), self.sum((2, 0)), self.sum((3, 0)));
                // n^2 m3 = n^2 s3 - 3 n s1 s2 + 2 s1^3
                let m3 = s3.scaled(n).scaled(n).plus(&s1.times(&s2).scaled(n).scaled(-3.0));
                let m3 = m3.plus(&s1.times(&s1).times(&s1).scaled(2.0)).value() / n / n;
                (m2 != 0.0).then(|| n.sqrt() * m3 / (m2 * m2 * m2).sqrt())
            }
            Statistic::Kurtosis => {
                let m2 = sum(self.deviations(X, X));
                let (s1, s2, s3, s4) = (self.sum(X), self.sum((2, 0)), self.sum((3, 0)), self.sum((4, 0)));
                // n^3 m4 = n^3 s4 - 4 n^2 s1 s3 + 6 n s1^2 s2 - 3 s1^4
                let square = s1.times(&s1);
                let m4 = s4.scaled(n).scaled(n).scaled(n).plus(&s1.times(&s3).scaled(n).scaled(n).scaled(-4.0));
                let m4 = m4.plus(&square.times(&s2).scaled(n).scaled(6.0));
                let m4 = m4.plus(&square.times(&square).scaled(-3.0)).value() / n / n / n;
                (m2 != 0.0).then(|| n * m4 / (m2 * m2) - 3.0)
            }
            Statistic::CovarPop => Some(sum(self.deviations(X, Y)) / n),
            Statistic::CovarSamp => several.then(|| sum(self.deviations(X, Y)) / (n - 1.0)),
            Statistic::Corr => {
                let spread = (self.deviations(X, X) * self.deviations(Y, Y)).sqrt();
                (several && spread != 0.0).then(|| self.deviations(X, Y) / spread)
            }
            // Counted as an integer.
            Statistic::RegrCount => None,
            Statistic::RegrAvgX => self.sums.first().and_then(|s| s.mean(self.count.unsigned_abs())),
            Statistic::RegrAvgY => self.sums.first().and_then(|s| s.mean(self.count.unsigned_abs())),
            Statistic::RegrSxx => Some(sum(self.deviations(Y, Y))),
            Statistic::RegrSyy => Some(sum(self.deviations(X, X))),
            Statistic::RegrSxy => Some(sum(self.deviations(X, Y))),
            Statistic::RegrSlope => self.slope(),
            Statistic::RegrIntercept => {
                let mean = |term| self.sum(term).0.mean(self.count.unsigned_abs());
                Some(mean(X)? - self.slope()? * mean(Y)?)
            }
            Statistic::RegrR2 => {
                let (dependent, independent) = (self.deviations(X, X), self.deviations(Y, Y));
                match (independent == 0.0, dependent == 0.0) {
                    (true, _) => None,
                    (false, true) => Some(1.0),
                    (false, false) => {
                        let both = self.deviations(X, Y);
                        Some(both / dependent * (both / independent))
                    }
                }
            }
        }
    }

    fn slope(&self) -> Option<f64> {
        let spread = self.deviations((0, 1), (0, 1));
        (self.count > 1 && spread != 0.0).then(|| self.deviations((1, 0), (0, 1)) / spread)
    }
}

/// `parts * factor` as a sum of doubles.
fn products(parts: &[f64], factor: f64) -> Vec<f64> {
    let both = |part: &f64| {
        let product = part * factor;
        // A product beyond the doubles has no rounding error to speak of.
        let error = if product.is_finite() { part.mul_add(factor, -product) } else { 0.0 };
        [product, error]
    };
    parts.iter().flat_map(both).filter(|p| *p != 0.0).collect()
}

/// A number without rounding.
struct Exact(ExactSum);

impl Exact {
    /// The doubles that it is the sum of, the greatest first.
    fn parts(&self) -> Vec<f64> {
        let (mut rest, mut parts) = (self.0.clone(), Vec::new());
        loop {
            let part = rest.value();
            if part != 0.0 {
                parts.push(part);
            }
            if part == 0.0 || !part.is_finite() {
                return parts;
            }
            rest.add(-part);
        }
    }

    fn of(parts: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = ExactSum::default();
        parts.into_iter().for_each(|p| sum.add(p));
        Exact(sum)
    }

    fn scaled(&self, factor: f64) -> Exact {
        Exact::of(products(&self.parts(), factor))
    }

    fn times(&self, other: &Exact) -> Exact {
        let own = self.parts();
        Exact::of(other.parts().into_iter().flat_map(|factor| products(&own, factor)))
    }

    fn plus(mut self, other: &Exact) -> Exact {
        self.0.merge(&other.0);
        self
    }

    fn value(&self) -> f64 {
        self.0.value()
    }
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let first = column(values, 0, |c| c.as_primitive_opt::<Float64Type>().cloned())?;
        if !self.statistic.of_pairs() {
            first.iter().flatten().for_each(|x| self.add(x, 0.0));
            return Ok(());
        }
        let second = column(values, 1, |c| c.as_primitive_opt::<Float64Type>().cloned())?;
        for (x, y) in first.iter().zip(second.iter()) {
            if let (Some(x), Some(y)) = (x, y) {
                self.add(x, y);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.statistic {
            Statistic::RegrCount => ScalarValue::Int64(Some(self.count)),
            _ => ScalarValue::Float64(self.result()),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.len() * size_of::<ExactSum>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums = self.sums.iter().map(|s| ScalarValue::Binary(Some(s.to_bytes())));
        Ok(std::iter::once(ScalarValue::Int64(Some(self.count))).chain(sums).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = column(states, 0, |c| c.as_primitive_opt::<Int64Type>().cloned())?;
        self.count += counts.iter().flatten().sum::<i64>();
        for (index, sum) in self.sums.iter_mut().enumerate() {
            merge_sums(sum, states, index + 1)?;
        }
        Ok(())
    }
}
