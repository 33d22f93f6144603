//! Frames as values (`df.scalar()`, `df.exists()`, `column.isin(df)`) and lateral joins, both of which may mention the rows around them.
//!
//! Comes in: a frame, and relations that stand in its expressions or beside it. Goes out: the frame with a column for each value, or joined. Fails:
//! frames of several columns as a value, a scalar of more than one row when it is computed, and operations on rows around that there are not here.
//!
//! A relation that mentions columns of the rows around it is computed for all of these at once: where such a column is first mentioned, the rows
//! are crossed with the distinct values of those columns, which every operation above carries along as hidden columns and groups by. In the
//! end they are what the two are joined by.

use super::{Planner, children, local, required, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::functions::{col, count_all};
use crate::frame::{Column, DataFrame, WindowSpec};
use crate::functions::conditional::too_many_rows;
use crate::plan::LogicalPlan;
use crate::plan::logical::JoinType;
use crate::plan::resolve::{output_name, quoted, split_path, strip_alias};
use crate::plan::scope::next_relation;
use crate::sql::{SUBQUERY, subquery_shown};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, SortExpr, binary_expr};
use datafusion::prelude::lit;
use proto::expression::ExprType;
use proto::relation::RelType;
use proto::subquery_expression::SubqueryType;
use spark_connect_proto as proto;
use std::collections::HashSet;

/// A relation that an expression mentions.
pub(super) struct Pending {
    /// The name of the column that stands for it.
    name: String,
    plan_id: i64,
    kind: SubqueryType,
    /// What is looked for in it.
    values: Vec<Expr>,
}

/// The rows around a relation that is being made.
pub(super) struct Around {
    /// Their frame, by which names are found.
    frame: DataFrame,
    /// Positions of the columns that may be mentioned.
    columns: Vec<usize>,
    /// The distinct values of these, in hidden columns.
    rows: DataFrame,
    hidden: Vec<String>,
}

/// The column that stands for a relation until [`attached`].
pub(super) fn stands(planner: &Planner<'_>, subquery: &proto::SubqueryExpression, values: Vec<Expr>) -> Result<Expr> {
    let kind = subquery.subquery_type();
    if !matches!(kind, SubqueryType::Scalar | SubqueryType::Exists | SubqueryType::In) {
        return unsupported("a DataFrame as an argument of a table function (asTable()) is not supported");
    }
    let name = format!("{SUBQUERY}{}#", next_relation());
    let stands = named(&name);
    planner.pending.lock().push(Pending { name, plan_id: subquery.plan_id, kind, values });
    Ok(stands)
}

fn named(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new_unqualified(quoted(name)))
}

impl Planner<'_> {
    /// Refuses relations in expressions where nothing attaches them.
    pub(super) fn refuse_pending(&self) -> Result<()> {
        match self.pending.lock().drain(..).next() {
            Some(_) => unsupported(
                "a DataFrame as a value (scalar(), exists(), isin()) stands in select, filter and withColumn only; add it as a column first",
            ),
            None => Ok(()),
        }
    }

    /// Whether nothing stands in expressions but what frames have.
    pub(super) fn is_plain(&self) -> bool {
        self.around.is_none() && self.pending.lock().is_empty()
    }

    /// The names of the hidden columns.
    pub(super) fn hidden(&self) -> &[String] {
        self.around.as_ref().map_or(&[], |around| &around.hidden)
    }

    /// The hidden columns that a frame carries.
    pub(super) fn carried(&self, frame: &DataFrame) -> Vec<Expr> {
        let Some(around) = &self.around else { return vec![] };
        match around.hidden.first().is_some_and(|name| frame.schema().column_with_name(name).is_some()) {
            true => around.hidden.iter().map(|name| named(name)).collect(),
            false => vec![],
        }
    }

    /// Expressions over a frame, which may mention the rows around it: then the frame is one that has them beside its own.
    pub(super) fn beside(&self, frame: DataFrame, expressions: Vec<Expr>) -> Result<(DataFrame, Vec<Expr>)> {
        let Some(around) = &self.around else { return Ok((frame, expressions)) };
        let (own, outer) = (frame.plan().scope(), around.frame.plan().scope());
        let mut mentioned = false;
        let mut rewritten = Vec::with_capacity(expressions.len());
        for expression in expressions {
            let over = expression.transform_up(|e| {
                let Expr::Column(column) = &e else { return Ok(Transformed::no(e)) };
                if column.name.ends_with('*') || column.name.starts_with(SUBQUERY) {
                    return Ok(Transformed::no(e));
                }
                match own.find(column) {
                    Err(error) if error.code() == ErrorCode::UnresolvedColumn => {}
                    _ => return Ok(Transformed::no(e)),
                }
                let Ok(found) = outer.find(column) else { return Ok(Transformed::no(e)) };
                // A column, or a field of one.
                let hidden = found.transform_up(|e| {
                    let Expr::Column(column) = &e else { return Ok(Transformed::no(e)) };
                    let place = outer.position(&column.name);
                    let place = place.and_then(|at| around.columns.iter().position(|known| *known == at));
                    match place.and_then(|place| around.hidden.get(place)) {
                        Some(name) => Ok(Transformed::yes(named(name))),
                        None => Err(Error::new(
                            ErrorCode::UnsupportedOperation,
                            format!("{}: a map of the rows around cannot be mentioned in a frame inside", column.name),
                        )
                        .into()),
                    }
                })?;
                mentioned = true;
                let name = output_name(&e);
                Ok(Transformed::yes(strip_alias(&hidden.data).clone().alias(name)))
            })?;
            rewritten.push(over.data);
        }
        match mentioned && self.carried(&frame).is_empty() {
            true => Ok((frame.cross_join(&around.rows)?, rewritten)),
            false => Ok((frame, rewritten)),
        }
    }

    /// Makes a relation that may mention the rows of `frame`; with what there is around it, if it does.
    async fn inside(&mut self, frame: &DataFrame, relation: &proto::Relation) -> Result<(DataFrame, Option<Around>)> {
        let mentioned = mentioned(relation)?;
        let scope = frame.plan().scope();
        let fields = frame.schema().fields().iter().enumerate();
        let columns: Vec<usize> = fields
            .filter(|(_, field)| !matches!(field.data_type(), arrow::datatypes::DataType::Map(_, _)))
            .filter(|(_, field)| mentioned.as_ref().is_none_or(|names| names.contains(&field.name().to_lowercase())))
            .map(|(at, _)| at)
            .collect();
        let id = next_relation();
        let hidden: Vec<String> = columns.iter().map(|at| format!("#around{id}.{at}")).collect();
        let renamed = columns.iter().zip(&hidden);
        let renamed = renamed.filter_map(|(at, name)| Some(Column::from(scope.reference_to(*at)?.alias(name))));
        // Nothing around can be mentioned in what mentions no name of it.
        let around = match columns.is_empty() || frame.is_streaming() {
            true => None,
            false => {
                let rows = frame.select(renamed)?.distinct()?;
                Some(Around { frame: frame.clone(), columns, rows, hidden })
            }
        };
        let before = std::mem::replace(&mut self.around, around);
        let frames = std::mem::take(&mut self.frames);
        self.outside.push(frames);
        let made = self.nested(relation).await;
        if let Some(frames) = self.outside.pop() {
            self.frames = frames;
        }
        let around = std::mem::replace(&mut self.around, before);
        let made = made?;
        let carries = around.as_ref().and_then(|around| around.hidden.first());
        let carries = carries.is_some_and(|name| made.schema().column_with_name(name).is_some());
        Ok((made, around.filter(|_| carries)))
    }

    /// The frame with a column for each relation that expressions over it mention.
    pub(super) async fn attached(&mut self, frame: DataFrame) -> Result<DataFrame> {
        let pending = std::mem::take(&mut *self.pending.lock());
        let mut frame = frame;
        for subquery in pending {
            let relation = self.subplans.get(&subquery.plan_id).cloned();
            let relation = relation.ok_or_else(|| {
                Error::new(
                    ErrorCode::InvalidExpression,
                    "the plan mentions a DataFrame as a value, and does not bring it",
                )
            })?;
            let (rows, around) = self.inside(&frame, &relation).await?;
            let (beside, values) = self.beside(frame, subquery.values)?;
            frame = value(&beside, &rows, around.as_ref(), subquery.kind, values, &subquery.name)?;
        }
        Ok(frame)
    }

    /// `lateralJoin`.
    pub(super) async fn lateral(&mut self, left: &DataFrame, join: &proto::LateralJoin) -> Result<DataFrame> {
        let right = required(join.right.as_deref(), "the right side of a lateral join")?;
        let (rows, around) = self.inside(left, right).await?;
        let condition = join.join_condition.as_ref().map(|condition| self.expression(condition)).transpose()?;
        let condition = condition.map(|condition| condition.0).transpose()?;
        self.refuse_pending()?;
        let join_type = match join.join_type() {
            proto::join::JoinType::LeftOuter => JoinType::LeftOuter,
            _ => JoinType::Inner,
        };
        let Some(around) = around else {
            return match (condition, join_type) {
                (None, JoinType::Inner) => left.cross_join(&rows),
                (condition, kind) => left.join_where(&rows, Some(condition.unwrap_or_else(|| lit(true))), kind),
            };
        };
        let width = left.schema().fields().len();
        let (with_keys, on) = keyed(left, &around)?;
        let added = with_keys.schema().fields().len();
        let on = condition.into_iter().fold(on, Expr::and);
        let joined = with_keys.join_where(&rows, Some(on), join_type)?;
        let shown = joined.plan().scope().all().into_iter().zip(joined.schema().fields()).enumerate();
        let shown =
            shown.filter(|(at, (_, field))| *at < width || (*at >= added && !around.hidden.contains(field.name())));
        joined.select(shown.map(|(_, (column, _))| Column::from(column)).collect::<Vec<_>>())
    }

    /// A selection of rows that carry the rows around them, or of the one row of no frame.
    pub(super) fn carrying_selection(&self, frame: &DataFrame, columns: Vec<Column>) -> Result<DataFrame> {
        frame.select(columns.into_iter().chain(self.carried(frame).into_iter().map(Column::from)).collect::<Vec<_>>())
    }

    /// An aggregation of rows that carry the rows around them: by these too. Without keys, there is a row also for those that have no rows.
    pub(super) fn carrying_aggregate(
        &self,
        frame: &DataFrame,
        keys: Vec<Column>,
        calls: Vec<Column>,
    ) -> Result<DataFrame> {
        let (Some(around), hidden) = (&self.around, self.carried(frame)) else {
            return frame.group_by(keys)?.agg(calls);
        };
        let hidden: Vec<Column> = hidden.into_iter().map(Column::from).collect();
        let grouped = frame.group_by(hidden.iter().cloned().chain(keys.iter().cloned()).collect::<Vec<_>>())?;
        let count = hidden.len();
        if !keys.is_empty() {
            let made = grouped.agg(calls)?;
            let mut all = made.plan().scope().all();
            all.rotate_left(count);
            return made.select(all.into_iter().map(Column::from));
        }
        let names = calls.iter().map(|call| Ok(output_name(&call.clone().0?))).collect::<Result<Vec<_>>>()?;
        let made = grouped.agg(calls.clone())?;
        let columns = made.plan().scope().all();
        let renamed =
            columns.into_iter().enumerate().map(|(at, column)| Column::from(column.alias(format!("#made{at}"))));
        let made = made.select(renamed.chain([Column::from(lit(true).alias("#made"))]).collect::<Vec<_>>())?;
        // What the aggregates are of no rows.
        let none = frame.filter(Column::from(lit(false)))?.agg(calls)?;
        let empty = none.plan().scope().all().into_iter().enumerate();
        let none = none
            .select(empty.map(|(at, column)| Column::from(column.alias(format!("#none{at}")))).collect::<Vec<_>>())?;
        let keys: Vec<(Expr, Expr)> =
            around.hidden.iter().enumerate().map(|(at, name)| (named(name), named(&format!("#made{at}")))).collect();
        let joined = around.rows.join_where(&made, Some(same(&keys)?), JoinType::LeftOuter)?.cross_join(&none)?;
        let mut shown = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let (there, otherwise) = (named(&format!("#made{}", count + at)), named(&format!("#none{at}")));
            shown.push(case(named("#made").is_not_null(), there, otherwise).alias(name));
        }
        joined.select(shown.into_iter().map(Column::from).chain(hidden).collect::<Vec<_>>())
    }

    /// The first rows of those that belong to each of the rows around, in the order that they have.
    pub(super) fn carrying_limit(&self, frame: &DataFrame, rows: u64) -> Result<DataFrame> {
        let hidden = self.carried(frame).into_iter().map(Column::from).collect::<Vec<_>>();
        let LogicalPlan::Sort { keys, input } = frame.plan().as_ref() else {
            return unsupported("limit() of rows that depend on the row around them needs an orderBy() below it");
        };
        let scope = input.scope();
        let own = |expr: &Expr| -> Result<Expr> {
            let own = expr.clone().transform_up(|e| match &e {
                Expr::Column(column) => {
                    let reference = scope.position(&column.name).and_then(|at| scope.reference_to(at));
                    Ok(reference.map_or(Transformed::no(e), Transformed::yes))
                }
                _ => Ok(Transformed::no(e)),
            })?;
            Ok(own.data)
        };
        let order = keys.iter().map(|key| Ok(SortExpr { expr: own(&key.expr)?, ..key.clone() }));
        let spec = WindowSpec::partition_by(hidden).order_by(order.collect::<Vec<_>>());
        let number = Column::from(self.session().functions().call("row_number", vec![], false)?).over(&spec);
        let below = DataFrame::from_plan(frame.session(), input.clone());
        let numbered = below.with_column("#row", number)?;
        let few = numbered.filter(col("`#row`").lt_eq(i64::try_from(rows).unwrap_or(i64::MAX)))?;
        few.sort(
            keys.iter().map(|key| Ok(SortExpr { expr: own(&key.expr)?, ..key.clone() })).collect::<Result<Vec<_>>>()?,
        )?
        .select(frame.plan().scope().all().into_iter().map(Column::from).collect::<Vec<_>>())
    }

    /// A function that makes rows of columns of the rows around.
    pub(super) fn carrying_generator(&self, arguments: Vec<Expr>) -> Result<Option<(DataFrame, Vec<Expr>)>> {
        let Some(_) = &self.around else { return Ok(None) };
        let row = local::one_row(self.session())?;
        let (rows, arguments) = self.beside(row, arguments)?;
        Ok((!self.carried(&rows).is_empty()).then_some((rows, arguments)))
    }
}

/// The names of columns that a relation mentions, in lower case; None where there may be more.
fn mentioned(relation: &proto::Relation) -> Result<Option<HashSet<String>>> {
    let mut names = HashSet::new();
    let mut relations = vec![relation];
    while let Some(relation) = relations.pop() {
        relations.extend(children::relations(relation)?);
        let mut expressions: Vec<&proto::Expression> = match &relation.rel_type {
            Some(RelType::Filter(filter)) => filter.condition.iter().collect(),
            Some(RelType::Project(project)) => project.expressions.iter().collect(),
            Some(RelType::Aggregate(aggregate)) => {
                aggregate.grouping_expressions.iter().chain(&aggregate.aggregate_expressions).collect()
            }
            Some(RelType::Sort(sort)) => sort.order.iter().filter_map(|order| order.child.as_deref()).collect(),
            Some(RelType::WithColumns(with)) => with.aliases.iter().filter_map(|alias| alias.expr.as_deref()).collect(),
            Some(RelType::Join(join)) => join.join_condition.iter().collect(),
            Some(RelType::UnresolvedTableValuedFunction(call)) => call.arguments.iter().collect(),
            Some(RelType::WithRelations(_) | RelType::LateralJoin(_)) => return Ok(None),
            _ => vec![],
        };
        while let Some(expression) = expressions.pop() {
            match &expression.expr_type {
                Some(ExprType::UnresolvedAttribute(attribute)) => {
                    names.extend(split_path(&attribute.unparsed_identifier).iter().map(|part| part.to_lowercase()));
                }
                Some(ExprType::ExpressionString(_)) => return Ok(None),
                _ => expressions.extend(children::expressions(expression)?),
            }
        }
    }
    Ok(Some(names))
}

/// The frame with what rows of `around` are found by, and the condition that finds them.
fn keyed(frame: &DataFrame, around: &Around) -> Result<(DataFrame, Expr)> {
    let (scope, id) = (frame.plan().scope(), next_relation());
    let mut keys = Vec::new();
    let mut columns = scope.all();
    for (at, hidden) in around.columns.iter().zip(&around.hidden) {
        let name = format!("#key{id}.{at}");
        let own = scope.reference_to(*at).ok_or_else(|| Error::internal("a column without a place"))?;
        columns.push(own.alias(&name));
        keys.push((named(&name), named(hidden)));
    }
    Ok((frame.select(columns.into_iter().map(Column::from))?, same(&keys)?))
}

/// Whether these are the same; NULL is the same as NULL. The hashes are what a join is quick by.
fn same(pairs: &[(Expr, Expr)]) -> Result<Expr> {
    use crate::plan::spark_function::SparkFunction;
    let hash = SparkFunction::named("xxhash64")?;
    let (one, other): (Vec<Expr>, Vec<Expr>) = pairs.iter().cloned().unzip();
    let equal = binary_expr(hash.clone().call(one), Operator::Eq, hash.call(other));
    let pairs = pairs.iter().cloned();
    let mut each = pairs.map(|(one, other)| Column::from(one).eq_null_safe(Column::from(other)).0);
    each.try_fold(equal, |all, pair| Ok(all.and(pair?)))
}

fn case(when: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case::new(None, vec![(Box::new(when), Box::new(then))], Some(Box::new(otherwise))))
}

/// The frame with the value of a relation in a column behind its own.
fn value(
    frame: &DataFrame,
    rows: &DataFrame,
    around: Option<&Around>,
    kind: SubqueryType,
    values: Vec<Expr>,
    name: &str,
) -> Result<DataFrame> {
    let width = frame.schema().fields().len();
    let none = Vec::new();
    let hidden = around.map_or(&none, |around| &around.hidden);
    let own = rows.plan().scope().all().into_iter().zip(rows.schema().fields());
    let own: Vec<Expr> = own.filter(|(_, field)| !hidden.contains(field.name())).map(|(column, _)| column).collect();
    let at = |place: usize| format!("{name}{place}");
    let carried = |rows: &DataFrame| -> Result<Vec<Column>> {
        let scope = rows.plan().scope();
        let place = |hidden: &String| rows.schema().index_of(hidden).ok().and_then(|place| scope.reference_to(place));
        hidden
            .iter()
            .map(|hidden| Ok(Column::from(place(hidden).ok_or_else(|| Error::internal("a row around was lost"))?)))
            .collect()
    };
    // Beside each row what there is for it.
    let join = |frame: &DataFrame, facts: &DataFrame, more: Option<Expr>| -> Result<DataFrame> {
        match (around, more) {
            (None, None) => frame.cross_join(facts),
            (None, Some(on)) => frame.join_where(facts, Some(on), JoinType::LeftOuter),
            (Some(around), more) => {
                let (keyed, on) = keyed(frame, around)?;
                let on = more.into_iter().fold(on, Expr::and);
                let joined = keyed.join_where(facts, Some(on), JoinType::LeftOuter)?;
                // The rows around of this relation are found; those of the next have names of their own.
                let shown = joined.plan().scope().all().into_iter().zip(joined.schema().fields());
                let shown = shown.filter(|(_, field)| !hidden.contains(field.name()));
                joined.select(shown.map(|(column, _)| Column::from(column)).collect::<Vec<_>>())
            }
        }
    };
    let finish = |joined: DataFrame, value: Expr| -> Result<DataFrame> {
        let kept = joined.plan().scope().all().into_iter().take(width);
        joined.select(kept.chain([value.alias(name)]).map(Column::from).collect::<Vec<_>>())
    };
    match kind {
        SubqueryType::Scalar => {
            let [only] = own.as_slice() else {
                return Err(Error::new(
                    ErrorCode::InvalidExpression,
                    format!("a DataFrame as a value must have one column, and has {}", own.len()),
                ));
            };
            let first = rows.session().functions().call("first", vec![only.clone()], false)?;
            let calls = [Column::from(first).alias(at(0)), count_all().alias(at(1))];
            let facts = rows.group_by(carried(rows)?)?.agg(calls)?;
            let joined = join(frame, &facts, None)?;
            finish(joined, case(too_many_rows(named(&at(1))), Expr::Literal(ScalarValue::Null, None), named(&at(0))))
        }
        SubqueryType::Exists => {
            let facts = rows.group_by(carried(rows)?)?.agg([count_all().alias(at(0))])?;
            let some = binary_expr(named(&at(0)), Operator::Gt, lit(0i64));
            finish(join(frame, &facts, None)?, case(named(&at(0)).is_not_null(), some, lit(false)))
        }
        _ => {
            if own.len() != values.len() {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!("isin(DataFrame): {} values are compared with {} columns", values.len(), own.len()),
                ));
            }
            let listed = own.iter().enumerate().map(|(place, column)| Column::from(column.clone().alias(at(place))));
            let listed = listed.chain(carried(rows)?).collect::<Vec<_>>();
            let distinct = rows.select(listed)?.distinct()?;
            let mark = Column::from(lit(true).alias(at(values.len())));
            let all = distinct.plan().scope().all().into_iter().map(Column::from).chain([mark]);
            let marked = distinct.select(all.collect::<Vec<_>>())?;
            let open =
                (0..own.len()).map(|place| named(&at(place)).is_null()).reduce(Expr::or).unwrap_or_else(|| lit(false));
            let (rows_at, open_at) = (at(values.len() + 1), at(values.len() + 2));
            let unknown = rows.session().functions().call("count_if", vec![open], false)?;
            let facts = distinct.group_by(carried(&distinct)?)?;
            let facts = facts.agg([count_all().alias(&rows_at), Column::from(unknown).alias(&open_at)])?;
            // Values as columns of their own, so that they are found beside the rows of the relation.
            let given = |place: usize| format!("{name}v{place}");
            let own = frame.plan().scope().all().into_iter();
            let with_values = values.into_iter().enumerate().map(|(place, value)| value.alias(given(place)));
            let known: Vec<Column> = own.chain(with_values).map(Column::from).collect();
            let places = known.len() - width;
            let with_values = frame.select(known)?;
            let counted = join(&with_values, &facts, None)?;
            let equal = (0..places).map(|place| binary_expr(named(&given(place)), Operator::Eq, named(&at(place))));
            let joined = join(&counted, &marked, equal.reduce(Expr::and))?;
            let unknown = (0..places).map(|place| named(&given(place)).is_null()).reduce(Expr::or);
            let unknown = unknown.into_iter().fold(binary_expr(named(&open_at), Operator::Gt, lit(0i64)), Expr::or);
            let nothing = named(&rows_at).is_null().or(binary_expr(named(&rows_at), Operator::Eq, lit(0i64)));
            let arms = vec![
                (Box::new(named(&at(places)).is_not_null()), Box::new(lit(true))),
                (Box::new(nothing), Box::new(lit(false))),
                (Box::new(unknown), Box::new(Expr::Literal(ScalarValue::Boolean(None), None))),
            ];
            finish(joined, Expr::Case(Case::new(None, arms, Some(Box::new(lit(false))))))
        }
    }
}

/// The expression under the name that Spark gives it, where relations stand in it.
pub(super) fn shown(column: Column) -> Result<Column> {
    let expr = column.0?;
    let name = output_name(&expr);
    match name.contains(SUBQUERY) {
        true => Ok(Column::from(expr.alias(subquery_shown(name)))),
        false => Ok(Column::from(expr)),
    }
}
