//! What DataFusion has to be told to evaluate an expression as Spark does.
//!
//! Comes in: a planned expression. Goes out: one whose operands are looked at only where Spark looks at them, and whose doubles
//! compare as Spark's. Fails: a sliding window inside another expression.

use super::clock::BatchClock;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::lambda::Applied;
use crate::plan::resolve::is_fallible;
use crate::plan::spark_function::{Kind, SparkFunction};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, binary_expr};
use datafusion::prelude::lit;

/// `expr` as it is to be compiled.
pub fn executable(expr: &Expr, schema: &DFSchemaRef, clock: &BatchClock) -> Result<Expr> {
    let rewritten = expr.clone().transform_up(|e| match e {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if is_fallible(&right) =>
        {
            Ok(Transformed::yes(short_circuit(*left, op, *right)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op.supports_propagation() && has_floats(&left.get_type(schema.as_ref())?) =>
        {
            let side = |e: Expr| SparkFunction::normalize().call(vec![e]);
            Ok(Transformed::yes(binary_expr(side(*left), op, side(*right))))
        }
        // Hashes of a list see -0.0 and 0.0 as two values.
        Expr::InList(InList { expr, list, negated }) if has_floats(&expr.get_type(schema.as_ref())?) => {
            let normal = |e: Expr| SparkFunction::normalize().call(vec![e]);
            let list = list.into_iter().map(normal).collect();
            Ok(Transformed::yes(normal(*expr).in_list(list, negated)))
        }
        Expr::ScalarFunction(call) => match SparkFunction::of(&call).map(|f| &f.kind) {
            Some(Kind::Window { duration, slide, .. }) if duration != slide => Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "a sliding window() makes several rows of one; group by it, or select it as a column of its own before it is used in an expression",
            )
            .into()),
            Some(Kind::CurrentTimestamp { clock: None }) => {
                let kind = Kind::CurrentTimestamp { clock: Some(clock.clone()) };
                Ok(Transformed::yes(SparkFunction::new(kind).call(call.args)))
            }
            _ => match Applied::of(&call) {
                Some(applied) => Ok(Transformed::yes(applied.executable(call.args.clone(), clock)?)),
                None => Ok(Transformed::no(Expr::ScalarFunction(call))),
            },
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// Whether a value may hold a double, which has two zeros and many NaNs.
pub(crate) fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field) => has_floats(field.data_type()),
        other => other.is_floating(),
    }
}

/// `left op right` that looks at the right side only where the left one leaves the answer open: DataFusion evaluates both
/// on every row.
fn short_circuit(left: Expr, op: Operator, right: Expr) -> Expr {
    let decides = op == Operator::Or;
    let unknown = binary_expr(Expr::Literal(ScalarValue::Boolean(None), None), op, right.clone());
    let branches = vec![(lit(decides), lit(decides)), (lit(!decides), right)];
    let branches = branches.into_iter().map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Expr::Case(Case::new(Some(Box::new(left)), branches, Some(Box::new(unknown))))
}
