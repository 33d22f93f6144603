//! Queries as values: `(SELECT ...)`, `IN (SELECT ...)`, `EXISTS (SELECT ...)`.
//!
//! Comes in: the queries that an expression mentions, each of which stands there as a column. Goes out: the frame with these columns beside
//! its own, by joins with the queries. A condition of a query's WHERE that compares one of its columns with one of the frame around it
//! becomes a key of the join. Fails: queries of several columns, correlations by anything but `=`, and scalar queries of more than one row,
//! when they are computed.

use super::expression::column;
use super::place::{At, Failure, Parsed};
use super::query::{Planner, Tables};
use super::relation;
use crate::error::ErrorCode;
use crate::frame::{Column, DataFrame};
use crate::functions as f;
use crate::plan::logical::{JoinType, LogicalPlan};
use crate::plan::resolve::{quoted, resolve};
use crate::plan::scope::next_relation;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion::prelude::lit;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, Spanned, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// A query that an expression mentions.
pub(super) struct Subquery {
    /// The name of the column that stands for it.
    pub name: String,
    pub kind: Kind,
    pub query: Query,
    pub span: Span,
}

/// What is asked of a query.
pub(super) enum Kind {
    /// Its one value.
    Scalar,
    /// Whether it has a row.
    Exists,
    /// Whether these values are a row of it; `negated` whether they are none, which NULL leaves open.
    In { values: Vec<Expr>, negated: bool },
}

/// Begins the names of columns that stand for queries.
pub(crate) const PREFIX: &str = "#subquery";

impl Subquery {
    /// A query, and the column that stands for it.
    pub fn new(kind: Kind, query: &Query, span: Span) -> (Self, Expr) {
        let name = format!("{PREFIX}{}#", next_relation());
        let stands = column(&quoted(&name));
        (Self { name, kind, query: query.clone(), span }, stands)
    }
}

/// A name in which queries are called as Spark does.
pub(crate) fn shown(name: String) -> String {
    let mut shown = name;
    while let Some(from) = shown.find(PREFIX) {
        let Some(length) = shown.get(from + 1..).and_then(|rest| rest.find('#')) else { return shown };
        shown.replace_range(from..from + length + 2, "scalarsubquery()");
    }
    shown
}

/// A query without those of its conditions that mention the frame around it, which are equalities of a key and an expression there.
struct Correlated {
    query: Query,
    keys: Vec<ast::Expr>,
    outer: Vec<Expr>,
}

impl Planner<'_> {
    /// The frame with a column for each query.
    pub fn attach(&self, frame: DataFrame, subqueries: Vec<Subquery>, named: &Tables) -> Parsed<DataFrame> {
        let mut frame = frame;
        for subquery in subqueries {
            let span = subquery.span;
            frame = self.attach_one(&frame, subquery, named).map_err(|failure| failure.or_at(span))?;
        }
        Ok(frame)
    }

    fn attach_one(&self, frame: &DataFrame, subquery: Subquery, named: &Tables) -> Parsed<DataFrame> {
        let Subquery { name, kind, query, span } = subquery;
        let correlated = self.correlated(frame, query, named)?;
        match kind {
            Kind::Scalar if correlated.keys.is_empty() => self.scalar(frame, &name, &correlated.query, named, span),
            Kind::Scalar => self.scalar_of_each(frame, &name, correlated, named, span),
            Kind::Exists if correlated.keys.is_empty() => {
                let rows = self.query(&correlated.query, named)?.agg([f_count()])?;
                let there = binary_expr(column("n"), Operator::Gt, lit(0i64));
                beside(frame, &rows, &[(name, there)])
            }
            Kind::Exists => {
                let rows = self.query(&with_items(&correlated, vec![], span)?, named)?;
                self.marked(frame, &name, &rows, correlated.outer, |there, _| there, span)
            }
            Kind::In { values, negated } => {
                if negated && !correlated.keys.is_empty() {
                    let message =
                        "NOT IN (SELECT ...) with a condition on the query around it is not supported; use NOT EXISTS";
                    return Err(Failure::unsupported(message, span));
                }
                let select = select_of(&correlated.query);
                let items = match (&select, correlated.keys.is_empty()) {
                    (Some(select), false) => select.projection.clone(),
                    _ => vec![],
                };
                let rows = match correlated.keys.is_empty() {
                    true => self.query(&correlated.query, named)?,
                    false => self.query(&with_items(&correlated, items, span)?, named)?,
                };
                let outer: Vec<Expr> = correlated.outer.into_iter().chain(values.iter().cloned()).collect();
                if rows.schema().fields().len() != outer.len() {
                    let message = format!(
                        "IN (SELECT ...): {} values are compared with {} columns",
                        values.len(),
                        rows.schema().fields().len() + values.len() - outer.len()
                    );
                    return Err(Failure::new(ErrorCode::DatatypeMismatch, message, span));
                }
                if !negated {
                    return self.marked(frame, &name, &rows, outer, |there, _| there, span);
                }
                // NULL among the rows, or as the value, leaves open whether a row is the value, unless there are no rows.
                let unknown = rows.plan().scope().all().into_iter().map(Expr::is_null).reduce(Expr::or);
                let unknown = unknown.ok_or_else(|| Failure::unsupported("IN (SELECT ...) needs a column", span))?;
                let counts = [("n", lit(true)), ("u", unknown)].map(|(name, counted)| {
                    let there = Expr::Case(Case::new(None, vec![(Box::new(counted), Box::new(lit(1i64)))], None));
                    Ok(Column::from(self.registry.call("count", vec![there], false)?).alias(name))
                });
                let counts = counts.into_iter().collect::<crate::Result<Vec<_>>>()?;
                let counts = rows.agg(counts)?;
                let (total, open) = (format!("{name}n"), format!("{name}u"));
                let with_counts = beside(frame, &counts, &[(total.clone(), column("n")), (open.clone(), column("u"))])?;
                let known = values.into_iter().map(Expr::is_not_null).reduce(Expr::and).unwrap_or_else(|| lit(true));
                let none = |name: &str| binary_expr(column(&quoted(name)), Operator::Eq, lit(0i64));
                let (no_rows, none_open) = (none(&total), none(&open));
                self.marked(
                    &with_counts,
                    &name,
                    &rows,
                    outer,
                    move |there, _| no_rows.or(known.and(none_open).and(!there)),
                    span,
                )
            }
        }
    }

    /// The one value of a query beside every row.
    fn scalar(&self, frame: &DataFrame, name: &str, query: &Query, named: &Tables, span: Span) -> Parsed<DataFrame> {
        let rows = self.query(query, named)?;
        let rows = rows.to_df(&["v"]).map_err(|_| one_column(rows.schema().fields().len(), span))?;
        let first = self.registry.call("first", vec![column("v")], false)?;
        let counted = rows.agg([Column::from(first).alias("v"), f_count()])?;
        let several = binary_expr(column("n"), Operator::Gt, lit(1i64));
        let error = f::conditional::too_many_rows(column("n"));
        // The error has no type of its own; where there is none, the value stands.
        let value = Expr::Case(Case::new(
            None,
            vec![(
                Box::new(binary_expr(several, Operator::And, error)),
                Box::new(Expr::Literal(ScalarValue::Null, None)),
            )],
            Some(Box::new(column("v"))),
        ));
        beside(frame, &counted, &[(name.to_string(), value)])
    }

    /// The value of an aggregate over the query's rows that belong to each row.
    fn scalar_of_each(
        &self,
        frame: &DataFrame,
        name: &str,
        correlated: Correlated,
        named: &Tables,
        span: Span,
    ) -> Parsed<DataFrame> {
        let select = select_of(&correlated.query).cloned();
        let aggregates = select.filter(|select| {
            matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty()) && select.having.is_none()
        });
        let Some(select) = aggregates else {
            return Err(Failure::unsupported(
                "a query as a value with a condition on the query around it must be one aggregate; join with it",
                span,
            ));
        };
        if select.projection.len() != 1 {
            return Err(one_column(select.projection.len(), span));
        }
        // What the aggregate is of no rows.
        let mut empty = select.clone();
        let never = ast::Expr::Value(Value::Boolean(false).with_span(span));
        empty.selection = Some(never);
        let empty = with_select(&correlated.query, empty);
        let none = self.query(&empty, named)?.to_df(&["d"])?;
        if !none.plan().any(&|plan| matches!(plan, LogicalPlan::Aggregate { keys, .. } if keys.is_empty())) {
            return Err(Failure::unsupported(
                "a query as a value with a condition on the query around it must be one aggregate; join with it",
                span,
            ));
        }
        let mut grouped = with_items(&correlated, select.projection.clone(), span)?;
        if let SetExpr::Select(select) = &mut *grouped.body {
            select.distinct = None;
            select.group_by = GroupByExpr::Expressions(correlated.keys.clone(), vec![]);
        }
        let rows = self.query(&grouped, named)?;
        let default = format!("{name}d");
        let with_default = beside(frame, &none, &[(default.clone(), column("d"))])?;
        self.marked(
            &with_default,
            name,
            &rows,
            correlated.outer,
            move |there, value| match value {
                Some(value) => Expr::Case(Case::new(
                    None,
                    vec![(Box::new(there), Box::new(value))],
                    Some(Box::new(column(&quoted(&default)))),
                )),
                None => there,
            },
            span,
        )
    }

    /// The frame joined with distinct keys (the first columns of `rows`), and what `value` makes of whether there is a partner and of the
    /// column behind the keys.
    fn marked(
        &self,
        frame: &DataFrame,
        name: &str,
        rows: &DataFrame,
        outer: Vec<Expr>,
        value: impl FnOnce(Expr, Option<Expr>) -> Expr,
        span: Span,
    ) -> Parsed<DataFrame> {
        let width = frame.schema().fields().len();
        let columns = rows.plan().scope().all();
        let has_value = columns.len() > outer.len();
        let named = columns.into_iter().enumerate().map(|(at, e)| e.alias(format!("{name}{at}")));
        let mark = lit(true).alias(format!("{name}m"));
        let keyed = relation::select(rows, named.chain([mark]).collect())?;
        let keyed = if has_value { keyed } else { keyed.distinct()? };
        let key = |at: usize| column(&quoted(&format!("{name}{at}")));
        let equal = outer.iter().enumerate().map(|(at, outer)| binary_expr(outer.clone(), Operator::Eq, key(at)));
        let on = equal.reduce(Expr::and).ok_or_else(|| Failure::unsupported("a query without keys", span))?;
        let joined = frame.join_where(&keyed, Some(on), JoinType::LeftOuter).at(span)?;
        let there = column(&quoted(&format!("{name}m"))).is_not_null();
        let value = value(there, has_value.then(|| key(outer.len())));
        let kept = joined.plan().scope().all().into_iter().take(width);
        Ok(relation::select(&joined, kept.chain([value.alias(name)]).collect())?)
    }

    /// Takes the conditions that mention `frame` out of a query.
    fn correlated(&self, frame: &DataFrame, query: Query, named: &Tables) -> Parsed<Correlated> {
        let none = |query| Ok(Correlated { query, keys: vec![], outer: vec![] });
        let Some(select) = select_of(&query).cloned() else { return none(query) };
        let Some(selection) = &select.selection else { return none(query) };
        let mut names = named.clone();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let table = self.query(&cte.query, &names)?;
                names.insert(cte.alias.name.value.to_ascii_lowercase(), table);
            }
        }
        let inner = self.from(&select.from, &select.lateral_views, &names, select.select_token.0.span)?.frame;
        let environment = self.session.conf().environment()?;
        let of = |frame: &DataFrame, tree: &ast::Expr| -> Parsed<Option<Expr>> {
            let converter = self.converter();
            let expr = converter.expr(tree)?;
            // A query inside is about the rows of this one.
            if !converter.subqueries().is_empty() {
                return Ok(Some(expr));
            }
            match resolve(expr.clone(), &frame.plan().scope(), &environment) {
                Ok(_) => Ok(Some(expr)),
                Err(error) if error.code() == ErrorCode::UnresolvedColumn => Ok(None),
                Err(error) => Err(Failure::from(error).or_at(tree.span())),
            }
        };
        let (mut own, mut keys, mut outer) = (Vec::new(), Vec::new(), Vec::new());
        for condition in conjuncts(selection) {
            if of(&inner, condition)?.is_some() {
                own.push(condition.clone());
                continue;
            }
            let pair = match condition {
                ast::Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                    match (of(&inner, left)?, of(&inner, right)?) {
                        (Some(_), None) => of(frame, right)?.map(|outer| (left.as_ref().clone(), outer)),
                        (None, Some(_)) => of(frame, left)?.map(|outer| (right.as_ref().clone(), outer)),
                        _ => None,
                    }
                }
                _ => None,
            };
            let Some((key, value)) = pair else {
                let message = format!(
                    "{condition}: a condition on the query around must be an equality with a column of it; write a join"
                );
                return Err(Failure::unsupported(message, condition.span()));
            };
            keys.push(key);
            outer.push(value);
        }
        if keys.is_empty() {
            return none(query);
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            let message = "LIMIT in a query with a condition on the query around it is not supported; join with it";
            return Err(Failure::unsupported(message, query.span()));
        }
        let mut select = select;
        select.selection = own.into_iter().reduce(|left, right| ast::Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        });
        let query = with_select(&query, select);
        Ok(Correlated { query, keys, outer })
    }
}

/// `count(*) AS n`.
fn f_count() -> Column {
    crate::frame::functions::count_all().alias("n")
}

fn one_column(found: usize, span: Span) -> Failure {
    let message = format!("a query as a value must have one column, and has {found}");
    Failure::new(ErrorCode::InvalidExpression, message, span)
}

fn conjuncts(tree: &ast::Expr) -> Vec<&ast::Expr> {
    match tree {
        ast::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        ast::Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

fn select_of(query: &Query) -> Option<&Select> {
    match &*query.body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(inner) => select_of(inner),
        _ => None,
    }
}

fn with_select(query: &Query, select: Select) -> Query {
    Query { body: Box::new(SetExpr::Select(Box::new(select))), ..query.clone() }
}

/// The query with its keys, and then these items, as its list.
fn with_items(correlated: &Correlated, items: Vec<SelectItem>, span: Span) -> Parsed<Query> {
    let Some(mut select) = select_of(&correlated.query).cloned() else {
        return Err(Failure::unsupported("a set operation with a condition on the query around it", span));
    };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if !ungrouped || select.having.is_some() {
        let message = "GROUP BY in a query with a condition on the query around it is not supported; join with it";
        return Err(Failure::unsupported(message, span));
    }
    let keys = correlated.keys.iter().enumerate();
    let keys =
        keys.map(|(at, key)| SelectItem::ExprWithAlias { expr: key.clone(), alias: Ident::new(format!("key{at}")) });
    select.projection = keys.chain(items).collect();
    let mut query = with_select(&correlated.query, select);
    query.order_by = None;
    Ok(query)
}

/// The frame with values of the one row of another.
fn beside(frame: &DataFrame, row: &DataFrame, values: &[(String, Expr)]) -> Parsed<DataFrame> {
    let named = values.iter().map(|(name, value)| value.clone().alias(name)).collect();
    Ok(frame.join_where(&relation::select(row, named)?, None, JoinType::Cross)?)
}
