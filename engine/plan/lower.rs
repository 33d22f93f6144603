//! Lowering: the tree of relations becomes pipelines and stateful operators.
//!
//! Comes in: a [`LogicalPlan`]. Goes out: a [`QueryPlan`]: branches that take rows of a source or of an operator through stateless steps, and
//! stages, each a stateful operator that branches feed. A branch's expressions are written over the columns that it reads, with
//! projections substituted away, so that a source decodes what the query reads and nothing else. Fails: relations that have no
//! streaming form.

use super::aggregate::{self, AggregatePlan, PartialPlan};
use super::custom::CustomPlan;
use super::deduplicate::DeduplicatePlan;
use super::fingerprint::{AGGREGATE, Meaning, SESSION_AGGREGATE, aggregate_meaning, join_meaning};
use super::grouping::{Grouping, leave_to_grouping};
use super::join::{JoinCondition, StaticJoin, StaticJoinKind, StreamJoinPlan};
use super::logical::{JoinType, LogicalPlan, Named, join_scope, watermark_delay_ms};
use super::output_mode;
use super::resolve::{df_schema, is_fallible, strip_alias};
use super::rows_function::RowsPlan;
use super::scan::{Scan, ScanBuilder};
use super::scope::{distinct_names, reference};
use super::session::{self, LateWatermark, SessionPlan};
use crate::error::{Error, ErrorCode, Result};
use crate::operator::OperatorPlan;
use crate::operator::limit::LimitPlan;
use crate::operator::sort::SortPlan;
use crate::source::provider::SourceProvider;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use chrono_tz::Tz;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, ExprSchemable};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

/// Everything a query does to a batch.
#[derive(Debug)]
pub struct QueryPlan {
    /// Pipelines: those that read a source come first.
    pub branches: Vec<Branch>,
    /// Stateful operators, each after those that it reads.
    pub stages: Vec<Stage>,
    /// Delay of each watermark node in milliseconds; branches name nodes by index.
    pub watermark_delays_ms: Vec<i64>,
    /// Output columns.
    pub schema: SchemaRef,
}

/// From the rows of a source or a stage to rows or partial aggregates.
#[derive(Debug)]
pub struct Branch {
    /// Where rows come from.
    pub feed: Feed,
    /// What is read of them.
    pub scan: Scan,
    /// Steps in order, over the scan's columns and those that steps add.
    pub steps: Vec<Step>,
    /// What comes of the rows that pass.
    pub body: Body,
    /// Where that goes.
    pub target: Target,
}

/// Where a branch's rows come from.
#[derive(Debug, Clone)]
pub enum Feed {
    /// A source, by its place among the query's sources.
    Source { provider: Arc<dyn SourceProvider>, index: usize },
    /// The rows that a stage emits.
    Stage(usize),
}

/// Where a branch's rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the sink.
    Output,
    /// To an operator's input.
    Stage { stage: usize, port: usize },
}

/// A stateful operator.
#[derive(Debug)]
pub struct Stage {
    /// Names the operator's state in the checkpoint: its kind, with a number from the second of a kind on.
    pub id: String,
    /// The operator.
    pub operator: Arc<dyn OperatorPlan>,
    /// What its state means, for the fingerprint.
    pub meaning: Meaning,
    /// Columns of its rows.
    pub schema: SchemaRef,
}

/// A step of a branch.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps rows for which the predicate is TRUE.
    Filter(Expr),
    /// Notes the greatest value of a timestamp for a watermark node.
    Observe { node: usize, time: Expr },
    /// Makes any number of rows of each, and adds columns.
    Expand(Expand),
    /// Aggregates the rows that pass, for the observation of this name.
    Measure { name: String, metrics: Vec<Named>, time_zone: Tz },
}

/// A step that makes any number of rows of each.
#[derive(Debug, Clone)]
pub struct Expand {
    /// How.
    pub kind: ExpandKind,
    /// Name and type of the columns that are added; the names are no source's.
    pub columns: Vec<(String, DataType)>,
}

/// How a row becomes several.
#[derive(Debug, Clone)]
pub enum ExpandKind {
    /// One row for each struct in a list; its fields are the added columns. Without any, a row of NULLs if `outer`, else none.
    Generate { generator: Expr, outer: bool },
    /// A row with the bounds of the session that its chunk's rows of the same keys make, or none for a row without a time or a gap.
    Sessions { keys: Vec<Expr>, time: Expr, gap: Expr, late: LateWatermark },
    /// The table's rows with the same keys as the stream's row, of those pairs for which `rest` is TRUE; their columns are the added ones.
    Join { keys: Vec<Expr>, rest: Option<Expr>, table: Arc<StaticJoin> },
}

impl ExpandKind {
    fn expressions(&self) -> Vec<&Expr> {
        match self {
            ExpandKind::Generate { generator, .. } => vec![generator],
            ExpandKind::Sessions { keys, time, gap, .. } => keys.iter().chain([time, gap]).collect(),
            ExpandKind::Join { keys, rest, .. } => keys.iter().chain(rest).collect(),
        }
    }

    fn expressions_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            ExpandKind::Generate { generator, .. } => vec![generator],
            ExpandKind::Sessions { keys, time, gap, .. } => keys.iter_mut().chain([time, gap]).collect(),
            ExpandKind::Join { keys, rest, .. } => keys.iter_mut().chain(rest).collect(),
        }
    }
}

/// What a branch makes of its rows.
#[derive(Debug)]
pub enum Body {
    /// Rows of this schema.
    Rows(Vec<Named>, SchemaRef),
    /// Partial aggregates.
    Partial(Box<PartialPlan>),
}

impl QueryPlan {
    /// The tables that streams are joined with.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<StaticJoin>> {
        self.branches.iter().flat_map(|branch| &branch.steps).filter_map(|step| match step {
            Step::Expand(Expand { kind: ExpandKind::Join { table, .. }, .. }) => Some(table),
            _ => None,
        })
    }

    /// The branches over sources, each with its source's place among [`QueryPlan::sources`].
    pub fn inputs(&self) -> impl Iterator<Item = (&Branch, usize)> {
        self.branches.iter().filter_map(|branch| match &branch.feed {
            Feed::Source { index, .. } => Some((branch, *index)),
            Feed::Stage(_) => None,
        })
    }

    /// The sources, in the order in which offsets are logged. A source that several branches read is one: a batch has the same rows
    /// for all of them.
    pub fn sources(&self) -> Vec<&Arc<dyn SourceProvider>> {
        let mut sources = BTreeMap::new();
        for branch in &self.branches {
            if let Feed::Source { provider, index } = &branch.feed {
                sources.insert(*index, provider);
            }
        }
        sources.into_values().collect()
    }

    /// The operators that keep something between batches.
    pub fn stateful(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| stage.operator.keeps_state())
    }
}

impl Step {
    /// The expressions that the step evaluates.
    pub fn expressions(&self) -> Vec<&Expr> {
        match self {
            Step::Filter(e) | Step::Observe { time: e, .. } => vec![e],
            Step::Measure { metrics, .. } => metrics.iter().map(|metric| &metric.expr).collect(),
            Step::Expand(expand) => expand.kind.expressions(),
        }
    }

    /// The same, to be rewritten.
    pub fn expressions_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Step::Filter(e) | Step::Observe { time: e, .. } => vec![e],
            Step::Measure { metrics, .. } => metrics.iter_mut().map(|metric| &mut metric.expr).collect(),
            Step::Expand(expand) => expand.kind.expressions_mut(),
        }
    }

    /// Whether the rows after the step are some of those before it, as they were, and nobody looks at them in between.
    pub fn keeps_rows(&self) -> bool {
        matches!(self, Step::Filter(_) | Step::Observe { .. })
    }
}

/// A branch while it is being built: the columns of the relation so far, as expressions over the columns that the branch reads.
struct Lineage {
    feed: Feed,
    source_schema: SchemaRef,
    /// By position, under the relation's distinct names.
    columns: Vec<(String, Expr)>,
    steps: Vec<Step>,
}

/// Lowers a plan.
///
/// # Errors
/// `UnsupportedOperation` naming the relation that has no streaming form; `DuplicatedMetricsName`.
pub fn lower(plan: &LogicalPlan) -> Result<QueryPlan> {
    plan.check_observations()?;
    let mut lowering = Lowering::default();
    for lineage in lowering.lineages(plan)? {
        lowering.rows_branch(lineage, plan.schema(), Target::Output)?;
    }
    let Lowering { delays, mut branches, stages, .. } = lowering;
    branches.sort_by_key(|branch| matches!(branch.feed, Feed::Stage(_)));
    Ok(QueryPlan { branches, stages, watermark_delays_ms: delays, schema: plan.schema().clone() })
}

#[derive(Default)]
struct Lowering {
    delays: Vec<i64>,
    branches: Vec<Branch>,
    stages: Vec<Stage>,
    /// Names of the observations met so far.
    observed: BTreeSet<String>,
    /// The sources met so far: their relation, and the copy of it.
    sources: Vec<(u64, usize)>,
    /// Copies of relations so far, and the one that is being lowered.
    copies: usize,
    copy: usize,
}

impl Lowering {
    fn lineages(&mut self, plan: &LogicalPlan) -> Result<Vec<Lineage>> {
        match plan {
            LogicalPlan::Source { provider, schema, id, .. } => {
                let (provider, index) = (provider.clone(), self.source((*id, self.copy)));
                Ok(vec![Lineage::new(Feed::Source { provider, index }, schema)])
            }
            LogicalPlan::Alias { input, .. } => self.lineages(input),
            LogicalPlan::Project { input, expressions, schema, .. } => {
                let mut lineages = self.lineages(input)?;
                for lineage in &mut lineages {
                    let columns: Result<Vec<Expr>> = expressions.iter().map(|e| lineage.substitute(&e.expr)).collect();
                    lineage.columns = distinct_names(schema).into_iter().zip(columns?).collect();
                }
                Ok(lineages)
            }
            LogicalPlan::Filter { input, predicate } => {
                let mut lineages = self.lineages(input)?;
                for lineage in &mut lineages {
                    for part in split_conjunction_owned(predicate.clone()) {
                        lineage.filter(&part)?;
                    }
                }
                Ok(lineages)
            }
            LogicalPlan::Watermark { input, column, delay_ms, .. } => {
                // One node, however many sources lie below it.
                let node = self.delays.len();
                self.delays.push(*delay_ms);
                let mut lineages = self.lineages(input)?;
                for lineage in &mut lineages {
                    let time = lineage.substitute(&reference(column))?;
                    lineage.steps.push(Step::Observe { node, time });
                }
                Ok(lineages)
            }
            LogicalPlan::Observe { input, name, metrics, time_zone, .. } => {
                let first = self.observed.insert(name.clone());
                let mut lineages = self.lineages(input)?;
                if !first {
                    // The same rows once more, which are not to be counted twice.
                    return Ok(lineages);
                }
                for lineage in &mut lineages {
                    let metric = |m: &Named| Ok(Named { expr: lineage.substitute(&m.expr)?, name: m.name.clone() });
                    let metrics = metrics.iter().map(metric).collect::<Result<_>>()?;
                    lineage.steps.push(Step::Measure { name: name.clone(), metrics, time_zone: *time_zone });
                }
                Ok(lineages)
            }
            LogicalPlan::Generate { input, generator, outer, schema, .. } => {
                let mut lineages = self.lineages(input)?;
                for lineage in &mut lineages {
                    let generator = lineage.substitute(generator)?;
                    lineage.expand(ExpandKind::Generate { generator, outer: *outer }, schema);
                }
                Ok(lineages)
            }
            LogicalPlan::Union { inputs, schema } => {
                let mut all = Vec::new();
                for input in inputs {
                    for mut lineage in self.lineages(input)? {
                        for ((name, _), own) in lineage.columns.iter_mut().zip(distinct_names(schema)) {
                            *name = own;
                        }
                        all.push(lineage);
                    }
                }
                Ok(all)
            }
            LogicalPlan::Join { left, right, join_type, condition, schema, .. } => {
                match (left.is_streaming(), right.is_streaming()) {
                    (true, true) => self.stream_join(left, right, *join_type, condition.as_ref(), schema),
                    (stream_on_left, _) => {
                        let (stream, table) = if stream_on_left { (left, right) } else { (right, left) };
                        let kind = StaticJoinKind::of(*join_type, stream_on_left)?;
                        let mut lineages = self.lineages(stream)?;
                        for lineage in &mut lineages {
                            lineage.join_table(plan, table, kind, stream_on_left)?;
                        }
                        Ok(lineages)
                    }
                }
            }
            LogicalPlan::Aggregate { input, keys, aggregates, schema, .. } => {
                let lineages = self.lineages(input)?;
                let target = Target::Stage { stage: self.stages.len(), port: 0 };
                let all = keys;
                let grouping = Grouping::new(keys, schema, |expr| match lineages.first() {
                    Some(lineage) => lineage.substitute(expr),
                    None => Ok(expr.clone()),
                })?;
                let keys = &grouping.keys;
                if let Some(window) = grouping.session {
                    let operator = SessionPlan::new(window, keys, aggregates, input.schema(), schema)?;
                    for mut lineage in lineages {
                        let step = operator.step(|expr| lineage.substitute(expr))?;
                        if let Some(key) = keys.get(window) {
                            let key = lineage.substitute(&key.expr)?;
                            leave_to_grouping(&mut lineage.steps, &key);
                        }
                        lineage.expand(step, &session::extended(input.schema()));
                        self.branches.push(aggregate_branch(lineage, &operator.inner, target)?);
                    }
                    let meaning = aggregate_meaning(SESSION_AGGREGATE, all, aggregates, schema);
                    return Ok(self.stage(Arc::new(operator), meaning, schema));
                }
                let operator = AggregatePlan::new(keys, aggregates, input.schema(), schema)?;
                for lineage in lineages {
                    self.branches.push(aggregate_branch(lineage, &operator, target)?);
                }
                let meaning = aggregate_meaning(AGGREGATE, all, aggregates, schema);
                Ok(self.stage(Arc::new(operator), meaning, schema))
            }
            LogicalPlan::Deduplicate { input, columns, within_watermark } => {
                let operator = DeduplicatePlan::new(columns, *within_watermark, input.schema())?;
                let meaning = operator.meaning();
                self.over_rows(input, Arc::new(operator), meaning, input.schema())
            }
            LogicalPlan::TransformWithState { input, columns, processor, time_mode, schema, .. } => {
                let operator = CustomPlan::new(columns, processor, *time_mode, input.schema(), schema)?;
                let meaning = operator.meaning();
                self.over_rows(input, Arc::new(operator), meaning, schema)
            }
            LogicalPlan::MapRows { inputs, function, schema, .. } => {
                let sides = inputs.iter().map(|input| Ok((input, self.lineages(input)?)));
                let sides = sides.collect::<Result<Vec<_>>>()?;
                let stage = self.stages.len();
                for (port, (input, lineages)) in sides.into_iter().enumerate() {
                    for lineage in lineages {
                        self.rows_branch(lineage, input.schema(), Target::Stage { stage, port })?;
                    }
                }
                let operator = RowsPlan { function: function.clone(), inputs: inputs.len(), schema: schema.clone() };
                // A changed function goes on, as a changed selection does.
                Ok(self.stage(Arc::new(operator), Meaning::new(), schema))
            }
            LogicalPlan::Sequence { .. } | LogicalPlan::Window { .. } | LogicalPlan::Cached { .. } => {
                Err(output_mode::table_only(plan))
            }
            LogicalPlan::Limit { input, skip, fetch } => {
                let above_aggregate = input.any(&|p| matches!(p, LogicalPlan::Aggregate { .. }));
                let operator = LimitPlan { skip: *skip, fetch: *fetch, above_aggregate };
                // A changed limit counts on.
                self.over_rows(input, Arc::new(operator), Meaning::new(), input.schema())
            }
            LogicalPlan::Sort { input, keys } => {
                let operator = SortPlan { keys: keys.clone(), schema: input.schema().clone() };
                self.over_rows(input, Arc::new(operator), Meaning::new(), input.schema())
            }
        }
    }

    /// An operator over the rows of `input`, which gives rows of `schema`.
    fn over_rows(
        &mut self,
        input: &LogicalPlan,
        operator: Arc<dyn OperatorPlan>,
        meaning: Meaning,
        schema: &SchemaRef,
    ) -> Result<Vec<Lineage>> {
        let lineages = self.lineages(input)?;
        let target = Target::Stage { stage: self.stages.len(), port: 0 };
        for lineage in lineages {
            self.rows_branch(lineage, input.schema(), target)?;
        }
        Ok(self.stage(operator, meaning, schema))
    }

    fn stream_join(
        &mut self,
        left: &LogicalPlan,
        right: &LogicalPlan,
        join_type: JoinType,
        condition: Option<&Expr>,
        schema: &SchemaRef,
    ) -> Result<Vec<Lineage>> {
        let operator = StreamJoinPlan::new(left, right, join_type, condition, schema)?;
        let of_left = self.lineages(left)?;
        // As in Spark, a stream that is joined with itself is read twice: the sides may come to different offsets.
        let outer = self.copy;
        if left.any(&|l| matches!(l, LogicalPlan::Source { id, .. } if right.any(&|r| r.is_source(*id)))) {
            self.copies += 1;
            self.copy = self.copies;
        }
        let inputs = [(left, of_left), (right, self.lineages(right)?)];
        self.copy = outer;
        let stage = self.stages.len();
        for (port, (side, lineages)) in inputs.into_iter().enumerate() {
            for mut lineage in lineages {
                // As in Spark, what can have no partner neither waits in state nor advances the watermark.
                for needed in operator.condition.needed(port, join_type) {
                    lineage.filter(needed)?;
                }
                self.rows_branch(lineage, side.schema(), Target::Stage { stage, port })?;
            }
        }
        let meaning = join_meaning(join_type, condition, &operator.sides);
        Ok(self.stage(Arc::new(operator), meaning, schema))
    }

    /// The place of a source, which is a new one if it was not met before.
    fn source(&mut self, key: (u64, usize)) -> usize {
        self.sources.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.sources.push(key);
            self.sources.len() - 1
        })
    }

    /// Adds the stage that was announced to its branches; its rows are a lineage of their own.
    fn stage(&mut self, operator: Arc<dyn OperatorPlan>, meaning: Meaning, schema: &SchemaRef) -> Vec<Lineage> {
        let kind = operator.kind();
        let before = self.stages.iter().filter(|stage| stage.operator.kind() == kind).count();
        let id = if before == 0 { kind.to_string() } else { format!("{kind}-{}", before + 1) };
        self.stages.push(Stage { id, operator, meaning, schema: schema.clone() });
        vec![Lineage::new(Feed::Stage(self.stages.len() - 1), schema)]
    }

    fn rows_branch(&mut self, lineage: Lineage, schema: &SchemaRef, target: Target) -> Result<()> {
        let Lineage { feed, source_schema, columns, mut steps } = lineage;
        let mut rows: Vec<Named> = columns.into_iter().map(|(name, expr)| Named { expr, name }).collect();
        let mut scan = ScanBuilder::new(source_schema, &steps);
        scan.lift_steps(&mut steps)?;
        for named in &mut rows {
            named.expr = scan.lift(named.expr.clone())?;
            scan.plain(&named.expr)?;
        }
        scan.plain_steps(&steps)?;
        let scan = scan.finish(feed.decodes())?;
        self.branches.push(Branch { feed, scan, steps, body: Body::Rows(rows, schema.clone()), target });
        Ok(())
    }
}

impl Feed {
    /// Whether a decoder of ours makes the columns.
    fn decodes(&self) -> bool {
        match self {
            Feed::Source { provider, .. } => provider.format().is_some(),
            Feed::Stage(_) => false,
        }
    }
}

impl Lineage {
    fn new(feed: Feed, schema: &SchemaRef) -> Self {
        let columns = distinct_names(schema).into_iter().map(|name| (name.clone(), reference(&name))).collect();
        Self { feed, source_schema: schema.clone(), columns, steps: vec![] }
    }

    /// `expr` over the relation's columns, rewritten over those that the branch reads.
    fn substitute(&self, expr: &Expr) -> Result<Expr> {
        let rewritten = expr.clone().transform_up(|e| match &e {
            Expr::Column(name) => match self.columns.iter().find(|(own, _)| *own == name.name) {
                Some((_, source)) => Ok(Transformed::yes(source.clone())),
                None => Err(Error::internal(format!("column {} is not in the relation below", name.name)).into()),
            },
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(strip_alias(&rewritten.data).clone())
    }

    /// Adds a filter. As in Spark, a filter that does not look at the event time moves below the watermark, so rows that
    /// it removes do not advance it; nor does one stay above an explode or a join with a table whose columns it does not look at. One
    /// that may fail stays after every filter written before it.
    fn filter(&mut self, predicate: &Expr) -> Result<()> {
        let predicate = self.substitute(predicate)?;
        let fallible = is_fallible(&predicate);
        let stays_above = |step: &Step| match step {
            Step::Filter(_) => fallible,
            Step::Observe { time, .. } => mentions(&predicate, time),
            Step::Expand(step) => {
                fallible || step.columns.iter().any(|(name, _)| mentions(&predicate, &reference(name)))
            }
            Step::Measure { .. } => true,
        };
        let lowest = self.steps.iter().rposition(stays_above).map_or(0, |p| p + 1);
        let watermark = self.steps.iter().skip(lowest).position(|step| matches!(step, Step::Observe { .. }));
        let place = watermark.map_or(self.steps.len(), |p| lowest + p);
        self.steps.insert(place, Step::Filter(predicate));
        Ok(())
    }

    /// Adds a step that makes rows, whose columns follow the relation's in `schema`.
    fn expand(&mut self, kind: ExpandKind, schema: &SchemaRef) {
        let (step, before) = (self.steps.len(), self.columns.len());
        let mut columns = Vec::new();
        for (field, name) in schema.fields().iter().zip(distinct_names(schema)).skip(before) {
            let own = format!("#{step}.{}", columns.len());
            self.columns.push((name, reference(&own)));
            columns.push((own, field.data_type().clone()));
        }
        self.steps.push(Step::Expand(Expand { kind, columns }));
    }

    /// Adds the join of these rows with a table; `plan` is the join.
    fn join_table(
        &mut self,
        plan: &LogicalPlan,
        table: &Arc<LogicalPlan>,
        kind: StaticJoinKind,
        stream_on_left: bool,
    ) -> Result<()> {
        let LogicalPlan::Join { left, right, join_type, condition, schema, .. } = plan else {
            return Err(Error::internal("a join that is none"));
        };
        let parts = JoinCondition::of(left, right, condition.as_ref())?;
        for needed in parts.needed(usize::from(!stream_on_left), *join_type) {
            self.filter(needed)?;
        }
        let (stream_keys, table_keys) = match stream_on_left {
            true => (parts.left_keys, parts.right_keys),
            false => (parts.right_keys, parts.left_keys),
        };
        let step = self.steps.len();
        let added = table.schema().fields().iter().enumerate();
        let added: Vec<(String, DataType)> =
            added.map(|(index, field)| (format!("#{step}.{index}"), field.data_type().clone())).collect();
        let keys = stream_keys.iter().map(|key| self.substitute(key)).collect::<Result<_>>()?;
        let own = self.columns.iter().map(|(_, expr)| expr.clone());
        let theirs = added.iter().map(|(name, _)| reference(name));
        let both: Vec<Expr> = match stream_on_left {
            true => own.chain(theirs).collect(),
            false => theirs.chain(own).collect(),
        };
        // The rest of the condition sees both sides, by their names in the join.
        let pairs = join_scope(left, right, 0);
        self.columns = pairs.names().iter().cloned().zip(both).collect();
        let rest = parts.rest.into_iter().reduce(Expr::and).map(|rest| self.substitute(&rest)).transpose()?;
        if matches!(kind, StaticJoinKind::Semi | StaticJoinKind::Anti) {
            self.columns.truncate(schema.fields().len());
        }
        for ((name, _), own) in self.columns.iter_mut().zip(distinct_names(schema)) {
            *name = own;
        }
        let table = Arc::new(StaticJoin {
            kind,
            table: table.clone(),
            table_keys,
            rows: OnceLock::new(),
            index: Mutex::default(),
        });
        self.steps.push(Step::Expand(Expand { kind: ExpandKind::Join { keys, rest, table }, columns: added }));
        Ok(())
    }
}

/// Whether `part` occurs in `expr`.
pub(super) fn mentions(expr: &Expr, part: &Expr) -> bool {
    expr.exists(|e| Ok(e == part)).unwrap_or(true)
}

fn aggregate_branch(lineage: Lineage, plan: &AggregatePlan, target: Target) -> Result<Branch> {
    let mut spec = plan.spec.try_map(&mut |expr| lineage.substitute(expr))?;
    aggregate::check_window(plan.window.as_ref(), spec.window.as_ref())?;
    let Lineage { feed, source_schema, mut steps, .. } = lineage;
    if let Some(window) = &spec.window {
        leave_to_grouping(&mut steps, window);
    }
    let mut scan = ScanBuilder::new(source_schema, &steps);
    // Substituting may change an expression's type only through a union of different sources: refuse that early.
    let schema = df_schema(&scan.known_schema())?;
    for (key, field) in spec.keys.iter().zip(&plan.key_types) {
        let found = key.get_type(schema.as_ref())?;
        if &found != field {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("the grouping column {key} is {found} in one input of a union and {field} in another"),
            ));
        }
    }
    scan.lift_steps(&mut steps)?;
    spec = spec.try_map(&mut |expr| scan.lift(expr.clone()))?;
    let partial = aggregate::partial(&spec, &mut steps, &mut scan)?;
    scan.plain_steps(&steps)?;
    let scan = scan.finish(feed.decodes())?;
    Ok(Branch { feed, scan, steps, body: Body::Partial(Box::new(partial)), target })
}

/// The watermark column of a schema, with its delay.
pub fn event_time(schema: &Schema) -> Option<(String, i64)> {
    let delays = schema.fields().iter().zip(distinct_names(schema));
    delays.into_iter().find_map(|(field, name)| watermark_delay_ms(field).map(|delay| (name, delay)))
}
