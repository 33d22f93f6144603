//! [`DataFrame`]: a stream or a table, and Spark's operations on it.
//!
//! Comes in: a relation and an operation. Goes out: a new frame. Every operation is analysed at once, so a mistake is reported by
//! the call that made it. Nothing runs before [`DataStreamWriter::start`](super::DataStreamWriter::start).

use super::column::{Column, IntoColumn};
use super::join::{IntoJoinOn, IntoJoinType, JoinOn};
use super::observation::IntoObservation;
use super::writer::DataStreamWriter;
use crate::error::{Error, ErrorCode, Result};
use crate::options::event_time_interval;
use crate::plan::grouping::within_windows;
use crate::plan::logical::{JoinType, LogicalPlan, Named, WATERMARK_DELAY_KEY, described, join_scope, mark_event_time};
use crate::plan::nullness::joined;
use crate::plan::resolve::{
    df_schema, expand_star, field_of, output_name, quoted, refuse_aggregates, resolve, resolve_predicate,
};
use crate::plan::scope::{Origin, Scope, next_relation};
use crate::plan::spark_function::SparkFunction;
use crate::session::Session;
use crate::source::builtin;
use crate::source::memory::MemoryStream;
use crate::source::provider::SourceProvider;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, ExprSchemable, SortExpr};
use std::fmt;
use std::sync::Arc;

/// A month of a watermark's delay, in milliseconds: 31 days.
const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;

/// A stream (an unbounded table), or a table.
#[derive(Clone)]
pub struct DataFrame {
    session: Session,
    plan: Arc<LogicalPlan>,
}

impl fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)
    }
}

impl DataFrame {
    /// The stream that a source gives: the door for sources of your own.
    ///
    /// # Errors
    /// Options that the source does not have or cannot use.
    pub fn from_source(session: &Session, provider: Arc<dyn SourceProvider>) -> Result<Self> {
        Self::over(session, provider, true)
    }

    /// The table that a source holds when it is read.
    ///
    /// # Errors
    /// Options that the source does not have or cannot use.
    pub fn from_table(session: &Session, provider: Arc<dyn SourceProvider>) -> Result<Self> {
        Self::over(session, provider, false)
    }

    fn over(session: &Session, provider: Arc<dyn SourceProvider>, streaming: bool) -> Result<Self> {
        let schema = provider.create()?.schema();
        let plan = Arc::new(LogicalPlan::Source { provider, streaming, schema, id: next_relation() });
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
    pub(super) fn expression(&self, column: Column) -> Result<Expr> {
        crate::sql::text::expand(column.0?, &self.session.functions())
    }

    pub(super) fn with(&self, plan: LogicalPlan) -> Self {
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

    /// Whether rows keep coming.
    pub fn is_streaming(&self) -> bool {
        self.plan.is_streaming()
    }

    /// This frame's column `name`, also where a frame that it is joined with has one of that name.
    ///
    /// # Errors
    /// Unknown and ambiguous columns, kept in the column until it is used.
    pub fn col(&self, name: &str) -> Column {
        Column(self.reference(name))
    }

    pub(super) fn reference(&self, name: &str) -> Result<Expr> {
        let scope = self.plan.scope();
        let found = scope.find(&datafusion::common::Column::new_unqualified(name))?;
        match &found {
            Expr::Column(column) => {
                let index = scope.position(&column.name);
                index.and_then(|i| scope.reference_to(i)).ok_or_else(|| Error::internal("a column without a place"))
            }
            // A struct's field, or an alias of one: the column below it is named as this frame's.
            _ => Ok(found
                .transform_up(|e| match &e {
                    Expr::Column(column) => {
                        let own = scope.position(&column.name).and_then(|i| scope.reference_to(i));
                        Ok(own.map_or(Transformed::no(e), Transformed::yes))
                    }
                    _ => Ok(Transformed::no(e)),
                })?
                .data),
        }
    }

    /// The same frame under a name, by which `col("name.column")` finds its columns after a join.
    pub fn alias(&self, name: &str) -> Self {
        self.with(LogicalPlan::Alias { input: self.plan.clone(), name: name.to_string() })
    }

    /// Named expressions; `"*"` and `"data.*"` stand for several.
    ///
    /// # Errors
    /// Unknown columns and types that do not fit.
    pub fn select<C: IntoColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<Self> {
        let mut expressions = Vec::new();
        for column in columns {
            for expr in expand_star(self.expression(column.into_column())?, &self.plan.scope())? {
                expressions.push(expr);
            }
        }
        self.project(expressions)
    }

    pub(super) fn project(&self, mut expressions: Vec<Expr>) -> Result<Self> {
        let makes_rows = |e: &Expr| SparkFunction::generator(e).is_some();
        if let Some(at) = expressions.iter().position(makes_rows) {
            let (generated, columns) = self.generated(expressions.remove(at))?;
            if let Some(second) = expressions.iter().find(|e| makes_rows(e)) {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "only one generator is allowed per select, and {second} is a second; select one after the other"
                    ),
                ));
            }
            expressions.splice(at..at, columns);
            return generated.project(expressions);
        }
        let (frame, expressions) = self.placed(expressions)?;
        let environment = self.session.conf().environment()?;
        let scope = frame.plan.scope();
        let (mut named, mut fields) = (Vec::new(), Vec::new());
        for expr in expressions {
            let name = output_name(&expr);
            let resolved = resolve(expr.clone(), &scope, &environment)?;
            refuse_aggregates(&resolved, &name, ErrorCode::InvalidExpression)?;
            fields.push(described(field_of(&resolved, &name, frame.schema())?, &expr));
            named.push(Named { expr: resolved, name });
        }
        let schema = Arc::new(Schema::new(fields));
        let (input, id) = (within_windows(&frame.plan, named.iter().map(|n| &n.expr))?, next_relation());
        Ok(self.with(LogicalPlan::Project { input, expressions: named, schema, id }))
    }

    /// Rows for which `condition` is TRUE.
    ///
    /// # Errors
    /// Unknown columns, and conditions that are not boolean.
    pub fn filter(&self, condition: Column) -> Result<Self> {
        let environment = self.session.conf().environment()?;
        let (frame, mut conditions) = self.sequenced(vec![self.expression(condition)?])?;
        let condition = conditions.pop().ok_or_else(|| Error::internal("a filter without a condition"))?;
        let predicate = resolve_predicate(condition, &frame.plan.scope(), &environment)?;
        let input = within_windows(&frame.plan, [&predicate])?;
        let filtered = self.with(LogicalPlan::Filter { input, predicate });
        match frame.schema().fields().len() > self.schema().fields().len() {
            true => filtered.project(self.plan.scope().all()),
            false => Ok(filtered),
        }
    }

    /// All columns and one more, which replaces columns of the same name.
    ///
    /// # Errors
    /// Unknown columns and types that do not fit.
    pub fn with_column(&self, name: &str, column: Column) -> Result<Self> {
        self.with_columns([(name, column)])
    }

    /// All columns and more, each of which replaces columns of the same name.
    ///
    /// # Errors
    /// Unknown columns, types that do not fit, a name given twice.
    pub fn with_columns<'a>(&self, columns: impl IntoIterator<Item = (&'a str, Column)>) -> Result<Self> {
        let mut expressions = self.plan.scope().all();
        let before = expressions.len();
        let mut given: Vec<&str> = Vec::new();
        for (name, column) in columns {
            if given.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                return Err(Error::new(
                    ErrorCode::AmbiguousReference,
                    format!("with_columns gives the column {name:?} twice; give each name once"),
                ));
            }
            given.push(name);
            let replacement = self.expression(column)?.alias(name);
            let fields = self.schema().fields().iter().zip(&mut expressions[..before]);
            let mut replaced = false;
            for (_, expression) in fields.filter(|(field, _)| field.name().eq_ignore_ascii_case(name)) {
                *expression = replacement.clone();
                replaced = true;
            }
            if !replaced {
                expressions.push(replacement);
            }
        }
        self.project(expressions)
    }

    /// The same columns, of which those called `from` are called `to`; without such a column, the same frame, as in Spark.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn with_column_renamed(&self, from: &str, to: &str) -> Result<Self> {
        let fields = self.schema().fields().iter().zip(self.plan.scope().all());
        let renamed = fields.map(|(field, expr)| match field.name().eq_ignore_ascii_case(from) {
            true => expr.alias(to),
            false => expr,
        });
        self.project(renamed.collect())
    }

    /// All columns but the named ones; a name that does not exist is passed over, as in Spark.
    pub fn drop(&self, names: &[&str]) -> Result<Self> {
        let dropped = |f: &Field| names.iter().any(|n| n.eq_ignore_ascii_case(f.name()));
        let fields = self.schema().fields().iter().zip(self.plan.scope().all());
        self.project(fields.filter(|(field, _)| !dropped(field)).map(|(_, expr)| expr).collect())
    }

    /// Declares `column` as event time, of which nothing older than the greatest value seen less `delay` will matter.
    ///
    /// # Errors
    /// A column that is not a timestamp, a delay that is no interval or negative, a second watermark.
    pub fn with_watermark(&self, column: &str, delay: &str) -> Result<Self> {
        let resolved =
            resolve(super::functions::col(column).0?, &self.plan.scope(), &self.session.conf().environment()?)?;
        let Expr::Column(name) = &resolved else {
            return Err(Error::new(
                ErrorCode::EventTimeNotTimestamp,
                format!("with_watermark({column:?}): event time must be a column of its own; select it first"),
            ));
        };
        let index = self.plan.scope().position(&name.name);
        let field = index.and_then(|index| self.schema().fields().get(index));
        let field = field.ok_or_else(|| Error::internal("a column without a place"))?;
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
        let interval = event_time_interval(delay)?;
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

    /// Rows of both frames that belong together: by columns that both have (`"user_id"`, `["a", "b"]`), which the result has once, or by a
    /// condition over the columns of both (`clicks.col("id").eq(purchases.col("id"))`).
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().build().await?;
    /// let clicks = MemoryStream::new("user_id STRING, page STRING").frame(&session)?;
    /// let purchases = MemoryStream::new("user_id STRING, price DOUBLE").frame(&session)?;
    /// let bought = clicks.join(&purchases, "user_id", JoinType::Inner)?;
    /// let names: Vec<_> = bought.schema().fields().iter().map(|f| f.name().as_str()).collect();
    /// assert_eq!(names, ["user_id", "page", "price"]);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Unknown and ambiguous columns, conditions that are not boolean, a join type that does not exist.
    pub fn join(&self, other: &DataFrame, on: impl IntoJoinOn, join_type: impl IntoJoinType) -> Result<Self> {
        let join_type = join_type.into_join_type()?;
        match on.into_join_on()? {
            JoinOn::Condition(condition) => {
                let condition = self.expression(condition.into())?;
                self.join_where(other, Some(condition), join_type)
            }
            JoinOn::Columns(names) => self.join_using(other, &names, join_type),
        }
    }

    /// Every pair of rows.
    ///
    /// # Errors
    /// As [`DataFrame::join`].
    pub fn cross_join(&self, other: &DataFrame) -> Result<Self> {
        self.join_where(other, None, JoinType::Cross)
    }

    pub(crate) fn join_where(&self, other: &DataFrame, on: Option<Expr>, join_type: JoinType) -> Result<Self> {
        let id = next_relation();
        let scope = join_scope(&self.plan, &other.plan, id);
        if let Some(on) = &on {
            self.refuse_trivial_self_join(other, on)?;
        }
        let environment = self.session.conf().environment()?;
        let condition = on.map(|on| resolve_predicate(on, &scope, &environment)).transpose();
        let condition = condition.map_err(|error| match error.parameter("filter").zip(error.parameter("type")) {
            Some((condition, found)) => Error::new(
                ErrorCode::JoinConditionType,
                format!("the condition of a join must be a boolean expression, but {condition} is {found}; compare columns of both sides"),
            )
            .with_parameter("joinCondition", condition)
            .with_parameter("conditionType", found),
            None => error,
        })?;
        let schema = match join_type.keeps_left_only() {
            true => self.schema().clone(),
            false => joined(scope.schema(), self.schema().fields().len(), join_type),
        };
        let (left, right) = (self.plan.clone(), other.plan.clone());
        Ok(self.with(LogicalPlan::Join { left, right, join_type, condition, schema, id }))
    }

    /// A frame joined with itself has each column twice, and a reference through either frame means both.
    fn refuse_trivial_self_join(&self, other: &DataFrame, on: &Expr) -> Result<()> {
        let (left, right) = (self.plan.scope(), other.plan.scope());
        let shared = |origin: &&Origin| right.origins().iter().any(|other| other.id == origin.id);
        let shared: Vec<String> =
            left.origins().iter().filter(shared).map(|o| format!("#{}.{}", o.id.0, o.id.1)).collect();
        match on
            .column_refs()
            .into_iter()
            .find(|c| c.relation.as_ref().is_some_and(|relation| shared.iter().any(|id| id == relation.table())))
        {
            Some(column) => Err(Error::new(
                ErrorCode::AmbiguousReference,
                format!(
                    "the column {} is in both sides of the join; give each side an alias() and refer to col(\"alias.column\")",
                    column.name
                ),
            )),
            None => Ok(()),
        }
    }

    fn join_using(&self, other: &DataFrame, names: &[String], join_type: JoinType) -> Result<Self> {
        let (left, right) = (self.plan.scope(), other.plan.scope());
        let place = |scope: &Scope, name: &str, side: &str| -> Result<usize> {
            match scope.find(&datafusion::common::Column::new_unqualified(quoted(name))) {
                Ok(Expr::Column(column)) => {
                    scope.position(&column.name).ok_or_else(|| Error::internal("a column without a place"))
                }
                Ok(_) => Err(Error::internal("a name that is not a column")),
                Err(error) if error.code() == ErrorCode::UnresolvedColumn => {
                    let near = scope.nearest(name);
                    Err(Error::new(
                        ErrorCode::UnresolvedUsingColumn,
                        format!("the {side} side of the join has no column {name:?}; it has [{near}]; join by columns of both sides, or on a condition"),
                    )
                    .with_parameter("colName", quoted(name))
                    .with_parameter("side", side)
                    .with_parameter("suggestion", near))
                }
                Err(error) => Err(error),
            }
        };
        let mut keys = Vec::new();
        for name in names {
            keys.push((place(&left, name, "left")?, place(&right, name, "right")?));
        }
        let id = next_relation();
        let scope = join_scope(&self.plan, &other.plan, id);
        let width = left.names().len();
        let at = |index: usize| scope.reference_to(index).ok_or_else(|| Error::internal("a column without a place"));
        let mut condition: Option<Expr> = None;
        for (l, r) in &keys {
            let equal = at(*l)?.eq(at(width + r)?);
            condition = Some(match condition {
                None => equal,
                Some(before) => before.and(equal),
            });
        }
        let environment = self.session.conf().environment()?;
        let condition = condition.map(|on| resolve_predicate(on, &scope, &environment)).transpose()?;
        let (l, r) = (self.plan.clone(), other.plan.clone());
        if join_type.keeps_left_only() {
            let schema = self.schema().clone();
            let joined = self.with(LogicalPlan::Join { left: l, right: r, join_type, condition, schema, id });
            // The keys come first, as in every join by names.
            let others = (0..width).filter(|index| !keys.iter().any(|(l, _)| l == index));
            let places: Vec<usize> = keys.iter().map(|(l, _)| *l).chain(others).collect();
            if places.iter().copied().eq(0..width) {
                return Ok(joined);
            }
            return joined.project(places.into_iter().map(at).collect::<Result<_>>()?);
        }
        let schema = joined(scope.schema(), width, join_type);
        let joined = self.with(LogicalPlan::Join { left: l, right: r, join_type, condition, schema, id });
        let mut columns = Vec::new();
        for ((l, r), name) in keys.iter().zip(names) {
            columns.push(match join_type {
                JoinType::RightOuter => at(width + r)?,
                JoinType::FullOuter => {
                    let name = self.schema().fields().get(*l).map_or(name, |f| f.name());
                    datafusion::functions::core::expr_fn::coalesce(vec![at(*l)?, at(width + r)?]).alias(name)
                }
                _ => at(*l)?,
            });
        }
        for index in (0..width).filter(|index| !keys.iter().any(|(l, _)| l == index)) {
            columns.push(at(index)?);
        }
        for index in (0..right.names().len()).filter(|index| !keys.iter().any(|(_, r)| r == index)) {
            columns.push(at(width + index)?);
        }
        joined.project(columns)
    }

    /// The first row of each combination of the named columns; of all columns if none is named. State is kept for every
    /// combination until the watermark passes it, where an event time is among the columns, else for ever.
    ///
    /// # Errors
    /// Unknown columns.
    pub fn drop_duplicates(&self, columns: &[&str]) -> Result<Self> {
        let (input, columns) = (self.plan.clone(), self.key_columns(columns)?);
        Ok(self.with(LogicalPlan::Deduplicate { input, columns, within_watermark: false }))
    }

    /// The first row of each combination of the named columns within the watermark's delay of that row's event time.
    ///
    /// # Errors
    /// Unknown columns.
    pub fn drop_duplicates_within_watermark(&self, columns: &[&str]) -> Result<Self> {
        let (input, columns) = (self.plan.clone(), self.key_columns(columns)?);
        Ok(self.with(LogicalPlan::Deduplicate { input, columns, within_watermark: true }))
    }

    /// [`DataFrame::drop_duplicates`] over all columns.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn distinct(&self) -> Result<Self> {
        self.drop_duplicates(&[])
    }

    fn key_columns(&self, columns: &[&str]) -> Result<Vec<String>> {
        let scope = self.plan.scope();
        if columns.is_empty() {
            return Ok(scope.names().to_vec());
        }
        let name = |column: &&str| match scope.find(&datafusion::common::Column::new_unqualified(quoted(column))) {
            Ok(Expr::Column(column)) => Ok(column.name),
            Ok(other) => Err(Error::internal(format!("{other} is not a column"))),
            Err(error) if error.code() == ErrorCode::UnresolvedColumn => Err(no_field_named(self.schema(), column)),
            Err(error) => Err(error),
        };
        columns.iter().map(name).collect()
    }

    /// The first `rows` rows: of a stream, the first that ever come.
    pub fn limit(&self, rows: u64) -> Self {
        self.with(LogicalPlan::Limit { input: self.plan.clone(), skip: 0, fetch: Some(rows) })
    }

    /// All but the first `rows` rows.
    pub fn offset(&self, rows: u64) -> Self {
        self.with(LogicalPlan::Limit { input: self.plan.clone(), skip: rows, fetch: None })
    }

    /// Rows in order. A stream can be sorted in complete mode, after an aggregation.
    ///
    /// # Errors
    /// Unknown columns.
    pub fn sort(&self, keys: impl IntoIterator<Item = SortExpr>) -> Result<Self> {
        let (scope, environment) = (self.plan.scope(), self.session.conf().environment()?);
        let (mut resolved, functions) = (Vec::new(), self.session.functions());
        for key in keys {
            let expr = crate::sql::text::expand(key.expr, &functions)?;
            let expr = resolve(expr, &scope, &environment)?;
            refuse_aggregates(&expr, "sort", ErrorCode::InvalidExpression)?;
            resolved.push(SortExpr { expr, ..key });
        }
        let input = within_windows(&self.plan, resolved.iter().map(|key| &key.expr))?;
        Ok(self.with(LogicalPlan::Sort { input, keys: resolved }))
    }

    /// Passes rows on, and reports aggregates over them: of a stream those over each batch's rows, as `observedMetrics` of its progress under
    /// the name that is given; of a table those over all of its rows, to an [`Observation`](super::Observation).
    ///
    /// # Errors
    /// Unknown columns, expressions that are not aggregates, a name that is empty or another observation's, an observation of a stream or
    /// one that another frame has.
    pub fn observe(
        &self,
        observation: impl IntoObservation,
        metrics: impl IntoIterator<Item = Column>,
    ) -> Result<Self> {
        let name = observation.name();
        if name.is_empty() {
            return Err(Error::new(
                ErrorCode::MetricsMissingName,
                "observe(): observed metrics are found by their name; give one that is not empty",
            ));
        }
        let (scope, environment) = (self.plan.scope(), self.session.conf().environment()?);
        let mut named = Vec::new();
        for metric in metrics {
            let expr = self.expression(metric)?;
            let column = output_name(&expr);
            let expr = resolve(expr, &scope, &environment)?;
            if !matches!(expr, Expr::AggregateFunction(_)) {
                return Err(Error::new(
                    ErrorCode::InvalidExpression,
                    format!(
                        "observe({name:?}): {column} is not an aggregate; observe count(...), sum(...) and the like"
                    ),
                ));
            }
            named.push(Named { expr, name: column });
        }
        let observation = observation.observation().cloned();
        if let Some(observation) = &observation {
            observation.attach(self.is_streaming())?;
        }
        let (input, name, time_zone) = (self.plan.clone(), name.to_string(), environment.time_zone);
        let plan = LogicalPlan::Observe { input, name, metrics: named, time_zone, observation };
        plan.check_observations()?;
        Ok(self.with(plan))
    }

    /// This frame with the rows that a generator makes, and references to the columns that these have.
    pub(super) fn generated(&self, generator: Expr) -> Result<(Self, Vec<Expr>)> {
        let names = SparkFunction::generator_names(&generator);
        let generated = self.generate(generator, &names, None)?;
        let columns = generated.plan.scope().all().split_off(self.schema().fields().len());
        Ok((generated, columns))
    }

    /// Each row with every row that `generator` makes of it. The generated columns are called `names`, if there are any, and can be
    /// qualified by `qualifier`.
    pub(crate) fn generate(&self, generator: Expr, names: &[String], qualifier: Option<&str>) -> Result<Self> {
        let Some(outer) = SparkFunction::generator(&generator) else {
            return Err(Error::new(
                ErrorCode::InvalidExpression,
                format!("{generator} does not make rows; use a generator such as explode(...) or inline(...)"),
            ));
        };
        let generator = resolve(generator, &self.plan.scope(), &self.session.conf().environment()?)?;
        let schema = self.schema();
        // A window of an event time is one.
        let metadata = field_of(&generator, "", schema)?.metadata().clone();
        let generator = SparkFunction::window_generator(generator);
        let made = generator.get_type(df_schema(schema)?.as_ref())?;
        let fields = match &made {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) => fields.clone(),
                other => return Err(Error::internal(format!("a generator of {other}"))),
            },
            other => return Err(Error::internal(format!("a generator that gives {other}"))),
        };
        if !names.is_empty() && names.len() != fields.len() {
            let made: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            return Err(Error::new(
                ErrorCode::InvalidExpression,
                format!(
                    "the generator makes {} columns ({}), but is given {} names ({}); name each column, or none",
                    made.len(),
                    made.join(", "),
                    names.len(),
                    names.join(", ")
                ),
            ));
        }
        let own = fields.iter().enumerate().map(|(index, field)| {
            let name = names.get(index).unwrap_or(field.name());
            Arc::new(field.as_ref().clone().with_name(name).with_nullable(true).with_metadata(metadata.clone()))
        });
        let schema = Arc::new(Schema::new(schema.fields().iter().cloned().chain(own).collect::<Vec<_>>()));
        let (input, id) = (self.plan.clone(), next_relation());
        let qualifier = qualifier.map(str::to_string);
        Ok(self.with(LogicalPlan::Generate { input, generator, outer, qualifier, schema, id }))
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

/// Refuses a name that is meant to be that of a column.
pub(super) fn no_field_named(schema: &Schema, name: &str) -> Error {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let names = names.join(", ");
    Error::new(ErrorCode::UnresolvedFieldName, format!("there is no column named {name:?} among ({names})"))
        .with_parameter("colName", name)
        .with_parameter("fieldNames", names)
}
