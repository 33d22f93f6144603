//! Python functions from columns to a column, as functions of DataFusion.
//!
//! Comes in: what the client sent of a `udf`, `pandas_udf` or `arrow_udf`, and columns. Goes out: a column of the declared type. Fails: a
//! Python that is not there or not the client's, a kind of function that is no such one, what the function raises, another number of rows than it was
//! given.

use super::kind;
use super::task::{Function, Task};
use super::wire::{Argument, call};
use super::workers::Workers;
use super::{convert, refuse};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use spark_connect_proto::PythonUdf;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A function of DataFusion that runs a Python function over its arguments.
///
/// `keywords` has the names of the arguments that are passed by name, which come last. Rows come and go in order; a function that is not
/// deterministic is called as often as it is written.
///
/// ```no_run
/// use tidemill::arrow::datatypes::DataType;
/// use tidemill::datafusion::logical_expr::col;
/// use tidemill::server::python::{Workers, scalar_udf};
/// # fn plan(workers: &Workers, udf: spark_connect_proto::PythonUdf) -> Result<(), tidemill::Error> {
/// let plus_one = scalar_udf(workers, "plus_one", true, &udf, DataType::Int64, &[])?;
/// let expression = plus_one.call(vec![col("id")]);
/// # drop(expression);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorCode::UnsupportedOperation`] for a kind of function that is not from columns to a column; [`ErrorCode::PythonNotFound`] as
/// [`Interpreter::find`](super::Interpreter::find) and for a function that another Python pickled. What the function raises is a
/// [`ErrorCode::PythonException`] when it is run.
pub fn scalar_udf(
    workers: &Workers,
    name: &str,
    deterministic: bool,
    udf: &PythonUdf,
    return_type: DataType,
    keywords: &[String],
) -> Result<ScalarUDF> {
    if !kind::is_scalar(udf.eval_type) {
        return Err(refuse(name, udf.eval_type));
    }
    workers.interpreter()?.check(&udf.python_ver)?;
    let volatility = if deterministic { Volatility::Immutable } else { Volatility::Volatile };
    Ok(ScalarUDF::new_from_impl(PythonFunction {
        workers: workers.clone(),
        name: name.to_string(),
        signature: Signature::one_of(vec![TypeSignature::VariadicAny, TypeSignature::Nullary], volatility),
        udf: udf.clone(),
        return_type,
        keywords: keywords.to_vec(),
    }))
}

struct PythonFunction {
    workers: Workers,
    name: String,
    signature: Signature,
    udf: PythonUdf,
    return_type: DataType,
    keywords: Vec<String>,
}

impl PythonFunction {
    /// What tells functions apart.
    fn identity(&self) -> (&str, i32, &[u8], &DataType, &[String], Volatility) {
        let Self { name, udf, return_type, keywords, signature, .. } = self;
        (name, udf.eval_type, &udf.command, return_type, keywords, signature.volatility)
    }

    fn invoke(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if rows == 0 {
            return Ok(new_empty_array(&self.return_type));
        }
        let names = columns.iter().enumerate();
        let fields: Fields =
            names.map(|(at, column)| Field::new(format!("_{at}"), column.data_type().clone(), true)).collect();
        let schema = convert::schema(&fields)?;
        let batches = convert::batches(&schema, columns, rows, self.workers.rows_per_batch())?;
        let keywords: Vec<&str> = self.keywords.iter().map(String::as_str).collect();
        let named = named(columns.len(), &self.keywords);
        let arguments = convert::json_struct(schema.fields())?.to_string();
        let command = &self.udf.command;
        let (eval_type, function) = if self.udf.eval_type == kind::BATCHED {
            let arguments = [Argument::Bytes(command), Argument::Text(&arguments), Argument::Texts(&keywords)];
            (kind::NON_UDF, Function::Iterator(call("plain", &arguments)?))
        } else {
            (self.udf.eval_type, Function::Columns { command, arguments: named })
        };
        let task = Task {
            eval_type,
            python_version: &self.udf.python_ver,
            number: self.workers.number(),
            properties: &[],
            conf: self.workers.conf(),
            settings: &[("input_type", arguments)],
            function,
            grouped: None,
        };
        let returned = self.workers.run(&task, &schema, &batches)?;
        let returned = returned.iter().map(|batch| match batch.columns() {
            [column] => convert::fit(column, &self.return_type),
            columns => {
                Err(Error::internal(format!("a Python worker returned {} columns of one function", columns.len())))
            }
        });
        let returned = returned.collect::<Result<Vec<_>>>()?;
        let returned: Vec<&dyn Array> = returned.iter().map(AsRef::as_ref).collect();
        let column = if returned.is_empty() { new_empty_array(&self.return_type) } else { concat(&returned)? };
        if column.len() != rows {
            let text = format!("the Python function {} returned {} rows for {rows}", self.name, column.len());
            return Err(Error::new(ErrorCode::PythonException, text));
        }
        Ok(column)
    }
}

/// The numbers of the arguments of a function, the last of which have names.
pub(super) fn named(count: usize, keywords: &[String]) -> Vec<(usize, Option<&str>)> {
    let positional = count.saturating_sub(keywords.len());
    let name = |column: usize| column.checked_sub(positional).and_then(|at| keywords.get(at)).map(String::as_str);
    (0..count).map(|column| (column, name(column))).collect()
}

impl ScalarUDFImpl for PythonFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.return_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let rows = args.number_rows;
        let columns =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<DataFusionResult<Vec<_>>>()?;
        Ok(ColumnarValue::Array(self.invoke(&columns, rows)?))
    }
}

impl fmt::Debug for PythonFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonFunction")
            .field("name", &self.name)
            .field("eval_type", &self.udf.eval_type)
            .finish_non_exhaustive()
    }
}

impl PartialEq for PythonFunction {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PythonFunction {}

impl Hash for PythonFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
