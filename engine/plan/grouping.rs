//! The windows among grouping keys: which kind each is, and whether it is cut here or below. Windows elsewhere: which rows have one.
//!
//! Comes in: grouping keys with the schema that they make; other expressions. Goes out: the keys as an aggregation groups by them; the rows
//! that are in a window. Fails: two windows, and sessions that an aggregation below has made.

use super::logical::{LogicalPlan, Named, TIME_WINDOW_KEY};
use super::lower::Step;
use super::spark_function::{Kind, SparkFunction};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::session_window::session_parts;
use arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::Expr;
use std::sync::Arc;

/// Keys as they are grouped by.
pub(super) struct Grouping {
    /// The keys. A window that an aggregation below has cut is grouped by its start.
    pub keys: Vec<Named>,
    /// Position of the session window.
    pub session: Option<usize>,
}

impl Grouping {
    /// The grouping of `keys`, which are the first columns of `schema`; `substitute` rewrites an expression over what the
    /// branches read.
    pub fn new(keys: &[Named], schema: &Schema, substitute: impl Fn(&Expr) -> Result<Expr>) -> Result<Self> {
        let mut grouping = Self { keys: keys.to_vec(), session: None };
        let mut windows = 0;
        for (index, key) in grouping.keys.iter_mut().enumerate() {
            let kind = schema.fields().get(index).and_then(|field| field.metadata().get(TIME_WINDOW_KEY));
            if kind.is_none() {
                continue;
            }
            windows += 1;
            let cut = substitute(&key.expr)?;
            if session_parts(&cut).is_some() {
                grouping.session = Some(index);
            } else if matches!(cut, Expr::Column(_)) {
                if kind.is_some_and(|kind| kind == SESSION) {
                    return Err(Error::new(
                        ErrorCode::UnsupportedOperation,
                        format!(
                            "grouping by the sessions {:?} of an aggregation below is not supported on a stream; group by window() of that column",
                            key.name
                        ),
                    ));
                }
                key.expr = get_field(key.expr.clone(), "start");
            }
        }
        if windows > 1 {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "only one window can be grouped by; aggregate twice for windows of two kinds",
            ));
        }
        Ok(grouping)
    }
}

/// The kind of a session window, in the place of a window's numbers.
pub const SESSION: &str = "session";

/// What is TRUE of the rows that `window`, a call, has a window for: a time, and of sessions a gap. None of other expressions.
fn has_window(window: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(call) = window else { return None };
    match SparkFunction::of(call).map(|function| &function.kind)? {
        Kind::Window { .. } => call.args.first().map(|time| time.clone().is_not_null()),
        Kind::SessionWindow => Some(get_field(window.clone(), "end").gt(get_field(window.clone(), "start"))),
        _ => None,
    }
}

/// Whether the expression is a call of `window` or `session_window`.
pub fn is_window(expr: &Expr) -> bool {
    has_window(expr).is_some()
}

/// The rows of `plan` that have each window in `expressions`: as in Spark, a row that is in no window is gone wherever one is written.
///
/// # Errors
/// None that a caller could cause.
pub fn within_windows<'e>(
    plan: &Arc<LogicalPlan>,
    expressions: impl IntoIterator<Item = &'e Expr>,
) -> Result<Arc<LogicalPlan>> {
    let mut conditions: Vec<Expr> = Vec::new();
    for expression in expressions {
        expression.apply(|e| {
            conditions.extend(has_window(e).filter(|condition| !conditions.contains(condition)));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(match conditions.into_iter().reduce(Expr::and) {
        Some(predicate) => Arc::new(LogicalPlan::Filter { input: plan.clone(), predicate }),
        None => plan.clone(),
    })
}

/// Leaves out the filters of [`within_windows`] where the rows that pass are grouped by `window`, which drops those that have none.
pub(super) fn leave_to_grouping(steps: &mut Vec<Step>, window: &Expr) {
    let Some(condition) = has_window(window) else { return };
    // An observation tells the rows that it sees.
    let first = steps.iter().rposition(|step| matches!(step, Step::Measure { .. })).map_or(0, |at| at + 1);
    let mut at = 0;
    steps.retain(|step| {
        at += 1;
        at <= first || !matches!(step, Step::Filter(predicate) if *predicate == condition)
    });
}
