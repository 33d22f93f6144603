//! FROM: tables, views, files, queries and joins as one frame.
//!
//! Comes in: the parser's relations. Goes out: a frame and the names its columns may be qualified with. Fails: relations that there
//! are not, joins and modifiers that the engine does not have.

use super::expression::idents;
use super::place::{At, Failure, Parsed};
use super::query::{Planner, Tables};
use super::relation;
use crate::error::ErrorCode;
use crate::frame::{DataFrame, JoinOn};
use crate::plan::logical::JoinType;
use datafusion::logical_expr::Expr;
use datafusion::prelude::lit;
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, LateralView, ObjectName, Spanned, TableAlias,
    TableFactor, TableFunctionArgs, TableWithJoins,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// What FROM gives.
pub(super) struct Relation {
    pub frame: DataFrame,
    /// Names of the relations, as written.
    pub names: Vec<String>,
}

impl Relation {
    pub fn is_name(&self, name: &str) -> bool {
        self.names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

impl Planner<'_> {
    /// The relation of a FROM clause; one row without columns where there is none.
    pub fn from(&self, from: &[TableWithJoins], views: &[LateralView], named: &Tables, span: Span) -> Parsed<Relation> {
        let mut relations = from.iter();
        let mut all = match relations.next() {
            Some(first) => self.joined(first, named)?,
            None => Relation { frame: relation::one_row(self.session).at(span)?, names: vec![] },
        };
        for other in relations {
            let right = self.joined(other, named)?;
            all = join(all, right, None, JoinType::Cross).at(other.relation.span())?;
        }
        for view in views {
            all = self.lateral_view(all, view)?;
        }
        Ok(all)
    }

    fn joined(&self, tree: &TableWithJoins, named: &Tables) -> Parsed<Relation> {
        let mut left = self.factor(&tree.relation, named)?;
        for step in &tree.joins {
            let span = step.relation.span();
            let right = self.factor(&step.relation, named)?;
            let (kind, constraint) = match &step.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinType::Inner, Some(on)),
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinType::LeftOuter, Some(on)),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinType::RightOuter, Some(on)),
                JoinOperator::FullOuter(on) => (JoinType::FullOuter, Some(on)),
                JoinOperator::Semi(on) | JoinOperator::LeftSemi(on) => (JoinType::LeftSemi, Some(on)),
                JoinOperator::Anti(on) | JoinOperator::LeftAnti(on) => (JoinType::LeftAnti, Some(on)),
                JoinOperator::CrossJoin(on) => (JoinType::Cross, Some(on)),
                other => {
                    let message = format!("{other:?}").split('(').next().unwrap_or_default().to_string();
                    return Err(Failure::unsupported(
                        format!(
                            "the join {message} is not supported; there are INNER, LEFT, RIGHT, FULL, LEFT SEMI, LEFT ANTI and CROSS JOIN"
                        ),
                        span,
                    ));
                }
            };
            let converter = self.converter();
            let on = match constraint {
                Some(JoinConstraint::On(condition)) => Some(JoinOn::Condition(converter.expr(condition)?)),
                Some(JoinConstraint::Using(columns)) => {
                    let column = |name: &ObjectName| Ok(idents(name)?.pop().map(|i| i.value).unwrap_or_default());
                    Some(JoinOn::Columns(columns.iter().map(column).collect::<Parsed<_>>()?))
                }
                Some(JoinConstraint::Natural) => {
                    let names = |frame: &DataFrame| {
                        frame.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>()
                    };
                    let right = names(&right.frame);
                    let common = |name: &String| right.iter().any(|r| r.eq_ignore_ascii_case(name));
                    Some(JoinOn::Columns(names(&left.frame).into_iter().filter(common).collect()))
                }
                Some(JoinConstraint::None) | None => None,
            };
            left = join(left, right, on, kind).map_err(|e| converter.blame(e).or_at(span))?;
        }
        Ok(left)
    }

    fn factor(&self, tree: &TableFactor, named: &Tables) -> Parsed<Relation> {
        let refuse = |what: &str| Err(Failure::unsupported(format!("{what} is not supported"), tree.span()));
        match tree {
            TableFactor::Table {
                name, alias, args, with_hints, version, with_ordinality, sample, json_path, ..
            } => {
                if version.is_some() {
                    return refuse("a table's version");
                }
                if sample.is_some() {
                    return refuse("TABLESAMPLE");
                }
                if *with_ordinality || json_path.is_some() || !with_hints.is_empty() {
                    return refuse("a modifier of a table");
                }
                let parts = idents(name)?;
                let span = name.span();
                let last = parts.last().map(|part| part.value.clone()).unwrap_or_default();
                let frame = match (args, parts.as_slice()) {
                    (Some(args), [function]) => self.table_function(&function.value, args, span)?,
                    (None, [name]) => self.named(&name.value, named, name.span)?,
                    // parquet.`data/rides`
                    (None, [format, path]) => {
                        self.tables.get(&file_key(&format.value, &path.value)).cloned().ok_or_else(|| {
                            Failure::from(self.session.catalog().missing(&name.to_string(), named.keys())).or_at(span)
                        })?
                    }
                    _ => {
                        let missing = self.session.catalog().missing(&name.to_string(), named.keys());
                        return Err(Failure::from(missing).or_at(span));
                    }
                };
                self.aliased(frame, alias.as_ref(), Some(&last))
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let frame = self.query(subquery, named)?;
                self.aliased(frame, alias.as_ref(), None)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let inner = self.joined(table_with_joins, named)?;
                match alias {
                    None => Ok(inner),
                    some => self.aliased(inner.frame, some.as_ref(), None),
                }
            }
            TableFactor::Derived { .. } => refuse("LATERAL (SELECT ...) or TABLESAMPLE"),
            TableFactor::Pivot { .. } => refuse("PIVOT"),
            TableFactor::Unpivot { .. } => refuse("UNPIVOT"),
            TableFactor::UNNEST { .. } => {
                Err(Failure::unsupported("UNNEST is not Spark SQL; use LATERAL VIEW explode(...)", tree.span()))
            }
            other => Err(Failure::unsupported(format!("the relation {other} is not supported"), other.span())),
        }
    }

    fn aliased(&self, frame: DataFrame, alias: Option<&TableAlias>, name: Option<&str>) -> Parsed<Relation> {
        let (frame, name) = match (alias, name) {
            (Some(alias), _) => {
                let frame = frame.alias(&alias.name.value);
                (self.rename(frame, alias)?, Some(alias.name.value.clone()))
            }
            (None, Some(name)) => (frame.alias(name), Some(name.to_string())),
            (None, None) => (frame, None),
        };
        Ok(Relation { frame, names: name.into_iter().collect() })
    }

    /// `range(n)`, `range(start, end[, step])`.
    fn table_function(&self, name: &str, args: &TableFunctionArgs, span: Span) -> Parsed<DataFrame> {
        if !name.eq_ignore_ascii_case("range") {
            let message = format!(
                "the table function {name} is not supported; there is range(start, end, step), and LATERAL VIEW explode(...)"
            );
            return Err(Failure::unsupported(message, span));
        }
        let mut numbers = Vec::new();
        for argument in &args.args {
            let number = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(tree)) => self.converter().expr(tree)?,
                _ => lit("?"),
            };
            match number {
                Expr::Literal(value, _) if value.data_type().is_integer() => {
                    let wide =
                        value.cast_to(&arrow::datatypes::DataType::Int64).map_err(crate::Error::from).at(span)?;
                    match wide {
                        datafusion::common::ScalarValue::Int64(Some(number)) => numbers.push(number),
                        _ => return Err(Failure::new(ErrorCode::InvalidExpression, "range() takes no NULL", span)),
                    }
                }
                _ => {
                    return Err(Failure::new(
                        ErrorCode::InvalidExpression,
                        "range() takes whole numbers that are constants",
                        span,
                    ));
                }
            }
        }
        let (start, end, step) = match numbers.as_slice() {
            [end] => (0, *end, 1),
            [start, end] => (*start, *end, 1),
            [start, end, step] => (*start, *end, *step),
            _ => {
                return Err(Failure::new(
                    ErrorCode::InvalidExpression,
                    "range() takes (end), (start, end) or (start, end, step)",
                    span,
                ));
            }
        };
        DataFrame::range(self.session, start, end, step).at(span)
    }

    /// `LATERAL VIEW [OUTER] explode(column) t AS a, b`.
    fn lateral_view(&self, input: Relation, view: &LateralView) -> Parsed<Relation> {
        let span = view.lateral_view_name.span();
        let ast::Expr::Function(function) = &view.lateral_view else {
            return Err(Failure::unsupported(
                format!("LATERAL VIEW {}: a function such as explode(...) must stand there", view.lateral_view),
                span,
            ));
        };
        let (at, mut function) = (view.lateral_view.span(), function.clone());
        if view.outer
            && let Some(ast::ObjectNamePart::Identifier(name)) = function.name.0.last_mut()
            && !name.value.to_ascii_lowercase().ends_with("_outer")
        {
            name.value.push_str("_outer");
        }
        let converter = self.converter();
        let call = converter.expr(&ast::Expr::Function(function))?;
        let name = idents(&view.lateral_view_name)?.pop().map(|i| i.value);
        let columns: Vec<String> = view.lateral_col_alias.iter().map(|i| i.value.clone()).collect();
        let frame =
            input.frame.generate(call, &columns, name.as_deref()).map_err(|e| converter.blame(e.into()).or_at(at))?;
        let mut names = input.names;
        names.extend(name);
        Ok(Relation { frame, names })
    }
}

/// Under which name the frame of a file stands among the tables.
pub(super) fn file_key(format: &str, path: &str) -> String {
    format!("{}.`{path}`", format.to_ascii_lowercase())
}

fn join(left: Relation, right: Relation, on: Option<JoinOn>, kind: JoinType) -> Parsed<Relation> {
    let frame = match on {
        None => left.frame.join_where(&right.frame, None, kind)?,
        Some(on) => left.frame.join(&right.frame, on, kind)?,
    };
    let mut names = left.names;
    // The right side of these is gone.
    if !matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti) {
        names.extend(right.names);
    }
    Ok(Relation { frame, names })
}
