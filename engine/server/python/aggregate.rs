//! Python functions from the columns of a group to a value, as aggregates of DataFusion.
//!
//! Comes in: what the client sent of a `pandas_udf` or `arrow_udf` that aggregates, and the rows of groups. Goes out: a value for each group. The rows
//! of a group are kept until its value is asked for, because the function sees all of them. Fails: as functions from columns to a
//! column do.

use super::convert;
use super::kind::{aggregates, refuse};
use super::scalar::named;
use super::task::{Function, Task};
use super::workers::Workers;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use spark_connect_proto::PythonUdf;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An aggregate of DataFusion that runs a Python function over the rows of each group; arguments as those of
/// [`scalar_udf`](super::scalar_udf). The value of no rows at all is NULL.
///
/// ```no_run
/// use tidemill::arrow::datatypes::DataType;
/// use tidemill::datafusion::logical_expr::col;
/// use tidemill::server::python::{Workers, aggregate_udf};
/// # fn plan(workers: &Workers, udf: spark_connect_proto::PythonUdf) -> Result<(), tidemill::Error> {
/// let median = aggregate_udf(workers, "median", true, &udf, DataType::Float64, &[])?;
/// let expression = median.call(vec![col("fare")]);
/// # drop(expression);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`scalar_udf`](super::scalar_udf).
pub fn aggregate_udf(
    workers: &Workers,
    name: &str,
    deterministic: bool,
    udf: &PythonUdf,
    return_type: DataType,
    keywords: &[String],
) -> Result<AggregateUDF> {
    if !aggregates(udf) {
        return Err(refuse(name, udf.eval_type));
    }
    workers.interpreter()?.check(&udf.python_ver)?;
    let volatility = if deterministic { Volatility::Immutable } else { Volatility::Volatile };
    let call = Arc::new(Call {
        workers: workers.clone(),
        name: name.to_string(),
        udf: udf.clone(),
        return_type,
        keywords: keywords.to_vec(),
    });
    Ok(AggregateUDF::new_from_impl(PythonAggregate {
        call,
        signature: Signature::one_of(vec![TypeSignature::VariadicAny], volatility),
    }))
}

struct Call {
    workers: Workers,
    name: String,
    udf: PythonUdf,
    return_type: DataType,
    keywords: Vec<String>,
}

impl Call {
    /// The function's value over a group.
    fn value(&self, columns: &[ArrayRef]) -> Result<ScalarValue> {
        let rows = columns.first().map_or(0, |column| column.len());
        if rows == 0 {
            return Ok(ScalarValue::try_from(&self.return_type)?);
        }
        let fields: Fields = columns.iter().map(|column| Field::new("_", column.data_type().clone(), true)).collect();
        let schema = convert::schema(&fields)?;
        let group = convert::batches(&schema, columns, rows, usize::MAX)?;
        let task = Task {
            eval_type: self.udf.eval_type,
            python_version: &self.udf.python_ver,
            number: self.workers.number(),
            properties: &[],
            conf: self.workers.conf(),
            settings: &[],
            function: Function::Columns { command: &self.udf.command, arguments: named(columns.len(), &self.keywords) },
            grouped: Some(1),
        };
        let returned = self.workers.run(&task, &schema, &group)?;
        let value = match returned.as_slice() {
            [batch] if batch.num_rows() == 1 => batch.columns().first(),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            Error::new(
                ErrorCode::PythonException,
                format!("the Python function {} returned no value of a group", self.name),
            )
        })?;
        Ok(ScalarValue::try_from_array(&convert::fit(value, &self.return_type)?, 0)?)
    }
}

struct PythonAggregate {
    call: Arc<Call>,
    signature: Signature,
}

impl PythonAggregate {
    /// What tells functions apart.
    fn identity(&self) -> (&str, i32, &[u8], &DataType, &[String], Volatility) {
        let Call { name, udf, return_type, keywords, .. } = &*self.call;
        (name, udf.eval_type, &udf.command, return_type, keywords, self.signature.volatility)
    }
}

impl AggregateUDFImpl for PythonAggregate {
    fn name(&self) -> &str {
        &self.call.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.call.return_type.clone())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let types = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Box::new(Rows { call: self.call.clone(), types, parts: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DataFusionResult<Vec<FieldRef>> {
        let list = |(at, field): (usize, &FieldRef)| {
            let list = Field::new_list(
                format!("{}[{at}]", args.name),
                Field::new_list_field(field.data_type().clone(), true),
                true,
            );
            Arc::new(list)
        };
        Ok(args.input_fields.iter().enumerate().map(list).collect())
    }
}

/// The rows of a group, as they came.
struct Rows {
    call: Arc<Call>,
    types: Vec<DataType>,
    parts: Vec<Vec<ArrayRef>>,
}

impl Rows {
    fn columns(&self) -> DataFusionResult<Vec<ArrayRef>> {
        let column = |(at, data_type): (usize, &DataType)| {
            let parts: Vec<&dyn Array> = self.parts.iter().filter_map(|part| Some(part.get(at)?.as_ref())).collect();
            if parts.is_empty() { Ok(new_empty_array(data_type)) } else { concat(&parts) }
        };
        Ok(self.types.iter().enumerate().map(column).collect::<Result<_, _>>()?)
    }
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.parts.push(values.to_vec());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        let lists = states.iter().map(|state| state.as_list_opt::<i32>());
        let lists =
            lists.collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("rows of a group that are no lists"))?;
        let count = lists.first().map_or(0, |list| list.len());
        for row in 0..count {
            self.parts.push(lists.iter().map(|list| list.value(row)).collect());
        }
        Ok(())
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        let lists = self.columns()?.into_iter().map(|column| {
            let list = datafusion::common::utils::SingleRowListArrayBuilder::new(column).build_list_scalar();
            Ok(list)
        });
        lists.collect()
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        Ok(self.call.value(&self.columns()?)?)
    }

    fn size(&self) -> usize {
        let arrays = self.parts.iter().flatten().map(|array| array.get_array_memory_size());
        size_of_val(self) + arrays.sum::<usize>()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("function", &self.call.name)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PythonAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, eval_type) = (&self.call.name, self.call.udf.eval_type);
        f.debug_struct("PythonAggregate").field("name", name).field("eval_type", &eval_type).finish_non_exhaustive()
    }
}

impl PartialEq for PythonAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PythonAggregate {}

impl Hash for PythonAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
