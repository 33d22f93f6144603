//! Spark's rules on which plans may run in which output mode.
//!
//! Comes in: a plan and a mode. Goes out: nothing, or the refusal in Spark's words with a way out. A pure function.

use super::deduplicate;
use super::join::JoinCondition;
use super::logical::{JoinType, LogicalPlan, TIME_WINDOW_KEY, watermark_delay_ms};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::TimeMode;
use crate::sink::OutputMode;
use arrow::datatypes::Field;
use datafusion::logical_expr::Expr;
use std::sync::Arc;

impl OutputMode {
    /// Spark's name of the mode, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            OutputMode::Append => "append",
            OutputMode::Update => "update",
            OutputMode::Complete => "complete",
        }
    }

    /// Parses Spark's name of a mode, in any case.
    ///
    /// # Errors
    /// [`ErrorCode::OutputModeInvalid`].
    pub fn parse(text: &str) -> Result<Self> {
        [OutputMode::Append, OutputMode::Update, OutputMode::Complete]
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let message = format!("the output mode {text:?} does not exist; use append, update or complete");
                Error::new(ErrorCode::OutputModeInvalid, message)
            })
    }
}

/// Checks that `plan` may run in `mode`.
///
/// # Errors
/// [`ErrorCode::OutputModeUnsupported`] with the operation that forbids the mode, [`ErrorCode::UnsupportedOperation`] for what no
/// stream, or no stream in this mode, can do.
pub fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    match mode {
        OutputMode::Complete if !plan.any(&is_aggregate) => {
            return Err(refuse(mode, "queries without streaming aggregations", "use append or update"));
        }
        OutputMode::Append if plan.any(&|p| is_aggregate(p) && !is_bounded(p)) => {
            return Err(refuse(
                mode,
                "streaming aggregations without watermark",
                "call with_watermark on the event time and group by window() of it, or use update or complete",
            ));
        }
        OutputMode::Update if plan.any(&|p| is_aggregate(p) && has_session(p)) => {
            return Err(refuse(mode, "session window streaming aggregations", "use append or complete"));
        }
        _ => {}
    }
    each(plan, &mut |node| check_node(node, mode))?;
    if mode != OutputMode::Append {
        each(plan, &mut |node| check_chain(node, mode))?;
    }
    Ok(())
}

/// What a relation may do by itself.
fn check_node(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    if !plan.is_streaming() {
        return Ok(());
    }
    match plan {
        LogicalPlan::Deduplicate { input, within_watermark: true, .. }
            if deduplicate::event_time(input.schema()).is_none() =>
        {
            Err(deduplicate::without_watermark())
        }
        LogicalPlan::TransformWithState { input, time_mode: TimeMode::EventTime, .. }
            if deduplicate::event_time(input.schema()).is_none() =>
        {
            Err(unsupported(
                "transform_with_state by event time needs a watermark; call with_watermark on the event time before group_by, or use \
                 TimeMode::ProcessingTime"
                    .to_string(),
            ))
        }
        LogicalPlan::Sort { input, .. } if mode != OutputMode::Complete || !input.any(&is_aggregate) => Err(unsupported(
            "sorting is not supported on a stream, unless it is of an aggregation in complete mode; sort in foreach_batch, or where the \
             result is read"
                .to_string(),
        )),
        LogicalPlan::Limit { .. } if mode == OutputMode::Update => {
            Err(unsupported("limits are not supported on a stream in update mode; use append".to_string()))
        }
        LogicalPlan::Union { inputs, .. } if inputs.iter().any(|input| !input.is_streaming()) => Err(unsupported(
            "union between a stream and a table is not supported; read the table as a stream, or write both to one sink"
                .to_string(),
        )),
        LogicalPlan::MapRows { inputs, function, .. } if inputs.iter().any(|input| !input.is_streaming()) => {
            Err(unsupported(format!(
                "{} of a stream and a table is not supported, because the table's rows would be given again with each batch; join them, \
                 or use foreach_batch",
                function.operation()
            )))
        }
        LogicalPlan::Sequence { .. } | LogicalPlan::Window { .. } | LogicalPlan::Cached { .. } => Err(table_only(plan)),
        LogicalPlan::Join { left, right, join_type, condition, .. } => {
            check_join(left, right, *join_type, condition.as_ref(), mode)
        }
        _ => Ok(()),
    }
}

/// Why a relation over a stream that needs all of its rows is refused.
pub(crate) fn table_only(plan: &LogicalPlan) -> Error {
    match plan {
        LogicalPlan::Window { calls, .. } => {
            let calls: Vec<String> = calls.iter().map(|call| super::resolve::output_name(&call.expr)).collect();
            Error::new(
                ErrorCode::NonTimeWindow,
                format!(
                    "window function is not supported in {} on a stream, which supports time windows only; group by window(...), or use \
                     foreach_batch",
                    calls.join(", ")
                ),
            )
        }
        LogicalPlan::Sequence { calls, .. } => {
            let calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
            unsupported(format!(
                "{} is not supported on a stream, because a batch that is replayed after a failure must give the same rows; derive the \
                 value from a column, as hash() does, or use foreach_batch",
                calls.join(", ")
            ))
        }
        _ => unsupported(
            "the rows of a stream cannot be kept, because they are never all there; use write_stream().start(), or cache() in foreach_batch"
                .to_string(),
        ),
    }
}

/// Which sides of a join may be streams.
fn check_join(
    left: &LogicalPlan,
    right: &LogicalPlan,
    join_type: JoinType,
    condition: Option<&Expr>,
    mode: OutputMode,
) -> Result<()> {
    use JoinType::{Cross, FullOuter, Inner, LeftAnti, LeftOuter, LeftSemi, RightOuter};
    let name = join_type.name();
    match (left.is_streaming(), right.is_streaming()) {
        (true, true) => {}
        (true, false) => {
            return match join_type {
                Inner | Cross | LeftOuter | LeftSemi | LeftAnti => Ok(()),
                RightOuter | FullOuter => Err(unsupported(format!(
                    "{name} join with a stream on the left and a table on the right is not supported, because the stream may still \
                     bring a partner for every row of the table; use an inner or a left join"
                ))),
            };
        }
        (false, _) => {
            return match join_type {
                Inner | Cross | RightOuter => Ok(()),
                LeftOuter | FullOuter | LeftSemi | LeftAnti => Err(unsupported(format!(
                    "{name} join with a stream on the right and a table on the left is not supported, because the stream may still \
                     bring a partner for every row of the table; put the stream on the left, or use an inner or a right join"
                ))),
            };
        }
    }
    match (join_type, mode) {
        (LeftAnti, _) => Err(unsupported(
            "LeftAnti join with a stream on the right is not supported; use a left outer join and keep the rows whose right side is NULL"
                .to_string(),
        )),
        (_, OutputMode::Complete) => Err(unsupported(format!(
            "{name} join between two streams is not supported in complete mode; write it to a table in append mode, and aggregate that"
        ))),
        (LeftOuter | RightOuter | FullOuter, OutputMode::Update) => Err(unsupported(format!(
            "{name} join between two streams is not supported in update mode, only in append mode; use append"
        ))),
        (Inner | Cross, _) => Ok(()),
        _ => {
            let parts = JoinCondition::of(left, right, condition)?;
            let bounded = parts.time_in_keys
                || match join_type {
                    RightOuter => parts.right_bound.is_some(),
                    FullOuter => parts.left_bound.is_some() && parts.right_bound.is_some(),
                    _ => parts.left_bound.is_some(),
                };
            match bounded {
                true => Ok(()),
                false => Err(unsupported(format!(
                    "stream-stream {name} join is not supported without a watermark in the join keys, or a watermark on the nullable side \
                     and a range condition: a row without a partner could never be told; use with_watermark on both sides, and a condition \
                     such as b.time >= a.time and b.time <= a.time + 1 hour"
                ))),
            }
        }
    }
}

/// What may stand above an aggregation that gives a group more than once.
fn check_chain(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let above = |input: &Arc<LogicalPlan>| input.any(&is_aggregate);
    let stateful = match plan {
        LogicalPlan::Aggregate { .. } | LogicalPlan::TransformWithState { .. } => true,
        LogicalPlan::Deduplicate { input, columns, within_watermark } => {
            let names = super::scope::distinct_names(input.schema());
            let timed =
                |(name, field): (&String, &Arc<Field>)| columns.contains(name) && watermark_delay_ms(field).is_some();
            *within_watermark || names.iter().zip(input.schema().fields()).any(timed)
        }
        LogicalPlan::Join { left, right, .. } => left.is_streaming() && right.is_streaming(),
        _ => false,
    };
    if stateful && plan.inputs().into_iter().any(above) {
        return Err(unsupported(format!(
            "an operation with state above an aggregation is not supported in {} mode, because the aggregation gives a group again when \
             it changes (a possible 'correctness' issue due to global watermark); use append mode, or write the first aggregation to a \
             sink and read that",
            mode.name()
        )));
    }
    Ok(())
}

fn each(plan: &LogicalPlan, test: &mut impl FnMut(&LogicalPlan) -> Result<()>) -> Result<()> {
    plan.inputs().into_iter().try_for_each(|input| each(input, test))?;
    test(plan)
}

fn is_aggregate(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate { .. }) && plan.is_streaming()
}

fn keys(plan: &LogicalPlan) -> impl Iterator<Item = &Arc<Field>> {
    let count = match plan {
        LogicalPlan::Aggregate { keys, .. } => keys.len(),
        _ => 0,
    };
    plan.schema().fields().iter().take(count)
}

/// Whether a watermark lets go of groups.
fn is_bounded(plan: &LogicalPlan) -> bool {
    keys(plan).any(|field| watermark_delay_ms(field).is_some())
}

fn has_session(plan: &LogicalPlan) -> bool {
    keys(plan).any(|field| field.metadata().get(TIME_WINDOW_KEY).is_some_and(|kind| kind == super::grouping::SESSION))
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorCode::UnsupportedOperation, message)
}

fn refuse(mode: OutputMode, what: &str, way_out: &str) -> Error {
    Error::new(
        ErrorCode::OutputModeUnsupported,
        format!(
            "invalid streaming output mode: {}. It is not supported for {what} on streaming frames; {way_out}",
            mode.name()
        ),
    )
}
