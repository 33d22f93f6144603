//! What the user asked for, resolved: a tree of relations over streaming sources.
//!
//! Comes in: frame operations with resolved expressions ([`super::resolve`]). Goes out: an immutable tree with the schema
//! of every node. Fails: nothing here; nodes are built by the frame, which resolves first.

use crate::source::provider::SourceProvider;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use std::fmt;
use std::sync::Arc;

/// Field metadata that marks an event-time column: its watermark's delay in milliseconds. Spark's key.
pub const WATERMARK_DELAY_KEY: &str = "spark.watermarkDelayMs";
/// Field metadata that marks a time window (Spark's key): duration, slide and start in microseconds.
pub const TIME_WINDOW_KEY: &str = "spark.timeWindow";

/// A relation.
#[derive(Debug, Clone)]
pub enum LogicalPlan {
    /// A streaming source.
    Source { provider: Arc<dyn SourceProvider>, schema: SchemaRef },
    /// `select`, `with_column`: named expressions over the input.
    Project { input: Arc<LogicalPlan>, expressions: Vec<Named>, schema: SchemaRef },
    /// `filter`: rows for which the predicate is TRUE.
    Filter { input: Arc<LogicalPlan>, predicate: Expr },
    /// `with_watermark`.
    Watermark { input: Arc<LogicalPlan>, column: String, delay_ms: i64, schema: SchemaRef },
    /// `group_by(keys).agg(aggregates)`; an aggregate is a bare aggregate function call.
    Aggregate { input: Arc<LogicalPlan>, keys: Vec<Named>, aggregates: Vec<Named>, schema: SchemaRef },
    /// `union`: rows of every input, by position.
    Union { inputs: Vec<Arc<LogicalPlan>>, schema: SchemaRef },
}

/// A resolved expression and the name of the column it makes.
#[derive(Debug, Clone)]
pub struct Named {
    /// The expression, over the input's columns.
    pub expr: Expr,
    /// Output name, as written.
    pub name: String,
}

impl LogicalPlan {
    /// Columns of the relation.
    pub fn schema(&self) -> &SchemaRef {
        match self {
            LogicalPlan::Source { schema, .. }
            | LogicalPlan::Project { schema, .. }
            | LogicalPlan::Watermark { schema, .. }
            | LogicalPlan::Aggregate { schema, .. }
            | LogicalPlan::Union { schema, .. } => schema,
            LogicalPlan::Filter { input, .. } => input.schema(),
        }
    }

    /// The relations this one reads.
    pub fn inputs(&self) -> Vec<&Arc<LogicalPlan>> {
        match self {
            LogicalPlan::Source { .. } => vec![],
            LogicalPlan::Project { input, .. }
            | LogicalPlan::Filter { input, .. }
            | LogicalPlan::Watermark { input, .. }
            | LogicalPlan::Aggregate { input, .. } => vec![input],
            LogicalPlan::Union { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// Whether any relation of the tree satisfies `test`.
    pub fn any(&self, test: &impl Fn(&LogicalPlan) -> bool) -> bool {
        test(self) || self.inputs().iter().any(|input| input.any(test))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}", "", indent = depth * 2)?;
        let list = |items: &[Named]| {
            let shown: Vec<String> = items.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
            shown.join(", ")
        };
        match self {
            LogicalPlan::Source { provider, .. } => writeln!(f, "Source {}", provider.describe())?,
            LogicalPlan::Project { expressions, .. } => writeln!(f, "Project [{}]", list(expressions))?,
            LogicalPlan::Filter { predicate, .. } => writeln!(f, "Filter {predicate}")?,
            LogicalPlan::Watermark { column, delay_ms, .. } => {
                writeln!(f, "EventTimeWatermark {column}, {delay_ms} ms")?;
            }
            LogicalPlan::Aggregate { keys, aggregates, .. } => {
                writeln!(f, "Aggregate [{}], [{}]", list(keys), list(aggregates))?;
            }
            LogicalPlan::Union { .. } => writeln!(f, "Union")?,
        }
        self.inputs().iter().try_for_each(|input| input.describe(f, depth + 1))
    }
}

impl fmt::Display for LogicalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, 0)
    }
}

/// The delay of the watermark that a column carries, in milliseconds.
pub fn watermark_delay_ms(field: &Field) -> Option<i64> {
    field.metadata().get(WATERMARK_DELAY_KEY)?.parse().ok()
}

/// `schema` with `column` marked as event time.
pub fn mark_event_time(schema: &Schema, column: &str, delay_ms: i64) -> SchemaRef {
    let mark = |field: &Arc<Field>| {
        if field.name() != column {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(WATERMARK_DELAY_KEY.to_string(), delay_ms.to_string());
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    Arc::new(Schema::new(schema.fields().iter().map(mark).collect::<Vec<_>>()))
}
