//! Spark's functions, by Spark's names.
//!
//! Comes in: columns or column names. Goes out: [`Column`]s. What a function does is decided when a frame resolves it,
//! with the session's time zone and ANSI setting.

mod aggregates;
mod lambdas;
mod placed;
mod scalar;
mod windows;

pub use aggregates::*;
pub use lambdas::*;
pub use placed::*;
pub use scalar::*;
pub use windows::*;

use super::column::{Column, IntoColumn, Operand, null};
use crate::error::{Error, ErrorCode, Result};
use crate::options::event_time_duration;
use crate::plan::spark_function::SparkFunction;
use crate::types::IntoSchema;
use datafusion::common::Column as ColumnName;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Case;

/// The column named `name`: a column, a field of a struct column (`data.city`), or `*` and `data.*` in a selection.
/// Case does not matter and is kept as written; a name with dots in it goes in backticks.
pub fn col(name: &str) -> Column {
    Column(Ok(Expr::Column(ColumnName::new_unqualified(name))))
}

/// An expression in SQL: `expr("fare * 1.2")`; in a selection it may have a name (`"fare * 1.2 AS gross"`).
///
/// ```
/// use tidemill::prelude::*;
/// let gross = expr("CASE WHEN status = 'completed' THEN fare * 1.2 END").alias("gross");
/// # let _ = gross;
/// ```
pub fn expr(text: &str) -> Column {
    Column(Ok(crate::sql::text::marker(text)))
}

/// A literal value.
pub fn lit(value: impl Operand) -> Column {
    value.operand()
}

/// `CASE WHEN condition THEN value`; go on with [`Column::when`] and [`Column::otherwise`].
pub fn when(condition: Column, value: impl Operand) -> Column {
    condition.zip(value.operand(), |condition, value| {
        Expr::Case(Case::new(None, vec![(Box::new(condition), Box::new(value))], None))
    })
}

/// Tumbling windows of `duration` over a timestamp column; the column `window` is a struct of `start` and `end`.
///
/// ```
/// use tidemill::prelude::*;
/// let five_minutes = window(col("event_time"), "5 minutes");
/// let sliding = window_sliding(col("event_time"), "10 minutes", "5 minutes");
/// # let _ = (five_minutes, sliding);
/// ```
pub fn window(time: impl IntoColumn, duration: &str) -> Column {
    window_from(time, duration, duration, "0 seconds")
}

/// Windows of `duration` that start every `slide`; a row belongs to each window that covers it.
pub fn window_sliding(time: impl IntoColumn, duration: &str, slide: &str) -> Column {
    window_from(time, duration, slide, "0 seconds")
}

/// Windows of `duration` every `slide`, the first of which starts `start` after 1970-01-01T00:00:00Z.
pub fn window_from(time: impl IntoColumn, duration: &str, slide: &str, start: &str) -> Column {
    let build = |time: Expr| -> Result<Expr> {
        let of = event_time_duration;
        let (duration, slide, start) = (of(duration)?, of(slide)?, of(start)?);
        for (name, value) in [("window_duration", duration), ("slide_duration", slide)] {
            if value <= 0 {
                let message = "window(): the window duration and the slide duration must be greater than 0";
                return Err(Error::new(ErrorCode::DatatypeMismatch, message)
                    .with_sub_condition("VALUE_OUT_OF_RANGE")
                    .with_parameter("exprName", format!("`{name}`"))
                    .with_parameter("valueRange", format!("(0, {}]", i64::MAX))
                    .with_parameter("currentValue", format!("{value}L")));
            }
        }
        let above = |message: &str, (left, value): (&str, i64), constraint: &str, (right, limit): (&str, i64)| {
            Err(Error::new(ErrorCode::DatatypeMismatch, format!("window(): {message}"))
                .with_sub_condition("PARAMETER_CONSTRAINT_VIOLATION")
                .with_parameter("leftExprName", format!("`{left}`"))
                .with_parameter("leftExprValue", format!("{value}L"))
                .with_parameter("constraint", constraint)
                .with_parameter("rightExprName", format!("`{right}`"))
                .with_parameter("rightExprValue", format!("{limit}L")))
        };
        if slide > duration {
            let message = "the slide duration must not be greater than the window duration";
            return above(message, ("slide_duration", slide), "<=", ("window_duration", duration));
        }
        if start.abs() >= slide {
            let message = "the absolute value of the start time must be less than the slide duration";
            return above(message, ("abs(start_time)", start.abs()), "<", ("slide_duration", slide));
        }
        Ok(SparkFunction::window(duration, slide, start).call(vec![time]))
    };
    Column(time.into_column().0.and_then(build))
}

/// Parses JSON text or bytes with a schema (a [`StructType`](crate::types::StructType) or DDL text) into a struct. A malformed record gives
/// NULL fields; see [`from_json_with`] for the other modes.
pub fn from_json(json: impl IntoColumn, schema: impl IntoSchema) -> Column {
    from_json_with(json, schema, &[])
}

/// [`from_json`] with Spark's options: `mode` (`PERMISSIVE`, `FAILFAST`), `timestampFormat`, `dateFormat`,
/// `columnNameOfCorruptRecord`.
pub fn from_json_with(json: impl IntoColumn, schema: impl IntoSchema, options: &[(&str, &str)]) -> Column {
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Column(
        json.into_column().0.and_then(|e| Ok(SparkFunction::from_json(schema.into_schema()?, options)?.call(vec![e]))),
    )
}

/// JSON text of a struct column: NULL fields are left out, timestamps have milliseconds and the session's zone.
pub fn to_json(column: impl IntoColumn) -> Column {
    to_json_with(column, &[])
}

/// [`to_json`] with Spark's options: `timestampFormat`, `dateFormat`, `timeZone`, `ignoreNullFields`.
pub fn to_json_with(column: impl IntoColumn, options: &[(&str, &str)]) -> Column {
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Column(column.into_column().0.and_then(|e| Ok(SparkFunction::to_json(options)?.call(vec![e]))))
}

/// A struct of the given columns; `"*"` stands for all of them.
pub fn r#struct<C: IntoColumn>(columns: impl IntoIterator<Item = C>) -> Column {
    let fields: Result<Vec<Expr>> = columns.into_iter().map(|c| c.into_column().0).collect();
    Column(fields.map(|fields| SparkFunction::make_struct().call(fields)))
}

/// NULL.
pub fn lit_null() -> Column {
    Column(Ok(null()))
}
