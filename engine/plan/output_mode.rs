//! Spark's rules on which plans may run in which output mode.
//!
//! Comes in: a plan and a mode. Goes out: nothing, or the refusal in Spark's words. A pure function.

use super::logical::{LogicalPlan, watermark_delay_ms};
use crate::error::{Error, ErrorCode, Result};
use crate::sink::OutputMode;

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
/// [`ErrorCode::OutputModeUnsupported`] with the operation that forbids it.
pub fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let aggregates = plan.any(&|p| matches!(p, LogicalPlan::Aggregate { .. }));
    let bounded = plan.any(&|p| match p {
        LogicalPlan::Aggregate { keys, schema, .. } => {
            schema.fields().iter().take(keys.len()).any(|f| watermark_delay_ms(f).is_some())
        }
        _ => false,
    });
    match mode {
        OutputMode::Complete if !aggregates => {
            Err(refuse(mode, "queries without streaming aggregations", "use append or update"))
        }
        OutputMode::Append if aggregates && !bounded => Err(refuse(
            mode,
            "streaming aggregations without watermark",
            "call with_watermark on the event time and group by window() of it, or use update or complete",
        )),
        _ => Ok(()),
    }
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
