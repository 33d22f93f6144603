//! A query as operations on frames.
//!
//! Comes in: the parser's query, and frames for the tables it names. Goes out: a [`DataFrame`]. Fails: names that do not resolve, at their
//! place, and clauses that the engine does not have, by name.

use super::expression::{Converter, column};
use super::place::{At, Failure, Parsed};
use super::relation;
use crate::error::ErrorCode;
use crate::frame::DataFrame;
use crate::functions::registry::FunctionRegistry;
use crate::plan::resolve::quoted;
use crate::session::Session;
use datafusion::logical_expr::{Expr, SortExpr};
use datafusion::sql::sqlparser::ast::{
    self, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, Spanned, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::HashMap;

/// Frames by name, in lower case.
pub(super) type Tables = HashMap<String, DataFrame>;

/// Builds frames of queries.
pub(super) struct Planner<'a> {
    pub session: &'a Session,
    pub registry: &'a FunctionRegistry,
    /// Tables and views of the session that the query names.
    pub tables: &'a Tables,
}

/// One item of ORDER BY, as written.
pub(super) struct Sorting<'q> {
    pub by: Option<&'q [OrderByExpr]>,
    pub all: Option<ast::OrderByOptions>,
}

impl Planner<'_> {
    pub fn converter(&self) -> Converter<'_> {
        Converter::of_query(self.registry, vec![])
    }

    /// The frame of a query, with the common table expressions of the queries around it.
    pub fn query(&self, query: &Query, outer: &Tables) -> Parsed<DataFrame> {
        let refuse = |clause: &str| Err(Failure::unsupported(format!("{clause} is not supported"), query.span()));
        if !query.locks.is_empty() {
            return refuse("FOR UPDATE");
        }
        if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
            return refuse("FOR, SETTINGS or FORMAT behind a query");
        }
        if !query.pipe_operators.is_empty() {
            return refuse("|>");
        }
        let mut named = outer.clone();
        if let Some(with) = &query.with {
            if with.recursive {
                return refuse("WITH RECURSIVE");
            }
            for cte in &with.cte_tables {
                let frame = self.query(&cte.query, &named)?;
                let name = &cte.alias.name;
                let frame = self.rename(frame, &cte.alias)?;
                named.insert(name.value.to_ascii_lowercase(), frame);
            }
        }
        let sorting = self.sorting(query.order_by.as_ref())?;
        let sorted = match (&*query.body, &sorting) {
            // ORDER BY of a SELECT may name what its list does not.
            (SetExpr::Select(select), sorting) => self.select(select, &named, sorting.as_ref())?,
            (body, None) => self.body(body, &named)?,
            (body, Some(sorting)) => {
                let frame = self.body(body, &named)?;
                self.sort(frame, sorting)?
            }
        };
        self.limited(sorted, query)
    }

    fn body(&self, body: &SetExpr, named: &Tables) -> Parsed<DataFrame> {
        match body {
            SetExpr::Select(select) => self.select(select, named, None),
            SetExpr::Query(query) => self.query(query, named),
            SetExpr::Values(values) => {
                let converter = self.converter();
                let row = |row: &ast::Parens<Vec<ast::Expr>>| row.content.iter().map(|e| converter.expr(e)).collect();
                let rows = values.rows.iter().map(row).collect::<Parsed<Vec<Vec<Expr>>>>()?;
                relation::values(self.session, rows).at(body.span())
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                if *op != SetOperator::Union {
                    let all = match set_quantifier {
                        SetQuantifier::None | SetQuantifier::Distinct => false,
                        SetQuantifier::All => true,
                        other => {
                            let message = format!("{op} {other} is not Spark SQL; select the columns in order");
                            return Err(Failure::unsupported(message, right.span()));
                        }
                    };
                    let (first, second) = (self.body(left, named)?, self.body(right, named)?);
                    let both = match (op, all) {
                        (SetOperator::Intersect, false) => first.intersect(&second),
                        (SetOperator::Intersect, true) => first.intersect_all(&second),
                        (_, false) => first.except(&second),
                        (_, true) => first.except_all(&second),
                    };
                    return both.at(right.span());
                }
                let by_name = matches!(
                    set_quantifier,
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
                );
                let all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
                let (first, second) = (self.body(left, named)?, self.body(right, named)?);
                let both = if by_name { first.union_by_name(&second, false) } else { first.union(&second) };
                let both = both.at(right.span())?;
                if all { Ok(both) } else { both.distinct().at(right.span()) }
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                self.named(&name, named, body.span())
            }
            other => Err(Failure::unsupported(format!("{other} is not a query"), other.span())),
        }
    }

    /// The common table expression, view or table of this name.
    pub fn named(&self, name: &str, named: &Tables, span: Span) -> Parsed<DataFrame> {
        let key = name.to_ascii_lowercase();
        let found = named.get(&key).or_else(|| self.tables.get(&key)).cloned();
        found.ok_or_else(|| Failure::from(self.session.catalog().missing(name, named.keys())).or_at(span))
    }

    fn sorting<'q>(&self, order_by: Option<&'q OrderBy>) -> Parsed<Option<Sorting<'q>>> {
        let Some(order_by) = order_by else { return Ok(None) };
        Ok(Some(match &order_by.kind {
            OrderByKind::All(options) => Sorting { by: None, all: Some(*options) },
            OrderByKind::Expressions(by) => Sorting { by: Some(by), all: None },
        }))
    }

    /// Sorts by output columns.
    fn sort(&self, frame: DataFrame, sorting: &Sorting<'_>) -> Parsed<DataFrame> {
        let names: Vec<String> = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
        let converter = self.converter();
        let keys = self.sort_keys(sorting, &names, |tree| converter.expr(tree))?;
        let span = sorting.by.and_then(|by| by.first()).map_or(Span::empty(), |first| first.expr.span());
        frame.sort(keys).map_err(|e| converter.blame(e.into()).or_at(span))
    }

    /// The keys of ORDER BY: expressions, positions of output columns, or all of them.
    pub fn sort_keys(
        &self,
        sorting: &Sorting<'_>,
        names: &[String],
        mut convert: impl FnMut(&ast::Expr) -> Parsed<Expr>,
    ) -> Parsed<Vec<SortExpr>> {
        let key = |expr: Expr, options: &ast::OrderByOptions| {
            let ascending = options.asc.unwrap_or(true);
            // Spark puts NULL first where it sorts upwards.
            SortExpr::new(expr, ascending, options.nulls_first.unwrap_or(ascending))
        };
        if let Some(options) = &sorting.all {
            return Ok(names.iter().map(|name| key(column(&quoted(name)), options)).collect());
        }
        let mut keys = Vec::new();
        for item in sorting.by.unwrap_or_default() {
            let expr = match position(&item.expr) {
                None => convert(&item.expr)?,
                Some(position) => match position.checked_sub(1).and_then(|at| names.get(at)) {
                    Some(name) => column(&quoted(name)),
                    None => {
                        let message = format!("ORDER BY {position}: the query has {} columns", names.len());
                        return Err(Failure::new(ErrorCode::InvalidExpression, message, item.expr.span()));
                    }
                },
            };
            keys.push(key(expr, &item.options));
        }
        Ok(keys)
    }

    fn limited(&self, frame: DataFrame, query: &Query) -> Parsed<DataFrame> {
        let mut frame = frame;
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(Failure::unsupported("LIMIT BY is not Spark SQL", query.span()));
                }
                // LIMIT ALL is no limit.
                (limit.as_ref(), offset.as_ref().map(|o| &o.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        };
        if let Some(offset) = offset {
            frame = frame.offset(count(offset)?);
        }
        if let Some(limit) = limit {
            frame = frame.limit(count(limit)?);
        }
        if let Some(fetch) = &query.fetch {
            let plain = !fetch.with_ties && !fetch.percent;
            match &fetch.quantity {
                Some(quantity) if plain => frame = frame.limit(count(quantity)?),
                _ => {
                    return Err(Failure::unsupported(
                        "FETCH FIRST takes a number of rows only; use LIMIT",
                        query.span(),
                    ));
                }
            }
        }
        Ok(frame)
    }

    /// A frame whose columns are renamed as `AS t(a, b)` says.
    pub fn rename(&self, frame: DataFrame, alias: &ast::TableAlias) -> Parsed<DataFrame> {
        if alias.columns.is_empty() {
            return Ok(frame);
        }
        let fields = frame.schema().fields();
        if fields.len() != alias.columns.len() {
            let message = format!(
                "{} names {} columns, but the relation has {}",
                alias.name.value,
                alias.columns.len(),
                fields.len()
            );
            return Err(Failure::new(ErrorCode::InvalidExpression, message, alias.name.span));
        }
        let all = frame.plan().scope().all();
        let renamed = all.into_iter().zip(&alias.columns).map(|(e, to)| e.alias(&to.name.value));
        Ok(relation::select(&frame, renamed.collect()).at(alias.name.span)?.alias(&alias.name.value))
    }
}

/// The whole number that a tree is: an ordinal.
pub(super) fn position(tree: &ast::Expr) -> Option<usize> {
    match tree {
        ast::Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn count(tree: &ast::Expr) -> Parsed<u64> {
    position(tree).map(|rows| rows as u64).ok_or_else(|| {
        let code = match tree {
            ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, .. } => ErrorCode::NegativeLimit,
            _ => ErrorCode::InvalidExpression,
        };
        Failure::new(code, format!("LIMIT and OFFSET take a number of rows, not {tree}"), tree.span())
    })
}
