//! What the user asked for, resolved: a tree of relations over streams and tables.
//!
//! Comes in: frame operations with resolved expressions ([`super::resolve`]). Goes out: an immutable tree with the schema
//! of every node. Fails: nothing here; nodes are built by the frame, which resolves first.

use super::custom::Factory;
use super::rows_function::RowsFunction;
use super::scope::{Origin, Scope};
use super::sequence::Sequence;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Observation, TimeMode};
use crate::source::provider::SourceProvider;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use chrono_tz::Tz;
use datafusion::logical_expr::{Expr, SortExpr};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Field metadata that marks an event-time column: its watermark's delay in milliseconds. Spark's key.
pub const WATERMARK_DELAY_KEY: &str = "spark.watermarkDelayMs";
/// Field metadata that marks a time window (Spark's key): duration, slide and start in microseconds.
pub const TIME_WINDOW_KEY: &str = "spark.timeWindow";

/// Field metadata that the user gave a column: a JSON object.
pub const USER_METADATA_KEY: &str = "tidemill.metadata";

/// A relation. `id` names the relation in the identities of the columns that it makes.
#[derive(Debug, Clone)]
pub enum LogicalPlan {
    /// Rows of a source: a stream, or a table where `streaming` is not set.
    Source { provider: Arc<dyn SourceProvider>, streaming: bool, schema: SchemaRef, id: u64 },
    /// `select`, `with_column`: named expressions over the input.
    Project { input: Arc<LogicalPlan>, expressions: Vec<Named>, schema: SchemaRef, id: u64 },
    /// `filter`: rows for which the predicate is TRUE.
    Filter { input: Arc<LogicalPlan>, predicate: Expr },
    /// `alias`: the same columns, found by a qualifier too.
    Alias { input: Arc<LogicalPlan>, name: String },
    /// `with_watermark`.
    Watermark { input: Arc<LogicalPlan>, column: String, delay_ms: i64, schema: SchemaRef },
    /// `explode` and the like: each input row with every row that the generator makes of it.
    Generate {
        input: Arc<LogicalPlan>,
        generator: Expr,
        outer: bool,
        /// The name by which the generated columns can be qualified.
        qualifier: Option<String>,
        schema: SchemaRef,
        id: u64,
    },
    /// `observe`: rows pass, and the aggregates over a batch's rows are reported with its progress, times as texts in `time_zone`.
    Observe {
        input: Arc<LogicalPlan>,
        name: String,
        metrics: Vec<Named>,
        time_zone: Tz,
        /// Who waits for the metrics of a table.
        observation: Option<Observation>,
    },
    /// `group_by(keys).agg(aggregates)`; an aggregate is a bare aggregate function call.
    Aggregate { input: Arc<LogicalPlan>, keys: Vec<Named>, aggregates: Vec<Named>, schema: SchemaRef, id: u64 },
    /// `drop_duplicates`: the first row of each combination of the named columns.
    Deduplicate { input: Arc<LogicalPlan>, columns: Vec<String>, within_watermark: bool },
    /// `join`: the condition is written over [`join_scope`]'s columns.
    Join {
        left: Arc<LogicalPlan>,
        right: Arc<LogicalPlan>,
        join_type: JoinType,
        condition: Option<Expr>,
        schema: SchemaRef,
        id: u64,
    },
    /// `union`: rows of every input, by position.
    Union { inputs: Vec<Arc<LogicalPlan>>, schema: SchemaRef },
    /// `transform_with_state`: what a processor of the user's makes of the rows of each combination of the named columns.
    TransformWithState {
        input: Arc<LogicalPlan>,
        columns: Vec<String>,
        processor: Factory,
        time_mode: TimeMode,
        schema: SchemaRef,
        id: u64,
    },
    /// What a function of the user's makes of the rows of whole relations: `mapInPandas` and the like.
    MapRows { inputs: Vec<Arc<LogicalPlan>>, function: Arc<dyn RowsFunction>, schema: SchemaRef, id: u64 },
    /// Each row with values that follow from its place, in columns behind its own.
    Sequence { input: Arc<LogicalPlan>, calls: Vec<Sequence>, schema: SchemaRef, id: u64 },
    /// Each row with what functions make of the rows around it, in columns behind its own; a call is a bare window function.
    Window { input: Arc<LogicalPlan>, calls: Vec<Named>, schema: SchemaRef, id: u64 },
    /// The same rows, which are computed once.
    Cached { input: Arc<LogicalPlan>, rows: Kept },
    /// `order_by`.
    Sort { input: Arc<LogicalPlan>, keys: Vec<SortExpr> },
    /// `offset` and `limit`.
    Limit { input: Arc<LogicalPlan>, skip: u64, fetch: Option<u64> },
}

/// The rows of a table once they are computed, shared by everything that is made of it.
pub type Kept = Arc<OnceCell<Vec<RecordBatch>>>;

/// A resolved expression and the name of the column it makes.
#[derive(Debug, Clone)]
pub struct Named {
    /// The expression, over the input's columns.
    pub expr: Expr,
    /// Output name, as written.
    pub name: String,
}

/// Spark's kinds of joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinType {
    /// Pairs.
    Inner,
    /// Pairs, and rows of the left side without a partner.
    LeftOuter,
    /// Pairs, and rows of the right side without a partner.
    RightOuter,
    /// Pairs, and rows of either side without a partner.
    FullOuter,
    /// Rows of the left side with a partner.
    LeftSemi,
    /// Rows of the left side without a partner.
    LeftAnti,
    /// Every pair.
    Cross,
}

impl JoinType {
    /// Parses Spark's name of a join, in any case: `inner`, `left`, `left_outer`, `leftouter`, `full`, `semi`, `anti`, ...
    ///
    /// # Errors
    /// `InvalidOption` with the names there are.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().replace('_', "").as_str() {
            "inner" => Ok(JoinType::Inner),
            "left" | "leftouter" => Ok(JoinType::LeftOuter),
            "right" | "rightouter" => Ok(JoinType::RightOuter),
            "full" | "outer" | "fullouter" => Ok(JoinType::FullOuter),
            "semi" | "leftsemi" => Ok(JoinType::LeftSemi),
            "anti" | "leftanti" => Ok(JoinType::LeftAnti),
            "cross" => Ok(JoinType::Cross),
            _ => Err(Error::new(
                ErrorCode::InvalidOption,
                format!(
                    "the join type {text:?} does not exist; use inner, left_outer, right_outer, full_outer, left_semi, left_anti or cross"
                ),
            )),
        }
    }

    /// Spark's name.
    pub fn name(self) -> &'static str {
        match self {
            JoinType::Inner => "Inner",
            JoinType::LeftOuter => "LeftOuter",
            JoinType::RightOuter => "RightOuter",
            JoinType::FullOuter => "FullOuter",
            JoinType::LeftSemi => "LeftSemi",
            JoinType::LeftAnti => "LeftAnti",
            JoinType::Cross => "Cross",
        }
    }

    /// Whether the result has the left side's columns only.
    pub fn keeps_left_only(self) -> bool {
        matches!(self, JoinType::LeftSemi | JoinType::LeftAnti)
    }
}

impl LogicalPlan {
    /// Columns of the relation.
    pub fn schema(&self) -> &SchemaRef {
        match self {
            LogicalPlan::Source { schema, .. }
            | LogicalPlan::Project { schema, .. }
            | LogicalPlan::Watermark { schema, .. }
            | LogicalPlan::Generate { schema, .. }
            | LogicalPlan::Aggregate { schema, .. }
            | LogicalPlan::Sequence { schema, .. }
            | LogicalPlan::Window { schema, .. }
            | LogicalPlan::Join { schema, .. }
            | LogicalPlan::TransformWithState { schema, .. }
            | LogicalPlan::MapRows { schema, .. }
            | LogicalPlan::Union { schema, .. } => schema,
            LogicalPlan::Filter { input, .. }
            | LogicalPlan::Alias { input, .. }
            | LogicalPlan::Observe { input, .. }
            | LogicalPlan::Deduplicate { input, .. }
            | LogicalPlan::Cached { input, .. }
            | LogicalPlan::Sort { input, .. }
            | LogicalPlan::Limit { input, .. } => input.schema(),
        }
    }

    /// Columns with the identities and qualifiers by which references find them.
    pub fn scope(&self) -> Scope {
        match self {
            LogicalPlan::Source { schema, id, .. }
            | LogicalPlan::TransformWithState { schema, id, .. }
            | LogicalPlan::MapRows { schema, id, .. } => Scope::fresh(schema, *id),
            LogicalPlan::Project { input, expressions, schema, id } => passed_on(input, expressions, schema, *id),
            LogicalPlan::Aggregate { input, keys, schema, id, .. } => passed_on(input, keys, schema, *id),
            LogicalPlan::Alias { input, name } => input.scope().qualified(name),
            LogicalPlan::Watermark { input, schema, .. } => {
                Scope::new(schema.clone(), input.scope().origins().to_vec())
            }
            LogicalPlan::Generate { input, qualifier, schema, id, .. } => {
                let mut origins = input.scope().origins().to_vec();
                let made = match qualifier {
                    Some(name) => Scope::fresh(schema, *id).qualified(name),
                    None => Scope::fresh(schema, *id),
                };
                origins.extend_from_slice(made.origins().get(origins.len()..).unwrap_or_default());
                Scope::new(schema.clone(), origins)
            }
            LogicalPlan::Sequence { input, schema, id, .. } | LogicalPlan::Window { input, schema, id, .. } => {
                let mut origins = input.scope().origins().to_vec();
                let own = Scope::fresh(schema, *id);
                origins.extend_from_slice(own.origins().get(origins.len()..).unwrap_or_default());
                Scope::new(schema.clone(), origins)
            }
            LogicalPlan::Join { left, right, join_type, schema, id, .. } => match join_type.keeps_left_only() {
                true => left.scope(),
                false => left.scope().beside(&right.scope(), schema.clone(), *id),
            },
            LogicalPlan::Union { inputs, schema } => match inputs.first() {
                Some(first) => Scope::new(schema.clone(), first.scope().origins().to_vec()),
                None => Scope::of(schema),
            },
            LogicalPlan::Filter { input, .. }
            | LogicalPlan::Observe { input, .. }
            | LogicalPlan::Deduplicate { input, .. }
            | LogicalPlan::Cached { input, .. }
            | LogicalPlan::Sort { input, .. }
            | LogicalPlan::Limit { input, .. } => input.scope(),
        }
    }

    /// The relations this one reads.
    pub fn inputs(&self) -> Vec<&Arc<LogicalPlan>> {
        match self {
            LogicalPlan::Source { .. } => vec![],
            LogicalPlan::Project { input, .. }
            | LogicalPlan::Filter { input, .. }
            | LogicalPlan::Alias { input, .. }
            | LogicalPlan::Watermark { input, .. }
            | LogicalPlan::Generate { input, .. }
            | LogicalPlan::Observe { input, .. }
            | LogicalPlan::Aggregate { input, .. }
            | LogicalPlan::Deduplicate { input, .. }
            | LogicalPlan::TransformWithState { input, .. }
            | LogicalPlan::Sequence { input, .. }
            | LogicalPlan::Window { input, .. }
            | LogicalPlan::Cached { input, .. }
            | LogicalPlan::Sort { input, .. }
            | LogicalPlan::Limit { input, .. } => vec![input],
            LogicalPlan::Join { left, right, .. } => vec![left, right],
            LogicalPlan::Union { inputs, .. } | LogicalPlan::MapRows { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// The same, to be replaced by relations with the same columns.
    pub fn inputs_mut(&mut self) -> Vec<&mut Arc<LogicalPlan>> {
        match self {
            LogicalPlan::Source { .. } => vec![],
            LogicalPlan::Project { input, .. }
            | LogicalPlan::Filter { input, .. }
            | LogicalPlan::Alias { input, .. }
            | LogicalPlan::Watermark { input, .. }
            | LogicalPlan::Generate { input, .. }
            | LogicalPlan::Observe { input, .. }
            | LogicalPlan::Aggregate { input, .. }
            | LogicalPlan::Deduplicate { input, .. }
            | LogicalPlan::TransformWithState { input, .. }
            | LogicalPlan::Sequence { input, .. }
            | LogicalPlan::Window { input, .. }
            | LogicalPlan::Cached { input, .. }
            | LogicalPlan::Sort { input, .. }
            | LogicalPlan::Limit { input, .. } => vec![input],
            LogicalPlan::Join { left, right, .. } => vec![left, right],
            LogicalPlan::Union { inputs, .. } | LogicalPlan::MapRows { inputs, .. } => inputs.iter_mut().collect(),
        }
    }

    /// Whether any relation of the tree satisfies `test`.
    pub fn any(&self, test: &impl Fn(&LogicalPlan) -> bool) -> bool {
        test(self) || self.inputs().iter().any(|input| input.any(test))
    }

    /// Whether this is the source of this id.
    pub fn is_source(&self, wanted: u64) -> bool {
        matches!(self, LogicalPlan::Source { id, .. } if *id == wanted)
    }

    /// Whether rows keep coming.
    pub fn is_streaming(&self) -> bool {
        self.any(&|p| matches!(p, LogicalPlan::Source { streaming: true, .. }))
    }

    /// Checks that no name stands for two observations. One that stands in several places, as in a union of a frame with itself, is one.
    ///
    /// # Errors
    /// [`ErrorCode::DuplicatedMetricsName`].
    pub fn check_observations(&self) -> Result<()> {
        self.collect_observations(&mut BTreeMap::new())
    }

    fn collect_observations<'p>(&'p self, seen: &mut BTreeMap<&'p str, (*const LogicalPlan, String)>) -> Result<()> {
        if let LogicalPlan::Observe { input, name, metrics, .. } = self {
            let metrics: Vec<String> = metrics.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
            let this = (Arc::as_ptr(input), metrics.join(", "));
            match seen.get(name.as_str()) {
                Some(other) if *other != this => {
                    return Err(Error::new(
                        ErrorCode::DuplicatedMetricsName,
                        format!(
                            "the metric name is not unique: {name}. The same name cannot be used for metrics with different \
                             results; give one observation another name"
                        ),
                    ));
                }
                _ => drop(seen.insert(name, this)),
            }
        }
        self.inputs().into_iter().try_for_each(|input| input.collect_observations(seen))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}", "", indent = depth * 2)?;
        let list = |items: &[Named]| {
            let shown: Vec<String> = items.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
            shown.join(", ")
        };
        match self {
            LogicalPlan::Source { provider, streaming, .. } => {
                let kind = if *streaming { "Source" } else { "Table" };
                writeln!(f, "{kind} {}", provider.describe())?;
            }
            LogicalPlan::Project { expressions, .. } => writeln!(f, "Project [{}]", list(expressions))?,
            LogicalPlan::Filter { predicate, .. } => writeln!(f, "Filter {predicate}")?,
            LogicalPlan::Alias { name, .. } => writeln!(f, "SubqueryAlias {name}")?,
            LogicalPlan::Watermark { column, delay_ms, .. } => {
                writeln!(f, "EventTimeWatermark {column}, {delay_ms} ms")?;
            }
            LogicalPlan::Generate { generator, outer, .. } => {
                writeln!(f, "Generate {generator}{}", if *outer { ", outer" } else { "" })?;
            }
            LogicalPlan::Observe { name, metrics, .. } => writeln!(f, "CollectMetrics {name}, [{}]", list(metrics))?,
            LogicalPlan::Aggregate { keys, aggregates, .. } => {
                writeln!(f, "Aggregate [{}], [{}]", list(keys), list(aggregates))?;
            }
            LogicalPlan::Deduplicate { columns, within_watermark, .. } => {
                let name = if *within_watermark { "DeduplicateWithinWatermark" } else { "Deduplicate" };
                writeln!(f, "{name} [{}]", columns.join(", "))?;
            }
            LogicalPlan::TransformWithState { columns, processor, time_mode, .. } => {
                writeln!(f, "TransformWithState [{}], {}, {time_mode:?}", columns.join(", "), processor.name())?;
            }
            LogicalPlan::MapRows { function, schema, .. } => {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                writeln!(f, "{} {}, [{}]", function.operation(), function.name(), columns.join(", "))?;
            }
            LogicalPlan::Sequence { calls, .. } => {
                let calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
                writeln!(f, "Sequence [{}]", calls.join(", "))?;
            }
            LogicalPlan::Window { calls, .. } => writeln!(f, "Window [{}]", list(calls))?,
            LogicalPlan::Cached { .. } => writeln!(f, "InMemoryRelation")?,
            LogicalPlan::Join { join_type, condition, .. } => match condition {
                Some(condition) => writeln!(f, "Join {}, {condition}", join_type.name())?,
                None => writeln!(f, "Join {}", join_type.name())?,
            },
            LogicalPlan::Union { .. } => writeln!(f, "Union")?,
            LogicalPlan::Sort { keys, .. } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                writeln!(f, "Sort [{}]", keys.join(", "))?;
            }
            LogicalPlan::Limit { skip, fetch, .. } => {
                let fetch = fetch.map_or("all".to_string(), |n| n.to_string());
                writeln!(f, "Limit {fetch}{}", if *skip > 0 { format!(" after {skip}") } else { String::new() })?;
            }
        }
        self.inputs().iter().try_for_each(|input| input.describe(f, depth + 1))
    }
}

impl fmt::Display for LogicalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, 0)
    }
}

/// Columns of which the first come of `expressions`: a column that is passed on under its name keeps its identity.
fn passed_on(input: &LogicalPlan, expressions: &[Named], schema: &SchemaRef, id: u64) -> Scope {
    let below = input.scope();
    let mut origins: Vec<Origin> = Scope::fresh(schema, id).origins().to_vec();
    for (origin, named) in origins.iter_mut().zip(expressions) {
        let Expr::Column(column) = &named.expr else { continue };
        let Some(index) = below.position(&column.name) else { continue };
        if below.schema().field(index).name() == &named.name
            && let Some(from) = below.origins().get(index)
        {
            *origin = from.clone();
        }
    }
    Scope::new(schema.clone(), origins)
}

/// The columns that a join's condition sees: those of the left side, then those of the right one, as they are.
pub fn join_scope(left: &LogicalPlan, right: &LogicalPlan, id: u64) -> Scope {
    let fields = left.schema().fields().iter().chain(right.schema().fields()).cloned();
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    left.scope().beside(&right.scope(), schema, id)
}

/// `field` with the metadata that the outermost alias with any gives it.
pub fn described(field: Field, mut expr: &Expr) -> Field {
    while let Expr::Alias(alias) = expr {
        if let Some(given) = alias.metadata.as_ref().and_then(|metadata| metadata.inner().get(USER_METADATA_KEY)) {
            let mut metadata = field.metadata().clone();
            metadata.insert(USER_METADATA_KEY.to_string(), given.clone());
            return field.with_metadata(metadata);
        }
        expr = &alias.expr;
    }
    field
}

/// The delay of the watermark that a column carries, in milliseconds.
pub fn watermark_delay_ms(field: &Field) -> Option<i64> {
    field.metadata().get(WATERMARK_DELAY_KEY)?.parse().ok()
}

/// `schema` with `column` marked as event time.
pub fn mark_event_time(schema: &Schema, column: &str, delay_ms: i64) -> SchemaRef {
    let names = super::scope::distinct_names(schema);
    let mark = |(field, name): (&Arc<Field>, &String)| {
        if name != column {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(WATERMARK_DELAY_KEY.to_string(), delay_ms.to_string());
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    Arc::new(Schema::new(schema.fields().iter().zip(&names).map(mark).collect::<Vec<_>>()))
}
