//! State of the calls that the host computes: what their accumulators call their state, between batches; live accumulators within one.
//!
//! Comes in: a chunk's states, one row a group. Goes out: states for state files, and results. Fails: state that the function
//! does not take, and results that it refuses.

use crate::error::{Error, Result};
use crate::operator::partial::host_column;
use crate::plan::aggregate::HostCall;
use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use std::sync::Arc;

/// One call's state, one entry a group.
#[derive(Debug)]
pub struct HostColumn {
    call: Arc<HostCall>,
    groups: Vec<State>,
}

/// A group's state.
#[derive(Debug)]
enum State {
    /// Of no row.
    Empty,
    /// As it goes to a state file.
    Stored(Vec<ScalarValue>),
    /// Being merged in this batch.
    Live(Box<dyn Accumulator>),
}

impl HostColumn {
    /// A column without groups.
    pub fn new(call: Arc<HostCall>) -> Self {
        Self { call, groups: vec![] }
    }

    /// The call.
    pub fn call(&self) -> &HostCall {
        &self.call
    }

    /// Adds a group without values.
    pub fn push(&mut self) {
        self.groups.push(State::Empty);
    }

    /// Merges row `from` of a chunk's states into group `into`.
    pub fn merge(&mut self, into: usize, states: &[ArrayRef], from: usize) -> Result<()> {
        let group = self.groups.get_mut(into).ok_or_else(|| Error::internal("no such group"))?;
        let mut live = match std::mem::replace(group, State::Empty) {
            State::Live(live) => live,
            State::Empty => self.call.accumulator()?,
            State::Stored(values) => restored(&self.call, &values)?,
        };
        let row: Vec<ArrayRef> = states.iter().map(|s| s.slice(from, 1)).collect();
        live.merge_batch(&row)?;
        *group = State::Live(live);
        Ok(())
    }

    /// Ends a batch for the groups that it touched: nothing is live.
    pub fn settle(&mut self, groups: &[u32]) -> Result<()> {
        for group in groups {
            let Some(group) = self.groups.get_mut(*group as usize) else { continue };
            if let State::Live(live) = group {
                let mut values = live.state()?;
                // A slice would keep the whole chunk that it is of.
                values.iter_mut().for_each(ScalarValue::compact);
                *group = State::Stored(values);
            }
        }
        Ok(())
    }

    fn values(&self, group: u32) -> Result<Vec<ScalarValue>> {
        match self.groups.get(group as usize) {
            Some(State::Stored(values)) => Ok(values.clone()),
            Some(State::Empty) => Ok(self.call.accumulator()?.state()?),
            Some(State::Live(_)) => Err(Error::internal("a batch that has not ended is read")),
            None => Err(Error::internal("no such group")),
        }
    }

    /// Results of `groups`.
    pub fn results(&self, groups: &[u32]) -> Result<ArrayRef> {
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let mut accumulator = match self.groups.get(*group as usize) {
                Some(State::Empty) => self.call.accumulator()?,
                _ => restored(&self.call, &self.values(*group)?)?,
            };
            results.push(accumulator.evaluate()?);
        }
        host_column(results, &self.call.result())
    }

    /// The state of `groups` as arrays.
    pub fn encode(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(groups.len()); self.call.state().len()];
        for group in groups {
            columns.iter_mut().zip(self.values(*group)?).for_each(|(column, value)| column.push(value));
        }
        columns.into_iter().zip(self.call.state()).map(|(values, t)| host_column(values, t)).collect()
    }

    /// Sets group `group` from row `row` of encoded columns.
    pub fn decode(&mut self, group: usize, columns: &[ArrayRef], row: usize) -> Result<()> {
        let mut values = Vec::with_capacity(columns.len());
        for column in columns {
            let mut value = ScalarValue::try_from_array(column, row)?;
            value.compact();
            values.push(value);
        }
        *self.groups.get_mut(group).ok_or_else(|| Error::internal("no such group"))? = State::Stored(values);
        Ok(())
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> usize {
        let group = |state: &State| match state {
            State::Empty => 0,
            State::Stored(values) => values.iter().map(ScalarValue::size).sum(),
            State::Live(live) => live.size(),
        };
        self.groups.iter().map(|state| size_of::<State>() + group(state)).sum()
    }
}

/// An accumulator with the given state.
fn restored(call: &HostCall, values: &[ScalarValue]) -> Result<Box<dyn Accumulator>> {
    let mut accumulator = call.accumulator()?;
    let arrays: Vec<ArrayRef> =
        values.iter().map(|v| v.to_array_of_size(1)).collect::<datafusion::error::Result<_>>()?;
    accumulator.merge_batch(&arrays)?;
    Ok(accumulator)
}
