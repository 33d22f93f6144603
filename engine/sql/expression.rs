//! SQL expressions as the expressions that frames take.
//!
//! Comes in: the parser's tree. Goes out: an unresolved DataFusion [`Expr`]: names as dotted columns, functions through the registry.
//! Fails: what Spark SQL has and this engine has not, and what is no Spark SQL, each by name and place.

use super::dialect::{expect_end, negated_number, parser, tokens};
use super::literal;
use super::over::Windows;
use super::place::{At, Failure, Parsed, Source};
use super::subquery::{Kind, Subquery};
use super::types::data_type;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::lambda::lambda;
use crate::functions::registry::FunctionRegistry;
use crate::plan::resolve::quoted;
use crate::plan::spark_function::SparkFunction;
use crate::types::{DataType, IntoDataType};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{Case, Like, NullTreatment as DataFusionNulls};
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion::prelude::lit;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, NullTreatment, ObjectName, SelectItem, Spanned,
    Subscript, TrimWhereField, UnaryOperator, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use std::cell::RefCell;

/// The expression that `text` writes, not yet resolved against any frame.
///
/// ```
/// use tidemill::functions::registry::FunctionRegistry;
/// use tidemill::sql::expression;
/// let rate = expression("completed / rides >= 0.5 AND city <> 'Oslo'", &FunctionRegistry::default())?;
/// assert_eq!(rate.column_refs().len(), 3);
/// # Ok::<(), tidemill::Error>(())
/// ```
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with line and column, and functions and operators that there are not.
pub fn expression(text: &str, registry: &FunctionRegistry) -> Result<Expr> {
    let parse = || {
        let mut parser = parser(tokens(text)?);
        let tree = parser.parse_expr()?;
        expect_end(&parser)?;
        Converter::new(registry).expr(&tree)
    };
    parse().map_err(|failure| Source { name: "", text }.error(failure).into())
}

/// One item of a SELECT list: an expression with or without `AS`, `*`, or `data.*`.
///
/// # Errors
/// As [`expression`].
pub fn select_item(text: &str, registry: &FunctionRegistry) -> Result<Expr> {
    let parse = || {
        let mut parser = parser(tokens(text)?);
        let item = parser.parse_select_item()?;
        expect_end(&parser)?;
        let converter = Converter::new(registry);
        match &item {
            SelectItem::UnnamedExpr(tree) => converter.expr(tree),
            SelectItem::ExprWithAlias { expr, alias } => Ok(converter.expr(expr)?.alias(&alias.value)),
            _ => converter.star(&item),
        }
    };
    parse().map_err(|failure| Source { name: "", text }.error(failure).into())
}

/// Converts trees, and remembers where each column name stood.
pub(super) struct Converter<'a> {
    registry: &'a FunctionRegistry,
    names: RefCell<Vec<(String, Location)>>,
    /// Windows of the query's WINDOW clause.
    windows: Windows,
    /// Queries that expressions mention; None where there is no query around them.
    subqueries: Option<RefCell<Vec<Subquery>>>,
}

impl<'a> Converter<'a> {
    pub fn new(registry: &'a FunctionRegistry) -> Self {
        Self { registry, names: RefCell::new(Vec::new()), windows: Windows::new(), subqueries: None }
    }

    /// A converter of a query's expressions, which may mention its windows and other queries.
    pub fn of_query(registry: &'a FunctionRegistry, windows: Windows) -> Self {
        Self { windows, subqueries: Some(RefCell::default()), ..Self::new(registry) }
    }

    /// The queries that the expressions so far mention.
    pub fn subqueries(&self) -> Vec<Subquery> {
        self.subqueries.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// The column that stands for a query.
    fn subquery(&self, tree: &ast::Expr, kind: Kind, query: &ast::Query) -> Parsed<Expr> {
        let Some(subqueries) = &self.subqueries else {
            return Err(unsupported(
                tree,
                "a query as a value stands in the SELECT list, WHERE or HAVING of a query; join with it",
            ));
        };
        let (subquery, stands) = Subquery::new(kind, query, tree.span());
        subqueries.borrow_mut().push(subquery);
        Ok(stands)
    }

    /// The failure with the place of the column name that it is about, if it is about one.
    pub fn blame(&self, mut failure: Failure) -> Failure {
        let about_a_name = matches!(
            failure.error.code(),
            ErrorCode::UnresolvedColumn | ErrorCode::FieldNotFound | ErrorCode::AmbiguousReference
        );
        if failure.at.is_none() && about_a_name {
            // Suggestions name columns too, but not the one that is missing.
            let message = failure.error.message();
            let head = message.split("did you mean").next().unwrap_or(message);
            let names = self.names.borrow();
            let named = |quote: char, name: &str| head.contains(&format!("{quote}{name}{quote}"));
            let found = names.iter().find(|(name, _)| {
                let plain = name.replace('`', "");
                named('"', name) || named('"', &plain) || named('`', &plain) || named('`', &plain.replace('.', "`.`"))
            });
            failure.at = found.map(|(_, at)| *at);
        }
        failure
    }

    /// `*` and `data.*` without EXCEPT, as the column names that a selection expands.
    pub fn star(&self, item: &SelectItem) -> Parsed<Expr> {
        let (name, options) = match item {
            SelectItem::Wildcard(options) => ("*".to_string(), options),
            SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let parts = idents(name)?;
                (format!("{}.*", dotted(&parts)), options)
            }
            other => {
                let message = format!("{other} cannot stand here; select the expression under a name, then name.*");
                return Err(Failure::unsupported(message, other.span()));
            }
        };
        let plain = options.opt_ilike.is_none()
            && options.opt_exclude.is_none()
            && options.opt_except.is_none()
            && options.opt_replace.is_none()
            && options.opt_rename.is_none();
        if !plain {
            let message =
                format!("{item}: a star with a modifier stands in the SELECT list of a query only; use EXCEPT there");
            return Err(Failure::unsupported(message, options.wildcard_token.0.span));
        }
        self.names.borrow_mut().push((name.clone(), item.span().start));
        Ok(column(&name))
    }

    /// The expression of a tree.
    pub fn expr(&self, tree: &ast::Expr) -> Parsed<Expr> {
        self.convert(tree).map_err(|failure| failure.or_at(tree.span()))
    }

    fn exprs<'t>(&self, trees: impl IntoIterator<Item = &'t ast::Expr>) -> Parsed<Vec<Expr>> {
        trees.into_iter().map(|tree| self.expr(tree)).collect()
    }

    fn call(&self, name: &str, arguments: Vec<Expr>) -> Parsed<Expr> {
        Ok(self.registry.call(name, arguments, false)?)
    }

    fn binary(&self, left: &ast::Expr, op: Operator, right: &ast::Expr) -> Parsed<Expr> {
        Ok(binary_expr(self.expr(left)?, op, self.expr(right)?))
    }

    fn convert(&self, tree: &ast::Expr) -> Parsed<Expr> {
        use ast::Expr as Tree;
        Ok(match tree {
            Tree::Identifier(ident) => self.identifier(ident)?,
            Tree::CompoundIdentifier(parts) => self.name(parts),
            Tree::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain)?,
            Tree::Nested(inner) => self.expr(inner)?,
            Tree::Value(value) => literal::literal(&value.value, value.span)?,
            Tree::TypedString(typed) => literal::typed(typed)?,
            Tree::Interval(interval) => {
                let fields = interval.leading_field.as_ref().zip(interval.last_field.as_ref());
                literal::interval(self.interval_text(interval)?, fields)?
            }
            Tree::UnaryOp { op, expr } => self.unary(*op, expr)?,
            Tree::BinaryOp { left, op, right } => self.operator(left, op, right)?,
            Tree::IsNull(e) => self.expr(e)?.is_null(),
            Tree::IsNotNull(e) => self.expr(e)?.is_not_null(),
            Tree::IsTrue(e) => self.expr(e)?.is_true(),
            Tree::IsNotTrue(e) => self.expr(e)?.is_not_true(),
            Tree::IsFalse(e) => self.expr(e)?.is_false(),
            Tree::IsNotFalse(e) => self.expr(e)?.is_not_false(),
            Tree::IsUnknown(e) => self.expr(e)?.is_unknown(),
            Tree::IsNotUnknown(e) => self.expr(e)?.is_not_unknown(),
            Tree::IsDistinctFrom(left, right) => self.binary(left, Operator::IsDistinctFrom, right)?,
            Tree::IsNotDistinctFrom(left, right) => self.binary(left, Operator::IsNotDistinctFrom, right)?,
            Tree::InList { expr, list, negated } => self.expr(expr)?.in_list(self.exprs(list)?, *negated),
            Tree::Between { expr, negated, low, high } => {
                let value = self.expr(expr)?;
                let within = value.clone().gt_eq(self.expr(low)?).and(value.lt_eq(self.expr(high)?));
                if *negated { !within } else { within }
            }
            Tree::Like { negated, any, expr, pattern, escape_char } => {
                self.like(*negated, *any, expr, pattern, escape_char.as_ref(), false)?
            }
            Tree::ILike { negated, any, expr, pattern, escape_char } => {
                self.like(*negated, *any, expr, pattern, escape_char.as_ref(), true)?
            }
            Tree::RLike { negated, expr, pattern, .. } => {
                let matches = self.call("rlike", vec![self.expr(expr)?, self.expr(pattern)?])?;
                if *negated { !matches } else { matches }
            }
            Tree::Case { operand, conditions, else_result, .. } => {
                let operand = operand.as_ref().map(|e| self.expr(e)).transpose()?;
                let mut branches = Vec::with_capacity(conditions.len());
                for branch in conditions {
                    let condition = self.expr(&branch.condition)?;
                    // Spark compares the operand with =, too.
                    let condition = match &operand {
                        Some(operand) => operand.clone().eq(condition),
                        None => condition,
                    };
                    branches.push((Box::new(condition), Box::new(self.expr(&branch.result)?)));
                }
                let otherwise = else_result.as_ref().map(|e| self.expr(e)).transpose()?;
                Expr::Case(Case::new(None, branches, otherwise.map(Box::new)))
            }
            Tree::Cast { kind, expr, data_type: to, array: false, format: None } => {
                let to = data_type(to).at(expr.span())?;
                let safe = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
                cast(self.expr(expr)?, &to, safe)
            }
            Tree::Extract { field, expr, .. } => {
                self.call("date_part", vec![lit(field_name(field)), self.expr(expr)?])?
            }
            Tree::Ceil { expr, field } => self.rounding("ceil", expr, field)?,
            Tree::Floor { expr, field } => self.rounding("floor", expr, field)?,
            Tree::Position { expr, r#in } => self.call("locate", vec![self.expr(expr)?, self.expr(r#in)?])?,
            Tree::Substring { expr, substring_from, substring_for, .. } => {
                let from = substring_from.as_ref().map_or(Ok(lit(1i32)), |e| self.expr(e))?;
                let mut arguments = vec![self.expr(expr)?, from];
                arguments.extend(substring_for.as_ref().map(|e| self.expr(e)).transpose()?);
                self.call("substring", arguments)?
            }
            Tree::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "trim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                // Spark's functions take the characters first.
                let mut arguments: Vec<Expr> =
                    trim_what.as_ref().map(|e| self.expr(e)).transpose()?.into_iter().collect();
                arguments.push(self.expr(expr)?);
                self.call(name, arguments)?
            }
            Tree::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = self.exprs([&**expr, &**overlay_what, &**overlay_from])?;
                arguments.extend(overlay_for.as_ref().map(|e| self.expr(e)).transpose()?);
                self.call("overlay", arguments)?
            }
            Tree::Tuple(items) => self.call("struct", self.exprs(items)?)?,
            Tree::Struct { values, fields } if fields.is_empty() => self.call("struct", self.exprs(values)?)?,
            Tree::Named { expr, name } => self.expr(expr)?.alias(&name.value),
            Tree::Array(array) => self.call("array", self.exprs(&array.elem)?)?,
            Tree::Map(map) => {
                let entries = map.entries.iter().flat_map(|entry| [&*entry.key, &*entry.value]);
                self.call("map", self.exprs(entries)?)?
            }
            Tree::Function(function) => self.function(function)?,
            Tree::Wildcard(_) => column("*"),
            Tree::QualifiedWildcard(name, _) => column(&format!("{}.*", dotted(&idents(name)?))),
            Tree::InSubquery { expr, subquery, negated } => {
                let values = match &**expr {
                    Tree::Tuple(values) => self.exprs(values)?,
                    one => vec![self.expr(one)?],
                };
                self.subquery(tree, Kind::In { values, negated: *negated }, subquery)?
            }
            Tree::Exists { subquery, negated } => {
                let there = self.subquery(tree, Kind::Exists, subquery)?;
                if *negated { !there } else { there }
            }
            Tree::Subquery(query) => self.subquery(tree, Kind::Scalar, query)?,
            Tree::Lambda(written) => {
                let parameters = written.params.iter().map(|parameter| parameter.name.value.clone()).collect();
                lambda(parameters, self.expr(&written.body)?)
            }
            Tree::GroupingSets(_) | Tree::Cube(_) | Tree::Rollup(_) => {
                return Err(unsupported(tree, "ROLLUP, CUBE and GROUPING SETS stand in GROUP BY only"));
            }
            other => return Err(unsupported(other, &format!("the expression {other} is not supported"))),
        })
    }

    fn identifier(&self, ident: &Ident) -> Parsed<Expr> {
        if ident.quote_style.is_none()
            && let Some(number) = literal::suffixed_number(&ident.value)
        {
            return number.at(ident.span);
        }
        Ok(self.name(std::slice::from_ref(ident)))
    }

    fn name(&self, parts: &[Ident]) -> Expr {
        let name = dotted(parts);
        if let Some(first) = parts.first() {
            self.names.borrow_mut().push((name.clone(), first.span.start));
        }
        column(&name)
    }

    /// `array[0].field['key']`.
    fn access(&self, root: &ast::Expr, chain: &[AccessExpr]) -> Parsed<Expr> {
        let mut rest = chain.iter().peekable();
        let mut value = match root {
            ast::Expr::Identifier(first) => {
                let mut path = vec![first.clone()];
                while let Some(AccessExpr::Dot(ast::Expr::Identifier(part))) = rest.peek() {
                    path.push(part.clone());
                    rest.next();
                }
                self.name(&path)
            }
            other => self.expr(other)?,
        };
        for step in rest {
            value = match step {
                AccessExpr::Dot(ast::Expr::Identifier(field)) => {
                    datafusion::functions::core::expr_fn::get_field(value, field.value.as_str())
                }
                AccessExpr::Dot(other) => {
                    return Err(unsupported(other, &format!("the field .{other} is not a name")));
                }
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    self.call("get_item", vec![value, self.expr(index)?])?
                }
                AccessExpr::Subscript(slice) => {
                    return Err(unsupported(
                        root,
                        &format!("[{slice}] is not supported; use slice(array, start, length)"),
                    ));
                }
            };
        }
        Ok(value)
    }

    fn interval_text<'t>(&self, interval: &'t ast::Interval) -> Parsed<&'t str> {
        match &*interval.value {
            ast::Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Ok(text),
            other => {
                Err(unsupported(other, &format!("INTERVAL {other}: the length of an interval must be a constant")))
            }
        }
    }

    fn unary(&self, op: UnaryOperator, operand: &ast::Expr) -> Parsed<Expr> {
        // The least BIGINT exists with its sign only.
        if negated_number(op, operand) {
            let digits = operand.to_string();
            let negative = match operand {
                ast::Expr::Value(value) => match &value.value {
                    Value::Number(digits, long) => {
                        literal::number(&format!("-{digits}"), if *long { "l" } else { "" }).at(value.span)?
                    }
                    _ => return Err(unsupported(operand, "a minus stands before a number")),
                },
                _ => match literal::suffixed(&digits) {
                    Some((number, suffix)) => literal::number(&format!("-{number}"), &suffix).at(operand.span())?,
                    None => Expr::Negative(Box::new(self.expr(operand)?)),
                },
            };
            return Ok(negative);
        }
        let value = self.expr(operand)?;
        Ok(match op {
            UnaryOperator::Plus => value,
            UnaryOperator::Minus => Expr::Negative(Box::new(value)),
            UnaryOperator::Not | UnaryOperator::BangNot => !value,
            UnaryOperator::BitwiseNot => self.call("bitnot", vec![value])?,
            other => return Err(unsupported(operand, &format!("the operator {other} is not Spark SQL"))),
        })
    }

    fn operator(&self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Parsed<Expr> {
        let called = |name: &str| self.call(name, vec![self.expr(left)?, self.expr(right)?]);
        let op = match op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
            BinaryOperator::And => Operator::And,
            BinaryOperator::Or => Operator::Or,
            BinaryOperator::BitwiseAnd => Operator::BitwiseAnd,
            BinaryOperator::BitwiseOr => Operator::BitwiseOr,
            BinaryOperator::BitwiseXor => Operator::BitwiseXor,
            BinaryOperator::PGBitwiseShiftLeft => return called("shiftleft"),
            BinaryOperator::PGBitwiseShiftRight => return called("shiftright"),
            BinaryOperator::StringConcat => return called("concat"),
            BinaryOperator::MyIntegerDivide => return called("div"),
            BinaryOperator::Regexp => return called("rlike"),
            other => return Err(unsupported(left, &format!("the operator {other} is not Spark SQL"))),
        };
        self.binary(left, op, right)
    }

    fn like(
        &self,
        negated: bool,
        any: bool,
        value: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ValueWithSpan>,
        case_insensitive: bool,
    ) -> Parsed<Expr> {
        let left = self.expr(value)?;
        let patterns = match (any, pattern) {
            (true, ast::Expr::Tuple(patterns)) => patterns.iter().collect(),
            (true, ast::Expr::Nested(pattern)) => vec![&**pattern],
            _ => vec![pattern],
        };
        let mut matches: Option<Expr> = None;
        for pattern in patterns {
            let right = self.escaped(self.expr(pattern)?, escape).at(pattern.span())?;
            let like = Like::new(false, Box::new(left.clone()), Box::new(right), None, case_insensitive);
            let like = Expr::Like(like);
            matches = Some(match matches {
                None => like,
                Some(before) => before.or(like),
            });
        }
        let matches = matches.ok_or_else(|| unsupported(pattern, "LIKE ANY needs a pattern"))?;
        Ok(if negated { !matches } else { matches })
    }

    /// A pattern with another escape character, written with the backslash.
    fn escaped(&self, pattern: Expr, escape: Option<&ValueWithSpan>) -> Parsed<Expr> {
        let Some(escape) = escape else { return Ok(pattern) };
        let mut characters = literal::text(&escape.value).unwrap_or_default().chars();
        let (Some(mark), None) = (characters.next(), characters.next()) else {
            return Err(Failure::new(ErrorCode::ParseSyntaxError, "ESCAPE takes one character", escape.span));
        };
        if mark == '\\' {
            return Ok(pattern);
        }
        let Expr::Literal(value, _) = &pattern else {
            return Err(Failure::unsupported("ESCAPE needs a pattern that is a constant", escape.span));
        };
        let Some(Some(text)) = value.try_as_str() else { return Ok(pattern) };
        let mut rewritten = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match c {
                c if c == mark => match characters.next() {
                    Some(next) if next == mark && !matches!(mark, '%' | '_') => rewritten.push(next),
                    Some(next) => rewritten.extend(['\\', next]),
                    None => {
                        return Err(Failure::new(
                            ErrorCode::ParseSyntaxError,
                            format!("the pattern '{text}' must not end with the escape character"),
                            escape.span,
                        ));
                    }
                },
                '\\' => rewritten.push_str("\\\\"),
                other => rewritten.push(other),
            }
        }
        Ok(lit(rewritten))
    }

    fn rounding(&self, name: &str, expr: &ast::Expr, field: &CeilFloorKind) -> Parsed<Expr> {
        let mut arguments = vec![self.expr(expr)?];
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {}
            CeilFloorKind::Scale(scale) => arguments.push(literal::literal(&scale.value, scale.span)?),
            CeilFloorKind::DateTimeField(field) => {
                let message = format!("{name}(... TO {field}) is not Spark SQL; use date_trunc('{field}', ...)");
                return Err(unsupported(expr, &message));
            }
        }
        self.call(name, arguments)
    }

    fn function(&self, function: &ast::Function) -> Parsed<Expr> {
        let parts = idents(&function.name)?;
        let span = parts.first().map_or(Span::empty(), |first| first.span);
        let mut name = parts.last().map(|part| part.value.to_ascii_lowercase()).unwrap_or_default();
        let refuse = |message: String| Err(Failure::unsupported(message, span));
        if parts.len() > 1 {
            return refuse(format!("{}: functions have no namespace; write {name}(...)", function.name));
        }
        if !function.within_group.is_empty() {
            return refuse(format!(
                "{name}(...) WITHIN GROUP is not supported; use percentile_approx(column, percentage)"
            ));
        }
        let mut distinct = false;
        let mut arguments = Vec::new();
        let mut ignore_nulls = function.null_treatment;
        match &function.args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) => {
                return refuse(format!("{name}(SELECT ...) is not supported; join with the query"));
            }
            FunctionArguments::List(list) => {
                distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                let unit = time_unit(&name, &list.args);
                for argument in &list.args {
                    arguments.push(match &unit {
                        Some(unit) if arguments.is_empty() => lit(unit.as_str()),
                        _ => self.argument(&name, argument, span)?,
                    });
                }
                if unit.is_some() && name == "timediff" {
                    name = "timestampdiff".to_string();
                }
                for clause in &list.clauses {
                    match clause {
                        FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => ignore_nulls = Some(*treatment),
                        other => return refuse(format!("{name}(... {other}) is not supported")),
                    }
                }
            }
        }
        let ignored = ignore_nulls == Some(NullTreatment::IgnoreNulls);
        // An aggregate is told by an argument.
        let by_argument = !matches!(name.as_str(), "lag" | "lead" | "nth_value");
        if ignored && by_argument {
            arguments.push(lit(true));
        }
        let call = match (cast_function(&name), arguments.len(), distinct) {
            (Some(to), 1, false) => match arguments.pop() {
                Some(argument) => cast(argument, &to, false),
                None => return refuse(format!("{name}() needs an argument")),
            },
            _ => self.registry.call(&name, arguments, distinct).at(span)?,
        };
        let call = match &function.filter {
            Some(filter) => self.filtered(call, filter, &name, span)?,
            None => call,
        };
        let Some(over) = &function.over else { return Ok(call) };
        let call = self.over(call, over, &self.windows, span)?;
        if !ignored || by_argument {
            return Ok(call);
        }
        let told = call.transform_up(|e| match e {
            Expr::WindowFunction(mut window) => {
                window.params.null_treatment = Some(DataFusionNulls::IgnoreNulls);
                Ok(Transformed::yes(Expr::WindowFunction(window)))
            }
            other => Ok(Transformed::no(other)),
        });
        Ok(told.map_err(Error::from).at(span)?.data)
    }

    /// `call FILTER (WHERE ...)`.
    fn filtered(&self, call: Expr, filter: &ast::Expr, name: &str, span: Span) -> Parsed<Expr> {
        let condition = self.expr(filter)?;
        let mut aggregates = 0;
        let filtered = call.transform_up(|e| match e {
            Expr::AggregateFunction(mut aggregate) => {
                aggregates += 1;
                aggregate.params.filter = Some(Box::new(condition.clone()));
                Ok(Transformed::yes(Expr::AggregateFunction(aggregate)))
            }
            other => Ok(Transformed::no(other)),
        });
        let filtered = filtered.map_err(Error::from).at(span)?.data;
        match aggregates {
            0 => Err(Failure::new(
                ErrorCode::InvalidExpression,
                format!("{name}(...) FILTER: {name} is no aggregate"),
                span,
            )),
            _ => Ok(filtered),
        }
    }

    fn argument(&self, function: &str, argument: &FunctionArg, span: Span) -> Parsed<Expr> {
        let FunctionArg::Unnamed(argument) = argument else {
            return Err(Failure::unsupported(
                format!("{function}({argument}): arguments have no names here; write them in order"),
                span,
            ));
        };
        match argument {
            // The length of a window is a text to the function.
            FunctionArgExpr::Expr(ast::Expr::Interval(interval)) if matches!(function, "window" | "session_window") => {
                Ok(lit(self.interval_text(interval)?))
            }
            FunctionArgExpr::Expr(tree) => self.expr(tree),
            FunctionArgExpr::Wildcard => Ok(column("*")),
            FunctionArgExpr::QualifiedWildcard(name) => Ok(column(&format!("{}.*", dotted(&idents(name)?)))),
            other => Err(Failure::unsupported(format!("{function}({other}) is not supported"), span)),
        }
    }
}

fn unsupported(tree: &ast::Expr, message: &str) -> Failure {
    Failure::unsupported(message, tree.span())
}

/// A column by its dotted name.
pub(super) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The parts of a name with dots between; backticks stay where a part needs them.
pub(super) fn dotted(parts: &[Ident]) -> String {
    let part = |part: &Ident| match part.quote_style {
        None if !part.value.contains(['.', '`']) => part.value.clone(),
        _ => quoted(&part.value),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

/// The identifiers of an object's name.
pub(super) fn idents(name: &ObjectName) -> Parsed<Vec<Ident>> {
    name.0
        .iter()
        .map(|part| {
            part.as_ident()
                .cloned()
                .ok_or_else(|| Failure::unsupported(format!("the name {name} is not supported"), name.span()))
        })
        .collect()
}

fn cast(value: Expr, to: &DataType, safe: bool) -> Expr {
    SparkFunction::cast(to.to_arrow(), safe).call(vec![value])
}

/// The type that Spark's functions named after types cast to.
fn cast_function(name: &str) -> Option<DataType> {
    let names = [
        "boolean",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "float",
        "double",
        "decimal",
        "date",
        "timestamp",
        "binary",
        "string",
    ];
    names.contains(&name).then(|| name.into_data_type().ok()).flatten()
}

/// The unit that a call such as `timestampadd(HOUR, 2, t)` begins with, which is no column there.
fn time_unit(function: &str, arguments: &[FunctionArg]) -> Option<String> {
    const FUNCTIONS: &[&str] =
        &["timestampadd", "timestampdiff", "dateadd", "date_add", "datediff", "date_diff", "timediff"];
    const UNITS: &[&str] = &[
        "YEAR",
        "QUARTER",
        "MONTH",
        "WEEK",
        "DAY",
        "DAYOFYEAR",
        "HOUR",
        "MINUTE",
        "SECOND",
        "MILLISECOND",
        "MICROSECOND",
    ];
    match arguments {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(unit))), _, _]
            if FUNCTIONS.contains(&function) && unit.quote_style.is_none() =>
        {
            let unit = unit.value.to_ascii_uppercase();
            UNITS.contains(&unit.as_str()).then_some(unit)
        }
        _ => None,
    }
}

fn field_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_uppercase()
}
