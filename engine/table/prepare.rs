//! Relations of a table that are computed before DataFusion plans the rest: observations, and aggregations by session windows.
//!
//! Comes in: a plan without streams. Goes out: the same plan over rows that are at hand where those relations were, and what the
//! observations saw. Fails: what reading and expressions fail with, and two windows in one grouping.

use super::compute;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Observation, Observed};
use crate::operator::clock::BatchClock;
use crate::operator::measure::Measure;
use crate::operator::partial::{compile, evaluate};
use crate::operator::session;
use crate::plan::LogicalPlan;
use crate::plan::grouping::SESSION;
use crate::plan::logical::{Named, TIME_WINDOW_KEY};
use crate::plan::scope::{distinct_names, next_relation, reference};
use crate::plan::spark_function::{window_array, window_fields};
use crate::session::Session;
use crate::source::local::LocalRelation;
use arrow::array::{
    Array, ArrayRef, AsArray, DurationMicrosecondArray, RecordBatch, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a row's session beside the columns of its relation.
const SESSION_COLUMN: &str = "#session";

/// Prepares plans of one computation.
pub(super) struct Preparation<'s> {
    session: &'s Session,
    clock: &'s BatchClock,
    /// What observations saw, and the rows that they passed on, by name.
    observed: BTreeMap<String, (Observed, LogicalPlan)>,
    waiting: Vec<(Observation, String)>,
}

impl<'s> Preparation<'s> {
    pub fn new(session: &'s Session, clock: &'s BatchClock) -> Self {
        Self { session, clock, observed: BTreeMap::new(), waiting: Vec::new() }
    }

    /// What the observations of the prepared plans saw, told to those who wait for it.
    pub fn finish(self) -> Vec<Observed> {
        for (observation, name) in &self.waiting {
            if let Some((observed, _)) = self.observed.get(name) {
                observation.tell(observed);
            }
        }
        self.observed.into_values().map(|(observed, _)| observed).collect()
    }

    /// The plan, with rows in place of what is computed before it.
    pub fn prepare<'a>(&'a mut self, plan: &'a LogicalPlan) -> BoxFuture<'a, Result<LogicalPlan>> {
        async move {
            if !plan.any(&is_computed_first) {
                return Ok(plan.clone());
            }
            if let LogicalPlan::Observe { name, .. } = plan
                && let Some((_, passed_on)) = self.observed.get(name)
            {
                // The same rows once more, which are not to be counted twice.
                return Ok(passed_on.clone());
            }
            let mut plan = plan.clone();
            for input in plan.inputs_mut() {
                *input = Arc::new(self.prepare(input).await?);
            }
            match &mut plan {
                LogicalPlan::Observe { input, name, metrics, time_zone, observation } => {
                    let batches: Vec<RecordBatch> =
                        compute(self.session, input, self.clock).await?.try_collect().await?;
                    let schema = unique(input.schema());
                    let mut measure = Measure::new(metrics, &schema, *time_zone, self.clock)?;
                    for batch in &batches {
                        measure.update(&batch.clone().with_schema(schema.clone())?)?;
                    }
                    let row = measure.finish_row()?;
                    let passed_on = local(input.schema(), batches);
                    let observed = Observed { name: name.clone(), row, time_zone: *time_zone };
                    self.observed.insert(name.clone(), (observed, passed_on.clone()));
                    self.waiting.extend(observation.take().map(|observation| (observation, name.clone())));
                    return Ok(passed_on);
                }
                LogicalPlan::Aggregate { input, keys, schema, .. } => {
                    if let Some(at) = session_key(keys, schema)? {
                        let batches: Vec<RecordBatch> =
                            compute(self.session, input, self.clock).await?.try_collect().await?;
                        let all = arrow::compute::concat_batches(input.schema(), &batches)?;
                        let all = all.with_schema(unique(input.schema()))?;
                        *input = Arc::new(self.sessions(&all, keys, at)?);
                        if let Some(key) = keys.get_mut(at) {
                            key.expr = reference(SESSION_COLUMN);
                        }
                    }
                }
                _ => {}
            }
            Ok(plan)
        }
        .boxed()
    }

    /// The rows that are in a session, in order of time, with the session that the rows of their other keys make.
    fn sessions(&self, rows: &RecordBatch, keys: &[Named], at: usize) -> Result<LogicalPlan> {
        let schema = rows.schema();
        let value = |key: &Named| evaluate(&compile(&key.expr, &schema, self.clock)?, rows);
        let own = value(keys.get(at).ok_or_else(|| Error::internal("a session without a key"))?)?;
        let others = keys.iter().enumerate().filter(|(index, _)| *index != at);
        let others: Vec<ArrayRef> = others.map(|(_, key)| value(key)).collect::<Result<_>>()?;
        let own = own.as_struct_opt().ok_or_else(|| Error::internal("a session that is no window"))?;
        let (starts, ends) = (bound(own, 0)?, bound(own, 1)?);
        let gaps = starts.iter().zip(&ends).map(|(start, end)| Some(end?.saturating_sub(start?)));
        let gaps: ArrayRef = Arc::new(gaps.collect::<DurationMicrosecondArray>());
        let (places, bounds) = session::of_chunk(&others, &(Arc::new(starts) as ArrayRef), &gaps, i64::MIN)?;
        let bounds: Vec<TimestampMicrosecondArray> = bounds
            .iter()
            .map(|bound| bound.as_primitive::<Int64Type>().values().iter().copied().map(Some).collect())
            .collect();
        let Ok([starts, ends]) = <[TimestampMicrosecondArray; 2]>::try_from(bounds) else {
            return Err(Error::internal("a session without two bounds"));
        };
        let columns = rows.columns().iter().map(|column| Ok(take(column, &places, None)?));
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        columns.push(Arc::new(window_array(starts, ends)?));
        let session = Field::new(SESSION_COLUMN, DataType::Struct(window_fields()), true);
        let fields = schema.fields().iter().cloned().chain([Arc::new(session)]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(local(&schema, vec![RecordBatch::try_new(schema.clone(), columns)?]))
    }
}

fn is_computed_first(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Observe { .. } => true,
        LogicalPlan::Aggregate { keys, schema, .. } => windows(keys, schema).any(|(_, kind)| kind == SESSION),
        _ => false,
    }
}

/// The windows among grouping keys: their places and kinds.
fn windows<'p>(keys: &[Named], schema: &'p Schema) -> impl Iterator<Item = (usize, &'p str)> {
    let fields = schema.fields().iter().take(keys.len()).enumerate();
    fields.filter_map(|(index, field)| Some((index, field.metadata().get(TIME_WINDOW_KEY)?.as_str())))
}

/// The place of the session window.
fn session_key(keys: &[Named], schema: &Schema) -> Result<Option<usize>> {
    let Some((at, _)) = windows(keys, schema).find(|(_, kind)| *kind == SESSION) else { return Ok(None) };
    let same = |index: usize| keys.get(index).map(|key| &key.expr) == keys.get(at).map(|key| &key.expr);
    match windows(keys, schema).all(|(index, _)| same(index)) {
        true => Ok(Some(at)),
        false => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            "only one window can be grouped by; aggregate twice for windows of two kinds",
        )),
    }
}

fn bound(window: &StructArray, index: usize) -> Result<TimestampMicrosecondArray> {
    let bound = window.columns().get(index).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let bound = bound.ok_or_else(|| Error::internal("a window without bounds"))?;
    // A window that is NULL has none.
    let nulls = arrow::buffer::NullBuffer::union(bound.nulls(), window.nulls());
    Ok(TimestampMicrosecondArray::new(bound.values().clone(), nulls))
}

/// A table of rows that are at hand.
fn local(schema: &SchemaRef, rows: Vec<RecordBatch>) -> LogicalPlan {
    let provider = Arc::new(LocalRelation::new(schema.clone(), rows));
    LogicalPlan::Source { provider, streaming: false, schema: schema.clone(), id: next_relation() }
}

/// The schema with distinct names.
fn unique(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().zip(distinct_names(schema));
    Arc::new(Schema::new(fields.map(|(f, name)| f.as_ref().clone().with_name(name)).collect::<Vec<_>>()))
}
