//! Resolution: what the user wrote becomes Spark's meaning over a schema.
//!
//! Comes in: an unresolved DataFusion expression. Goes out: one whose columns exist, whose functions know the session,
//! and whose types fit. Fails: unknown and ambiguous columns (with the nearest name), types that do not fit, and
//! expressions that have no meaning on a stream.

use super::scope::{Scope, distinct_names};
use super::spark_aggregate::{self, SparkAggregate};
use super::spark_function::{Environment, Kind, SparkFunction};
use super::{coerce, names, nullness};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::interval::Fields;
use crate::functions::lambda::Applied;
use crate::functions::placed::placed;
use crate::functions::session_window::{window_of, window_time};
use crate::functions::{self, cast::CastOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use std::sync::Arc;

/// Resolves `expr` against the columns of `scope`; the result refers to them by their distinct names.
pub fn resolve(expr: Expr, scope: &Scope, environment: &Environment) -> Result<Expr> {
    let schema = df_schema(scope.schema())?;
    let resolved = expr
        .transform_up(|e| match e {
            Expr::Column(name) => Ok(Transformed::yes(column(&name, scope)?)),
            Expr::ScalarFunction(call) => match SparkFunction::of(&call) {
                Some(function) => {
                    Ok(Transformed::yes(spark_call(function.clone(), call.args, scope, &schema, environment)?))
                }
                // coalesce() and its like evaluate an argument only where they need it: to DataFusion they are a CASE.
                None if call.func.short_circuits() => {
                    Ok(Transformed::yes(match call.func.simplify(call.args, &SimplifyContext::default())? {
                        ExprSimplifyResult::Simplified(expr) => expr,
                        ExprSimplifyResult::Original(args) => {
                            Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))
                        }
                    }))
                }
                None => Ok(Transformed::no(Expr::ScalarFunction(call))),
            },
            Expr::AggregateFunction(call) => {
                Ok(Transformed::yes(Expr::AggregateFunction(spark_aggregate::with_environment(call, environment))))
            }
            Expr::WindowFunction(mut call) => {
                call.fun = spark_aggregate::over_window(call.fun, environment);
                Ok(Transformed::yes(Expr::WindowFunction(call)))
            }
            other => Ok(coerce::operator(other, &schema, environment)?),
        })
        .map_err(Error::from)?
        .data;
    if resolved.is_volatile() {
        return Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!("{resolved}: a function that gives another value each time cannot be replayed after a failure"),
        ));
    }
    let coerced = ExprSimplifier::new(SimplifyContext::default()).coerce(resolved, &schema)?;
    let meant = coerced.transform_up(|e| Ok(spark_meaning(e, &schema, environment)?))?.data;
    meant.get_type(schema.as_ref())?;
    Ok(meant)
}

/// Spark's meaning of what DataFusion's type coercion has put in or left as it was. Aliases go: the name is taken before.
fn spark_meaning(expr: Expr, schema: &DFSchemaRef, environment: &Environment) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Alias(alias) => Transformed::yes(*alias.expr),
        Expr::Cast(cast) => {
            let to = cast.field.data_type();
            match cast.expr.as_ref() {
                // A constant takes its type here, so that kernels see a constant.
                Expr::Literal(value, metadata) if !value.is_null() => {
                    let options = CastOptions { ansi: environment.ansi, time_zone: environment.time_zone };
                    let array = functions::cast::cast(&value.to_array()?, to, options)?;
                    Transformed::yes(Expr::Literal(ScalarValue::try_from_array(&array, 0)?, metadata.clone()))
                }
                inner if inner.get_type(schema.as_ref())? == DataType::Utf8 => {
                    let function = SparkFunction::cast(to.clone(), false).within(environment);
                    Transformed::yes(function.call(vec![inner.clone()]))
                }
                _ => Transformed::no(Expr::Cast(cast)),
            }
        }
        other => Transformed::no(other),
    })
}

/// Refuses an aggregate where rows are looked at one by one, with the code that says so there.
pub fn refuse_aggregates(expr: &Expr, name: &str, code: ErrorCode) -> Result<()> {
    let mut misplaced = None;
    expr.apply(|e| {
        misplaced = match e {
            Expr::WindowFunction(_) => Some(Error::new(
                code,
                format!("{name}: a function over a window of rows stands in a selection only; select it first"),
            )),
            other => placed(other).map(|(function, _)| functions::placed::misplaced(function)),
        };
        Ok(if misplaced.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if let Some(error) = misplaced {
        return Err(error);
    }
    match expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_))))? {
        true => Err(Error::new(
            code,
            format!("{name}: an aggregate needs group_by(...).agg(...), and cannot stand inside another"),
        )),
        false => Ok(()),
    }
}

/// `name` in backticks, so that [`resolve`] takes it as it is.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Resolves a predicate: like [`resolve`], and its type must be boolean.
pub fn resolve_predicate(expr: Expr, scope: &Scope, environment: &Environment) -> Result<Expr> {
    let text = output_name(&expr);
    let predicate = resolve(expr, scope, environment)?;
    refuse_aggregates(&predicate, "filter", ErrorCode::InvalidWhereCondition)
        .map_err(|error| error.with_parameter("condition", &text).with_parameter("expressionList", &text))?;
    match predicate.get_type(df_schema(scope.schema())?.as_ref())? {
        DataType::Boolean => Ok(predicate),
        other => {
            let found = functions::cast::sql_name(&other);
            Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("a filter must be a boolean expression, but {text} is {found}; compare it with something"),
            )
            .with_sub_condition("FILTER_NOT_BOOLEAN")
            .with_parameter("sqlExpr", format!("\"{text}\""))
            .with_parameter("filter", format!("\"{text}\""))
            .with_parameter("type", format!("\"{found}\"")))
        }
    }
}

/// The field that a resolved expression makes: its type, and the metadata (event time) of a column passed through.
pub fn field_of(expr: &Expr, name: &str, schema: &Schema) -> Result<Field> {
    let df_schema = df_schema(schema)?;
    let found = expr.to_field(df_schema.as_ref())?.1;
    let field = field_with_event_time(expr, name, schema, &found)?;
    // A column that is passed through has its mark.
    Ok(match nullness::never(expr, df_schema.as_ref()) {
        true => nullness::marked(field),
        false => field,
    })
}

fn field_with_event_time(expr: &Expr, name: &str, schema: &Schema, found: &Field) -> Result<Field> {
    let fields = Fields::of(found).map(Fields::metadata).unwrap_or_default();
    let field = Field::new(name, found.data_type().clone(), true).with_metadata(fields.into_iter().collect());
    Ok(match strip_alias(expr) {
        Expr::Column(column) => match field_named(schema, &column.name) {
            Some(source) => field.with_metadata(source.metadata().clone()),
            None => field,
        },
        Expr::ScalarFunction(call) => match SparkFunction::of(call).map(|f| &f.kind) {
            Some(Kind::Window { duration, slide, start }) => {
                let mut metadata = std::collections::HashMap::new();
                let parameters = format!("{duration} {slide} {start}");
                metadata.insert(super::logical::TIME_WINDOW_KEY.to_string(), parameters);
                metadata.extend(call.args.first().and_then(|time| event_time_of(time, schema)));
                field.with_metadata(metadata)
            }
            Some(Kind::SessionWindow) => {
                let kind = (super::logical::TIME_WINDOW_KEY.to_string(), super::grouping::SESSION.to_string());
                let watermark = call.args.first().and_then(|time| event_time_of(time, schema));
                field.with_metadata(std::iter::once(kind).chain(watermark).collect())
            }
            // The time of a window is an event time as the window is.
            _ => match event_time_of(strip_alias(expr), schema) {
                Some(mark) => field.with_metadata([mark].into()),
                None => field,
            },
        },
        _ => field,
    })
}

/// The mark of a watermark, where the expression is an event time: a column that has one, or the time of a window that has.
fn event_time_of(expr: &Expr, schema: &Schema) -> Option<(String, String)> {
    let Expr::Column(column) = window_of(expr).unwrap_or(expr) else { return None };
    let key = super::logical::WATERMARK_DELAY_KEY;
    let delay = field_named(schema, &column.name)?.metadata().get(key)?;
    Some((key.to_string(), delay.clone()))
}

/// The field that a resolved expression calls `name`.
fn field_named<'a>(schema: &'a Schema, name: &str) -> Option<&'a Field> {
    let position = distinct_names(schema).iter().position(|n| n == name)?;
    schema.fields().get(position).map(AsRef::as_ref)
}

/// `schema` as DataFusion's, which wants distinct names.
pub fn df_schema(schema: &Schema) -> Result<DFSchemaRef> {
    let fields = schema.fields().iter().zip(distinct_names(schema)).map(|(field, name)| match *field.name() == name {
        true => field.clone(),
        false => Arc::new(field.as_ref().clone().with_name(name)),
    });
    Ok(Arc::new(DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>()))?))
}

/// The name of the column that an expression makes: its alias, its column, or Spark's text of the call.
pub fn output_name(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Column(column) => split_path(&column.name).pop().unwrap_or_default(),
        Expr::ScalarFunction(call) => match SparkFunction::of(call).map(|f| &f.kind) {
            Some(Kind::Window { .. }) => "window".to_string(),
            Some(Kind::SessionWindow) => "session_window".to_string(),
            // A column that is cast keeps its name.
            Some(Kind::Cast { .. }) if matches!(call.args.first(), Some(Expr::Column(_) | Expr::Alias(_))) => {
                call.args.first().map(output_name).unwrap_or_default()
            }
            Some(Kind::Lambda { parameters, body }) => functions::lambda::text(parameters, body, names::text),
            _ => names::called(call).unwrap_or_else(|| format!("{}({})", call.name(), names::texts(&call.args))),
        },
        Expr::AggregateFunction(call) => {
            let distinct = if call.params.distinct { "DISTINCT " } else { "" };
            let args = call.params.args.as_slice();
            let shown = SparkAggregate::of(&call.func).map_or(args.len(), |f| f.shown_arguments(args.len()));
            let shown = names::texts(args.get(..shown).unwrap_or(args));
            let filter = call.params.filter.as_ref();
            let filter = filter.map_or(String::new(), |f| format!(" FILTER (WHERE {})", output_name(f)));
            format!("{}({distinct}{shown}){filter}", call.func.name())
        }
        Expr::BinaryExpr(_)
        | Expr::Not(_)
        | Expr::Negative(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList(_)
        | Expr::Between(_)
        | Expr::Like(_)
        | Expr::Case(_)
        | Expr::Literal(..) => names::text(expr),
        Expr::WindowFunction(call) => crate::frame::window_text(call, names::texts),
        Expr::Cast(cast) if matches!(&*cast.expr, Expr::WindowFunction(_)) => output_name(&cast.expr),
        Expr::Cast(_) => names::text(expr),
        other => other.schema_name().to_string(),
    }
}

/// The expression below its aliases.
pub fn strip_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => strip_alias(&alias.expr),
        other => other,
    }
}

/// Expands `*`, `alias.*` and `data.*` in a selection; other expressions come back as they are.
pub fn expand_star(expr: Expr, scope: &Scope) -> Result<Vec<Expr>> {
    let Expr::Column(name) = &expr else { return Ok(vec![expr]) };
    if name.name == "*" {
        return Ok(scope.all());
    }
    let Some(prefix) = name.name.strip_suffix(".*") else { return Ok(vec![expr]) };
    if let [qualifier] = split_path(prefix).as_slice()
        && let Some(columns) = scope.expand(qualifier)
    {
        return Ok(columns);
    }
    let parent = Column { name: prefix.to_string(), ..name.clone() };
    let parent_type = scope.find(&parent)?.get_type(df_schema(scope.schema())?.as_ref())?;
    let parent = Expr::Column(parent);
    match parent_type {
        DataType::Struct(fields) => Ok(fields.iter().map(|f| field_access(parent.clone(), f.name())).collect()),
        other => Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{}: only a struct can be expanded, and {prefix} is {other}", name.name),
        )),
    }
}

fn field_access(parent: Expr, name: &str) -> Expr {
    datafusion::functions::core::expr_fn::get_field(parent, name).alias(name)
}

fn spark_call(
    function: SparkFunction,
    mut args: Vec<Expr>,
    scope: &Scope,
    schema: &DFSchemaRef,
    environment: &Environment,
) -> Result<Expr> {
    let mut function = function.within(environment);
    // A window of windows goes by the last instant of each.
    if let (Kind::Window { .. } | Kind::SessionWindow, Some(time)) = (&function.kind, args.first_mut())
        && let DataType::Struct(fields) = time.get_type(schema.as_ref())?
        && fields.iter().any(|field| field.name() == "end")
    {
        *time = window_time(strip_alias(time).clone())?;
    }
    match &function.kind {
        Kind::Rewrite(rewrite) => {
            let expanded = (rewrite.expand)(args);
            let meant = expanded.transform_up(|e| Ok(coerce::operator(e, schema, environment)?))?;
            return Ok(meant.data);
        }
        Kind::HigherOrder { name, function } => {
            return functions::lambda::bind(name, *function, args, scope, schema, environment);
        }
        Kind::Arithmetic { .. } => return Ok(function.folded(coerce::beside_decimals(args, schema)?)),
        Kind::Scalar(builtin) if builtin.name == "get_item" => {
            // A field of a struct, where the key is its name.
            if let [parent, Expr::Literal(key, _)] = args.as_slice()
                && let DataType::Struct(_) = parent.get_type(schema.as_ref())?
                && let Some(name) = key.try_as_str().flatten()
            {
                return Ok(datafusion::functions::core::expr_fn::get_field(parent.clone(), name));
            }
            return Ok(function.folded(args));
        }
        Kind::Scalar(_) | Kind::Cast { .. } => return Ok(function.folded(args)),
        _ => {}
    }
    if let Kind::MakeStruct { names } = &mut function.kind {
        if !names.is_empty() {
            return Ok(function.call(args));
        }
        let (mut fields, mut names_of) = (Vec::new(), Vec::new());
        for argument in args {
            let starred = matches!(&argument, Expr::Column(c) if c.name == "*");
            match starred {
                // Columns below are resolved before their call, so a star is still a column here.
                true => {
                    for field in expand_star(argument, scope)? {
                        names_of.push(output_name(&field));
                        fields.push(resolve_name(field, scope)?);
                    }
                }
                false => {
                    // A column that is not the first of its name is known by its distinct name below, and keeps its own here.
                    names_of.push(field_name(&argument, names_of.len(), scope));
                    fields.push(argument);
                }
            }
        }
        *names = names_of;
        let fields = fields.into_iter().map(|f| strip_alias(&f).clone()).collect();
        return Ok(function.call(fields));
    }
    Ok(function.call(args))
}

/// The name of a field of `struct(...)`: what has a name keeps it, anything else is called by its position.
fn field_name(expr: &Expr, index: usize, scope: &Scope) -> String {
    let named = match expr {
        Expr::Alias(_) | Expr::Column(_) => true,
        Expr::ScalarFunction(call) => {
            is_get_field(call) || matches!(SparkFunction::of(call).map(|f| &f.kind), Some(Kind::Window { .. }))
        }
        _ => false,
    };
    match (named, expr) {
        (true, Expr::ScalarFunction(call)) => match get_field_parts(call) {
            Some((_, name)) => name.to_string(),
            None => own_name(expr, scope),
        },
        (true, _) => own_name(expr, scope),
        (false, _) => format!("col{}", index + 1),
    }
}

/// The output name of a resolved expression.
fn own_name(expr: &Expr, scope: &Scope) -> String {
    match expr {
        Expr::Column(column) => scope
            .position(&column.name)
            .and_then(|index| scope.schema().fields().get(index))
            .map_or_else(|| output_name(expr), |field| field.name().clone()),
        _ => output_name(expr),
    }
}

fn resolve_name(expr: Expr, scope: &Scope) -> Result<Expr> {
    match expr {
        Expr::Column(name) => column(&name, scope),
        other => Ok(other),
    }
}

/// The parts of a dotted name; a part in backticks may hold dots, and a backtick written twice.
pub(crate) fn split_path(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '`' if quoted && characters.peek() == Some(&'`') => {
                characters.next();
                parts.last_mut().into_iter().for_each(|p| p.push('`'));
            }
            '`' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => parts.last_mut().into_iter().for_each(|p| p.push(other)),
        }
    }
    parts
}

/// The column or struct field that a reference means. A star inside `struct("*")` is expanded by its call.
fn column(name: &Column, scope: &Scope) -> Result<Expr> {
    match name.name.as_str() {
        "*" => Ok(Expr::Column(name.clone())),
        _ => scope.find(name),
    }
}

/// Whether evaluating the expression may end the query (an ANSI cast, integer arithmetic, a division, a FAILFAST parse).
pub fn is_fallible(expr: &Expr) -> bool {
    let mut fallible = false;
    let visit = expr.apply(|e| {
        fallible |= match e {
            Expr::ScalarFunction(call) => match SparkFunction::of(call) {
                Some(function) => function.is_fallible(),
                None => Applied::of(call).is_some_and(Applied::is_fallible),
            },
            Expr::BinaryExpr(b) => b.op == Operator::Modulo,
            _ => false,
        };
        Ok(if fallible { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    fallible || visit.is_err()
}

/// Whether the call is a struct field access; gives the parent and the field's name.
pub fn get_field_parts(call: &ScalarFunction) -> Option<(&Expr, &str)> {
    match (is_get_field(call), call.args.as_slice()) {
        (true, [parent, Expr::Literal(name, _)]) => name.try_as_str().flatten().map(|name| (parent, name)),
        _ => None,
    }
}

fn is_get_field(call: &ScalarFunction) -> bool {
    call.func.name() == "get_field"
}
