//! SELECT: the list, WHERE, GROUP BY, HAVING and DISTINCT over the frame that FROM gives.
//!
//! Comes in: the parser's SELECT. Goes out: a frame. Fails: columns that are neither grouped nor aggregated, at their place, and clauses
//! that the engine does not have.

use super::expression::{Converter, column, dotted, idents};
use super::from::Relation;
use super::place::{At, Failure, Parsed};
use super::query::{Planner, Sorting, Tables, position};
use super::relation;
use super::{grouping_sets, over, subquery};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{DataFrame, not_grouped};
use crate::functions::placed::{is_grouping, placed};
use crate::plan::resolve::{expand_star, output_name, quoted, split_path, strip_alias};
use crate::plan::spark_function::SparkFunction;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, SortExpr};
use datafusion::sql::sqlparser::ast::{
    self, Distinct, GroupByExpr, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::HashSet;

/// One item of the SELECT list.
#[derive(Clone)]
struct Item {
    expr: Expr,
    alias: Option<String>,
    span: Span,
}

impl Item {
    fn name(&self) -> String {
        self.alias.clone().unwrap_or_else(|| subquery::shown(output_name(&self.expr)))
    }

    /// As a selection takes it; a star keeps its own names.
    fn named(&self) -> Expr {
        match &self.alias {
            Some(alias) => self.expr.clone().alias(alias),
            None => match output_name(&self.expr) {
                name if name.contains(subquery::PREFIX) => self.expr.clone().alias(self.name()),
                _ => self.expr.clone(),
            },
        }
    }
}

/// Name of QUALIFY's condition among the outputs.
const QUALIFY: &str = "#qualify";

/// What a grouped SELECT computes below its list.
#[derive(Default)]
struct Grouping {
    keys: Vec<(Expr, String)>,
    calls: Vec<(Expr, String)>,
    /// Positions of the keys in each set of GROUPING SETS, ROLLUP or CUBE.
    sets: Option<Vec<Vec<usize>>>,
    taken: HashSet<String>,
}

impl Planner<'_> {
    /// The frame of a SELECT, sorted.
    pub fn select(&self, select: &Select, named: &Tables, sorting: Option<&Sorting<'_>>) -> Parsed<DataFrame> {
        refuse_clauses(select)?;
        let start = select.select_token.0.span;
        let mut input = self.from(&select.from, &select.lateral_views, named, start)?;
        let converter = Converter::of_query(self.registry, over::named(&select.named_window)?);
        if let Some(condition) = &select.selection {
            let predicate = converter.expr(condition)?;
            let subqueries = converter.subqueries();
            let own = (!subqueries.is_empty()).then(|| input.frame.plan().scope().all());
            let frame = self.attach(input.frame, subqueries, named)?;
            let frame =
                relation::filter(&frame, predicate).map_err(|e| converter.blame(e.into()).or_at(condition.span()))?;
            input.frame = match own {
                Some(own) => relation::select(&frame, own)?,
                None => frame,
            };
        }
        let mut items = self.items(select, &input, &converter)?;
        let having = match &select.having {
            Some(tree) => Some((with_aliases(converter.expr(tree)?, &items, &input)?, tree.span())),
            None => None,
        };
        let qualify = match &select.qualify {
            Some(tree) => Some((with_aliases(converter.expr(tree)?, &items, &input)?, tree.span())),
            None => None,
        };
        let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
        let grouped = !ungrouped || having.is_some() || items.iter().any(|item| is_aggregate(&item.expr));
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => {
                return Err(Failure::unsupported("DISTINCT ON is not Spark SQL; use dropDuplicates", start));
            }
        };
        let names: Vec<String> = match items.iter().any(|item| is_star(&item.expr)) {
            true => vec![],
            false => items.iter().map(Item::name).collect(),
        };
        // Keys that are output columns sort what comes out; others sort what goes in.
        let keys = match sorting {
            None => vec![],
            Some(sorting) => self.sort_keys(sorting, &names, |tree| {
                let key = converter.expr(tree)?;
                match output_position(&key, &names) {
                    Some(at) => Ok(column(&quoted(&names[at]))),
                    None => with_aliases(key, &items, &input),
                }
            })?,
        };
        let subqueries = converter.subqueries();
        let mut pending = subqueries;
        if !pending.is_empty() {
            // Columns that stand for queries are not among those of a star.
            items = items.into_iter().map(|item| unstarred(item, &input)).collect::<Parsed<Vec<_>>>()?.concat();
        }
        let after = distinct || keys.iter().all(|key| output_position(&key.expr, &names).is_some());
        let keys: Vec<SortExpr> = match after {
            true => keys,
            // Below the list an output column is what it stands for.
            false => {
                let below = |key: SortExpr| match output_position(&key.expr, &names).and_then(|at| items.get(at)) {
                    Some(item) => SortExpr { expr: strip_alias(&item.expr).clone(), ..key },
                    None => key,
                };
                keys.into_iter().map(below).collect()
            }
        };
        let sort = |frame: DataFrame, keys: Vec<SortExpr>| match keys.is_empty() {
            true => Ok(frame),
            false => frame.sort(keys).map_err(|e| converter.blame(e.into()).or_at(start)),
        };
        let mut qualified = qualify.clone();
        if !grouped {
            input.frame = self.attach(input.frame, std::mem::take(&mut pending), named)?;
        }
        let (below, mut outputs) = match grouped {
            false => (input.frame.clone(), items.iter().map(|item| (item.named(), item.span)).collect::<Vec<_>>()),
            true => {
                let mut grouping = self.grouping(select, &items, &input, &converter)?;
                let mut outputs = Vec::new();
                for item in &items {
                    let name = item.name();
                    let output = grouping.lower(item.expr.clone(), Some(&name), &input);
                    let output = output.map_err(|e| converter.blame(e).or_at(item.span))?;
                    outputs.push((output.alias(name), item.span));
                }
                let condition = having.map(|(e, span)| Ok((grouping.lower(e, None, &input).at(span)?, span)));
                let condition: Option<(Expr, Span)> = condition.transpose().map_err(|e: Failure| converter.blame(e))?;
                let mut lowered = Vec::new();
                for key in keys.iter().filter(|_| !after) {
                    let expr = grouping.lower(key.expr.clone(), None, &input).at(start)?;
                    lowered.push(SortExpr { expr, ..*key });
                }
                let qualify = qualify.clone().map(|(e, span)| Ok((grouping.lower(e, None, &input).at(span)?, span)));
                qualified = qualify.transpose().map_err(|e: Failure| converter.blame(e))?;
                let mut frame = grouping.frame(&input.frame).map_err(|e| converter.blame(e.into()))?;
                frame = self.attach(frame, std::mem::take(&mut pending), named)?;
                if let Some((condition, span)) = condition {
                    frame = relation::filter(&frame, condition).at(span)?;
                }
                (sort(frame, lowered)?, outputs)
            }
        };
        let below = if after || grouped { below } else { sort(below, keys.clone())? };
        if let Some((condition, span)) = &qualified {
            outputs.push((condition.clone().alias(QUALIFY), *span));
        }
        let frame = match grouped && is_identity(&outputs, &below) {
            true => below,
            false => project(&below, outputs, &converter)?,
        };
        let frame = match qualified {
            Some((_, span)) => {
                let kept = relation::filter(&frame, column(&quoted(QUALIFY))).at(span)?;
                let columns = kept.plan().scope().all();
                let own = columns.len().saturating_sub(1);
                relation::select(&kept, columns.into_iter().take(own).collect()).at(span)?
            }
            None => frame,
        };
        let frame = if distinct { frame.distinct().at(start)? } else { frame };
        if after { sort(frame, keys) } else { Ok(frame) }
    }

    fn items(&self, select: &Select, input: &Relation, converter: &Converter<'_>) -> Parsed<Vec<Item>> {
        let mut items: Vec<Item> = Vec::new();
        for tree in &select.projection {
            let span = tree.span();
            let (expr, alias) = match tree {
                SelectItem::UnnamedExpr(tree) => (converter.expr(tree)?, None),
                SelectItem::ExprWithAlias { expr, alias } => (converter.expr(expr)?, Some(alias.value.clone())),
                SelectItem::ExprWithAliases { expr, aliases } => {
                    let names: Vec<String> = aliases.iter().map(|i| i.value.clone()).collect();
                    (SparkFunction::with_generator_names(converter.expr(expr)?, names).at(span)?, None)
                }
                SelectItem::Wildcard(options) if has_except(options) => {
                    items.extend(except(options, input.frame.plan().scope().all(), span)?);
                    continue;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if has_except(options) =>
                {
                    let columns = relation::columns_of(&input.frame, &dotted(&idents(name)?)).at(span)?;
                    items.extend(except(options, columns, span)?);
                    continue;
                }
                star => (converter.star(star)?, None),
            };
            let expr = with_aliases(expr, &items, input)?;
            items.push(Item { expr, alias, span });
        }
        Ok(items)
    }

    fn grouping(
        &self,
        select: &Select,
        items: &[Item],
        input: &Relation,
        converter: &Converter<'_>,
    ) -> Parsed<Grouping> {
        let mut grouping = Grouping::default();
        let start = select.select_token.0.span;
        match &select.group_by {
            GroupByExpr::All(modifiers) if !modifiers.is_empty() => {
                return Err(Failure::unsupported("GROUP BY ALL takes no ROLLUP or CUBE; name the columns", start));
            }
            GroupByExpr::All(_) => {
                for item in items.iter().filter(|item| !is_aggregate(&item.expr)) {
                    grouping.key(item.expr.clone());
                }
            }
            GroupByExpr::Expressions(trees, modifiers) => {
                let mut elements = Vec::new();
                for tree in trees {
                    elements.push(grouping_sets::sets_of(tree));
                }
                let given = grouping_sets::modified(&mut elements, modifiers).map_err(|e| e.or_at(start))?;
                // Columns in front of sets say how these are numbered.
                let (several, sets) = (given.is_some() || elements.iter().any(|e| e.len() != 1), elements);
                let mut places: Vec<Vec<usize>> = vec![vec![]];
                for tree in given.iter().flatten() {
                    grouping.key(self.key(tree, items, input, converter)?);
                }
                for element in &sets {
                    let mut of_element = Vec::new();
                    for set in element {
                        let keys = set.iter().map(|tree| Ok(grouping.key(self.key(tree, items, input, converter)?)));
                        of_element.push(keys.collect::<Parsed<Vec<usize>>>()?);
                    }
                    places = grouping_sets::product(&places, &of_element);
                }
                grouping.sets = several.then_some(places);
            }
        }
        Ok(grouping)
    }

    /// One grouping key: an expression, or the position of an item.
    fn key(&self, tree: &ast::Expr, items: &[Item], input: &Relation, converter: &Converter<'_>) -> Parsed<Expr> {
        let key = match position(tree) {
            None => with_aliases(converter.expr(tree)?, items, input)?,
            Some(at) => match at.checked_sub(1).and_then(|at| items.get(at)) {
                Some(item) => item.expr.clone(),
                None => {
                    let message = format!("GROUP BY {at}: the SELECT list has {} items", items.len());
                    return Err(Failure::new(ErrorCode::InvalidExpression, message, tree.span()));
                }
            },
        };
        if is_aggregate(&key) {
            let message = format!("GROUP BY {tree}: an aggregate cannot be grouped by");
            return Err(Failure::new(ErrorCode::InvalidExpression, message, tree.span()));
        }
        Ok(key)
    }
}

impl Grouping {
    /// The position of the key, which is added if it is new.
    fn key(&mut self, expr: Expr) -> usize {
        let expr = strip_alias(&expr).clone();
        self.keys.iter().position(|(known, _)| *known == expr).unwrap_or_else(|| {
            let name = self.distinct(&output_name(&expr));
            self.keys.push((expr, name));
            self.keys.len() - 1
        })
    }

    /// `name`, or that name with a number where it is taken, in any case.
    fn distinct(&mut self, name: &str) -> String {
        let numbered = (1..).map(|n| format!("{name} #{n}"));
        let mut names = std::iter::once(name.to_string()).chain(numbered);
        names.find(|n| self.taken.insert(n.to_ascii_lowercase())).unwrap_or_default()
    }

    /// `expr` over the columns that the grouping makes. An aggregate that is all of an item takes the item's name.
    fn lower(&mut self, expr: Expr, name: Option<&str>, input: &Relation) -> Parsed<Expr> {
        let whole = matches!(strip_alias(&expr), Expr::AggregateFunction(_));
        let lowered = strip_alias(&expr).clone().transform_down(|e| {
            let replaced = |by: Expr| Ok(Transformed::new(by, true, TreeNodeRecursion::Jump));
            if let Some((_, name)) = self.keys.iter().find(|(key, _)| same(key, &e, input)) {
                return replaced(column(&quoted(name)));
            }
            let about_sets = placed(&e).is_some_and(|(name, _)| is_grouping(name));
            match e {
                e if about_sets || matches!(e, Expr::AggregateFunction(_)) => {
                    if let Some((_, name)) = self.calls.iter().find(|(call, _)| *call == e) {
                        return replaced(column(&quoted(name)));
                    }
                    let wanted = match name {
                        Some(name) if whole => name.to_string(),
                        _ => output_name(&e),
                    };
                    let name = self.distinct(&wanted);
                    let by = column(&quoted(&name));
                    self.calls.push((e, name));
                    replaced(by)
                }
                Expr::Column(c) if c.name.contains(subquery::PREFIX) => Ok(Transformed::no(Expr::Column(c))),
                Expr::Column(c) => {
                    // window.start is a field of the key `window`, and a window is a column of that name.
                    let path = split_path(&c.name);
                    let key = path.first().and_then(|first| {
                        let named = self.keys.iter().find(|(_, name)| name.eq_ignore_ascii_case(first));
                        let is_window = |key: &Expr| !matches!(key, Expr::Column(_)) && is_window_name(first);
                        named.filter(|(key, _)| path.len() > 1 || is_window(key))
                    });
                    match key {
                        Some((_, name)) => {
                            let fields = path.iter().skip(1).map(|part| quoted(part));
                            let parts: Vec<String> = std::iter::once(quoted(name)).chain(fields).collect();
                            replaced(column(&parts.join(".")))
                        }
                        None => Err(not_grouped(&c.name, !self.keys.is_empty()).into()),
                    }
                }
                other => Ok(Transformed::no(other)),
            }
        });
        Ok(lowered.map_err(Error::from)?.data)
    }

    fn frame(&self, input: &DataFrame) -> Result<DataFrame> {
        let named = |(expr, name): &(Expr, String)| match expr {
            // A name of its own is not an alias, so that frames see the plain column.
            Expr::Column(_) if output_name(expr) == *name => expr.clone(),
            _ => expr.clone().alias(name),
        };
        let (keys, calls) = (self.keys.iter().map(named).collect(), self.calls.iter().map(named).collect());
        match &self.sets {
            None => relation::aggregate(input, keys, calls),
            Some(sets) => relation::aggregate_sets(input, keys, sets.clone(), calls),
        }
    }
}

fn refuse_clauses(select: &Select) -> Parsed<()> {
    let clauses = [
        (select.top.is_some(), "TOP is not Spark SQL; use LIMIT"),
        (select.into.is_some(), "SELECT INTO is not Spark SQL; use INSERT INTO"),
        (select.prewhere.is_some(), "PREWHERE is not Spark SQL; use WHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY is not Spark SQL"),
        (!select.cluster_by.is_empty(), "CLUSTER BY is not supported: rows have no partitions here; leave it out"),
        (
            !select.distribute_by.is_empty(),
            "DISTRIBUTE BY is not supported: rows have no partitions here; leave it out",
        ),
        (!select.sort_by.is_empty(), "SORT BY is not supported: rows have no partitions here; use ORDER BY"),
        (select.value_table_mode.is_some(), "SELECT AS STRUCT or AS VALUE is not Spark SQL; use struct(...)"),
        (select.exclude.is_some(), "EXCLUDE is not Spark SQL; use * EXCEPT (...)"),
    ];
    match clauses.iter().find(|(there, _)| *there) {
        Some((_, message)) => Err(Failure::unsupported(*message, select.select_token.0.span)),
        None => Ok(()),
    }
}

fn project(frame: &DataFrame, outputs: Vec<(Expr, Span)>, converter: &Converter<'_>) -> Parsed<DataFrame> {
    let all = relation::select(frame, outputs.iter().map(|(e, _)| e.clone()).collect());
    all.map_err(|error| {
        let failure = converter.blame(error.into());
        if failure.at.is_some() {
            return failure;
        }
        // The first item that fails alone is to blame.
        let guilty = outputs.iter().find(|(e, _)| relation::select(frame, vec![e.clone()]).is_err());
        failure.or_at(guilty.map_or(Span::empty(), |(_, span)| *span))
    })
}

/// Whether the outputs are the frame's columns as they are.
fn is_identity(outputs: &[(Expr, Span)], frame: &DataFrame) -> bool {
    let fields = frame.schema().fields();
    fields.len() == outputs.len()
        && fields.iter().zip(outputs).all(|(field, (expr, _))| {
            output_name(expr) == *field.name() && *strip_alias(expr) == column(&quoted(field.name()))
        })
}

fn is_aggregate(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false)
}

/// Whether a column of this name may be the window that rows are grouped by.
fn is_window_name(name: &str) -> bool {
    ["window", "session_window"].iter().any(|window| window.eq_ignore_ascii_case(name))
}

fn is_star(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(c) if c.name == "*" || c.name.ends_with(".*"))
}

fn output_position(key: &Expr, names: &[String]) -> Option<usize> {
    let Expr::Column(c) = key else { return None };
    let path = split_path(&c.name);
    let [name] = path.as_slice() else { return None };
    names.iter().position(|n| n.eq_ignore_ascii_case(name))
}

fn has_except(options: &WildcardAdditionalOptions) -> bool {
    options.opt_except.is_some()
}

/// The columns that a star stands for; another item as it is.
fn unstarred(item: Item, input: &Relation) -> Parsed<Vec<Item>> {
    if !is_star(&item.expr) {
        return Ok(vec![item]);
    }
    let columns = expand_star(item.expr, &input.frame.plan().scope()).at(item.span)?;
    Ok(columns.into_iter().map(|expr| Item { expr, alias: None, span: item.span }).collect())
}

/// `* EXCEPT (a, b)`.
fn except(options: &WildcardAdditionalOptions, columns: Vec<Expr>, span: Span) -> Parsed<Vec<Item>> {
    let Some(listed) = &options.opt_except else { return Ok(vec![]) };
    let mut kept: Vec<Item> = columns.into_iter().map(|expr| Item { expr, alias: None, span }).collect();
    for ident in std::iter::once(&listed.first_element).chain(&listed.additional_elements) {
        let before = kept.len();
        kept.retain(|item| !item.name().eq_ignore_ascii_case(&ident.value));
        if kept.len() == before {
            let message = format!("there is no column named \"{}\" to leave out", ident.value);
            return Err(Failure::new(ErrorCode::UnresolvedColumn, message, ident.span));
        }
    }
    Ok(kept)
}

/// `expr` with the names of earlier items in place of what they stand for, where the input has no column of that name.
fn with_aliases(expr: Expr, items: &[Item], input: &Relation) -> Parsed<Expr> {
    let has = |name: &str| input.frame.schema().fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    let replaced = expr.transform_down(|e| {
        let Expr::Column(c) = &e else { return Ok(Transformed::no(e)) };
        let path = split_path(&c.name);
        // `t.city` is a column of t, also where t is an alias of the list.
        let is_qualifier = |first: &str| path.len() > 1 && input.is_name(first);
        let item = path.first().filter(|first| !has(first) && !is_qualifier(first)).and_then(|first| {
            items.iter().rev().find(|item| item.alias.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(first)))
        });
        let Some(item) = item else { return Ok(Transformed::no(e)) };
        let value = path.iter().skip(1).fold(strip_alias(&item.expr).clone(), |value, field| {
            datafusion::functions::core::expr_fn::get_field(value, field.as_str())
        });
        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
    });
    Ok(replaced.map_err(Error::from)?.data)
}

/// Whether an expression is a grouping key: the same but for case and for a relation's name in front of its columns.
fn same(key: &Expr, expr: &Expr, input: &Relation) -> bool {
    if matches!(expr, Expr::Literal(..)) {
        return key == expr;
    }
    let plain = |e: &Expr| {
        e.clone().transform_up(|e| match &e {
            Expr::Column(c) => {
                let path: Vec<String> = split_path(&c.name).iter().map(|p| quoted(&p.to_ascii_lowercase())).collect();
                Ok(Transformed::yes(column(&path.join("."))))
            }
            _ => Ok(Transformed::no(e)),
        })
    };
    let (Ok(key), Ok(expr)) = (plain(key), plain(expr)) else { return false };
    if key.data == expr.data {
        return true;
    }
    let (Expr::Column(a), Expr::Column(b)) = (&key.data, &expr.data) else { return false };
    let (a, b) = (split_path(&a.name), split_path(&b.name));
    let tail = |long: &[String], short: &[String]| {
        long.first().is_some_and(|f| input.is_name(f)) && long.get(1..) == Some(short)
    };
    tail(&a, &b) || tail(&b, &a)
}
