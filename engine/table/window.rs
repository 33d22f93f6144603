//! Functions over windows of rows, as DataFusion computes them.
//!
//! Comes in: a plan and resolved calls. Goes out: the plan with a column for each call behind its own. Fails: frames that DataFusion has not.

use super::lower::comparable;
use crate::error::{Error, Result};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::utils::group_window_expr_by_sort_keys;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, SortExpr};

/// The call with keys that tell values apart as Spark does.
pub(super) fn call(expr: &Expr, schema: &DFSchemaRef) -> Result<Expr> {
    let Expr::WindowFunction(window) = expr else {
        return Err(Error::internal(format!("{expr} is no function over a window")));
    };
    let mut window = window.clone();
    let parameters = &mut window.params;
    let partitions = parameters.partition_by.drain(..).map(|key| comparable(key, schema));
    parameters.partition_by = partitions.collect::<Result<_>>()?;
    let order = parameters.order_by.drain(..).map(|key| Ok(SortExpr { expr: comparable(key.expr, schema)?, ..key }));
    parameters.order_by = order.collect::<Result<_>>()?;
    Ok(Expr::WindowFunction(window))
}

/// `below` with the calls, whose columns stand in their order.
pub(super) fn computed(below: LogicalPlanBuilder, calls: Vec<Expr>) -> Result<LogicalPlanBuilder> {
    let columns: Vec<Expr> = below.schema().columns().into_iter().map(Expr::Column).collect();
    let bare = calls.iter().map(|call| match call {
        Expr::Alias(alias) => (*alias.expr.clone(), alias.name.clone()),
        other => (other.clone(), other.schema_name().to_string()),
    });
    let (bare, named): (Vec<Expr>, Vec<String>) = bare.unzip();
    let mut distinct: Vec<Expr> = Vec::new();
    for call in &bare {
        if !distinct.contains(call) {
            distinct.push(call.clone());
        }
    }
    let mut plan = below;
    for (_, group) in group_window_expr_by_sort_keys(distinct)? {
        plan = plan.window(group)?;
    }
    let made = bare.iter().zip(named).map(|(call, name)| {
        Expr::Column(datafusion::common::Column::new_unqualified(call.schema_name().to_string())).alias(name)
    });
    Ok(plan.project(columns.into_iter().chain(made).collect::<Vec<_>>())?)
}
