//! The kinds of Python functions, by PySpark's names and numbers.
//!
//! Comes in: the number that the client sends. Goes out: the kinds that run, and a refusal of the others by their name. Fails: nothing.

use crate::error::{Error, ErrorCode};
use spark_connect_proto::PythonUdf;

/// A function over an iterator, as RDDs have it.
pub(super) const NON_UDF: i32 = 0;
/// `udf`, a row at a time, fed with pickled rows.
pub(super) const BATCHED: i32 = 100;
/// `udf`, a row at a time, fed with Arrow batches.
pub(super) const ARROW_BATCHED: i32 = 101;
/// `pandas_udf` over Series.
pub(super) const SCALAR_PANDAS: i32 = 200;
/// `pandas_udf` over an iterator of Series.
pub(super) const SCALAR_PANDAS_ITER: i32 = 204;
/// `arrow_udf` over arrays.
pub(super) const SCALAR_ARROW: i32 = 250;
/// `arrow_udf` over an iterator of arrays.
pub(super) const SCALAR_ARROW_ITER: i32 = 251;
/// `applyInPandas`.
pub(super) const GROUPED_MAP_PANDAS: i32 = 201;
/// `applyInArrow`.
pub(super) const GROUPED_MAP_ARROW: i32 = 209;
/// `applyInArrow` with an iterator over the parts of a group.
pub(super) const GROUPED_MAP_ARROW_ITER: i32 = 215;
/// `applyInPandas` with an iterator over the parts of a group.
pub(super) const GROUPED_MAP_PANDAS_ITER: i32 = 216;
/// `cogroup(...).applyInPandas`.
pub(super) const COGROUPED_MAP_PANDAS: i32 = 206;
/// `cogroup(...).applyInArrow`.
pub(super) const COGROUPED_MAP_ARROW: i32 = 210;
/// `mapInPandas`.
pub(super) const MAP_PANDAS: i32 = 205;
/// `mapInArrow`.
pub(super) const MAP_ARROW: i32 = 207;
/// `pandas_udf` and `arrow_udf` from columns to a value, over the group or over an iterator of its parts.
const AGGREGATES: [i32; 4] = [202, 217, 252, 254];

const NAMES: &[(i32, &str)] = &[
    (BATCHED, "SQL_BATCHED_UDF"),
    (ARROW_BATCHED, "SQL_ARROW_BATCHED_UDF"),
    (SCALAR_PANDAS, "SQL_SCALAR_PANDAS_UDF"),
    (GROUPED_MAP_PANDAS, "SQL_GROUPED_MAP_PANDAS_UDF"),
    (202, "SQL_GROUPED_AGG_PANDAS_UDF"),
    (203, "SQL_WINDOW_AGG_PANDAS_UDF"),
    (SCALAR_PANDAS_ITER, "SQL_SCALAR_PANDAS_ITER_UDF"),
    (MAP_PANDAS, "SQL_MAP_PANDAS_ITER_UDF"),
    (COGROUPED_MAP_PANDAS, "SQL_COGROUPED_MAP_PANDAS_UDF"),
    (MAP_ARROW, "SQL_MAP_ARROW_ITER_UDF"),
    (208, "SQL_GROUPED_MAP_PANDAS_UDF_WITH_STATE"),
    (GROUPED_MAP_ARROW, "SQL_GROUPED_MAP_ARROW_UDF"),
    (COGROUPED_MAP_ARROW, "SQL_COGROUPED_MAP_ARROW_UDF"),
    (211, "SQL_TRANSFORM_WITH_STATE_PANDAS_UDF"),
    (212, "SQL_TRANSFORM_WITH_STATE_PANDAS_INIT_STATE_UDF"),
    (213, "SQL_TRANSFORM_WITH_STATE_PYTHON_ROW_UDF"),
    (214, "SQL_TRANSFORM_WITH_STATE_PYTHON_ROW_INIT_STATE_UDF"),
    (GROUPED_MAP_ARROW_ITER, "SQL_GROUPED_MAP_ARROW_ITER_UDF"),
    (GROUPED_MAP_PANDAS_ITER, "SQL_GROUPED_MAP_PANDAS_ITER_UDF"),
    (217, "SQL_GROUPED_AGG_PANDAS_ITER_UDF"),
    (SCALAR_ARROW, "SQL_SCALAR_ARROW_UDF"),
    (SCALAR_ARROW_ITER, "SQL_SCALAR_ARROW_ITER_UDF"),
    (252, "SQL_GROUPED_AGG_ARROW_UDF"),
    (253, "SQL_WINDOW_AGG_ARROW_UDF"),
    (254, "SQL_GROUPED_AGG_ARROW_ITER_UDF"),
    (300, "SQL_TABLE_UDF"),
    (301, "SQL_ARROW_TABLE_UDF"),
    (302, "SQL_ARROW_UDTF"),
];

/// Whether a function is one from the columns of a group to a value, for [`aggregate_udf`](super::aggregate_udf).
///
/// ```
/// use tidemill::server::python::aggregates;
/// let median = spark_connect_proto::PythonUdf { eval_type: 202, ..Default::default() };
/// assert!(aggregates(&median));
/// ```
pub fn aggregates(udf: &PythonUdf) -> bool {
    AGGREGATES.contains(&udf.eval_type)
}

/// Whether [`scalar_udf`](super::scalar_udf) runs the kind.
pub(super) fn is_scalar(eval_type: i32) -> bool {
    [BATCHED, ARROW_BATCHED, SCALAR_PANDAS, SCALAR_PANDAS_ITER, SCALAR_ARROW, SCALAR_ARROW_ITER].contains(&eval_type)
}

/// The refusal of a kind of Python function that is not run where it stands.
///
/// ```
/// use tidemill::server::python::refuse;
/// assert!(refuse("normalize", 201).to_string().contains("normalize is a SQL_GROUPED_MAP_PANDAS_UDF (201)"));
/// ```
pub fn refuse(name: &str, eval_type: i32) -> Error {
    let kind = NAMES
        .iter()
        .find(|(number, _)| *number == eval_type)
        .map_or("Python function of an unknown kind", |(_, kind)| kind);
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "the Python function {name} is a {kind} ({eval_type}), which is not run here; udf, pandas_udf and arrow_udf from columns to a column \
             are run everywhere, and foreachBatch can do the rest with the rows of each batch"
        ),
    )
}
