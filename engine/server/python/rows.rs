//! Python functions from relations to a relation, as plans have them.
//!
//! Comes in: a function, and the columns of what it reads. Goes out: a [`RowsFunction`], which brings rows of a key together. Fails: a function of another
//! kind, keys that have no order or are not of one type on both sides, and what [`super::map_batches`] fails with.

use super::kind::{self, refuse};
use super::map::{GroupedInput, map_batches, map_cogroups, map_groups};
use super::workers::Workers;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::rows_function::RowsFunction;
use crate::plan::spark_function::normalize;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use spark_connect_proto::PythonUdf;
use std::cmp::Ordering;
use std::fmt;

/// A function of `mapInPandas`, `applyInPandas` or `cogroup(...).applyInPandas`, or of one of these in Arrow.
///
/// ```no_run
/// use std::sync::Arc;
/// use tidemill::arrow::datatypes::SchemaRef;
/// use tidemill::plan::rows_function::RowsFunction;
/// use tidemill::server::python::{GroupedInput, PythonRows, Workers};
/// # fn plan(workers: &Workers, udf: spark_connect_proto::PythonUdf, schema: SchemaRef, output: SchemaRef) -> Result<(), tidemill::Error> {
/// // The rows of each value of the first column.
/// let input = GroupedInput { schema, keys: vec![0], values: vec![0, 1, 2] };
/// let function: Arc<dyn RowsFunction> = Arc::new(PythonRows::new(workers, "normalize", udf, vec![input], output)?);
/// # Ok(())
/// # }
/// ```
pub struct PythonRows {
    workers: Workers,
    name: String,
    udf: PythonUdf,
    inputs: Vec<GroupedInput>,
    output: SchemaRef,
}

impl PythonRows {
    /// The function `name` over one or two relations, which gives rows of `output`.
    ///
    /// # Errors
    /// [`ErrorCode::UnsupportedOperation`] for a function of another kind; [`ErrorCode::DatatypeMismatch`] for keys of two types.
    pub fn new(
        workers: &Workers,
        name: &str,
        udf: PythonUdf,
        inputs: Vec<GroupedInput>,
        output: SchemaRef,
    ) -> Result<Self> {
        let fits = match udf.eval_type {
            kind::MAP_PANDAS | kind::MAP_ARROW => inputs.len() == 1 && inputs.iter().all(|input| input.keys.is_empty()),
            kind::GROUPED_MAP_PANDAS
            | kind::GROUPED_MAP_ARROW
            | kind::GROUPED_MAP_PANDAS_ITER
            | kind::GROUPED_MAP_ARROW_ITER => inputs.len() == 1,
            kind::COGROUPED_MAP_PANDAS | kind::COGROUPED_MAP_ARROW => inputs.len() == 2,
            _ => false,
        };
        if !fits {
            return Err(refuse(name, udf.eval_type));
        }
        if let [left, right] = inputs.as_slice() {
            let types = |input: &GroupedInput| -> Vec<_> {
                input.keys.iter().map(|key| input.schema.field(*key).data_type().clone()).collect()
            };
            if types(left) != types(right) {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!(
                        "cogroup: the keys are {:?} on one side and {:?} on the other; group both by columns of the same types",
                        types(left),
                        types(right)
                    ),
                ));
            }
        }
        Ok(Self { workers: workers.clone(), name: name.to_string(), udf, inputs, output })
    }
}

impl fmt::Debug for PythonRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation(), self.name)
    }
}

impl RowsFunction for PythonRows {
    fn operation(&self) -> &'static str {
        match self.udf.eval_type {
            kind::MAP_PANDAS => "MapInPandas",
            kind::MAP_ARROW => "MapInArrow",
            kind::GROUPED_MAP_ARROW | kind::GROUPED_MAP_ARROW_ITER => "FlatMapGroupsInArrow",
            kind::COGROUPED_MAP_PANDAS => "FlatMapCoGroupsInPandas",
            kind::COGROUPED_MAP_ARROW => "FlatMapCoGroupsInArrow",
            _ => "FlatMapGroupsInPandas",
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn call(&self, rows: &[Vec<RecordBatch>]) -> Result<Vec<RecordBatch>> {
        let Self { workers, name, udf, inputs, output } = self;
        match (inputs.as_slice(), rows) {
            ([input], [rows]) if [kind::MAP_PANDAS, kind::MAP_ARROW].contains(&udf.eval_type) => {
                map_batches(workers, name, udf, &input.schema, rows, output)
            }
            ([input], [rows]) => {
                let groups = Groups::of(&keys(input)?, input, rows)?;
                map_groups(workers, name, udf, input, &groups.rows, output)
            }
            ([left, right], [of_left, of_right]) => {
                let converter = keys(left)?;
                let groups = Groups::of(&converter, left, of_left)?.beside(
                    Groups::of(&converter, right, of_right)?,
                    &left.schema,
                    &right.schema,
                );
                map_cogroups(workers, name, udf, [left, right], &groups, output)
            }
            _ => Err(Error::internal(format!("the function {name} was given rows of {} relations", rows.len()))),
        }
    }
}

/// What makes keys of rows that compare as the values do.
fn keys(input: &GroupedInput) -> Result<RowConverter> {
    let fields = input.keys.iter().map(|key| SortField::new(input.schema.field(*key).data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}

/// Rows by their keys, in the order of the keys.
struct Groups {
    keys: Vec<Vec<u8>>,
    rows: Vec<RecordBatch>,
}

impl Groups {
    fn of(converter: &RowConverter, input: &GroupedInput, rows: &[RecordBatch]) -> Result<Self> {
        let mut all = concat_batches(&input.schema, rows)?;
        let count = all.num_rows();
        if count == 0 {
            return Ok(Self { keys: vec![], rows: vec![] });
        }
        if input.keys.is_empty() {
            return Ok(Self { keys: vec![vec![]], rows: vec![all] });
        }
        let columns: Vec<_> = input.keys.iter().map(|key| normalize(all.column(*key))).collect();
        let keys = converter.convert_columns(&columns)?;
        let places = u32::try_from(count).map_err(|_| Error::internal("more rows than are counted"))?;
        let mut order: Vec<u32> = (0..places).collect();
        order.sort_by_key(|row| keys.row(*row as usize));
        let mut found = Self { keys: vec![], rows: vec![] };
        let mut bounds = vec![];
        for (at, row) in order.iter().enumerate() {
            let key = keys.row(*row as usize);
            if found.keys.last().is_none_or(|last| last.as_slice() != key.as_ref()) {
                found.keys.push(key.as_ref().to_vec());
                bounds.push(at);
            }
        }
        all = take_record_batch(&all, &UInt32Array::from(order))?;
        let ends = bounds.iter().skip(1).copied().chain([count]);
        found.rows = bounds.iter().zip(ends).map(|(from, to)| all.slice(*from, to - from)).collect();
        Ok(found)
    }

    /// The rows of each key on either side, in the order of the keys.
    fn beside(self, other: Self, left: &SchemaRef, right: &SchemaRef) -> Vec<[RecordBatch; 2]> {
        let mut pairs = vec![];
        let mut lefts = self.keys.into_iter().zip(self.rows).peekable();
        let mut rights = other.keys.into_iter().zip(other.rows).peekable();
        loop {
            let order = match (lefts.peek(), rights.peek()) {
                (Some((one, _)), Some((two, _))) => one.cmp(two),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return pairs,
            };
            let mut of_left = RecordBatch::new_empty(left.clone());
            let mut of_right = RecordBatch::new_empty(right.clone());
            if order != Ordering::Greater
                && let Some((_, rows)) = lefts.next()
            {
                of_left = rows;
            }
            if order != Ordering::Less
                && let Some((_, rows)) = rights.next()
            {
                of_right = rows;
            }
            pairs.push([of_left, of_right]);
        }
    }
}
