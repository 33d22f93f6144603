//! Columns that a selection has left out, which a sort or a filter after it may still use: `df.select("id").orderBy(df.fare)`.
//!
//! Comes in: a frame that is a selection, and expressions. Goes out: the selection with what they need behind its own columns, and again
//! without it. Fails: columns that the selection's input has not either, with the message of the frame itself.

use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use crate::plan::logical::{LogicalPlan, Named};
use crate::plan::resolve::{field_of, strip_alias};
use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, SortExpr};
use std::sync::Arc;

/// The frame in order.
pub(super) fn sorted(frame: &DataFrame, keys: Vec<SortExpr>) -> Result<DataFrame> {
    match frame.sort(keys.clone()) {
        Err(error) if matches!(error.code(), ErrorCode::UnresolvedColumn | ErrorCode::DataFrameColumn) => {
            let wanted = keys.iter().map(|key| key.expr.clone()).collect();
            let (whole, found) = extended(frame, wanted)?.ok_or(error)?;
            let keys = keys.into_iter().zip(found).map(|(key, expr)| SortExpr { expr, ..key });
            first(&whole.sort(keys)?, frame.schema().fields().len())
        }
        done => done,
    }
}

/// The rows of the frame that fulfil the condition.
pub(super) fn filtered(frame: &DataFrame, condition: Column) -> Result<DataFrame> {
    match frame.filter(condition.clone()) {
        Err(error) if matches!(error.code(), ErrorCode::UnresolvedColumn | ErrorCode::DataFrameColumn) => {
            let (whole, mut found) = extended(frame, vec![condition.0?])?.ok_or(error)?;
            let condition = found.pop().ok_or_else(|| Error::internal("a filter without a condition"))?;
            first(&whole.filter(Column::from(condition))?, frame.schema().fields().len())
        }
        done => done,
    }
}

/// The first columns of the frame.
pub(super) fn first(frame: &DataFrame, columns: usize) -> Result<DataFrame> {
    if frame.schema().fields().len() == columns {
        return Ok(frame.clone());
    }
    frame.select(frame.plan().scope().all().into_iter().take(columns).map(Column::from))
}

/// The selection with the columns that the expressions lack behind its own, and the expressions over it; None if there are no such columns.
fn extended(frame: &DataFrame, expressions: Vec<Expr>) -> Result<Option<(DataFrame, Vec<Expr>)>> {
    let LogicalPlan::Project { input, expressions: selected, schema, id } = frame.plan().as_ref() else {
        return Ok(None);
    };
    let (own, below) = (frame.plan().scope(), input.scope());
    let (mut selected, mut fields) = (selected.clone(), schema.fields().to_vec());
    let mut lacking: Vec<datafusion::common::Column> = Vec::new();
    for expression in &expressions {
        for column in expression.column_refs() {
            if lacking.contains(column) || own.find(column).is_ok() {
                continue;
            }
            let Ok(found) = below.find(column) else { return Ok(None) };
            let (expr, name) = (strip_alias(&found).clone(), format!("#{}", selected.len()));
            fields.push(Arc::new(field_of(&expr, &name, input.schema())?));
            selected.push(Named { expr, name });
            lacking.push(column.clone());
        }
    }
    let width = schema.fields().len();
    let schema = Arc::new(Schema::new(fields));
    let plan = LogicalPlan::Project { input: input.clone(), expressions: selected, schema, id: *id };
    let whole = DataFrame::from_plan(frame.session(), Arc::new(plan));
    let scope = whole.plan().scope();
    let over = |expression: Expr| {
        let replaced = expression.transform_up(|e| {
            let place = match &e {
                Expr::Column(column) => lacking.iter().position(|lacked| lacked == column),
                _ => None,
            };
            Ok(match place.and_then(|place| scope.reference_to(width + place)) {
                Some(reference) => Transformed::yes(reference),
                None => Transformed::no(e),
            })
        })?;
        Ok(replaced.data)
    };
    let expressions = expressions.into_iter().map(over).collect::<Result<Vec<_>>>()?;
    Ok(Some((whole, expressions)))
}
