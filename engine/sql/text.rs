//! An expression given as SQL text: a marker until a frame, which knows its session's functions, reads it.
//!
//! Comes in: text. Goes out: an expression in its place. Fails: text that is no expression.

use super::expression::{expression, select_item};
use crate::error::{Error, Result};
use crate::functions::registry::FunctionRegistry;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::sync::Arc;

/// A text that stands for an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SqlText {
    text: String,
    signature: Signature,
}

/// The marker of a text.
pub(crate) fn marker(text: &str) -> Expr {
    let marker = SqlText { text: text.to_string(), signature: Signature::nullary(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(marker)), vec![]))
}

fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let implementation: &dyn Any = call.func.inner().as_ref();
    implementation.downcast_ref::<SqlText>().map(|marker| marker.text.as_str())
}

/// `expr` with the expressions that its texts write. A text that is all of it may name its column with AS, or be a star.
///
/// # Errors
/// Texts that are no expressions.
pub(crate) fn expand(expr: Expr, registry: &FunctionRegistry) -> Result<Expr> {
    if let Some(text) = text_of(&expr) {
        return select_item(text, registry);
    }
    let expanded = expr.transform_up(|e| match text_of(&e) {
        Some(text) => Ok(Transformed::yes(expression(text, registry)?)),
        None => Ok(Transformed::no(e)),
    });
    Ok(expanded?.data)
}

impl ScalarUDFImpl for SqlText {
    fn name(&self) -> &str {
        "expr"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(Error::internal("the text of an expression has not been read").into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(Error::internal("the text of an expression has not been read").into())
    }
}
