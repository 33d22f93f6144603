//! What a checkpoint remembers of a query, and whether a changed query may go on with its state.
//!
//! Comes in: a plan. Goes out: a [`Fingerprint`], written to the checkpoint as JSON. Fails: a restarted query whose state would
//! mean something else, with the difference named field by field.

use super::logical::{JoinType, LogicalPlan, Named, TIME_WINDOW_KEY};
use super::lower::QueryPlan;
use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What a stateful operator's state means: lists of texts under a label. A difference in any is a difference in meaning.
pub type Meaning = BTreeMap<String, Vec<String>>;

/// The label of an aggregation's calls whose state is found by their texts, so that calls may be added.
pub const AGGREGATE: &str = "aggregate";
/// The label of the calls of sessions, whose state is found by place.
pub const SESSION_AGGREGATE: &str = "aggregate of sessions";

/// The part of a query that its state and offsets depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Every source's description in the order of the logged offsets.
    pub sources: Vec<String>,
    /// The stateful operators by their ids.
    pub operators: BTreeMap<String, Meaning>,
    /// Output columns.
    pub output: Vec<String>,
}

impl Fingerprint {
    /// The fingerprint of a query.
    pub fn of(plan: &LogicalPlan, lowered: &QueryPlan) -> Self {
        Self {
            sources: lowered.sources().into_iter().map(|provider| provider.describe()).collect(),
            operators: lowered.stateful().map(|stage| (stage.id.clone(), stage.meaning.clone())).collect(),
            output: plan.schema().fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect(),
        }
    }

    /// Hash that names this fingerprint in a checkpoint.
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    /// Whether a query with this fingerprint may continue from a checkpoint of `earlier`. Changed filters, projections, names,
    /// watermark delays, triggers and limits do not show here and are always accepted; an added aggregate begins empty.
    ///
    /// # Errors
    /// [`ErrorCode::CheckpointIncompatible`] with every difference and the ways out.
    pub fn accept(&self, earlier: &Fingerprint) -> Result<()> {
        let mut differences = Vec::new();
        differ("source", &earlier.sources, &self.sources, &mut differences);
        for (id, now) in &self.operators {
            match earlier.operators.get(id) {
                None => differences.push(format!("the operator {id} was added")),
                Some(then) => {
                    let labels: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
                    for label in labels {
                        let of = |meaning: &Meaning| meaning.get(label).cloned().unwrap_or_default();
                        let (then, now) = (of(then), of(now));
                        // State is found by a call's text: calls may be added, to begin empty, and may come in another order.
                        if label != AGGREGATE || then.iter().any(|call| !now.contains(call)) {
                            differ(label, &then, &now, &mut differences);
                        }
                    }
                }
            }
        }
        let removed = earlier.operators.keys().filter(|id| !self.operators.contains_key(*id));
        differences.extend(removed.map(|id| format!("the operator {id} was removed")));
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
        differences.push(format!("{what} [{}] became [{}]", then.join(", "), now.join(", ")));
        return;
    }
    for (then, now) in then.iter().zip(now).filter(|(then, now)| then != now) {
        differences.push(format!("{what} {then:?} became {now:?}"));
    }
}

/// What the state of an aggregation means: its keys, its calls (as `calls` names them) and how its window is cut.
pub fn aggregate_meaning(calls: &str, keys: &[Named], aggregates: &[Named], schema: &SchemaRef) -> Meaning {
    let window = schema.fields().iter().find_map(|f| f.metadata().get(TIME_WINDOW_KEY).cloned());
    let keys = keys.iter().zip(schema.fields());
    let keys = keys.map(|(key, field)| format!("{} ({})", key.expr, field.data_type())).collect();
    let texts = aggregates.iter().map(|call| call.expr.to_string()).collect();
    let window = window.into_iter().collect();
    [("grouping key", keys), (calls, texts), ("window (duration, slide, start)", window)]
        .map(|(label, texts)| (label.to_string(), texts))
        .into()
}

/// What the state of a join of two streams means: its kind, its condition and its sides' columns.
pub fn join_meaning(join_type: JoinType, condition: Option<&Expr>, sides: &[SchemaRef; 2]) -> Meaning {
    let columns = |schema: &SchemaRef| -> Vec<String> {
        schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect()
    };
    let kind = vec![join_type.name().to_string()];
    let condition = condition.map(ToString::to_string).into_iter().collect();
    [
        ("join", kind),
        ("condition", condition),
        ("left column", columns(&sides[0])),
        ("right column", columns(&sides[1])),
    ]
    .map(|(label, texts)| (label.to_string(), texts))
    .into()
}
