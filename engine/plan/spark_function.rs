//! Spark's own functions as DataFusion functions: those that depend on the session (time zone, ANSI) or that DataFusion
//! has with another meaning.
//!
//! Comes in: a function as the user wrote it, without an environment. `resolve` gives it the session's [`Environment`].
//! Goes out: columns. Fails: values that ANSI mode refuses.

use crate::decode::{JsonDecoder, JsonOptions, ParseMode, Wanted};
use crate::error::{Error, ErrorCode, Result};
use crate::functions;
use crate::functions::cast::CastOptions;
use crate::functions::to_json::ToJsonOptions;
use crate::options::Options;
use crate::source::Origin;
use crate::types::{StructType, timestamp};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int8Array, ListArray, Scalar, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric;
use arrow::compute::{DatePart, date_part};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::sync::Arc;

/// What the session decides for every function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Environment {
    /// `spark.sql.session.timeZone`.
    pub time_zone: Tz,
    /// `spark.sql.ansi.enabled`.
    pub ansi: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Self { time_zone: Tz::UTC, ansi: true }
    }
}

/// Which function, with the arguments that are constants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Time windows, all in microseconds.
    Window { duration: i64, slide: i64, start: i64 },
    /// JSON text or bytes to a struct.
    FromJson { schema: StructType, options: Vec<(String, String)>, fail_fast: bool },
    /// A struct to JSON text.
    ToJson,
    /// Columns to a struct; the names are filled in when the call is resolved.
    MakeStruct { names: Vec<String> },
    /// A timestamp's date.
    ToDate,
    /// A timestamp's hour.
    Hour,
    /// Spark's CAST, or TRY_CAST.
    Cast { to: DataType, safe: bool },
    /// `/`: always a double.
    Divide,
    /// `+`, `-`, `*` of integers and `%`: what overflows, and a remainder by zero, is an error under ANSI.
    Arithmetic { op: Operator },
    /// A double with -0.0 as 0.0 and one NaN, as Spark compares doubles.
    Normalize,
}

/// A call-by-name of one of Spark's functions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SparkFunction {
    /// Which.
    pub kind: Kind,
    /// The session's settings.
    pub environment: Environment,
    signature: Signature,
}

impl SparkFunction {
    fn new(kind: Kind) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self { kind, environment: Environment::default(), signature }
    }

    /// `window(time)`.
    pub fn window(duration: i64, slide: i64, start: i64) -> Self {
        Self::new(Kind::Window { duration, slide, start })
    }

    /// `from_json(json)`.
    ///
    /// # Errors
    /// `InvalidOption` for an option or a mode that `from_json` does not have.
    pub fn from_json(schema: StructType, options: Vec<(String, String)>) -> Result<Self> {
        let mode = json_options(&options, Tz::UTC)?.mode;
        if mode == ParseMode::DropMalformed {
            return Err(Error::new(
                ErrorCode::InvalidOption,
                "from_json does not support the mode DROPMALFORMED; use PERMISSIVE and filter, or FAILFAST",
            ));
        }
        Ok(Self::new(Kind::FromJson { schema, options, fail_fast: mode == ParseMode::FailFast }))
    }

    /// `to_json(struct)`.
    pub fn to_json() -> Self {
        Self::new(Kind::ToJson)
    }

    /// `struct(...)`.
    pub fn make_struct() -> Self {
        Self::new(Kind::MakeStruct { names: Vec::new() })
    }

    /// `to_date(time)`.
    pub fn to_date() -> Self {
        Self::new(Kind::ToDate)
    }

    /// `hour(time)`.
    pub fn hour() -> Self {
        Self::new(Kind::Hour)
    }

    /// `cast(value as to)`; `safe` is TRY_CAST.
    pub fn cast(to: DataType, safe: bool) -> Self {
        Self::new(Kind::Cast { to, safe })
    }

    /// `a / b`.
    pub fn divide() -> Self {
        Self::new(Kind::Divide)
    }

    /// `a op b` for `op` of `+`, `-`, `*`, `%`.
    pub fn arithmetic(op: Operator) -> Self {
        Self::new(Kind::Arithmetic { op })
    }

    /// The double that stands for all that are equal to it.
    pub fn normalize() -> Self {
        Self::new(Kind::Normalize)
    }

    /// A call of the function.
    pub fn call(self, arguments: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(self)), arguments))
    }

    /// The function that `call` calls, if it is one of these.
    pub fn of(call: &ScalarFunction) -> Option<&SparkFunction> {
        let implementation: &dyn Any = call.func.inner().as_ref();
        implementation.downcast_ref()
    }

    /// Whether evaluating it may end the query, so that rows must be filtered before.
    pub fn is_fallible(&self) -> bool {
        match &self.kind {
            Kind::Cast { safe, .. } => self.environment.ansi && !safe,
            // Of a text they parse it, as a cast does.
            Kind::Divide | Kind::Arithmetic { .. } | Kind::ToDate | Kind::Hour => self.environment.ansi,
            Kind::FromJson { fail_fast, .. } => *fail_fast,
            _ => false,
        }
    }

    /// A decoder for a `FromJson`'s schema.
    pub(crate) fn json_options(&self) -> Result<JsonOptions> {
        let Kind::FromJson { options, .. } = &self.kind else {
            return Err(Error::internal("json_options of a function that is not from_json"));
        };
        json_options(options, self.environment.time_zone)
    }

    fn evaluate(&self, arguments: &[ArrayRef], return_type: &DataType) -> Result<ArrayRef> {
        let argument = |index: usize| -> Result<&ArrayRef> {
            arguments.get(index).ok_or_else(|| {
                Error::new(ErrorCode::DatatypeMismatch, format!("{}: argument {} is missing", self.name(), index + 1))
            })
        };
        let time_zone = self.environment.time_zone;
        let cast_to = |array: &ArrayRef, to: &DataType, safe: bool| {
            functions::cast::cast(array, to, CastOptions { ansi: self.environment.ansi && !safe, time_zone })
        };
        match &self.kind {
            Kind::Window { duration, start, .. } => window_struct(argument(0)?, *duration, *start),
            Kind::FromJson { schema, .. } => {
                let wanted = Wanted::all(schema.fields.len());
                let mut decoder = JsonDecoder::new(schema, &wanted, self.json_options()?)?;
                let parsed = functions::from_json::from_json(argument(0)?, &mut decoder, &Origin::Process)?;
                Ok(Arc::new(parsed.0))
            }
            Kind::ToJson => Ok(Arc::new(functions::to_json::to_json(
                argument(0)?,
                &ToJsonOptions { time_zone, ..Default::default() },
            )?)),
            Kind::MakeStruct { .. } => {
                let DataType::Struct(fields) = return_type else {
                    return Err(Error::internal("struct() does not return a struct"));
                };
                Ok(Arc::new(StructArray::try_new(fields.clone(), arguments.to_vec(), None)?))
            }
            Kind::ToDate => cast_to(argument(0)?, &DataType::Date32, false),
            Kind::Hour => {
                let instant = cast_to(argument(0)?, &timestamp(), false)?;
                let local = DataType::Timestamp(TimeUnit::Microsecond, Some(time_zone.name().into()));
                Ok(date_part(&arrow::compute::cast(&instant, &local)?, DatePart::Hour)?)
            }
            Kind::Cast { to, safe } => cast_to(argument(0)?, to, *safe),
            Kind::Divide => {
                let (left, right) = (argument(0)?, argument(1)?);
                let left = arrow::compute::cast(left, &DataType::Float64)?;
                let right = arrow::compute::cast(right, &DataType::Float64)?;
                divide(left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>(), self.environment.ansi)
            }
            Kind::Arithmetic { op } => arithmetic(*op, argument(0)?, argument(1)?, self.environment.ansi),
            Kind::Normalize => Ok(normalize(argument(0)?)),
        }
    }
}

fn json_options(options: &[(String, String)], time_zone: Tz) -> Result<JsonOptions> {
    let options: Options = options.iter().map(|(key, value)| (key, value.as_str())).collect();
    let mut reader = options.reader("from_json");
    let json = JsonOptions::read(&mut reader, time_zone)?;
    reader.finish()?;
    Ok(json)
}

/// `window` as a value: the one tumbling window of each time. Sliding windows make several rows of one and exist in
/// `group_by` only, which is checked when a query starts.
fn window_struct(time: &ArrayRef, duration: i64, start: i64) -> Result<ArrayRef> {
    let time = time.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
        Error::new(ErrorCode::EventTimeNotTimestamp, format!("window() needs a timestamp, not {}", time.data_type()))
    })?;
    let starts: TimestampMicrosecondArray =
        time.unary(|t| t.wrapping_sub((t.wrapping_sub(start)).rem_euclid(duration)));
    let ends: TimestampMicrosecondArray = starts.unary(|t| t.wrapping_add(duration));
    Ok(Arc::new(window_array(starts, ends)?))
}

/// The `window` struct of starts and ends; NULL where the start is.
pub fn window_array(starts: TimestampMicrosecondArray, ends: TimestampMicrosecondArray) -> Result<StructArray> {
    let nulls: Option<NullBuffer> = starts.nulls().cloned();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(starts.with_timezone(crate::types::UTC)), Arc::new(ends.with_timezone(crate::types::UTC))];
    Ok(StructArray::try_new(window_fields(), columns, nulls)?)
}

/// Fields of the `window` struct.
pub fn window_fields() -> Fields {
    Fields::from(vec![Field::new("start", timestamp(), true), Field::new("end", timestamp(), true)])
}

fn divide(left: &Float64Array, right: &Float64Array, ansi: bool) -> Result<ArrayRef> {
    let mut quotients = Float64Array::builder(left.len());
    for (dividend, divisor) in left.iter().zip(right.iter()) {
        match (dividend, divisor) {
            (Some(_), Some(0.0)) if ansi => {
                return Err(Error::new(
                    ErrorCode::DivideByZero,
                    "division by zero; guard the divisor with when(), or set spark.sql.ansi.enabled to false to get NULL",
                ));
            }
            (Some(_), Some(0.0)) | (None, _) | (_, None) => quotients.append_null(),
            (Some(dividend), Some(divisor)) => quotients.append_value(dividend / divisor),
        }
    }
    Ok(Arc::new(quotients.finish()))
}

fn arithmetic(op: Operator, left: &ArrayRef, right: &ArrayRef, ansi: bool) -> Result<ArrayRef> {
    Ok(match op {
        Operator::Plus if ansi => numeric::add(left, right)?,
        Operator::Plus => numeric::add_wrapping(left, right)?,
        Operator::Minus if ansi => numeric::sub(left, right)?,
        Operator::Minus => numeric::sub_wrapping(left, right)?,
        Operator::Multiply if ansi => numeric::mul(left, right)?,
        Operator::Multiply => numeric::mul_wrapping(left, right)?,
        Operator::Modulo => {
            let zero = Scalar::new(arrow::compute::cast(&Int8Array::from(vec![0]), right.data_type())?);
            let zeros = arrow::compute::kernels::cmp::eq(&normalize(right), &zero)?;
            if ansi && arrow::compute::and(&zeros, &arrow::compute::is_not_null(left)?)?.true_count() > 0 {
                return Err(Error::new(
                    ErrorCode::DivideByZero,
                    "remainder by zero; guard the divisor with when(), or set spark.sql.ansi.enabled to false to get NULL",
                ));
            }
            numeric::rem(left, &arrow::compute::nullif(right, &zeros)?)?
        }
        other => return Err(Error::internal(format!("{other} is not arithmetic"))),
    })
}

/// Doubles with -0.0 as 0.0 and one NaN, inside structs and arrays too; other arrays as they are.
pub fn normalize(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(normalize).collect();
            // The same fields, lengths and NULLs as before.
            match StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()) {
                Ok(structs) => Arc::new(structs),
                Err(_) => array.clone(),
            }
        }
        DataType::List(element) => {
            let lists = array.as_list::<i32>();
            let values = normalize(lists.values());
            match ListArray::try_new(element.clone(), lists.offsets().clone(), values, lists.nulls().cloned()) {
                Ok(lists) => Arc::new(lists),
                Err(_) => array.clone(),
            }
        }
        _ => array.clone(),
    }
}

impl ScalarUDFImpl for SparkFunction {
    fn name(&self) -> &str {
        match &self.kind {
            Kind::Window { .. } => "window",
            Kind::FromJson { .. } => "from_json",
            Kind::ToJson => "to_json",
            Kind::MakeStruct { .. } => "struct",
            Kind::ToDate => "to_date",
            Kind::Hour => "hour",
            Kind::Cast { safe: false, .. } => "cast",
            Kind::Cast { safe: true, .. } => "try_cast",
            Kind::Divide => "divide",
            Kind::Arithmetic { op: Operator::Plus } => "add",
            Kind::Arithmetic { op: Operator::Minus } => "subtract",
            Kind::Arithmetic { op: Operator::Multiply } => "multiply",
            Kind::Arithmetic { .. } => "mod",
            Kind::Normalize => "normalize_nan_and_zero",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(Error::internal("return_field_from_args is called instead").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let mismatch = |needed: &str, found: &DataType| -> datafusion::error::DataFusionError {
            let text = format!("{} needs {needed}, not {found}", self.name());
            Error::new(ErrorCode::DatatypeMismatch, text).into()
        };
        let argument = args.arg_fields.first().map(|f| f.data_type()).unwrap_or(&DataType::Null);
        let data_type = match &self.kind {
            Kind::Window { .. } => match argument {
                DataType::Timestamp(TimeUnit::Microsecond, _) => DataType::Struct(window_fields()),
                other => return Err(mismatch("a timestamp", other)),
            },
            Kind::FromJson { schema, .. } => match argument {
                DataType::Utf8 | DataType::Binary => DataType::Struct(schema.to_arrow()),
                other => return Err(mismatch("a string", other)),
            },
            Kind::ToJson => match argument {
                DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => DataType::Utf8,
                other => return Err(mismatch("a struct, an array or a map", other)),
            },
            Kind::MakeStruct { names } => {
                let fields = names.iter().zip(args.arg_fields).map(|(n, f)| Field::new(n, f.data_type().clone(), true));
                DataType::Struct(fields.collect())
            }
            Kind::ToDate => DataType::Date32,
            Kind::Hour => DataType::Int32,
            Kind::Cast { to, .. } => to.clone(),
            Kind::Arithmetic { .. } | Kind::Normalize => argument.clone(),
            Kind::Divide => {
                for field in args.arg_fields {
                    if !(field.data_type().is_numeric() || field.data_type().is_null()) {
                        return Err(mismatch("numbers", field.data_type()));
                    }
                }
                DataType::Float64
            }
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let return_type = args.return_field.data_type();
        // A call on constants alone is evaluated on one row and stays a constant.
        let constant = !args.args.is_empty() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|a| a.clone().into_array(rows)).collect::<DataFusionResult<_>>()?;
        let result = self.evaluate(&arrays, return_type)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}
