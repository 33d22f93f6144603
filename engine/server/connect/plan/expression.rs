//! Expressions of the protocol as columns.
//!
//! Comes in: an expression. Goes out: a [`Column`], not yet resolved against any frame, except that `df.city` refers to its frame's column.
//! Fails: functions and expressions that there are not, by name; texts that are no expressions.

use super::literal;
use super::types;
use super::{Planner, children, required, subquery, unsupported, window};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::Column;
use crate::frame::functions::col;
use crate::functions::lambda::lambda;
use crate::plan::logical::USER_METADATA_KEY;
use crate::plan::resolve::{quoted, split_path};
use crate::types::IntoDataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::logical_expr::{Expr, SortExpr};
use proto::expression::cast::{CastToType, EvalMode};
use proto::expression::sort_order::{NullOrdering, SortDirection};
use proto::expression::{ExprType, SortOrder};
use spark_connect_proto as proto;

enum Step<'e> {
    Visit(&'e proto::Expression),
    Build(&'e proto::Expression, usize),
}

/// The column of an expression.
pub(super) fn column(planner: &Planner<'_>, root: &proto::Expression) -> Result<Column> {
    let mut steps = vec![Step::Visit(root)];
    let mut made: Vec<Expr> = Vec::new();
    while let Some(step) = steps.pop() {
        match step {
            Step::Visit(expression) => {
                let parts = children::expressions(expression)?;
                steps.push(Step::Build(expression, parts.len()));
                steps.extend(parts.into_iter().rev().map(Step::Visit));
            }
            Step::Build(expression, parts) => {
                let parts = made.split_off(made.len().saturating_sub(parts));
                made.push(build(planner, expression, parts)?);
            }
        }
    }
    made.pop().map(Column::from).ok_or_else(|| Error::internal("an expression that is nothing"))
}

/// The key of a sort.
pub(super) fn sort_key(planner: &Planner<'_>, order: &SortOrder) -> Result<SortExpr> {
    let expr = column(planner, required(order.child.as_deref(), "the expression of a sort order")?)?.0?;
    Ok(sorted(expr, order))
}

/// An expression in the order that a plan asks for.
pub(super) fn sorted(expr: Expr, order: &SortOrder) -> SortExpr {
    let ascending = order.direction() != SortDirection::Descending;
    let nulls_first = match order.null_ordering() {
        NullOrdering::SortNullsUnspecified => ascending,
        NullOrdering::SortNullsFirst => true,
        NullOrdering::SortNullsLast => false,
    };
    expr.sort(ascending, nulls_first)
}

/// An expression of the expressions that it is made of.
fn build(planner: &Planner<'_>, expression: &proto::Expression, parts: Vec<Expr>) -> Result<Expr> {
    let kind = required(expression.expr_type.as_ref(), "an expression")?;
    let functions = || planner.session().functions();
    let mut parts = parts.into_iter();
    let mut next = || parts.next().ok_or_else(|| Error::internal("a part of an expression is missing"));
    match kind {
        ExprType::Literal(value) => Ok(Expr::Literal(literal::scalar(value)?, None)),
        ExprType::UnresolvedAttribute(attribute) => {
            let name = &attribute.unparsed_identifier;
            if attribute.is_metadata_column() {
                return unsupported(format!("the metadata column {name:?}: sources have no metadata columns here"));
            }
            match attribute.plan_id {
                Some(id) => planner.frame(id)?.col(name).0,
                None => col(name).0,
            }
        }
        ExprType::UnresolvedStar(star) => col(star.unparsed_target.as_deref().unwrap_or("*")).0,
        ExprType::UnresolvedRegex(regex) => match regex.plan_id {
            Some(id) => planner.frame(id)?.col(&regex.col_name).0,
            None => col(&regex.col_name).0,
        },
        ExprType::ExpressionString(text) => crate::sql::select_item(&text.expression, &functions()),
        ExprType::UnresolvedFunction(call) => functions().call(&call.function_name, parts.collect(), call.is_distinct),
        ExprType::CallFunction(call) => {
            let name = split_path(&call.function_name).pop().unwrap_or_default();
            functions().call(&name, parts.collect(), false)
        }
        ExprType::CommonInlineUserDefinedFunction(call) => planner.resources.python_udf(call, parts.collect()),
        ExprType::Alias(alias) => {
            let (value, names) = (Column::from(next()?), &alias.name);
            match names.as_slice() {
                [name] => Ok(value.0?.alias_with_metadata(name, metadata(alias)?)),
                several => value.aliases(several.iter().map(String::as_str)).0,
            }
        }
        ExprType::Cast(cast) => {
            let to = match required(cast.cast_to_type.as_ref(), "the type of a cast")? {
                CastToType::Type(data_type) => types::from_proto(data_type)?,
                CastToType::TypeStr(text) => text.as_str().into_data_type()?,
            };
            let value = Column::from(next()?);
            match cast.eval_mode() {
                EvalMode::Try => value.try_cast(to).0,
                EvalMode::Unspecified | EvalMode::Legacy | EvalMode::Ansi => value.cast(to).0,
            }
        }
        ExprType::UnresolvedExtractValue(_) => {
            let child = Column::from(next()?);
            child.get_item(Column::from(next()?)).0
        }
        ExprType::UpdateFields(update) => {
            let (parent, value) = (next()?, parts.next());
            Ok(updated(parent, &split_path(&update.field_name), value)?)
        }
        ExprType::SortOrder(_) => unsupported("a sort order (asc, desc) stands in sort() and in windows only"),
        ExprType::LambdaFunction(of) => {
            let parameters = of.arguments.iter().map(|variable| variable.name_parts.join("."));
            Ok(lambda(parameters.collect(), next()?))
        }
        ExprType::UnresolvedNamedLambdaVariable(variable) => {
            let parts: Vec<String> = variable.name_parts.iter().map(|part| quoted(part)).collect();
            col(&parts.join(".")).0
        }
        ExprType::Window(window) => window::call(window, parts.collect()),
        ExprType::NamedArgumentExpression(argument) => {
            unsupported(format!("the named argument {} => ...: give the arguments in order", argument.key))
        }
        ExprType::SubqueryExpression(subquery) => subquery::stands(planner, subquery, parts.collect()),
        ExprType::MergeAction(_) => unsupported("merge actions: tables cannot be merged into"),
        ExprType::TypedAggregateExpression(_) => unsupported("typed aggregates of Scala: use the functions by name"),
        ExprType::DirectShufflePartitionId(_) => unsupported("direct_shuffle_partition_id: rows are not shuffled here"),
        ExprType::Extension(extension) => unsupported(format!("the expression extension {}", extension.type_url)),
    }
}

/// The metadata that an alias gives a column.
pub(super) fn metadata(alias: &proto::expression::Alias) -> Result<Option<FieldMetadata>> {
    let Some(text) = alias.metadata.as_deref().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(object) => {
            let text = serde_json::Value::Object(object).to_string();
            Ok(Some(FieldMetadata::new([(USER_METADATA_KEY.to_string(), text)].into())))
        }
        Err(cause) => {
            let message = format!("the metadata of {:?} is no JSON object: {cause}", alias.name);
            Err(Error::caused_by(ErrorCode::InvalidParameterValue, message, cause))
        }
    }
}

/// A struct with the field at `path` set to `value`, or without it.
fn updated(parent: Expr, path: &[String], value: Option<Expr>) -> Result<Expr> {
    let parent = Column::from(parent);
    let Some((first, rest)) = path.split_first() else { return parent.0 };
    if rest.is_empty() {
        return match value {
            Some(value) => parent.with_field(first, Column::from(value)).0,
            None => parent.drop_fields([first.as_str()]).0,
        };
    }
    let inner = updated(parent.clone().get_field(first).0?, rest, value)?;
    parent.with_field(first, Column::from(inner)).0
}
