//! `OVER (...)`: functions over windows of rows.
//!
//! Comes in: the parser's window. Goes out: the call as a frame takes it. Fails: windows without a name, frames whose ends are not constants.

use super::expression::Converter;
use super::place::{At, Failure, Parsed};
use crate::error::ErrorCode;
use crate::frame::{Column, WindowSpec};
use crate::plan::spark_function::SparkFunction;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{self as df, Expr, SortExpr};
use datafusion::sql::sqlparser::ast::{
    self, Ident, NamedWindowDefinition, NamedWindowExpr, Spanned, WindowFrameBound, WindowFrameUnits, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Windows by name.
pub(super) type Windows = Vec<(String, ast::WindowSpec)>;

/// The windows that a WINDOW clause defines.
pub(super) fn named(definitions: &[NamedWindowDefinition]) -> Parsed<Windows> {
    let mut windows = Windows::new();
    for NamedWindowDefinition(name, definition) in definitions {
        let spec = match definition {
            NamedWindowExpr::WindowSpec(spec) => spec.clone(),
            NamedWindowExpr::NamedWindow(other) => find(&windows, other)?,
        };
        windows.push((name.value.clone(), spec));
    }
    Ok(windows)
}

fn find(windows: &Windows, name: &Ident) -> Parsed<ast::WindowSpec> {
    let found = windows.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name.value));
    found.map(|(_, spec)| spec.clone()).ok_or_else(|| {
        let message = format!("there is no window {}; define it with WINDOW {} AS (...)", name.value, name.value);
        Failure::new(ErrorCode::InvalidExpression, message, name.span)
    })
}

impl Converter<'_> {
    /// `call` over a window.
    pub(super) fn over(&self, call: Expr, over: &WindowType, windows: &Windows, span: Span) -> Parsed<Expr> {
        let spec = match over {
            WindowType::NamedWindow(name) => find(windows, name)?,
            WindowType::WindowSpec(spec) => match &spec.window_name {
                None => spec.clone(),
                // What stands behind the name is added to the window of that name.
                Some(name) => {
                    let mut named = find(windows, name)?;
                    if !spec.order_by.is_empty() {
                        named.order_by = spec.order_by.clone();
                    }
                    named.window_frame = spec.window_frame.clone().or(named.window_frame);
                    named
                }
            },
        };
        let keys = spec.partition_by.iter().map(|tree| Ok(Column::from(self.expr(tree)?)));
        let keys = keys.collect::<Parsed<Vec<Column>>>()?;
        let order = spec.order_by.iter().map(|key| {
            let ascending = key.options.asc.unwrap_or(true);
            let nulls_first = key.options.nulls_first.unwrap_or(ascending);
            Ok(Ok(SortExpr::new(self.expr(&key.expr)?, ascending, nulls_first)))
        });
        let mut window = WindowSpec::partition_by(keys).order_by(order.collect::<Parsed<Vec<_>>>()?);
        if let Some(frame) = &spec.window_frame {
            let units = match frame.units {
                WindowFrameUnits::Rows => df::WindowFrameUnits::Rows,
                WindowFrameUnits::Range => df::WindowFrameUnits::Range,
                WindowFrameUnits::Groups => {
                    return Err(Failure::unsupported("GROUPS is not Spark SQL; use ROWS or RANGE", span));
                }
            };
            let start = self.bound(&frame.start_bound, units)?;
            let end = frame.end_bound.as_ref().map(|end| self.bound(end, units)).transpose()?;
            window = window.between(units, start, end.unwrap_or(df::WindowFrameBound::CurrentRow));
        }
        Expr::try_from(Column::from(call).over(&window)).at(span)
    }

    fn bound(&self, bound: &WindowFrameBound, units: df::WindowFrameUnits) -> Parsed<df::WindowFrameBound> {
        let value = |tree: &Option<Box<ast::Expr>>| {
            let Some(tree) = tree else { return Ok(ScalarValue::Null) };
            let Expr::Literal(value, _) = SparkFunction::constant(&self.expr(tree)?).at(tree.span())? else {
                let message = format!("{tree}: the ends of a window's frame must be constants");
                return Err(Failure::new(ErrorCode::InvalidExpression, message, tree.span()));
            };
            let to = match units {
                df::WindowFrameUnits::Rows => arrow::datatypes::DataType::UInt64,
                // A text takes the type of the key.
                _ if value.data_type().is_numeric() => arrow::datatypes::DataType::Utf8,
                _ => return Ok(value),
            };
            value.cast_to(&to).map_err(crate::Error::from).at(tree.span())
        };
        Ok(match bound {
            WindowFrameBound::CurrentRow => df::WindowFrameBound::CurrentRow,
            WindowFrameBound::Preceding(places) => df::WindowFrameBound::Preceding(value(places)?),
            WindowFrameBound::Following(places) => df::WindowFrameBound::Following(value(places)?),
        })
    }
}
