//! What a checkpoint remembers of a query, and whether a changed query may go on with its state.
//!
//! Comes in: a plan. Goes out: a [`Fingerprint`], written to the checkpoint as JSON. Fails: a restarted query whose state would
//! mean something else, with the difference named field by field.

use super::logical::{LogicalPlan, Named, TIME_WINDOW_KEY};
use super::lower::QueryPlan;
use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The part of a query that its state and offsets depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Every source's description in plan order.
    pub sources: Vec<String>,
    /// The stateful operator.
    pub aggregate: Option<AggregateFingerprint>,
    /// Output columns.
    pub output: Vec<String>,
}

/// What an aggregation's state means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateFingerprint {
    /// `name: expression (type)` of every grouping key.
    pub keys: Vec<String>,
    /// Duration, slide and start of the window in microseconds.
    pub window: Option<String>,
    /// `name: call` of every aggregate.
    pub calls: Vec<String>,
}

impl Fingerprint {
    /// The fingerprint of a query.
    pub fn of(plan: &LogicalPlan, lowered: &QueryPlan) -> Self {
        let aggregate = find_aggregate(plan).map(|(keys, aggregates, schema)| {
            let window = schema.fields().iter().find_map(|f| f.metadata().get(TIME_WINDOW_KEY).cloned());
            let keys = keys
                .iter()
                .zip(schema.fields())
                .map(|(key, field)| format!("{}: {} ({})", key.name, key.expr, field.data_type()))
                .collect();
            let calls = aggregates.iter().map(|call| format!("{}: {}", call.name, call.expr)).collect();
            AggregateFingerprint { keys, window, calls }
        });
        Self {
            sources: lowered.branches.iter().map(|b| b.provider.describe()).collect(),
            aggregate,
            output: plan.schema().fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect(),
        }
    }

    /// Hash that names this fingerprint in a checkpoint.
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    /// Whether a query with this fingerprint may continue from a checkpoint of `earlier`. Changed filters, projections, watermark
    /// delays, triggers and limits do not show here and are always accepted.
    ///
    /// # Errors
    /// [`ErrorCode::CheckpointIncompatible`] with every difference and the ways out.
    pub fn accept(&self, earlier: &Fingerprint) -> Result<()> {
        let mut differences = Vec::new();
        differ("source", &earlier.sources, &self.sources, &mut differences);
        match (&earlier.aggregate, &self.aggregate) {
            (None, None) => {}
            (Some(_), None) => differences.push("the aggregation was removed".to_string()),
            (None, Some(_)) => differences.push("an aggregation was added".to_string()),
            (Some(then), Some(now)) => {
                differ("grouping key", &then.keys, &now.keys, &mut differences);
                differ("aggregate", &then.calls, &now.calls, &mut differences);
                if then.window != now.window {
                    differences
                        .push(format!("window (duration, slide, start): {:?} became {:?}", then.window, now.window));
                }
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::CheckpointIncompatible,
            format!(
                "the query does not fit the state in its checkpoint: {}. Undo the change, or start with a new checkpointLocation",
                differences.join("; ")
            ),
        ))
    }
}

fn differ(what: &str, then: &[String], now: &[String], differences: &mut Vec<String>) {
    if then.len() != now.len() {
        differences.push(format!(
            "{} {what}s became {} ([{}] became [{}])",
            then.len(),
            now.len(),
            then.join(", "),
            now.join(", ")
        ));
        return;
    }
    for (then, now) in then.iter().zip(now).filter(|(then, now)| then != now) {
        differences.push(format!("{what} {then:?} became {now:?}"));
    }
}

/// Keys, calls and output columns of the plan's aggregation.
fn find_aggregate(plan: &LogicalPlan) -> Option<(&[Named], &[Named], &SchemaRef)> {
    match plan {
        LogicalPlan::Aggregate { keys, aggregates, schema, .. } => Some((keys, aggregates, schema)),
        _ => plan.inputs().into_iter().find_map(|input| find_aggregate(input)),
    }
}
