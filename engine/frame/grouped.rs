//! [`GroupedFrame`]: rows by their keys, and what is made of each group.
//!
//! Comes in: a frame and keys, in one set or in several ([`DataFrame::rollup`] and the like). Goes out: frames of groups. Fails: unknown
//! columns, types that do not fit, and columns that are neither keys nor inside an aggregate.
//!
//! Several sets of keys are one: each row is repeated for every set, with NULL in the keys that the set has not and the set's number as one
//! more key. So they work wherever an aggregation does.

use super::column::{Column, IntoColumn};
use super::data_frame::DataFrame;
use super::functions::count_all;
use super::pivot::Pivot;
use super::processor::{StatefulProcessor, TimeMode};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::placed;
use crate::plan::custom::Factory;
use crate::plan::grouping::{is_window, within_windows};
use crate::plan::logical::{LogicalPlan, Named, described};
use crate::plan::resolve::{df_schema, field_of, output_name, quoted, refuse_aggregates, resolve};
use crate::plan::scope::{distinct_names, next_relation, reference};
use crate::plan::spark_function::{Kind, SparkFunction};
use crate::types::IntoSchema;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::prelude::lit;
use std::collections::HashSet;
use std::sync::Arc;

/// Most sets of keys: a row is repeated for each.
const MOST_SETS: usize = 4096;
/// Name of the number of a row's set of keys, among the keys.
const SET_ID: &str = "#grouping_id";
/// Name of the position of a row's set among sets that are the same.
const SET_POSITION: &str = "#grouping_position";

/// A frame grouped by keys.
#[derive(Clone)]
pub struct GroupedFrame {
    pub(super) frame: DataFrame,
    pub(super) keys: Vec<Named>,
    /// The positions of the keys in each set; None where all keys are the one set.
    pub(super) sets: Option<Vec<Vec<usize>>>,
    pub(super) pivot: Option<Pivot>,
}

impl DataFrame {
    /// Groups rows by columns, one of which may be a [`window`](super::functions::window).
    ///
    /// # Errors
    /// Unknown columns.
    pub fn group_by<C: IntoColumn>(&self, keys: impl IntoIterator<Item = C>) -> Result<GroupedFrame> {
        let mut named = Vec::new();
        for key in keys {
            named.push(self.key(key.into_column())?);
        }
        Ok(GroupedFrame { frame: self.clone(), keys: named, sets: None, pivot: None })
    }

    fn key(&self, key: Column) -> Result<Named> {
        let expr = self.expression(key)?;
        let name = output_name(&expr);
        let resolved = resolve(expr, &self.plan().scope(), &self.session().conf().environment()?)?;
        refuse_aggregates(&resolved, &name, ErrorCode::InvalidExpression)?;
        Ok(Named { expr: resolved, name })
    }

    /// One group of all rows.
    ///
    /// # Errors
    /// As [`GroupedFrame::agg`].
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> Result<DataFrame> {
        self.group_by::<Column>([])?.agg(aggregates)
    }

    /// Groups rows by all of the columns, by all but the last, and so on to one group of all rows; a key that a group is not made by is
    /// NULL in it.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let sales = session.sql("SELECT * FROM VALUES ('Oslo', 'a', 1), ('Oslo', 'b', 2) AS t(city, item, n)").await?;
    /// let sums = sales.rollup(["city", "item"])?.agg([sum("n").alias("n"), grouping_id().alias("level")])?;
    /// assert_eq!(sums.count().await?, 4);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`DataFrame::grouping_sets`].
    pub fn rollup<C: IntoColumn>(&self, keys: impl IntoIterator<Item = C>) -> Result<GroupedFrame> {
        let keys: Vec<Column> = keys.into_iter().map(IntoColumn::into_column).collect();
        let sets = (0..=keys.len()).rev().map(|length| (0..length).collect()).collect();
        self.grouped_by_sets(keys, sets)
    }

    /// Groups rows by every subset of the columns.
    ///
    /// # Errors
    /// As [`DataFrame::grouping_sets`].
    pub fn cube<C: IntoColumn>(&self, keys: impl IntoIterator<Item = C>) -> Result<GroupedFrame> {
        let keys: Vec<Column> = keys.into_iter().map(IntoColumn::into_column).collect();
        if keys.len() > MOST_SETS.ilog2() as usize {
            return Err(too_many_sets());
        }
        let set = |mask: usize| (0..keys.len()).filter(|at| mask >> (keys.len() - 1 - at) & 1 == 0).collect();
        let sets = (0..1usize << keys.len()).map(set).collect();
        self.grouped_by_sets(keys, sets)
    }

    /// Groups rows by each of the sets of columns. The result has `keys`, then what else the sets name.
    ///
    /// # Errors
    /// Unknown columns, and more sets than a row can be repeated for.
    pub fn grouping_sets<C: IntoColumn, K: IntoColumn>(
        &self,
        sets: impl IntoIterator<Item = Vec<C>>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<GroupedFrame> {
        let mut known: Vec<(Expr, Column)> = Vec::new();
        let place = |column: Column, known: &mut Vec<(Expr, Column)>| -> Result<usize> {
            let expr = self.key(column.clone())?.expr;
            Ok(known.iter().position(|(other, _)| *other == expr).unwrap_or_else(|| {
                known.push((expr, column));
                known.len() - 1
            }))
        };
        for key in keys {
            place(key.into_column(), &mut known)?;
        }
        let mut places = Vec::new();
        for set in sets {
            let set = set.into_iter().map(|column| place(column.into_column(), &mut known));
            places.push(set.collect::<Result<Vec<usize>>>()?);
        }
        self.grouped_by_sets(known.into_iter().map(|(_, column)| column).collect(), places)
    }

    /// Groups by the keys at these positions.
    pub(crate) fn grouped_by_sets(&self, keys: Vec<Column>, sets: Vec<Vec<usize>>) -> Result<GroupedFrame> {
        // The number of a set has a bit for each key.
        if sets.len() > MOST_SETS || keys.len() > 63 {
            return Err(too_many_sets());
        }
        let mut frame = self.clone();
        let mut named = Vec::new();
        for (at, key) in keys.into_iter().enumerate() {
            let expr = frame.expression(key)?;
            let everywhere = sets.iter().all(|set| set.contains(&at));
            // Overlapping windows make several rows of one before these are repeated.
            let expr = match SparkFunction::generator(&expr) {
                Some(_) if !everywhere => {
                    let name = output_name(&expr);
                    let (with_rows, mut columns) = frame.generated(expr)?;
                    frame = with_rows;
                    columns.pop().ok_or_else(|| Error::internal("a window without a column"))?.alias(name)
                }
                _ => expr,
            };
            named.push(frame.key(Column(Ok(expr)))?);
        }
        Ok(GroupedFrame { frame, keys: named, sets: Some(sets), pivot: None })
    }
}

fn too_many_sets() -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "rows can be grouped by at most {MOST_SETS} sets of 63 keys at once; group by fewer keys, or use a union of aggregations"
        ),
    )
}

/// What an aggregation groups by.
struct Keys {
    frame: DataFrame,
    /// Keys of the aggregation.
    keys: Vec<Named>,
    /// What each of the user's keys is written as, and the name of its column; the first of [`Keys::keys`] are these.
    written: Vec<Named>,
    /// Where the column of the set's number stands, if there are sets.
    set_id: Option<String>,
}

impl GroupedFrame {
    /// The keys and aggregates of each group. An aggregate may stand in a larger expression.
    ///
    /// # Errors
    /// Unknown columns, types that do not fit, and columns that are neither keys nor inside an aggregate.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> Result<DataFrame> {
        let aggregates: Vec<Column> = aggregates.into_iter().collect();
        if let Some(pivot) = &self.pivot {
            return self.pivoted(pivot, aggregates);
        }
        let mut taken = HashSet::new();
        let Keys { frame, keys, written, set_id } = self.expanded(&mut taken)?;
        let environment = frame.session().conf().environment()?;
        let (input, scope) = (frame.schema(), frame.plan().scope());
        let (mut calls, mut sources): (Vec<Named>, Vec<Option<Expr>>) = (Vec::new(), Vec::new());
        let mut outputs: Vec<(Expr, String)> = Vec::new();
        for aggregate in aggregates {
            let expr = frame.expression(aggregate)?;
            let name = output_name(&expr);
            let resolved = resolve(expr.clone(), &scope, &environment)?;
            let (before, whole) = (calls.len(), matches!(resolved, Expr::AggregateFunction(_)));
            let output = extract_calls(resolved, &name, &written, set_id.as_deref(), &mut calls, &mut taken)?;
            // What the user says of a call's column is said of the call.
            sources.extend((before..calls.len()).map(|_| whole.then(|| expr.clone())));
            outputs.push((output, name));
        }
        let fields = keys.iter().map(|named| field_of(&named.expr, &named.name, input));
        let made = calls.iter().zip(&sources).map(|(named, source)| {
            let field = field_of(&named.expr, &named.name, input)?;
            Ok(match source {
                Some(source) => described(field, source),
                None => field,
            })
        });
        let schema: SchemaRef = Arc::new(Schema::new(fields.chain(made).collect::<Result<Vec<Field>>>()?));
        let plain = set_id.is_none()
            && keys.iter().zip(&self.keys).all(|(key, wanted)| key.name == wanted.name)
            && outputs.len() == calls.len()
            && outputs.iter().zip(&calls).all(|((e, name), call)| *e == column(&call.name) && *name == call.name);
        let mut columns: Vec<Expr> =
            keys.iter().zip(&self.keys).map(|(key, wanted)| column(&key.name).alias(&wanted.name)).collect();
        columns.extend(outputs.into_iter().map(|(e, name)| e.alias(name)));
        // A window that is a key drops the rows without one itself.
        let inner = keys.iter().filter(|key| !is_window(&key.expr)).chain(&calls).map(|named| &named.expr);
        let (input, id) = (within_windows(frame.plan(), inner)?, next_relation());
        let aggregated = frame.with(LogicalPlan::Aggregate { input, keys, aggregates: calls, schema, id });
        if plain { Ok(aggregated) } else { aggregated.project(columns) }
    }

    /// The keys as an aggregation takes them; where there are several sets, over rows that are repeated for each.
    fn expanded(&self, taken: &mut HashSet<String>) -> Result<Keys> {
        let mut keys = Vec::new();
        for key in &self.keys {
            keys.push(Named { expr: key.expr.clone(), name: distinct(&key.name, taken) });
        }
        let written = keys.clone();
        let Some(sets) = &self.sets else {
            return Ok(Keys { frame: self.frame.clone(), keys, written, set_id: None });
        };
        let environment = self.frame.session().conf().environment()?;
        let input = df_schema(self.frame.schema())?;
        let lost: Vec<usize> = (0..keys.len()).filter(|at| sets.iter().any(|set| !set.contains(at))).collect();
        let repeated = (1..sets.len()).any(|at| sets.iter().take(at).any(|earlier| same_set(earlier, &sets[at])));
        let mut fields = Vec::new();
        for at in &lost {
            fields.push(Field::new(format!("#key{at}"), keys[*at].expr.get_type(input.as_ref())?, true));
        }
        fields.push(Field::new(SET_ID, DataType::Int64, true));
        if repeated {
            fields.push(Field::new(SET_POSITION, DataType::Int64, true));
        }
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut rows = Vec::new();
        for (position, set) in sets.iter().enumerate() {
            let mut values = Vec::new();
            for (at, field) in lost.iter().zip(&fields) {
                values.push(match set.contains(at) {
                    true => keys[*at].expr.clone(),
                    false => Expr::Literal(ScalarValue::try_from(field.data_type())?, None),
                });
            }
            let missing = |at: usize| i64::from(!set.contains(&at)) << (keys.len() - 1 - at);
            values.push(lit((0..keys.len()).map(missing).sum::<i64>()));
            if repeated {
                values.push(lit(position as i64));
            }
            rows.push(SparkFunction::new(Kind::MakeStruct { names: names.clone() }).call(values));
        }
        let rows = SparkFunction::named("array")?.within(&environment).call(rows);
        let generator = SparkFunction::inline()?.within(&environment).call(vec![rows]);
        let own = self.frame.schema().fields();
        let schema =
            Arc::new(Schema::new(own.iter().cloned().chain(fields.into_iter().map(Arc::new)).collect::<Vec<_>>()));
        let made = distinct_names(&schema).split_off(own.len());
        let (plan, id) = (self.frame.plan().clone(), next_relation());
        let frame = self.frame.with(LogicalPlan::Generate {
            input: plan,
            generator,
            outer: false,
            qualifier: None,
            schema,
            id,
        });
        for (at, name) in lost.iter().zip(&made) {
            keys[*at].expr = reference(name);
        }
        let hidden = made.iter().skip(lost.len());
        let hidden: Vec<Named> =
            hidden.map(|name| Named { expr: reference(name), name: distinct(name, taken) }).collect();
        let set_id = hidden.first().map(|named| named.name.clone());
        keys.extend(hidden);
        Ok(Keys { frame, keys, written, set_id })
    }

    /// What `processor` makes of the rows of each group, with state and timers of its own: see [`StatefulProcessor`]. It gives rows of
    /// `output`, a schema. The query's output mode is append or update, which make no difference to it.
    ///
    /// # Errors
    /// Schemas that do not parse, groupings by anything but columns, frames that are not streams.
    pub fn transform_with_state(
        &self,
        processor: impl StatefulProcessor + Clone + Sync,
        output: impl IntoSchema,
        time_mode: TimeMode,
    ) -> Result<DataFrame> {
        let refuse =
            |why: &str| Err(Error::new(ErrorCode::UnsupportedOperation, format!("transform_with_state: {why}")));
        if !self.frame.is_streaming() {
            return refuse("a table has no state to go on with; use agg, or read the table as a stream");
        }
        if self.keys.is_empty() {
            return refuse("state belongs to keys; group by at least one column");
        }
        let mut columns = Vec::new();
        for key in &self.keys {
            let Expr::Column(column) = &key.expr else {
                return refuse(&format!("{:?} is not a column; add it with with_column and group by that", key.name));
            };
            columns.push(column.name.clone());
        }
        let schema = output.into_schema()?.to_arrow_schema();
        let (input, processor, id) = (self.frame.plan().clone(), Factory::of(processor), next_relation());
        Ok(self.frame.with(LogicalPlan::TransformWithState { input, columns, processor, time_mode, schema, id }))
    }

    /// Number of rows of each group, in a column `count`.
    ///
    /// # Errors
    /// As [`GroupedFrame::agg`].
    pub fn count(&self) -> Result<DataFrame> {
        self.agg([count_all().alias("count")])
    }
}

fn same_set(left: &[usize], right: &[usize]) -> bool {
    left.iter().all(|at| right.contains(at)) && right.iter().all(|at| left.contains(at))
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
/// grouping expression becomes the key's column, and what is asked about the sets of keys a question to the set's number.
fn extract_calls(
    expr: Expr,
    name: &str,
    keys: &[Named],
    set_id: Option<&str>,
    calls: &mut Vec<Named>,
    taken: &mut HashSet<String>,
) -> Result<Expr> {
    let whole = matches!(expr, Expr::AggregateFunction(_));
    let replaced = |by: Expr| Ok(Transformed::new(by, true, TreeNodeRecursion::Jump));
    let rewritten = expr.transform_down(|e| match e {
        Expr::AggregateFunction(call) => {
            let refuse = |argument| refuse_aggregates(argument, name, ErrorCode::NestedAggregate);
            call.params.args.iter().try_for_each(refuse)?;
            let e = Expr::AggregateFunction(call);
            let name = if whole { distinct(name, taken) } else { distinct(&output_name(&e), taken) };
            let by = column(&name);
            calls.push(Named { expr: e, name });
            replaced(by)
        }
        Expr::Literal(..) => Ok(Transformed::no(e)),
        other => match (keys.iter().find(|key| key.expr == other), placed::placed(&other), &other) {
            (Some(key), _, _) => replaced(column(&key.name)),
            (None, Some((function, arguments)), _) => replaced(about_sets(function, arguments, keys, set_id)?),
            (None, None, Expr::Column(c)) => Err(not_grouped(&c.name, !keys.is_empty()).into()),
            _ => Ok(Transformed::no(other)),
        },
    })?;
    Ok(rewritten.data)
}

/// Refuses a column beside aggregates that is not one of what is `grouped` by.
pub(crate) fn not_grouped(column: &str, grouped: bool) -> Error {
    let message = |way: &str| format!("the column {column:?} is neither grouped by nor inside an aggregate; {way}");
    match grouped {
        true => Error::new(ErrorCode::MissingAggregation, message("group by it too, or use any_value()"))
            .with_parameter("expression", format!("\"{column}\""))
            .with_parameter("expressionAnyValue", format!("\"any_value({column})\"")),
        false => Error::new(ErrorCode::MissingGroupBy, message("group by it, or use any_value()")),
    }
}

/// `grouping(key)` and `grouping_id(keys)` over the column of the set's number.
fn about_sets(function: &'static str, arguments: &[Expr], keys: &[Named], set_id: Option<&str>) -> Result<Expr> {
    let Some(id) = set_id.filter(|_| placed::is_grouping(function)) else {
        return Err(placed::misplaced(function));
    };
    let names = keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
    if function == "grouping_id" {
        let same = arguments.len() == keys.len() && keys.iter().zip(arguments).all(|(key, given)| key.expr == *given);
        return match arguments.is_empty() || same {
            true => Ok(column(id)),
            false => Err(Error::new(
                ErrorCode::GroupingIdColumnMismatch,
                format!(
                    "the columns of grouping_id() are not the grouping columns ({names}); name all of them in order, or none"
                ),
            )),
        };
    }
    let place = keys.iter().position(|key| arguments == std::slice::from_ref(&key.expr)).ok_or_else(|| {
        let given = arguments.iter().map(output_name).collect::<Vec<_>>().join(", ");
        Error::new(
            ErrorCode::GroupingColumnMismatch,
            format!("grouping({given}): the column is not among the grouping columns ({names}); name one of these"),
        )
    })?;
    let bit = i32::try_from(keys.len() - 1 - place).map_err(|_| Error::internal("a key without a bit"))?;
    Ok(SparkFunction::named("getbit")?.call(vec![column(id), lit(bit)]))
}
