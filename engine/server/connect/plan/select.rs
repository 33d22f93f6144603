//! Relations that choose, add and name columns.
//!
//! Comes in: a frame, and expressions or names. Goes out: a frame. Fails: unknown columns, numbers of names that do not fit.

use super::expression::metadata;
use super::types::from_proto;
use super::{Planner, required, subquery, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use crate::plan::resolve::split_path;
use crate::session::Session;
use crate::types::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;
use proto::expression::{Alias, ExprType};
use regex::RegexBuilder;
use spark_connect_proto as proto;

/// `select`. Aggregates without a grouping make one row, as in Spark.
pub(super) async fn project(
    planner: &mut Planner<'_>,
    frame: DataFrame,
    expressions: &[proto::Expression],
) -> Result<DataFrame> {
    let mut columns = Vec::with_capacity(expressions.len());
    for expression in expressions {
        columns.extend(expanded(planner, &frame, expression)?);
    }
    if planner.is_plain() {
        return match columns.iter().any(aggregates) {
            true => frame.agg(columns),
            false => frame.select(columns),
        };
    }
    let star = |column: &Column| matches!(&column.0, Ok(Expr::Column(c)) if c.name == "*");
    // What is carried comes behind, once.
    let hidden = planner.hidden();
    let own = frame.plan().scope().all().into_iter().zip(frame.schema().fields());
    let own = own.filter(|(_, field)| !hidden.contains(field.name()));
    let all: Vec<Expr> = own.map(|(column, _)| column).collect();
    let columns = columns.into_iter().flat_map(|column| match star(&column) {
        // What is put beside the frame is not of it.
        true => all.iter().cloned().map(Ok).collect(),
        false => vec![column.0],
    });
    let (beside, columns) = planner.beside(frame.clone(), columns.collect::<Result<_>>()?)?;
    let attached = planner.attached(beside).await?;
    let columns =
        columns.into_iter().map(|column| subquery::shown(Column::from(column))).collect::<Result<Vec<_>>>()?;
    let carries = !planner.carried(&attached).is_empty();
    match (columns.iter().any(aggregates), carries) {
        (true, true) => planner.carrying_aggregate(&attached, vec![], columns),
        (true, false) => attached.agg(columns),
        (false, _) => planner.carrying_selection(&attached, columns),
    }
}

fn aggregates(column: &Column) -> bool {
    let Ok(expr) = &column.0 else { return false };
    expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false)
}

/// The columns of an item of a selection: `df["*"]` and a regular expression over names stand for several.
fn expanded(planner: &Planner<'_>, frame: &DataFrame, expression: &proto::Expression) -> Result<Vec<Column>> {
    match &expression.expr_type {
        Some(ExprType::UnresolvedStar(star)) => match (star.plan_id, &star.unparsed_target) {
            (Some(id), None) => Ok(planner.frame(id)?.plan().scope().all().into_iter().map(Column::from).collect()),
            _ => Ok(vec![planner.expression(expression)?]),
        },
        Some(ExprType::UnresolvedRegex(regex)) => {
            // Only what stands in backticks is a pattern.
            let pattern = regex.col_name.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let Some(pattern) = pattern else { return Ok(vec![planner.expression(expression)?]) };
            let matcher = RegexBuilder::new(&format!("^(?:{pattern})$")).case_insensitive(true).build();
            let matcher = matcher.map_err(|cause| {
                let message = format!("colRegex({:?}) is no regular expression: {cause}", regex.col_name);
                Error::caused_by(ErrorCode::InvalidParameterValue, message, cause)
            })?;
            let scope = match regex.plan_id {
                Some(id) => planner.frame(id)?.plan().scope(),
                None => frame.plan().scope(),
            };
            let fields = scope.schema().fields().iter().zip(scope.all());
            Ok(fields.filter(|(field, _)| matcher.is_match(field.name())).map(|(_, e)| Column::from(e)).collect())
        }
        _ => Ok(vec![planner.expression(expression)?]),
    }
}

/// `withColumns`.
pub(super) async fn with_columns(planner: &mut Planner<'_>, frame: DataFrame, aliases: &[Alias]) -> Result<DataFrame> {
    let mut columns = Vec::with_capacity(aliases.len());
    for alias in aliases {
        let [name] = alias.name.as_slice() else {
            return unsupported(format!("withColumns: {} names for one column", alias.name.len()));
        };
        let value = planner.expression(required(alias.expr.as_deref(), "the value of a column")?)?;
        let value = match metadata(alias)? {
            Some(metadata) => Column::from(value.0?.alias_with_metadata(name, Some(metadata))),
            None => value,
        };
        columns.push((name.as_str(), value));
    }
    if planner.is_plain() {
        return frame.with_columns(columns);
    }
    let (names, values): (Vec<&str>, Vec<Column>) = columns.into_iter().unzip();
    let values = values.into_iter().map(|value| value.0).collect::<Result<_>>()?;
    let (beside, values) = planner.beside(frame, values)?;
    let attached = planner.attached(beside.clone()).await?;
    let with = attached.with_columns(names.into_iter().zip(values.into_iter().map(Column::from)))?;
    let (kept, added) = (beside.schema().fields().len(), attached.schema().fields().len());
    let columns = with.plan().scope().all().into_iter().enumerate();
    with.select(columns.filter(|(at, _)| *at < kept || *at >= added).map(|(_, column)| Column::from(column)))
}

/// `withColumnsRenamed`, one after the other.
pub(super) fn with_columns_renamed(frame: DataFrame, renames: &proto::WithColumnsRenamed) -> Result<DataFrame> {
    #[allow(deprecated)] // Older clients send a map.
    let older = renames.rename_columns_map.iter();
    let pairs = renames.renames.iter().map(|rename| (&rename.col_name, &rename.new_col_name)).chain(older);
    let pairs: Vec<(String, &str)> = pairs.map(|(from, to)| (split_path(from).join("."), to.as_str())).collect();
    frame.with_columns_renamed(&pairs.iter().map(|(from, to)| (from.as_str(), *to)).collect::<Vec<_>>())
}

/// `drop`: columns by name and by reference; what there is not is passed over.
pub(super) fn dropped(planner: &Planner<'_>, frame: &DataFrame, drop: &proto::Drop) -> Result<DataFrame> {
    let scope = frame.plan().scope();
    let mut gone = vec![false; scope.names().len()];
    for (field, gone) in scope.schema().fields().iter().zip(&mut gone) {
        *gone = drop.column_names.iter().any(|name| name.eq_ignore_ascii_case(field.name()));
    }
    for expression in &drop.columns {
        let column = match planner.expression(expression)?.0? {
            Expr::Column(column) => column,
            other => return unsupported(format!("drop({other}): only columns can be dropped")),
        };
        match scope.find(&column) {
            Ok(found) => {
                if let Expr::Column(found) = found
                    && let Some(gone) = scope.position(&found.name).and_then(|index| gone.get_mut(index))
                {
                    *gone = true;
                }
            }
            Err(error) if matches!(error.code(), ErrorCode::UnresolvedColumn | ErrorCode::DataFrameColumn) => {}
            Err(error) => return Err(error),
        }
    }
    let kept = scope.all().into_iter().zip(gone).filter(|(_, gone)| !gone);
    frame.select(kept.map(|(column, _)| Column::from(column)))
}

/// `to(schema)`: columns by name in the schema's order, with its types.
pub(super) fn to_schema(frame: &DataFrame, schema: &proto::DataType) -> Result<DataFrame> {
    match from_proto(schema)? {
        DataType::Struct(schema) => frame.to_schema(schema),
        _ => Err(Error::new(ErrorCode::DatatypeMismatch, "to(schema): the schema must be a struct")),
    }
}

/// `spark.tvf`: functions that make rows.
pub(super) fn table_function(session: &Session, name: &str, arguments: Vec<Expr>) -> Result<DataFrame> {
    if name.eq_ignore_ascii_case("range") {
        let numbers = arguments.iter().map(whole).collect::<Option<Vec<i64>>>();
        return match numbers.as_deref() {
            Some([end]) => DataFrame::range(session, 0, *end, 1),
            Some([start, end]) => DataFrame::range(session, *start, *end, 1),
            Some([start, end, step] | [start, end, step, _]) => DataFrame::range(session, *start, *end, *step),
            _ => Err(Error::new(ErrorCode::WrongNumArgs, "range takes 1 to 4 whole numbers")),
        };
    }
    let call = session.functions().call(name, arguments, false)?;
    super::local::one_row(session)?.select([Column::from(call)])
}

fn whole(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Int8(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        _ => None,
    }
}
