//! Functions over windows of rows.
//!
//! Comes in: a function's expression, the partition's and the order's, and bounds. Goes out: the call over its window. Fails: bounds that are
//! no constants.

use super::required;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, WindowSpec};
use crate::plan::spark_function::SparkFunction;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, WindowFrameBound, WindowFrameUnits};
use proto::expression::Window;
use proto::expression::window::WindowFrame;
use proto::expression::window::window_frame::frame_boundary::Boundary;
use proto::expression::window::window_frame::{FrameBoundary, FrameType};
use spark_connect_proto as proto;

/// The call of a window's function; `parts` are the expressions that the window is made of, in the order of the walk.
pub(super) fn call(window: &Window, parts: Vec<Expr>) -> Result<Expr> {
    let mut parts = parts.into_iter();
    let function = parts.next().ok_or_else(|| Error::internal("a window without its function"))?;
    let partition: Vec<Column> = parts.by_ref().take(window.partition_spec.len()).map(Column::from).collect();
    let order: Vec<Expr> = parts.by_ref().take(window.order_spec.len()).collect();
    let order =
        order.into_iter().zip(&window.order_spec).map(|(expr, order)| Ok(super::expression::sorted(expr, order)));
    let mut spec = WindowSpec::partition_by(partition).order_by(order);
    if let Some(frame) = &window.frame_spec {
        spec = framed(&spec, frame, parts)?;
    }
    Column::from(function).over(&spec).0
}

fn framed(spec: &WindowSpec, frame: &WindowFrame, mut values: impl Iterator<Item = Expr>) -> Result<WindowSpec> {
    let units = match frame.frame_type() {
        FrameType::Undefined => return Ok(spec.clone()),
        FrameType::Row => WindowFrameUnits::Rows,
        FrameType::Range => WindowFrameUnits::Range,
    };
    let mut bound = |end: Option<&FrameBoundary>, unbounded: WindowFrameBound| -> Result<WindowFrameBound> {
        let end = required(end, "an end of a window")?;
        match required(end.boundary.as_ref(), "an end of a window")? {
            Boundary::CurrentRow(_) => Ok(WindowFrameBound::CurrentRow),
            Boundary::Unbounded(_) => Ok(unbounded),
            Boundary::Value(_) => {
                let value = values.next().ok_or_else(|| Error::internal("a bound without its value"))?;
                distance(&value, units)
            }
        }
    };
    let start = bound(frame.lower.as_deref(), WindowFrameBound::Preceding(ScalarValue::Null))?;
    let end = bound(frame.upper.as_deref(), WindowFrameBound::Following(ScalarValue::Null))?;
    Ok(spec.between(units, start, end))
}

/// A bound that many rows, or that much of the key, after the row; what is negative is before it.
fn distance(value: &Expr, units: WindowFrameUnits) -> Result<WindowFrameBound> {
    let refuse = || {
        Error::new(
            ErrorCode::InvalidExpression,
            format!("the bound {value} of a window must be a constant number or interval"),
        )
    };
    let Expr::Literal(constant, _) = SparkFunction::constant(value)? else { return Err(refuse()) };
    let whole = match &constant {
        ScalarValue::Int8(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int16(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int32(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int64(Some(v)) => Some(*v),
        _ => None,
    };
    if let Some(places) = whole {
        let size = match units {
            WindowFrameUnits::Rows => ScalarValue::UInt64(Some(places.unsigned_abs())),
            _ => ScalarValue::Int64(Some(i64::try_from(places.unsigned_abs()).map_err(|_| refuse())?)),
        };
        return Ok(match places {
            0 => WindowFrameBound::CurrentRow,
            before if before < 0 => WindowFrameBound::Preceding(size),
            _ => WindowFrameBound::Following(size),
        });
    }
    if units == WindowFrameUnits::Rows || constant.is_null() {
        return Err(refuse());
    }
    let zero = ScalarValue::new_zero(&constant.data_type()).map_err(|_| refuse())?;
    match constant.partial_cmp(&zero).ok_or_else(refuse)? {
        std::cmp::Ordering::Equal => Ok(WindowFrameBound::CurrentRow),
        std::cmp::Ordering::Greater => Ok(WindowFrameBound::Following(constant)),
        std::cmp::Ordering::Less => {
            Ok(WindowFrameBound::Preceding(constant.arithmetic_negate().map_err(|_| refuse())?))
        }
    }
}
