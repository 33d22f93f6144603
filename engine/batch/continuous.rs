//! What may run continuously: the rules of `Trigger::continuous` and `Trigger::real_time`.
//!
//! Comes in: a plan, an output mode and how its rows are to flow. Goes out: nothing, or the refusal in Spark's words. Pure.
//!
//! Rows of a continuous query go from source to sink as they arrive, in small reads, without waiting for anything to be logged. Every
//! interval the offsets reached are logged and committed as an epoch, after the rows before them were published, so a restart
//! begins at the last epoch and delivers what followed it again: at least once. What that leaves out is refused here: operators
//! with state, watermarks and anything else that looks at more than one row. A source and a sink say for themselves whether they
//! take part ([`Source::begin_continuous`](crate::source::Source::begin_continuous),
//! [`Sink::begin_continuous`](crate::sink::Sink::begin_continuous)).

use crate::error::{Error, ErrorCode, Result};
use crate::plan::logical::LogicalPlan;
use crate::sink::OutputMode;
use std::time::Duration;

/// How rows flow without micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// `Trigger::continuous`.
    Continuous,
    /// `Trigger::real_time`: the same, under Spark's rules for the real-time mode.
    RealTime,
}

impl Flow {
    /// The refusal of a source that cannot be read as its rows arrive.
    pub fn refuse_source(self, source: &str) -> Error {
        match self {
            Flow::Continuous => Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "continuous processing does not support StreamingRelation operations: {source} cannot be read as its rows \
                     arrive; read rate, kafka or a memory stream, or use Trigger::processing_time"
                ),
            ),
            Flow::RealTime => Error::new(
                ErrorCode::RealTimeSource,
                format!(
                    "the input stream {source} is not supported in real-time mode; read kafka or a memory stream, or use \
                     Trigger::processing_time"
                ),
            ),
        }
    }

    /// The refusal of a sink that cannot be given rows as they arrive.
    pub fn refuse_sink(self, sink: &str) -> Error {
        let sinks = match self {
            Flow::Continuous => "kafka, console, memory, foreach or noop",
            Flow::RealTime => "kafka, console, memory or foreach",
        };
        let (code, mode) = match self {
            Flow::Continuous => (ErrorCode::UnsupportedOperation, "continuous processing"),
            Flow::RealTime => (ErrorCode::RealTimeOperator, "real-time mode"),
        };
        Error::new(
            code,
            format!("the sink {sink} does not support {mode}; write to {sinks}, or use Trigger::processing_time"),
        )
    }
}

/// Checks that `plan` may run in `mode` as `flow`, with this interval.
///
/// # Errors
/// [`ErrorCode::UnsupportedOperation`] naming Spark's operator, and for the real-time mode [`ErrorCode::RealTimeOperator`],
/// [`ErrorCode::RealTimeOutputMode`] and [`ErrorCode::RealTimeInterval`].
pub fn check(plan: &LogicalPlan, mode: OutputMode, flow: Flow, interval_ms: i64, least: Duration) -> Result<()> {
    let forbidden = forbidden(plan);
    if flow == Flow::RealTime && forbidden.is_none() {
        if mode != OutputMode::Update {
            return Err(Error::new(
                ErrorCode::RealTimeOutputMode,
                format!("the output mode {} is not supported in real-time mode; use update", mode.name()),
            ));
        }
        if u128::try_from(interval_ms).unwrap_or(0) < least.as_millis() {
            return Err(Error::new(
                ErrorCode::RealTimeInterval,
                format!(
                    "the real-time trigger interval is set to {interval_ms} ms. This is less than the {} ms minimum \
                     specified by {}",
                    least.as_millis(),
                    crate::config::REAL_TIME_LEAST
                ),
            ));
        }
    }
    let Some(operator) = forbidden else { return Ok(()) };
    Err(match flow {
        Flow::Continuous => Error::new(
            ErrorCode::UnsupportedOperation,
            format!(
                "continuous processing does not support {operator} operations; only selections and filters of one source can \
                 run continuously: use Trigger::processing_time"
            ),
        ),
        Flow::RealTime => Error::new(
            ErrorCode::RealTimeOperator,
            format!(
                "the operator {operator} is not in the allow-list of the real-time mode here, which is selections and filters \
                 of one source; use Trigger::processing_time"
            ),
        ),
    })
}

/// Spark's name of the first operator, from the sources up, that looks at more than one row.
fn forbidden(plan: &LogicalPlan) -> Option<&'static str> {
    if let Some(below) = plan.inputs().into_iter().find_map(|input| forbidden(input)) {
        return Some(below);
    }
    match plan {
        LogicalPlan::Source { streaming: true, .. }
        | LogicalPlan::Project { .. }
        | LogicalPlan::Filter { .. }
        | LogicalPlan::Alias { .. } => None,
        LogicalPlan::Source { .. } => Some("LogicalRelation"),
        LogicalPlan::Watermark { .. } => Some("EventTimeWatermark"),
        LogicalPlan::Generate { .. } => Some("Generate"),
        LogicalPlan::Observe { .. } => Some("CollectMetrics"),
        LogicalPlan::Aggregate { .. } => Some("Aggregate"),
        LogicalPlan::Deduplicate { within_watermark: false, .. } => Some("Deduplicate"),
        LogicalPlan::Deduplicate { .. } => Some("DeduplicateWithinWatermark"),
        LogicalPlan::Join { .. } => Some("Join"),
        LogicalPlan::Union { .. } => Some("Union"),
        LogicalPlan::TransformWithState { .. } => Some("TransformWithState"),
        LogicalPlan::MapRows { function, .. } => Some(function.operation()),
        LogicalPlan::Sequence { .. } => Some("Sequence"),
        LogicalPlan::Window { .. } => Some("Window"),
        LogicalPlan::Cached { .. } => Some("InMemoryRelation"),
        LogicalPlan::Sort { .. } => Some("Sort"),
        LogicalPlan::Limit { .. } => Some("LocalLimit"),
    }
}
