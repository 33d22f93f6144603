//! Merging of two groups of one accumulator: what happens when a row bridges two sessions.
//!
//! Comes in: two groups. Goes out: the first with the values of both; the second is as it was. Fails: sums outside their type.

use super::accumulator::Accumulator;
use crate::error::{Error, ErrorCode, Result};

impl Accumulator {
    /// Merges group `from` into group `into`.
    ///
    /// # Errors
    /// Sums that overflow, and groups that do not exist.
    pub fn absorb(&mut self, into: usize, from: usize) -> Result<()> {
        match self {
            Accumulator::Count(counts) => *at(counts, into)? += *at(counts, from)?,
            Accumulator::SumF64 { sums, counts } => {
                let more = at(sums, from)?.clone();
                at(sums, into)?.merge(&more);
                *at(counts, into)? += *at(counts, from)?;
            }
            Accumulator::SumI64 { sums, counts } => {
                let more = *at(sums, from)?;
                let own = at(sums, into)?;
                *own = own.checked_add(more).ok_or_else(|| {
                    Error::new(ErrorCode::ArithmeticOverflow, "a sum of integers does not fit 128 bits")
                })?;
                *at(counts, into)? += *at(counts, from)?;
            }
            Accumulator::Key { greatest, values } => {
                let more = *at(values, from)?;
                let own = at(values, into)?;
                *own = outer(*greatest, own.take(), more);
            }
            Accumulator::Text { greatest, values } => {
                let more = at(values, from)?.clone();
                let own = at(values, into)?;
                *own = outer(*greatest, own.take(), more);
            }
            Accumulator::Hll { precision, registers } => {
                let size = 1usize << *precision;
                let of = |group: usize| group * size..(group + 1) * size;
                let more = registers.get(of(from)).ok_or_else(missing)?.to_vec();
                let own = registers.get_mut(of(into)).ok_or_else(missing)?;
                own.iter_mut().zip(more).for_each(|(register, rank)| *register = (*register).max(rank));
            }
            Accumulator::Distinct(sets) => {
                let more = at(sets, from)?.clone();
                at(sets, into)?.extend(more);
            }
            Accumulator::Host(column) => {
                let group = u32::try_from(from).map_err(|_| missing())?;
                column.settle(&[group])?;
                let states = column.encode(&[group])?;
                column.merge(into, &states, 0)?;
            }
        }
        Ok(())
    }
}

fn at<T>(values: &mut [T], group: usize) -> Result<&mut T> {
    values.get_mut(group).ok_or_else(missing)
}

fn missing() -> Error {
    Error::internal("no such group")
}

fn outer<T: Ord>(greatest: bool, a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) if greatest => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
