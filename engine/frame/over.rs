//! Functions over windows of rows: what [`Column::over`] takes.
//!
//! Comes in: a function or an aggregate, and a [`WindowSpec`]. Goes out: a column for `select` and `with_column` on tables. Fails: functions
//! that need an order and have none, and frames whose ends are not constants.

use super::column::{Column, IntoColumn};
use super::data_frame::DataFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::placed::{is_grouping, placed};
use crate::functions::registry::FunctionRegistry;
use crate::plan::logical::{LogicalPlan, Named};
use crate::plan::resolve::{field_of, output_name, refuse_aggregates, resolve, strip_alias};
use crate::plan::scope::{next_relation, reference};
use crate::plan::sequence::Sequence;
use crate::plan::spark_function::SparkFunction;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::functions_window as windows;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use std::sync::Arc;

/// The rows that a function over a window sees for each row: Spark's `Window`.
///
/// ```
/// # use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let fares = session.sql("SELECT * FROM VALUES ('Oslo', 1), ('Oslo', 3), ('Moss', 2) AS t(city, fare)").await?;
/// let by_city = WindowSpec::partition_by(["city"]).order_by([col("fare").desc()]);
/// let first = fares.with_column("place", row_number().over(&by_city))?.filter(col("place").eq(1))?;
/// assert_eq!(first.count().await?, 2);
/// let running = sum("fare").over(&by_city.rows_between(WindowSpec::UNBOUNDED_PRECEDING, WindowSpec::CURRENT_ROW));
/// assert_eq!(fares.select([running.alias("so_far")])?.count().await?, 3);
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct WindowSpec {
    partition_by: Vec<Column>,
    order_by: Vec<Result<SortExpr>>,
    frame: Option<(WindowFrameUnits, WindowFrameBound, WindowFrameBound)>,
}

impl WindowSpec {
    /// Before every row of the partition.
    pub const UNBOUNDED_PRECEDING: i64 = i64::MIN;
    /// At the row itself.
    pub const CURRENT_ROW: i64 = 0;
    /// After every row of the partition.
    pub const UNBOUNDED_FOLLOWING: i64 = i64::MAX;

    /// Windows over the rows that have the same values in these columns; over all rows if there are none.
    pub fn partition_by<C: IntoColumn>(columns: impl IntoIterator<Item = C>) -> Self {
        Self { partition_by: columns.into_iter().map(IntoColumn::into_column).collect(), ..Self::default() }
    }

    /// The same with rows in the order of these keys, as [`Column::asc`] and its like give them.
    pub fn order_by(mut self, keys: impl IntoIterator<Item = Result<SortExpr>>) -> Self {
        self.order_by = keys.into_iter().collect();
        self
    }

    /// The same over the rows from `start` to `end` places after the row; negative places are before it.
    pub fn rows_between(&self, start: i64, end: i64) -> Self {
        let bound = |places| bound(places, |places| ScalarValue::UInt64(Some(places)));
        self.between(WindowFrameUnits::Rows, bound(start), bound(end))
    }

    /// The same over the rows whose key is from `start` to `end` more than the row's.
    pub fn range_between(&self, start: i64, end: i64) -> Self {
        // A text takes the type of the key.
        let bound = |places| bound(places, |places| ScalarValue::from(places.to_string()));
        self.between(WindowFrameUnits::Range, bound(start), bound(end))
    }

    /// The same over the rows between two bounds.
    pub(crate) fn between(&self, units: WindowFrameUnits, start: WindowFrameBound, end: WindowFrameBound) -> Self {
        Self { frame: Some((units, start, end)), ..self.clone() }
    }
}

fn bound(places: i64, value: impl Fn(u64) -> ScalarValue) -> WindowFrameBound {
    match places {
        i64::MIN => WindowFrameBound::Preceding(ScalarValue::Null),
        i64::MAX => WindowFrameBound::Following(ScalarValue::Null),
        0 => WindowFrameBound::CurrentRow,
        before if before < 0 => WindowFrameBound::Preceding(value(before.unsigned_abs())),
        after => WindowFrameBound::Following(value(after.unsigned_abs())),
    }
}

impl Column {
    /// The function or aggregate over a window of rows; on tables only.
    pub fn over(self, window: &WindowSpec) -> Column {
        // A text is read here, because only what it calls can stand in front of a window.
        let text = |expr| crate::sql::text::expand(expr, &FunctionRegistry::default());
        Column(self.0.and_then(text).and_then(|expr| over(expr, window)))
    }
}

fn over(expr: Expr, window: &WindowSpec) -> Result<Expr> {
    let refuse = |message: String| Err(Error::new(ErrorCode::InvalidExpression, message));
    let (mut nulls, mut filter, mut counted) = (None, None, false);
    let (function, arguments): (WindowFunctionDefinition, Vec<Expr>) = match &expr {
        Expr::Alias(alias) => return Ok(over(*alias.expr.clone(), window)?.alias(&alias.name)),
        Expr::AggregateFunction(call) => {
            if call.params.distinct {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "{}: distinct functions over windows are not supported; use size(collect_set(...))",
                        output_name(&expr)
                    ),
                ));
            }
            (nulls, filter) = (call.params.null_treatment, call.params.filter.clone());
            (WindowFunctionDefinition::AggregateUDF(call.func.clone()), call.params.args.clone())
        }
        other => match placed(other).filter(|(name, _)| !is_grouping(name)) {
            Some((name, arguments)) => {
                if window.order_by.is_empty() && name != "nth_value" {
                    return refuse(format!(
                        "{name}() over a window needs its order; add order_by(...), or ORDER BY in SQL"
                    ));
                }
                let mut arguments = arguments.to_vec();
                // Whether NULLs are passed over comes last.
                let most = if name == "nth_value" { 2 } else { 3 };
                if let Some(Expr::Literal(ScalarValue::Boolean(Some(ignore)), _)) = arguments.get(most) {
                    nulls = ignore.then_some(NullTreatment::IgnoreNulls);
                    arguments.truncate(most);
                }
                let function = match name {
                    "row_number" => windows::row_number::row_number_udwf(),
                    "rank" => windows::rank::rank_udwf(),
                    "dense_rank" => windows::rank::dense_rank_udwf(),
                    "percent_rank" => windows::rank::percent_rank_udwf(),
                    "cume_dist" => windows::cume_dist::cume_dist_udwf(),
                    "ntile" => windows::ntile::ntile_udwf(),
                    "lag" => windows::lead_lag::lag_udwf(),
                    "lead" => windows::lead_lag::lead_udwf(),
                    _ => windows::nth_value::nth_value_udwf(),
                };
                counted = matches!(name, "row_number" | "rank" | "dense_rank" | "ntile");
                if name == "ntile" && arguments.is_empty() {
                    arguments.push(datafusion::prelude::lit(1i64));
                }
                for constant in arguments.iter_mut().skip(usize::from(name != "ntile")).take(1) {
                    let Expr::Literal(value, _) = SparkFunction::constant(constant)? else {
                        return refuse(format!("{name}(): {constant} must be a constant"));
                    };
                    *constant = Expr::Literal(value.cast_to(&DataType::Int64)?, None);
                }
                (WindowFunctionDefinition::WindowUDF(function), arguments)
            }
            None => {
                return refuse(format!(
                    "{} is neither an aggregate nor a function over windows of rows",
                    output_name(other)
                ));
            }
        },
    };
    let ordered = !window.order_by.is_empty();
    let frame = match &window.frame {
        // What these give does not depend on a frame.
        _ if counted => WindowFrame::new(Some(true)),
        Some((units, start, end)) => WindowFrame::new_bounds(*units, start.clone(), end.clone()),
        None => WindowFrame::new(ordered.then_some(false)),
    };
    let mut call = WindowFunction::new(function, arguments);
    call.params.partition_by = window.partition_by.iter().map(|key| key.0.clone()).collect::<Result<_>>()?;
    call.params.order_by = window.order_by.iter().cloned().collect::<Result<_>>()?;
    call.params.window_frame = frame;
    call.params.null_treatment = nulls;
    call.params.filter = filter;
    let call = Expr::WindowFunction(Box::new(call));
    // Spark counts in INT.
    Ok(if counted { datafusion::prelude::cast(call, DataType::Int32) } else { call })
}

/// Spark's text of a call over a window.
pub(crate) fn window_text(call: &WindowFunction, texts: impl Fn(&[Expr]) -> String) -> String {
    let parameters = &call.params;
    let mut over = Vec::new();
    if !parameters.partition_by.is_empty() {
        over.push(format!("PARTITION BY {}", texts(&parameters.partition_by)));
    }
    if !parameters.order_by.is_empty() {
        let key = |key: &SortExpr| {
            let direction = if key.asc { "ASC" } else { "DESC" };
            let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
            format!("{} {direction} NULLS {nulls}", texts(std::slice::from_ref(&key.expr)))
        };
        over.push(format!("ORDER BY {}", parameters.order_by.iter().map(key).collect::<Vec<_>>().join(", ")));
    }
    let frame = &parameters.window_frame;
    let units = if frame.units == WindowFrameUnits::Rows { "ROWS" } else { "RANGE" };
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(value) if value.is_null() => "UNBOUNDED PRECEDING".to_string(),
        WindowFrameBound::Following(value) if value.is_null() => "UNBOUNDED FOLLOWING".to_string(),
        WindowFrameBound::Preceding(value) => format!("{value} PRECEDING"),
        WindowFrameBound::Following(value) => format!("{value} FOLLOWING"),
        WindowFrameBound::CurrentRow => "CURRENT ROW".to_string(),
    };
    over.push(format!("{units} BETWEEN {} AND {}", bound(&frame.start_bound), bound(&frame.end_bound)));
    format!("{}({}) OVER ({})", call.fun.name(), texts(&parameters.args), over.join(" "))
}

impl DataFrame {
    /// This frame with the values that depend on other rows in columns of their own, and the expressions over these.
    pub(super) fn placed(&self, expressions: Vec<Expr>) -> Result<(Self, Vec<Expr>)> {
        let (frame, expressions) = self.sequenced(expressions)?;
        frame.windowed(expressions)
    }

    pub(super) fn sequenced(&self, expressions: Vec<Expr>) -> Result<(Self, Vec<Expr>)> {
        let (width, mut calls) = (self.schema().fields().len(), Vec::<Sequence>::new());
        let find = |expr: &Expr| match placed(expr) {
            Some((name, arguments)) => Sequence::of(name, arguments),
            None => Ok(None),
        };
        let rewritten = rewrite(expressions, &mut |e| {
            Ok(find(e)?.map(|call| {
                calls.push(call);
                calls.len() - 1
            }))
        })?;
        if calls.is_empty() {
            return Ok((self.clone(), rewritten));
        }
        let frame = self.with_sequences(calls);
        let expressions = frame.bound(rewritten, width)?;
        Ok((frame, expressions))
    }

    /// Each row with values of its place.
    pub(super) fn with_sequences(&self, calls: Vec<Sequence>) -> Self {
        let own = self.schema().fields();
        let made = calls
            .iter()
            .enumerate()
            .map(|(at, call)| Arc::new(Field::new(format!("#place{at}"), call.data_type(), true)));
        let schema = Arc::new(Schema::new(own.iter().cloned().chain(made).collect::<Vec<_>>()));
        let (input, id) = (self.plan().clone(), next_relation());
        self.with(LogicalPlan::Sequence { input, calls, schema, id })
    }

    fn windowed(&self, expressions: Vec<Expr>) -> Result<(Self, Vec<Expr>)> {
        let (width, mut calls) = (self.schema().fields().len(), Vec::<Expr>::new());
        let rewritten = rewrite(expressions, &mut |e| {
            let is_call = matches!(e, Expr::WindowFunction(_));
            Ok(is_call.then(|| {
                calls.iter().position(|known| known == e).unwrap_or_else(|| {
                    calls.push(e.clone());
                    calls.len() - 1
                })
            }))
        })?;
        if calls.is_empty() {
            return Ok((self.clone(), rewritten));
        }
        let (scope, environment) = (self.plan().scope(), self.session().conf().environment()?);
        let (mut fields, mut named) = (self.schema().fields().to_vec(), Vec::new());
        for (at, call) in calls.into_iter().enumerate() {
            let name = format!("#window{at}");
            let text = output_name(&call);
            let expr = resolve(call, &scope, &environment)?;
            let Expr::WindowFunction(inner) = &expr else {
                return Err(Error::internal(format!("{text} is no function over a window")));
            };
            let keys = inner.params.order_by.iter().map(|key| &key.expr);
            for part in inner.params.args.iter().chain(&inner.params.partition_by).chain(keys) {
                refuse_aggregates(part, &text, ErrorCode::InvalidExpression)?;
            }
            fields.push(Arc::new(field_of(&expr, &name, self.schema())?));
            named.push(Named { expr, name });
        }
        let (input, schema, id) = (self.plan().clone(), Arc::new(Schema::new(fields)), next_relation());
        let frame = self.with(LogicalPlan::Window { input, calls: named, schema, id });
        let expressions = frame.bound(rewritten, width)?;
        Ok((frame, expressions))
    }

    /// The expressions with references to the columns from `first` on in place of [`mark`]s.
    fn bound(&self, expressions: Vec<Expr>, first: usize) -> Result<Vec<Expr>> {
        let scope = self.plan().scope();
        let bind = |expr: Expr| -> Result<Expr> {
            let bound = expr.transform_up(|e| match marked(&e).and_then(|at| scope.reference_to(first + at)) {
                Some(reference) => Ok(Transformed::yes(reference)),
                None => Ok(Transformed::no(e)),
            })?;
            Ok(bound.data)
        };
        expressions.into_iter().map(bind).collect()
    }
}

/// Stands for the column of the call at this place until that is there.
fn mark(at: usize) -> Expr {
    reference(&format!("#call.{at}"))
}

fn marked(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(column) if column.relation.is_none() => column.name.strip_prefix("#call.")?.parse().ok(),
        _ => None,
    }
}

/// The expressions with marks in place of calls, under the names that they had.
fn rewrite(expressions: Vec<Expr>, find: &mut dyn FnMut(&Expr) -> Result<Option<usize>>) -> Result<Vec<Expr>> {
    let mut rewritten = Vec::with_capacity(expressions.len());
    for expr in expressions {
        let name = output_name(&expr);
        let changed = strip_alias(&expr).clone().transform_down(|e| {
            Ok(match find(&e)? {
                Some(at) => Transformed::new(mark(at), true, TreeNodeRecursion::Jump),
                None => Transformed::no(e),
            })
        })?;
        rewritten.push(if changed.transformed { changed.data.alias(name) } else { expr });
    }
    Ok(rewritten)
}
