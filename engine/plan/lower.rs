//! Lowering: the tree of relations becomes one pipeline a source, at most one stateful operator, and output steps.
//!
//! Comes in: a [`LogicalPlan`]. Goes out: a [`QueryPlan`] whose expressions are written over the columns that each source
//! decodes, with projections substituted away, so that a source decodes what the query reads and nothing else. Fails:
//! plans with more operators than this engine runs.

use super::aggregate::{self, AggregatePlan, PartialPlan};
use super::logical::{LogicalPlan, Named, watermark_delay_ms};
use super::resolve::is_fallible;
use super::scan::{Scan, ScanBuilder};
use crate::error::{Error, ErrorCode, Result};
use crate::source::provider::SourceProvider;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, ExprSchemable};
use std::sync::Arc;

/// Everything a query does to a batch.
#[derive(Debug)]
pub struct QueryPlan {
    /// One pipeline a source, in the order in which offsets are logged.
    pub branches: Vec<Branch>,
    /// Delay of each watermark node in milliseconds; branches name nodes by index.
    pub watermark_delays_ms: Vec<i64>,
    /// The stateful operator, if any.
    pub aggregate: Option<AggregatePlan>,
    /// Steps over the operator's rows. A plan without an operator has none: its branches give the output.
    pub output: Vec<OutputStep>,
    /// Output columns.
    pub schema: SchemaRef,
}

/// From one source's bytes to rows or partial aggregates.
#[derive(Debug)]
pub struct Branch {
    /// The source.
    pub provider: Arc<dyn SourceProvider>,
    /// What is decoded.
    pub scan: Scan,
    /// Filters and watermark observations in order, over the scan's columns.
    pub steps: Vec<Step>,
    /// What comes of the rows that pass.
    pub body: Body,
}

/// A step of a branch.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps rows for which the predicate is TRUE.
    Filter(Expr),
    /// Notes the greatest value of a timestamp for a watermark node.
    Observe { node: usize, time: Expr },
}

/// What a branch makes of its rows.
#[derive(Debug)]
pub enum Body {
    /// Output rows.
    Rows(Vec<Named>),
    /// Partial aggregates.
    Partial(Box<PartialPlan>),
}

/// A step over an operator's rows.
#[derive(Debug, Clone)]
pub enum OutputStep {
    /// Keeps rows.
    Filter(Expr),
    /// Named expressions.
    Project(Vec<Named>, SchemaRef),
}

/// A branch while it is being built: the columns of the relation so far, as expressions over the source's columns.
struct Lineage {
    provider: Arc<dyn SourceProvider>,
    source_schema: SchemaRef,
    /// By position, because names may repeat.
    columns: Vec<(String, Expr)>,
    steps: Vec<Step>,
}

/// Lowers a plan.
///
/// # Errors
/// `UnsupportedOperation` naming the operator for plans with several stateful operators.
pub fn lower(plan: &LogicalPlan) -> Result<QueryPlan> {
    let mut output = Vec::new();
    let mut below = plan;
    loop {
        match below {
            LogicalPlan::Project { input, expressions, schema } => {
                output.push(OutputStep::Project(expressions.clone(), schema.clone()));
                below = input;
            }
            LogicalPlan::Filter { input, predicate } => {
                output.push(OutputStep::Filter(predicate.clone()));
                below = input;
            }
            LogicalPlan::Watermark { input, .. } if input.any(&|p| matches!(p, LogicalPlan::Aggregate { .. })) => {
                return Err(several_operators("a watermark above an aggregation"));
            }
            _ => break,
        }
    }
    output.reverse();
    let mut delays = Vec::new();
    if let LogicalPlan::Aggregate { input, keys, aggregates, schema } = below {
        let aggregate = AggregatePlan::new(keys, aggregates, input.schema(), schema)?;
        let branches = lineages(input, &mut delays)?
            .into_iter()
            .map(|lineage| aggregate_branch(lineage, &aggregate))
            .collect::<Result<_>>()?;
        let schema = plan.schema().clone();
        return Ok(QueryPlan { branches, watermark_delays_ms: delays, aggregate: Some(aggregate), output, schema });
    }
    let branches = lineages(plan, &mut delays)?.into_iter().map(rows_branch).collect::<Result<_>>()?;
    let schema = plan.schema().clone();
    Ok(QueryPlan { branches, watermark_delays_ms: delays, aggregate: None, output: Vec::new(), schema })
}

fn several_operators(what: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "{what} is not supported: a query has at most one stateful operator; write the first result to a topic or table and start a second query over it"
        ),
    )
}

fn lineages(plan: &LogicalPlan, delays: &mut Vec<i64>) -> Result<Vec<Lineage>> {
    match plan {
        LogicalPlan::Source { provider, schema } => {
            let columns = schema.fields().iter().map(|f| (f.name().clone(), column(f.name()))).collect();
            Ok(vec![Lineage { provider: provider.clone(), source_schema: schema.clone(), columns, steps: vec![] }])
        }
        LogicalPlan::Project { input, expressions, .. } => {
            let mut lineages = lineages(input, delays)?;
            for lineage in &mut lineages {
                let columns: Result<Vec<_>> =
                    expressions.iter().map(|e| Ok((e.name.clone(), lineage.substitute(&e.expr)?))).collect();
                lineage.columns = columns?;
            }
            Ok(lineages)
        }
        LogicalPlan::Filter { input, predicate } => {
            let mut lineages = lineages(input, delays)?;
            for lineage in &mut lineages {
                for part in split_conjunction_owned(predicate.clone()) {
                    lineage.filter(&part)?;
                }
            }
            Ok(lineages)
        }
        LogicalPlan::Watermark { input, column, delay_ms, .. } => {
            // One node, however many sources lie below it.
            let node = delays.len();
            delays.push(*delay_ms);
            let mut lineages = lineages(input, delays)?;
            for lineage in &mut lineages {
                let time = lineage.substitute(&self::column(column))?;
                lineage.steps.push(Step::Observe { node, time });
            }
            Ok(lineages)
        }
        LogicalPlan::Union { inputs, schema } => {
            let mut all = Vec::new();
            for input in inputs {
                for mut lineage in lineages(input, delays)? {
                    for ((name, _), field) in lineage.columns.iter_mut().zip(schema.fields()) {
                        name.clone_from(field.name());
                    }
                    all.push(lineage);
                }
            }
            Ok(all)
        }
        LogicalPlan::Aggregate { .. } => Err(several_operators("an aggregation over an aggregation")),
    }
}

impl Lineage {
    /// `expr` over the relation's columns, rewritten over the source's.
    fn substitute(&self, expr: &Expr) -> Result<Expr> {
        let rewritten = expr.clone().transform_up(|e| match &e {
            Expr::Column(name) => match self.columns.iter().find(|(own, _)| *own == name.name) {
                Some((_, source)) => Ok(Transformed::yes(source.clone())),
                None => Err(Error::internal(format!("column {} is not in the relation below", name.name)).into()),
            },
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(super::resolve::strip_alias(&rewritten.data).clone())
    }

    /// Adds a filter. As in Spark, a filter that does not look at the event time moves below the watermark, so rows that
    /// it removes do not advance it. One that may fail stays after every filter written before it.
    fn filter(&mut self, predicate: &Expr) -> Result<()> {
        let predicate = self.substitute(predicate)?;
        let fallible = is_fallible(&predicate);
        let stays_above = |step: &Step| match step {
            Step::Filter(_) => fallible,
            Step::Observe { time, .. } => mentions(&predicate, time),
        };
        let lowest = self.steps.iter().rposition(stays_above).map_or(0, |p| p + 1);
        let watermark = self.steps.iter().skip(lowest).position(|step| matches!(step, Step::Observe { .. }));
        let place = watermark.map_or(self.steps.len(), |p| lowest + p);
        self.steps.insert(place, Step::Filter(predicate));
        Ok(())
    }
}

/// Whether `part` occurs in `expr`.
pub(super) fn mentions(expr: &Expr, part: &Expr) -> bool {
    expr.exists(|e| Ok(e == part)).unwrap_or(true)
}

fn column(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new_unqualified(name))
}

fn rows_branch(lineage: Lineage) -> Result<Branch> {
    let Lineage { provider, source_schema, columns, mut steps } = lineage;
    let mut rows: Vec<Named> = columns.into_iter().map(|(name, expr)| Named { expr, name }).collect();
    let mut scan = ScanBuilder::new(source_schema, &steps);
    scan.lift_steps(&mut steps)?;
    for named in &mut rows {
        named.expr = scan.lift(named.expr.clone())?;
        scan.plain(&named.expr)?;
    }
    scan.plain_steps(&steps)?;
    let scan = scan.finish(provider.format().is_some())?;
    Ok(Branch { provider, scan, steps, body: Body::Rows(rows) })
}

fn aggregate_branch(lineage: Lineage, plan: &AggregatePlan) -> Result<Branch> {
    let mut spec = plan.spec.try_map(&mut |expr| lineage.substitute(expr))?;
    aggregate::check_window(plan.window.as_ref(), spec.window.as_ref())?;
    // Substituting may change an expression's type only through a union of different sources: refuse that early.
    for (key, field) in spec.keys.iter().zip(&plan.key_types) {
        let found = key.get_type(super::resolve::df_schema(&lineage.source_schema)?.as_ref())?;
        if &found != field {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("the grouping column {key} is {found} in one input of a union and {field} in another"),
            ));
        }
    }
    let Lineage { provider, source_schema, mut steps, .. } = lineage;
    let mut scan = ScanBuilder::new(source_schema, &steps);
    scan.lift_steps(&mut steps)?;
    spec = spec.try_map(&mut |expr| scan.lift(expr.clone()))?;
    let partial = aggregate::partial(&spec, &mut steps, &mut scan)?;
    scan.plain_steps(&steps)?;
    let scan = scan.finish(provider.format().is_some())?;
    Ok(Branch { provider, scan, steps, body: Body::Partial(Box::new(partial)) })
}

/// The watermark column of a schema, with its delay.
pub fn event_time(schema: &Schema) -> Option<(String, i64)> {
    schema.fields().iter().find_map(|f| watermark_delay_ms(f).map(|delay| (f.name().clone(), delay)))
}
