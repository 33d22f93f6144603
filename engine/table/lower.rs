//! A table's plan as DataFusion's.
//!
//! Comes in: a [`LogicalPlan`]. Goes out: DataFusion's plan, every node of which calls its columns by the distinct names that resolved
//! expressions use. Stateless relations over one or several sources become one scan, which decodes and computes as a stream's branch does.
//! Fails: what opening sources fails with.

use super::scan::BranchTable;
use crate::error::{Error, ErrorCode, Result};
use crate::operator::clock::BatchClock;
use crate::operator::executable::executable;
use crate::plan::logical::{JoinType, join_scope};
use crate::plan::resolve::df_schema;
use crate::plan::scope::{Scope, distinct_names, next_relation, reference};
use crate::plan::{LogicalPlan, Named};
use crate::session::Session;
use crate::source::local::LocalRelation;
use arrow::datatypes::Schema;
use datafusion::common::{JoinType as DataFusionJoin, NullEquality};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlanBuilder, Operator, SortExpr};
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
                let predicate = executable(predicate, &df_schema(input.schema())?, clock)?;
                Ok(lowered(session, input, clock).await?.filter(predicate)?)
            }
            LogicalPlan::Generate { input, generator, outer, qualifier, schema, id } => {
                // The same step as in a stream, over rows that are at hand.
                let rows = super::collect(session, input).await?;
                let provider = Arc::new(LocalRelation::new(input.schema().clone(), rows));
                let input = LogicalPlan::Source {
                    provider,
                    streaming: false,
                    schema: input.schema().clone(),
                    id: next_relation(),
                };
                let generate = LogicalPlan::Generate {
                    input: Arc::new(input),
                    generator: generator.clone(),
                    outer: *outer,
                    qualifier: qualifier.clone(),
                    schema: schema.clone(),
                    id: *id,
                };
                scan(session, Arc::new(generate), clock)
            }
            LogicalPlan::Union { inputs, schema } => {
                let mut all: Option<LogicalPlanBuilder> = None;
                for input in inputs {
                    let columns = distinct_names(input.schema()).into_iter().zip(distinct_names(schema));
                    let columns: Vec<Expr> = columns.map(|(from, to)| reference(&from).alias(to)).collect();
                    let own = lowered(session, input, clock).await?.project(columns)?;
                    all = Some(match all {
                        None => own,
                        Some(before) => before.union(own.build()?)?,
                    });
                }
                all.ok_or_else(|| Error::internal("a union of nothing"))
            }
            LogicalPlan::Aggregate { input, keys, aggregates, schema, .. } => {
                let names = distinct_names(schema);
                let (key_names, call_names) = names.split_at(keys.len().min(names.len()));
                let keys = named(keys, input.schema(), key_names, clock)?;
                let calls = named(aggregates, input.schema(), call_names, clock)?;
                Ok(lowered(session, input, clock).await?.aggregate(keys, calls)?)
            }
            LogicalPlan::TransformWithState { .. } => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "transform_with_state of a table has no state to go on with; use agg, or read the table as a stream",
            )),
            LogicalPlan::Deduplicate { input, columns, .. } => {
                let all: Vec<Expr> = distinct_names(input.schema()).iter().map(|name| reference(name)).collect();
                let on: Vec<Expr> = columns.iter().map(|name| reference(name)).collect();
                Ok(lowered(session, input, clock).await?.distinct_on(on, all, None)?)
            }
            LogicalPlan::Join { left, right, join_type, condition, id, .. } => {
                let scope = join_scope(left, right, *id);
                let condition =
                    condition.as_ref().map(|c| executable(c, &df_schema(scope.schema())?, clock)).transpose()?;
                let width = left.schema().fields().len();
                let right_names: Vec<String> = scope.names().iter().skip(width).cloned().collect();
                let renamed = distinct_names(right.schema()).into_iter().zip(&right_names);
                let renamed: Vec<Expr> = renamed.map(|(from, to)| reference(&from).alias(to)).collect();
                let right = lowered(session, right, clock).await?.project(renamed)?.build()?;
                join(lowered(session, left, clock).await?, right, *join_type, condition, &scope, width)
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

fn named(expressions: &[Named], input: &Schema, names: &[String], clock: &BatchClock) -> Result<Vec<Expr>> {
    let schema = df_schema(input)?;
    expressions.iter().zip(names).map(|(e, name)| Ok(executable(&e.expr, &schema, clock)?.alias(name))).collect()
}

/// A join: comparisons of one side with the other are keys, which NULL never equals; the rest is looked at pair by pair.
fn join(
    left: LogicalPlanBuilder,
    right: DataFusionPlan,
    join_type: JoinType,
    condition: Option<Expr>,
    scope: &Scope,
    width: usize,
) -> Result<LogicalPlanBuilder> {
    let kind = match join_type {
        JoinType::Inner | JoinType::Cross => DataFusionJoin::Inner,
        JoinType::LeftOuter => DataFusionJoin::Left,
        JoinType::RightOuter => DataFusionJoin::Right,
        JoinType::FullOuter => DataFusionJoin::Full,
        JoinType::LeftSemi => DataFusionJoin::LeftSemi,
        JoinType::LeftAnti => DataFusionJoin::LeftAnti,
    };
    let Some(condition) = condition else { return Ok(left.cross_join(right)?) };
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
                left_keys.push(*l);
                right_keys.push(*r);
            }
            Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r })
                if is_of(&l, false) && is_of(&r, true) =>
            {
                left_keys.push(*r);
                right_keys.push(*l);
            }
            other => {
                rest = Some(match rest {
                    None => other,
                    Some(before) => before.and(other),
                });
            }
        }
    }
    if left_keys.is_empty() {
        let none = (Vec::<datafusion::common::Column>::new(), Vec::<datafusion::common::Column>::new());
        return Ok(left.join_detailed(right, kind, none, rest, NullEquality::NullEqualsNothing)?);
    }
    Ok(left.join_with_expr_keys(right, kind, (left_keys, right_keys), rest)?)
}
