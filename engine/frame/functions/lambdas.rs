//! Functions of functions over arrays and maps.
//!
//! Comes in: columns, and closures of columns. Goes out: [`Column`]s. Fails: where a frame takes the column, for lambdas of other types than
//! the function needs.
//!
//! ```
//! # use tidemill::prelude::*;
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
//! let fares = session.sql("SELECT array(10, 25) AS fares, 2 AS tip").await?;
//! let tipped = fares.select([transform("fares", |fare| fare + col("tip")).alias("fares")])?;
//! let total = aggregate("fares", lit(0), |sum, fare| sum + fare);
//! assert_eq!(tipped.select([total])?.collect().await?.len(), 1);
//! # Ok::<(), tidemill::Error>(()) }).unwrap();
//! ```

use crate::error::Result;
use crate::frame::column::{Column, IntoColumn};
use crate::functions::lambda;
use crate::functions::registry::FunctionRegistry;
use crate::plan::resolve::quoted;
use crate::plan::scope::next_relation;
use datafusion::logical_expr::Expr;

/// A lambda by the names of its parameters, which its body mentions as columns: an argument for [`call_function`](super::call_function).
pub fn lambda<N: Into<String>>(parameters: impl IntoIterator<Item = N>, body: Column) -> Column {
    let parameters = parameters.into_iter().map(Into::into).collect();
    body.map(|body| lambda::lambda(parameters, body))
}

/// A lambda with parameters of names that nothing else has.
fn of<const N: usize>(body: impl FnOnce([Column; N]) -> Column) -> Column {
    let names: [String; N] = std::array::from_fn(|at| format!("x{at}_{}", next_relation()));
    let columns = names.clone().map(|name| super::col(&quoted(&name)));
    lambda(names, body(columns))
}

fn call<const N: usize>(name: &str, arguments: [Column; N]) -> Column {
    let arguments: Result<Vec<Expr>> = arguments.into_iter().map(|argument| argument.0).collect();
    Column(arguments.and_then(|arguments| FunctionRegistry::default().call(name, arguments, false)))
}

/// What the lambda makes of each element.
pub fn transform(array: impl IntoColumn, element: impl FnOnce(Column) -> Column) -> Column {
    call("transform", [array.into_column(), of(|[x]| element(x))])
}

/// The elements for which the lambda is TRUE.
pub fn filter(array: impl IntoColumn, condition: impl FnOnce(Column) -> Column) -> Column {
    call("filter", [array.into_column(), of(|[x]| condition(x))])
}

/// Whether the lambda is TRUE for an element.
pub fn exists(array: impl IntoColumn, condition: impl FnOnce(Column) -> Column) -> Column {
    call("exists", [array.into_column(), of(|[x]| condition(x))])
}

/// Whether the lambda is TRUE for every element.
pub fn forall(array: impl IntoColumn, condition: impl FnOnce(Column) -> Column) -> Column {
    call("forall", [array.into_column(), of(|[x]| condition(x))])
}

/// What comes of `start` and the elements, one after the other; `reduce` in SQL too.
pub fn aggregate(array: impl IntoColumn, start: Column, merge: impl FnOnce(Column, Column) -> Column) -> Column {
    call("aggregate", [array.into_column(), start, of(|[sum, x]| merge(sum, x))])
}

/// What the lambda makes of the elements at one place of two arrays; the shorter one has NULLs at its end.
pub fn zip_with(left: impl IntoColumn, right: impl IntoColumn, pair: impl FnOnce(Column, Column) -> Column) -> Column {
    call("zip_with", [left.into_column(), right.into_column(), of(|[l, r]| pair(l, r))])
}

/// The entries for which the lambda is TRUE.
pub fn map_filter(map: impl IntoColumn, condition: impl FnOnce(Column, Column) -> Column) -> Column {
    call("map_filter", [map.into_column(), of(|[key, value]| condition(key, value))])
}

/// The map with other keys.
pub fn transform_keys(map: impl IntoColumn, key: impl FnOnce(Column, Column) -> Column) -> Column {
    call("transform_keys", [map.into_column(), of(|[k, value]| key(k, value))])
}

/// The map with other values.
pub fn transform_values(map: impl IntoColumn, value: impl FnOnce(Column, Column) -> Column) -> Column {
    call("transform_values", [map.into_column(), of(|[key, v]| value(key, v))])
}
