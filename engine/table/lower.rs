//! A table's plan as DataFusion's.
//!
//! Comes in: a [`LogicalPlan`]. Goes out: DataFusion's plan, every node of which calls its columns by the distinct names that resolved
//! expressions use. Stateless relations over one or several sources become one scan, which decodes and computes as a stream's branch does.
//! Fails: what opening sources fails with.

use super::rows::RowsTable;
use super::scan::BranchTable;
use super::window;
use crate::error::{Error, ErrorCode, Result};
use crate::operator::aggregate::windows_over;
use crate::operator::clock::BatchClock;
use crate::operator::executable::{executable, has_floats};
use crate::plan::aggregate::WindowKey;
use crate::plan::logical::{JoinType, join_scope};
use crate::plan::resolve::{df_schema, is_fallible};
use crate::plan::scope::{Scope, distinct_names, next_relation, reference};
use crate::plan::sequence::Sequence;
use crate::plan::spark_function::{Kind, SparkFunction, window_array, window_fields};
use crate::plan::{LogicalPlan, Named};
use crate::session::Session;
use crate::source::local::LocalRelation;
use crate::types::timestamp;
use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Column, DFSchemaRef, JoinType as DataFusionJoin, NullEquality, ScalarValue, UnnestOptions};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlanBuilder, Operator, ScalarUDF, SortExpr, Volatility,
    create_udf,
};
use datafusion::prelude::lit;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

type DataFusionPlan = datafusion::logical_expr::LogicalPlan;

/// Lowers a plan without streams.
pub async fn lower(session: &Session, plan: &LogicalPlan, clock: &BatchClock) -> Result<DataFusionPlan> {
    lowered(session, plan, clock).await?.build().map_err(Error::from)
}

fn lowered<'a>(
    session: &'a Session,
    plan: &'a LogicalPlan,
    clock: &'a BatchClock,
) -> BoxFuture<'a, Result<LogicalPlanBuilder>> {
    async move {
        if is_stateless(plan) {
            return scan(session, Arc::new(plan.clone()), clock);
        }
        match plan {
            LogicalPlan::Alias { input, .. }
            | LogicalPlan::Watermark { input, .. }
            | LogicalPlan::Observe { input, .. } => lowered(session, input, clock).await,
            LogicalPlan::Project { input, expressions, schema, .. } => {
                let columns = named(expressions, input.schema(), &distinct_names(schema), clock)?;
                Ok(lowered(session, input, clock).await?.project(columns)?)
            }
            LogicalPlan::Filter { input, predicate } => {
                let below = lowered(session, input, clock).await?;
                // DataFusion makes one of filters that follow each other, and looks at every part of it on every row. What may fail
                // must see only rows that the filters before it have passed: no filter moves past a limit.
                let below = if is_fallible(predicate) { below.limit(0, Some(i64::MAX as usize))? } else { below };
                let predicate = executable(predicate, &df_schema(input.schema())?, clock)?;
                Ok(below.filter(predicate)?)
            }
            LogicalPlan::Generate { input, generator, outer, qualifier, schema, id } => {
                // The same step as in a stream, over rows that are at hand.
                let rows = super::collect(session, input).await?;
                let generate = LogicalPlan::Generate {
                    input: Arc::new(local(input.schema(), rows)),
                    generator: generator.clone(),
                    outer: *outer,
                    qualifier: qualifier.clone(),
                    schema: schema.clone(),
                    id: *id,
                };
                scan(session, Arc::new(generate), clock)
            }
            LogicalPlan::Union { inputs, schema } => {
                // DataFusion would take rows from every input as they come; here those of one input follow those of the one before.
                let mut rows = Vec::new();
                for input in inputs {
                    for batch in super::collect(session, input).await? {
                        rows.push(super::conform(&batch, schema)?);
                    }
                }
                at_hand(session, schema, rows, clock)
            }
            LogicalPlan::Aggregate { input, keys, aggregates, schema, .. } => {
                let names = distinct_names(schema);
                let (key_names, call_names) = names.split_at(keys.len().min(names.len()));
                let calls = named(aggregates, input.schema(), call_names, clock)?;
                let below = lowered(session, input, clock).await?;
                let (below, keys) = windowed(below, keys, input.schema(), clock)?;
                let keys = keys.into_iter().zip(key_names).map(|(key, name)| key.alias(name)).collect::<Vec<_>>();
                Ok(below.aggregate(keys, calls)?)
            }
            LogicalPlan::TransformWithState { .. } => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "transform_with_state of a table has no state to go on with; use agg, or read the table as a stream",
            )),
            LogicalPlan::MapRows { inputs, function, schema, .. } => {
                let table = RowsTable::new(session, inputs, function, schema, clock);
                let columns = distinct_names(schema).into_iter();
                let columns = columns.map(|name| Expr::Column(Column::new(Some("map"), &name)).alias(name));
                let columns: Vec<Expr> = columns.collect();
                Ok(LogicalPlanBuilder::scan("map", provider_as_source(Arc::new(table)), None)?.project(columns)?)
            }
            LogicalPlan::Deduplicate { input, columns, .. } => {
                let all: Vec<Expr> = distinct_names(input.schema()).iter().map(|name| reference(name)).collect();
                let schema = df_schema(input.schema())?;
                let on = columns.iter().map(|name| comparable(reference(name), &schema)).collect::<Result<_>>()?;
                Ok(lowered(session, input, clock).await?.distinct_on(on, all, None)?)
            }
            LogicalPlan::Join { left, right, join_type, condition, id, .. } => {
                let scope = join_scope(left, right, *id);
                let width = left.schema().fields().len();
                let right_names: Vec<String> = scope.names().iter().skip(width).cloned().collect();
                let renamed = distinct_names(right.schema()).into_iter().zip(&right_names);
                let renamed: Vec<Expr> = renamed.map(|(from, to)| reference(&from).alias(to)).collect();
                let right = lowered(session, right, clock).await?.project(renamed)?.build()?;
                join(lowered(session, left, clock).await?, right, *join_type, condition.as_ref(), &scope, width, clock)
            }
            LogicalPlan::Sequence { input, calls, schema, .. } => {
                let mut values: Vec<_> = calls.iter().map(Sequence::start).collect();
                let mut rows = Vec::new();
                for batch in super::collect(session, input).await? {
                    let added = values.iter_mut().map(|values| values.take(batch.num_rows()));
                    let columns: Vec<ArrayRef> = batch.columns().iter().cloned().chain(added).collect();
                    rows.push(RecordBatch::try_new(schema.clone(), columns)?);
                }
                at_hand(session, schema, rows, clock)
            }
            LogicalPlan::Cached { input, rows } => {
                let rows = rows.get_or_try_init(|| super::collect(session, input)).await?;
                at_hand(session, input.schema(), rows.clone(), clock)
            }
            LogicalPlan::Window { input, calls, schema, .. } => {
                let below = lowered(session, input, clock).await?;
                let names = distinct_names(schema).split_off(input.schema().fields().len());
                let inner = df_schema(input.schema())?;
                let calls = calls
                    .iter()
                    .zip(names)
                    .map(|(call, name)| Ok(window::call(&executable(&call.expr, &inner, clock)?, &inner)?.alias(name)));
                window::computed(below, calls.collect::<Result<_>>()?)
            }
            LogicalPlan::Sort { input, keys } => {
                let schema = df_schema(input.schema())?;
                let keys = keys.iter().map(|key| Ok(SortExpr { expr: executable(&key.expr, &schema, clock)?, ..*key }));
                Ok(lowered(session, input, clock).await?.sort(keys.collect::<Result<Vec<_>>>()?)?)
            }
            LogicalPlan::Limit { input, skip, fetch } => {
                let fetch = fetch.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
                let skip = usize::try_from(*skip).unwrap_or(usize::MAX);
                Ok(lowered(session, input, clock).await?.limit(skip, fetch)?)
            }
            LogicalPlan::Source { .. } => scan(session, Arc::new(plan.clone()), clock),
        }
    }
    .boxed()
}

/// Whether a branch can compute the relation: rows of sources, filtered, projected, repeated.
fn is_stateless(plan: &LogicalPlan) -> bool {
    !plan.any(&|p| {
        !matches!(
            p,
            LogicalPlan::Source { .. }
                | LogicalPlan::Project { .. }
                | LogicalPlan::Filter { .. }
                | LogicalPlan::Alias { .. }
                | LogicalPlan::Watermark { .. }
                | LogicalPlan::Generate { .. }
                | LogicalPlan::Union { .. }
        )
    })
}

fn scan(session: &Session, plan: Arc<LogicalPlan>, clock: &BatchClock) -> Result<LogicalPlanBuilder> {
    let names = distinct_names(plan.schema());
    let table = BranchTable::new(session, plan, clock)?;
    let columns: Vec<Expr> = names
        .iter()
        .map(|name| Expr::Column(datafusion::common::Column::new(Some("scan"), name)).alias(name))
        .collect();
    Ok(LogicalPlanBuilder::scan("scan", provider_as_source(Arc::new(table)), None)?.project(columns)?)
}

/// A table of rows that are at hand.
fn local(schema: &SchemaRef, rows: Vec<RecordBatch>) -> LogicalPlan {
    let provider = Arc::new(LocalRelation::new(schema.clone(), rows));
    LogicalPlan::Source { provider, streaming: false, schema: schema.clone(), id: next_relation() }
}

fn at_hand(
    session: &Session,
    schema: &SchemaRef,
    rows: Vec<RecordBatch>,
    clock: &BatchClock,
) -> Result<LogicalPlanBuilder> {
    scan(session, Arc::new(local(schema, rows)), clock)
}

/// An expression by whose values rows are equal or not: of doubles, the one that stands for all that are equal to it.
pub(super) fn comparable(expr: Expr, schema: &DFSchemaRef) -> Result<Expr> {
    Ok(match has_floats(&expr.get_type(schema.as_ref())?) {
        true => SparkFunction::normalize().call(vec![expr]),
        false => expr,
    })
}

/// The name of a row's window beside the columns of its relation.
const WINDOW: &str = "#window";

/// Grouping keys over `below`, whose rows are repeated for each of their windows where one of the keys is a window. A row without a time
/// is in none.
fn windowed(
    below: LogicalPlanBuilder,
    keys: &[Named],
    input: &Schema,
    clock: &BatchClock,
) -> Result<(LogicalPlanBuilder, Vec<Expr>)> {
    let schema = df_schema(input)?;
    let mut window: Option<&Expr> = None;
    let (mut exprs, mut below) = (Vec::new(), below);
    for key in keys {
        let Some((time, duration, slide, start)) = window_of(&key.expr) else {
            exprs.push(executable(&comparable(key.expr.clone(), &schema)?, &schema, clock)?);
            continue;
        };
        match window {
            None => {
                let time = executable(time, &schema, clock)?;
                let windows = WindowKey { index: 0, duration, slide, start, watermarked: false };
                let list = windows_function(windows).call(vec![time]).alias(WINDOW);
                let names = distinct_names(input);
                let columns = names.iter().map(|name| reference(name)).chain([list]);
                let options = UnnestOptions::new().with_preserve_nulls(false);
                below = below.project(columns.collect::<Vec<_>>())?;
                below = below.unnest_column_with_options(Column::new_unqualified(WINDOW), options)?;
                window = Some(&key.expr);
            }
            Some(first) if *first == key.expr => {}
            Some(_) => {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    "only one window() can be grouped by; aggregate twice for windows of two sizes",
                ));
            }
        }
        exprs.push(reference(WINDOW));
    }
    Ok((below, exprs))
}

/// The time, duration, slide and start of a `window()` call.
fn window_of(expr: &Expr) -> Option<(&Expr, i64, i64, i64)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (SparkFunction::of(call).map(|f| &f.kind), call.args.first()) {
        (Some(Kind::Window { duration, slide, start }), Some(time)) => Some((time, *duration, *slide, *start)),
        _ => None,
    }
}

/// A function that gives the list of windows that a time is in.
fn windows_function(window: WindowKey) -> ScalarUDF {
    let item = Arc::new(Field::new("item", DataType::Struct(window_fields()), true));
    let list = DataType::List(item.clone());
    let windows = move |arguments: &[ColumnarValue]| -> datafusion::error::Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(arguments)?;
        let times = times.first().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| Error::internal("a window of something that is no time"))?;
        let (mut starts, mut lengths) = (Vec::new(), Vec::with_capacity(times.len()));
        for time in times {
            let before = starts.len();
            starts.extend(time.into_iter().flat_map(|time| windows_over(&window, time)));
            lengths.push(starts.len() - before);
        }
        let starts = TimestampMicrosecondArray::from(starts);
        let ends = starts.unary(|start| start.saturating_add(window.duration));
        let lists = ListArray::try_new(
            item.clone(),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(window_array(starts, ends)?),
            None,
        )?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    };
    create_udf("windows", vec![timestamp()], list, Volatility::Immutable, Arc::new(windows))
}

fn named(expressions: &[Named], input: &Schema, names: &[String], clock: &BatchClock) -> Result<Vec<Expr>> {
    let schema = df_schema(input)?;
    expressions.iter().zip(names).map(|(e, name)| Ok(executable(&e.expr, &schema, clock)?.alias(name))).collect()
}

/// A join: comparisons of one side with the other are keys, which NULL never equals; the rest is looked at pair by pair.
fn join(
    left: LogicalPlanBuilder,
    right: DataFusionPlan,
    join_type: JoinType,
    condition: Option<&Expr>,
    scope: &Scope,
    width: usize,
    clock: &BatchClock,
) -> Result<LogicalPlanBuilder> {
    let kind = match join_type {
        JoinType::Inner | JoinType::Cross => DataFusionJoin::Inner,
        JoinType::LeftOuter => DataFusionJoin::Left,
        JoinType::RightOuter => DataFusionJoin::Right,
        JoinType::FullOuter => DataFusionJoin::Full,
        JoinType::LeftSemi => DataFusionJoin::LeftSemi,
        JoinType::LeftAnti => DataFusionJoin::LeftAnti,
    };
    let condition = match condition {
        Some(condition) => condition.clone(),
        None if kind == DataFusionJoin::Inner => return Ok(left.cross_join(right)?),
        None => lit(true),
    };
    let schema = df_schema(scope.schema())?;
    let executable = |e: Expr| executable(&e, &schema, clock);
    let is_of = |e: &Expr, of_left: bool| {
        let columns = e.column_refs();
        !columns.is_empty() && columns.iter().all(|c| scope.position(&c.name).is_some_and(|at| (at < width) == of_left))
    };
    let (mut left_keys, mut right_keys, mut rest) = (Vec::new(), Vec::new(), None::<Expr>);
    for part in split_conjunction_owned(condition) {
        match part {
            Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r })
                if is_of(&l, true) && is_of(&r, false) =>
            {
                left_keys.push(executable(comparable(*l, &schema)?)?);
                right_keys.push(executable(comparable(*r, &schema)?)?);
            }
            Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r })
                if is_of(&l, false) && is_of(&r, true) =>
            {
                left_keys.push(executable(comparable(*r, &schema)?)?);
                right_keys.push(executable(comparable(*l, &schema)?)?);
            }
            Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::IsNotDistinctFrom, right: r })
                if (is_of(&l, true) && is_of(&r, false)) || (is_of(&l, false) && is_of(&r, true)) =>
            {
                // NULL equals NULL: a key says which of both it is, and another one what the value is otherwise.
                let default = ScalarValue::new_default(&l.get_type(schema.as_ref())?)?;
                let (l, r) = if is_of(&l, true) { (l, r) } else { (r, l) };
                for (side, keys) in [(l, &mut left_keys), (r, &mut right_keys)] {
                    let value = comparable(side.as_ref().clone(), &schema)?;
                    let none = side.is_null();
                    let otherwise = Expr::Literal(default.clone(), None);
                    let branches = vec![(Box::new(none.clone()), Box::new(otherwise))];
                    let value = Expr::Case(Case::new(None, branches, Some(Box::new(value))));
                    keys.extend([executable(none)?, executable(value)?]);
                }
            }
            other => {
                rest = Some(match rest {
                    None => other,
                    Some(before) => before.and(other),
                });
            }
        }
    }
    // A part that may fail is guarded by those before it.
    let rest = rest.map(executable).transpose()?;
    if left_keys.is_empty() {
        let none = (Vec::<datafusion::common::Column>::new(), Vec::<datafusion::common::Column>::new());
        return Ok(left.join_detailed(right, kind, none, rest, NullEquality::NullEqualsNothing)?);
    }
    Ok(left.join_with_expr_keys(right, kind, (left_keys, right_keys), rest)?)
}
