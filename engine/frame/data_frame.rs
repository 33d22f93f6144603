//! [`DataFrame`]: an unbounded table, and Spark's operations on it.
//!
//! Comes in: a relation and an operation. Goes out: a new frame. Every operation is analysed at once, so a mistake is reported by
//! the call that made it. Nothing runs before [`DataStreamWriter::start`](super::DataStreamWriter::start).

use super::column::{Column, IntoColumn};
use super::functions::count_all;
use super::writer::DataStreamWriter;
use crate::error::{Error, ErrorCode, Result};
use crate::options::parse_interval;
use crate::plan::logical::{LogicalPlan, Named, WATERMARK_DELAY_KEY, mark_event_time};
use crate::plan::resolve::{expand_star, field_of, output_name, quoted, refuse_aggregates, resolve, resolve_predicate};
use crate::session::Session;
use crate::source::builtin;
use crate::source::memory::MemoryStream;
use crate::source::provider::SourceProvider;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use std::collections::HashSet;
use std::sync::Arc;

/// A month of a watermark's delay, in milliseconds: 31 days.
const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;

/// An unbounded table.
#[derive(Clone)]
pub struct DataFrame {
    session: Session,
    plan: Arc<LogicalPlan>,
}

impl DataFrame {
    /// The table that a source gives: the door for sources of your own.
    pub fn from_source(session: &Session, provider: Arc<dyn SourceProvider>) -> Result<Self> {
        let schema = provider.create()?.schema();
        let plan = Arc::new(LogicalPlan::Source { provider, schema });
        Ok(Self { session: session.clone(), plan })
    }

    /// The table that a [`MemoryStream`] feeds.
    pub(crate) fn from_memory(session: &Session, stream: &MemoryStream) -> Result<Self> {
        Self::from_source(session, Arc::new(builtin::Memory(stream.clone())))
    }

    /// The frame of a plan that the session keeps under a name.
    pub(crate) fn from_plan(session: &Session, plan: Arc<LogicalPlan>) -> Self {
        Self { session: session.clone(), plan }
    }

    /// A column's expression, with what its SQL texts write.
    fn expression(&self, column: Column) -> Result<Expr> {
        crate::sql::text::expand(column.0?, &self.session.functions())
    }

    fn with(&self, plan: LogicalPlan) -> Self {
        Self { session: self.session.clone(), plan: Arc::new(plan) }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        self.plan.schema()
    }

    /// The relation.
    pub fn plan(&self) -> &Arc<LogicalPlan> {
        &self.plan
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Named expressions; `"*"` and `"data.*"` stand for several.
    ///
    /// # Errors
    /// Unknown columns and types that do not fit.
    pub fn select<C: IntoColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<Self> {
        let mut expressions = Vec::new();
        for column in columns {
            for expr in expand_star(self.expression(column.into_column())?, self.schema())? {
                expressions.push(expr);
            }
        }
        self.project(expressions)
    }

    fn project(&self, expressions: Vec<Expr>) -> Result<Self> {
        let environment = self.session.conf().environment()?;
        let (mut named, mut fields) = (Vec::new(), Vec::new());
        for expr in expressions {
            let name = output_name(&expr);
            let resolved = resolve(expr, self.schema(), &environment)?;
            refuse_aggregates(&resolved, &name)?;
            fields.push(field_of(&resolved, &name, self.schema())?);
            named.push(Named { expr: resolved, name });
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(self.with(LogicalPlan::Project { input: self.plan.clone(), expressions: named, schema }))
    }

    /// Rows for which `condition` is TRUE.
    ///
    /// # Errors
    /// Unknown columns, and conditions that are not boolean.
    pub fn filter(&self, condition: Column) -> Result<Self> {
        let environment = self.session.conf().environment()?;
        let predicate = resolve_predicate(self.expression(condition)?, self.schema(), &environment)?;
        Ok(self.with(LogicalPlan::Filter { input: self.plan.clone(), predicate }))
    }

    /// All columns and one more, which replaces a column of the same name.
    ///
    /// # Errors
    /// Unknown columns and types that do not fit.
    pub fn with_column(&self, name: &str, column: Column) -> Result<Self> {
        let mut columns: Vec<Expr> = expand_star(super::functions::col("*").0?, self.schema())?;
        let replacement = self.expression(column)?.alias(name);
        match self.schema().fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)) {
            Some(at) => columns[at] = replacement,
            None => columns.push(replacement),
        }
        self.project(columns)
    }

    /// All columns but the named ones; a name that does not exist is passed over, as in Spark.
    pub fn drop(&self, names: &[&str]) -> Result<Self> {
        let kept = |f: &&Arc<Field>| !names.iter().any(|n| n.eq_ignore_ascii_case(f.name()));
        let kept: Vec<String> = self.schema().fields().iter().filter(kept).map(|f| quoted(f.name())).collect();
        self.select(kept.iter().map(String::as_str))
    }

    /// Declares `column` as event time, of which nothing older than the greatest value seen less `delay` will matter.
    ///
    /// # Errors
    /// A column that is not a timestamp, a delay that is no interval or negative, a second watermark.
    pub fn with_watermark(&self, column: &str, delay: &str) -> Result<Self> {
        let resolved = resolve(super::functions::col(column).0?, self.schema(), &self.session.conf().environment()?)?;
        let Expr::Column(name) = &resolved else {
            return Err(Error::new(
                ErrorCode::EventTimeNotTimestamp,
                format!("with_watermark({column:?}): event time must be a column of its own; select it first"),
            ));
        };
        let field = self.schema().field_with_name(&name.name).map_err(Error::from)?;
        if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
            return Err(Error::new(
                ErrorCode::EventTimeNotTimestamp,
                format!(
                    "with_watermark({column:?}): event time must be a timestamp, but the column is {}; cast it",
                    field.data_type()
                ),
            ));
        }
        if let Some(other) = self.schema().fields().iter().find(|f| f.metadata().contains_key(WATERMARK_DELAY_KEY)) {
            return Err(Error::new(
                ErrorCode::RedefiningWatermark,
                format!("redefining watermark is disallowed: the column {:?} already has one", other.name()),
            ));
        }
        // Spark counts a month as 31 days here.
        let interval = parse_interval(delay)?;
        let delay_ms = interval.months.saturating_mul(MONTH_MS).saturating_add(interval.micros.div_euclid(1000));
        if delay_ms < 0 {
            return Err(Error::new(
                ErrorCode::InvalidOption,
                format!("requirement failed: delay threshold ({delay}) should not be negative."),
            ));
        }
        let schema = mark_event_time(self.schema(), &name.name, delay_ms);
        Ok(self.with(LogicalPlan::Watermark { input: self.plan.clone(), column: name.name.clone(), delay_ms, schema }))
    }

    /// Groups rows by columns, one of which may be a [`window`](super::functions::window).
    ///
    /// # Errors
    /// Unknown columns.
    pub fn group_by<C: IntoColumn>(&self, keys: impl IntoIterator<Item = C>) -> Result<GroupedFrame> {
        let environment = self.session.conf().environment()?;
        let mut named = Vec::new();
        for key in keys {
            let expr = self.expression(key.into_column())?;
            let name = output_name(&expr);
            let resolved = resolve(expr, self.schema(), &environment)?;
            refuse_aggregates(&resolved, &name)?;
            named.push(Named { expr: resolved, name });
        }
        Ok(GroupedFrame { frame: self.clone(), keys: named })
    }

    /// One group of all rows.
    ///
    /// # Errors
    /// As [`GroupedFrame::agg`].
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> Result<DataFrame> {
        self.group_by::<Column>([])?.agg(aggregates)
    }

    /// Rows of both frames, by position; types must be equal.
    ///
    /// # Errors
    /// Frames of different sessions, widths or types.
    pub fn union(&self, other: &DataFrame) -> Result<Self> {
        let (left, right) = (self.schema(), other.schema());
        let types = |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if types(left) != types(right) {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("union needs the same columns on both sides: {:?} and {:?}", types(left), types(right)),
            ));
        }
        // The result has event time where either side has: the greater delay is the cautious one, and only says that there is a watermark.
        let fields = left.fields().iter().zip(right.fields()).map(|(l, r)| {
            let delays = [l, r].map(|f| crate::plan::logical::watermark_delay_ms(f));
            let mut metadata = l.metadata().clone();
            if let Some(delay) = delays.into_iter().flatten().max() {
                metadata.insert(WATERMARK_DELAY_KEY.to_string(), delay.to_string());
            }
            l.as_ref().clone().with_metadata(metadata)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let inputs = vec![self.plan.clone(), other.plan.clone()];
        Ok(self.with(LogicalPlan::Union { inputs, schema }))
    }

    /// Starts to describe where the rows go.
    pub fn write_stream(&self) -> DataStreamWriter {
        DataStreamWriter::new(self.clone())
    }

    /// Spark's `printSchema` text.
    pub fn schema_string(&self) -> String {
        let mut text = String::from("root\n");
        for field in self.schema().fields() {
            text.push_str(&format!(" |-- {}: {} (nullable = true)\n", field.name(), field.data_type()));
        }
        text
    }
}

/// A frame grouped by keys.
#[derive(Clone)]
pub struct GroupedFrame {
    frame: DataFrame,
    keys: Vec<Named>,
}

impl GroupedFrame {
    /// The keys and aggregates of each group. An aggregate may stand in a larger expression.
    ///
    /// # Errors
    /// Unknown columns, types that do not fit, and columns that are neither keys nor inside an aggregate.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> Result<DataFrame> {
        let frame = &self.frame;
        let environment = frame.session.conf().environment()?;
        let input = frame.schema();
        let mut taken = HashSet::new();
        let mut keys = Vec::new();
        for key in &self.keys {
            keys.push(Named { expr: key.expr.clone(), name: distinct(&key.name, &mut taken) });
        }
        let mut calls: Vec<Named> = Vec::new();
        let mut outputs: Vec<(Expr, String)> = Vec::new();
        for aggregate in aggregates {
            let expr = frame.expression(aggregate)?;
            let name = output_name(&expr);
            let resolved = resolve(expr, input, &environment)?;
            outputs.push((extract_calls(resolved, &name, &keys, &mut calls, &mut taken)?, name));
        }
        let fields = keys.iter().chain(&calls).map(|named| field_of(&named.expr, &named.name, input));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Result<Vec<Field>>>()?));
        let plain = keys.iter().zip(&self.keys).all(|(key, wanted)| key.name == wanted.name)
            && outputs.len() == calls.len()
            && outputs.iter().zip(&calls).all(|((e, name), call)| *e == column(&call.name) && *name == call.name);
        let mut columns: Vec<Expr> =
            keys.iter().zip(&self.keys).map(|(key, wanted)| column(&key.name).alias(&wanted.name)).collect();
        columns.extend(outputs.into_iter().map(|(e, name)| e.alias(name)));
        let input = frame.plan.clone();
        let aggregated = frame.with(LogicalPlan::Aggregate { input, keys, aggregates: calls, schema });
        if plain { Ok(aggregated) } else { aggregated.project(columns) }
    }

    /// Number of rows of each group, in a column `count`.
    ///
    /// # Errors
    /// As [`GroupedFrame::agg`].
    pub fn count(&self) -> Result<DataFrame> {
        self.agg([count_all().alias("count")])
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new_unqualified(quoted(name)))
}

/// `name`, or that name with a number where it is taken, in any case.
fn distinct(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (1..).map(|n| format!("{name} #{n}"));
    let mut names = std::iter::once(name.to_string()).chain(numbered);
    names.find(|n| taken.insert(n.to_ascii_lowercase())).unwrap_or_default()
}

/// Replaces every aggregate call in `expr` by a column, and adds the call to `calls`: under `name` if the call is all there is. A
/// grouping expression becomes the key's column.
fn extract_calls(
    expr: Expr,
    name: &str,
    keys: &[Named],
    calls: &mut Vec<Named>,
    taken: &mut HashSet<String>,
) -> Result<Expr> {
    let whole = matches!(expr, Expr::AggregateFunction(_));
    let replaced = |by: Expr| Ok(Transformed::new(by, true, TreeNodeRecursion::Jump));
    let rewritten = expr.transform_down(|e| match e {
        Expr::AggregateFunction(call) => {
            call.params.args.iter().try_for_each(|argument| refuse_aggregates(argument, name))?;
            let e = Expr::AggregateFunction(call);
            let name = if whole { distinct(name, taken) } else { distinct(&output_name(&e), taken) };
            let by = column(&name);
            calls.push(Named { expr: e, name });
            replaced(by)
        }
        Expr::Literal(..) => Ok(Transformed::no(e)),
        other => match (keys.iter().find(|key| key.expr == other), &other) {
            (Some(key), _) => replaced(column(&key.name)),
            (None, Expr::Column(c)) => Err(Error::new(
                ErrorCode::InvalidExpression,
                format!("the column {:?} is neither grouped by nor inside an aggregate; group by it", c.name),
            )
            .into()),
            _ => Ok(Transformed::no(other)),
        },
    })?;
    Ok(rewritten.data)
}
