//! Spark's own functions as DataFusion functions: those that depend on the session (time zone, ANSI) or that DataFusion
//! has with another meaning.
//!
//! Comes in: a function as the user wrote it, without an environment. `resolve` gives it the session's [`Environment`].
//! Goes out: columns. Fails: values that ANSI mode refuses.

mod udf;
mod values;

use crate::decode::{JsonDecoder, JsonOptions, ParseMode, Wanted, zone};
use crate::error::{Error, ErrorCode, Result};
use crate::functions;
use crate::functions::arithmetic::{self, Math};
use crate::functions::builtin::{Arguments, Builtin, Call, conform};
use crate::functions::conditional::Rewrite;
use crate::functions::lambda::HigherOrder;
use crate::functions::to_json::ToJsonOptions;
use crate::operator::clock::BatchClock;
use crate::options::Options;
use crate::source::Origin;
use crate::types::{self, StructType};
use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use std::any::Any;
use std::sync::Arc;
use values::window_struct;
pub use values::{deep_normalize, normalize, window_array, window_fields};

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
    /// Sessions that end after a gap: the time, and the gap as an interval.
    SessionWindow,
    /// JSON text or bytes to a struct; `wrapped` parses another type, as the only field of the schema.
    FromJson { schema: StructType, options: Vec<(String, String)>, fail_fast: bool, wrapped: bool },
    /// A struct to JSON text.
    ToJson { options: Vec<(String, String)> },
    /// CSV text to a struct.
    FromCsv { schema: StructType, options: Vec<(String, String)> },
    /// A struct to CSV text.
    ToCsv { options: Vec<(String, String)> },
    /// A struct with a field added or replaced.
    WithField { name: String },
    /// A struct without some fields.
    DropFields { names: Vec<String> },
    /// Columns to a struct; the names are filled in when the call is resolved.
    MakeStruct { names: Vec<String> },
    /// Spark's CAST, or TRY_CAST.
    Cast { to: DataType, safe: bool },
    /// `+`, `-`, `*`, `/`, `%`, `div` and `pmod`; `safe` gives NULL where there is an error otherwise.
    Arithmetic { op: Math, safe: bool },
    /// A value with every -0.0 as 0.0 and one NaN, as Spark compares doubles.
    Normalize,
    /// The batch's time, from its clock once the expression is compiled for a stream.
    CurrentTimestamp { clock: Option<BatchClock> },
    /// `x -> x + 1` as an argument, until the call that it belongs to is resolved.
    Lambda { parameters: Vec<String>, body: Box<Expr> },
    /// A function of lambdas, until it is resolved.
    HigherOrder { name: &'static str, function: HigherOrder },
    /// A function of the table in [`crate::functions`].
    Scalar(&'static Builtin),
    /// A function that is another expression once its arguments are known.
    Rewrite(&'static Rewrite),
    /// A function that makes rows: a list of structs, which the plan's Generate unnests into columns of these names, or of its own.
    Generator { function: &'static Builtin, outer: bool, names: Vec<String> },
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
    pub(crate) fn new(kind: Kind) -> Self {
        let arguments = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
        let signature = Signature::one_of(arguments, Volatility::Immutable);
        Self { kind, environment: Environment::default(), signature }
    }

    /// The function in a session.
    pub(crate) fn within(mut self, environment: &Environment) -> Self {
        self.environment = environment.clone();
        self
    }

    /// A function of the table.
    pub(crate) fn scalar(function: &'static Builtin) -> Self {
        Self::new(Kind::Scalar(function))
    }

    /// The function of the table that Spark calls `name`.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let function = crate::functions::builtins().get(name);
        function.map(|f| Self::scalar(f)).ok_or_else(|| Error::internal(format!("no function {name}")))
    }

    /// `inline(array)`: a row of each struct.
    pub(crate) fn inline() -> Result<Self> {
        let function = functions::generator("inline").ok_or_else(|| Error::internal("no function inline"))?;
        Ok(Self::new(Kind::Generator { function, outer: false, names: vec![] }))
    }

    /// Whether the expression makes rows, and then whether it makes one of NULLs where it has none.
    pub fn generator(expr: &Expr) -> Option<bool> {
        match expr {
            Expr::Alias(alias) => Self::generator(&alias.expr),
            Expr::ScalarFunction(call) => match Self::of(call).map(|f| &f.kind) {
                Some(Kind::Generator { outer, .. }) => Some(*outer),
                Some(Kind::Window { duration, slide, .. }) if duration != slide => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Names that a generator's columns were given; none where they keep their own.
    pub(crate) fn generator_names(expr: &Expr) -> Vec<String> {
        match expr {
            Expr::Alias(alias) => vec![alias.name.clone()],
            Expr::ScalarFunction(call) => match Self::of(call).map(|f| &f.kind) {
                Some(Kind::Generator { names, .. }) => names.clone(),
                _ => vec![],
            },
            _ => vec![],
        }
    }

    /// A generator with a name for each column that it makes.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidExpression`] for an expression that is no generator.
    pub(crate) fn with_generator_names(expr: Expr, names: Vec<String>) -> Result<Expr> {
        let expr = match expr {
            Expr::Alias(alias) => *alias.expr,
            other => other,
        };
        if let Expr::ScalarFunction(call) = &expr
            && let Some(function) = Self::of(call)
            && let Kind::Generator { function: builtin, outer, .. } = &function.kind
        {
            let kind = Kind::Generator { function: builtin, outer: *outer, names };
            let named = Self { kind, environment: function.environment.clone(), signature: function.signature.clone() };
            return Ok(named.call(call.args.clone()));
        }
        Err(Error::new(
            ErrorCode::InvalidExpression,
            format!(
                "{} names ({}) for one column: only a generator such as explode(map) or posexplode(array) makes several",
                names.len(),
                names.join(", ")
            ),
        ))
    }

    /// A sliding `window(time)` as the generator of its windows; other expressions as they are.
    pub(crate) fn window_generator(expr: Expr) -> Expr {
        match expr {
            Expr::ScalarFunction(mut call) => match Self::of(&call).map(|f| &f.kind) {
                Some(Kind::Window { duration, slide, start }) if duration != slide => {
                    let parameters = [*duration, *slide, *start];
                    call.args.extend(parameters.map(|p| Expr::Literal(ScalarValue::Int64(Some(p)), None)));
                    let function = &functions::SLIDING_WINDOWS;
                    Self::new(Kind::Generator { function, outer: false, names: vec![] }).call(call.args)
                }
                _ => Expr::ScalarFunction(call),
            },
            other => other,
        }
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
        Ok(Self::new(Kind::FromJson { schema, options, fail_fast: mode == ParseMode::FailFast, wrapped: false }))
    }

    /// `from_json(json)` of any type that `schema` is the text or tree of.
    ///
    /// # Errors
    /// `InvalidOption` as in [`SparkFunction::from_json`]; `DatatypeMismatch` for a type that is not nested.
    pub fn from_json_type(data_type: types::DataType, options: Vec<(String, String)>) -> Result<Self> {
        match data_type {
            types::DataType::Struct(schema) => Self::from_json(schema, options),
            nested @ (types::DataType::Array(_) | types::DataType::Map(..)) => {
                let field = types::StructField::new("value", nested, true);
                let mut function = Self::from_json(StructType::new([field]), options)?;
                if let Kind::FromJson { wrapped, .. } = &mut function.kind {
                    *wrapped = true;
                }
                Ok(function)
            }
            other => Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("from_json: the schema must be a STRUCT, an ARRAY or a MAP, not {other:?}"),
            )
            .with_sub_condition("INVALID_JSON_SCHEMA")),
        }
    }

    /// `to_json(struct)`.
    pub fn to_json(options: Vec<(String, String)>) -> Result<Self> {
        to_json_options(&options, Tz::UTC)?;
        Ok(Self::new(Kind::ToJson { options }))
    }

    /// `struct(...)`.
    pub fn make_struct() -> Self {
        Self::new(Kind::MakeStruct { names: Vec::new() })
    }

    /// The struct with a field of this name.
    pub fn with_field(name: &str) -> Self {
        Self::new(Kind::WithField { name: name.to_string() })
    }

    /// The struct without these fields.
    pub fn drop_fields(names: Vec<String>) -> Self {
        Self::new(Kind::DropFields { names })
    }

    /// `cast(value as to)`; `safe` is TRY_CAST.
    pub fn cast(to: DataType, safe: bool) -> Self {
        Self::new(Kind::Cast { to, safe })
    }

    /// `a op b`.
    pub fn math(op: Math, safe: bool) -> Self {
        Self::new(Kind::Arithmetic { op, safe })
    }

    /// The double that stands for all that are equal to it.
    pub fn normalize() -> Self {
        Self::new(Kind::Normalize)
    }

    /// A call of the function.
    pub fn call(self, arguments: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(self)), arguments))
    }

    /// The literal that a call on literals alone stands for.
    ///
    /// # Errors
    /// What the call fails with.
    pub(crate) fn constant(expr: &Expr) -> Result<Expr> {
        let Expr::ScalarFunction(call) = expr else { return Ok(expr.clone()) };
        let (mut values, mut fields) = (Vec::new(), Vec::<FieldRef>::new());
        for argument in &call.args {
            match Self::constant(argument)? {
                Expr::Literal(value, metadata) => {
                    let field = Field::new("constant", value.data_type(), true);
                    fields.push(Arc::new(match metadata {
                        Some(metadata) => metadata.add_to_field(field),
                        None => field,
                    }));
                    values.push(value);
                }
                _ => return Ok(expr.clone()),
            }
        }
        let scalars: Vec<Option<&ScalarValue>> = values.iter().map(Some).collect();
        let return_field =
            call.func.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars })?;
        let metadata = return_field.metadata();
        let metadata = (!metadata.is_empty()).then(|| FieldMetadata::from(metadata));
        let result = call.func.invoke_with_args(ScalarFunctionArgs {
            args: values.into_iter().map(ColumnarValue::Scalar).collect(),
            arg_fields: fields,
            number_rows: 1,
            return_field,
            config_options: Arc::default(),
        })?;
        Ok(Expr::Literal(ScalarValue::try_from_array(&result.into_array(1)?, 0)?, metadata))
    }

    /// The call, or the literal that it stands for if it is one: kernels and other functions want constants.
    pub(crate) fn folded(self, args: Vec<Expr>) -> Expr {
        let pure = match &self.kind {
            Kind::Cast { to, .. } => !to.is_nested(),
            Kind::Arithmetic { .. } => true,
            Kind::Scalar(function) => function.name != "raise_error",
            _ => false,
        };
        let literals = !args.is_empty() && args.iter().all(|e| matches!(e, Expr::Literal(..)));
        let call = self.call(args);
        if !pure || !literals {
            return call;
        }
        match Self::constant(&call) {
            Ok(Expr::Literal(value, metadata)) if !value.data_type().is_nested() => Expr::Literal(value, metadata),
            // What fails, fails where and if it is evaluated.
            _ => call,
        }
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
            Kind::Arithmetic { safe, .. } => self.environment.ansi && !safe,
            Kind::FromJson { fail_fast, .. } => *fail_fast,
            Kind::Scalar(function) | Kind::Generator { function, .. } => function.fallible,
            Kind::Rewrite(_) => true,
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
        match &self.kind {
            Kind::Window { duration, start, .. } => window_struct(argument(0)?, *duration, *start),
            Kind::SessionWindow => functions::session_window::of_rows(argument(0)?, argument(1)?),
            Kind::FromJson { schema, wrapped, .. } => {
                let wanted = Wanted::all(schema.fields.len());
                let mut decoder = JsonDecoder::new(schema, &wanted, self.json_options()?)?;
                let texts = if *wrapped { wrapped_texts(argument(0)?)? } else { argument(0)?.clone() };
                let parsed = functions::from_json::from_json(&texts, &mut decoder, &Origin::Process)?;
                Ok(if *wrapped { parsed.0.column(0).clone() } else { Arc::new(parsed.0) })
            }
            Kind::ToJson { options } => {
                Ok(Arc::new(functions::to_json::to_json(argument(0)?, &to_json_options(options, time_zone)?)?))
            }
            Kind::FromCsv { schema, options } => {
                functions::csv_text::from_csv(argument(0)?, schema, options, time_zone)
            }
            Kind::ToCsv { options } => functions::csv_text::to_csv(argument(0)?, options, time_zone),
            Kind::WithField { name } => {
                let DataType::Struct(fields) = return_type else {
                    return Err(Error::internal("a struct with a field is a struct"));
                };
                let parent = argument(0)?.as_struct();
                let column = |field: &Arc<Field>| match field.name().eq_ignore_ascii_case(name) {
                    true => argument(1).cloned(),
                    false => parent
                        .column_by_name(field.name())
                        .cloned()
                        .ok_or_else(|| Error::internal(format!("no field {}", field.name()))),
                };
                let columns = fields.iter().map(column).collect::<Result<_>>()?;
                let nulls = parent.nulls().cloned();
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, parent.len())?))
            }
            Kind::DropFields { .. } => {
                let DataType::Struct(fields) = return_type else {
                    return Err(Error::internal("a struct without a field is a struct"));
                };
                let parent = argument(0)?.as_struct();
                let columns: Vec<ArrayRef> =
                    fields.iter().filter_map(|field| parent.column_by_name(field.name()).cloned()).collect();
                let nulls = parent.nulls().cloned();
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, parent.len())?))
            }
            Kind::MakeStruct { .. } => {
                let DataType::Struct(fields) = return_type else {
                    return Err(Error::internal("struct() does not return a struct"));
                };
                Ok(Arc::new(StructArray::try_new(fields.clone(), arguments.to_vec(), None)?))
            }
            Kind::Cast { to, safe } => {
                let options = functions::cast::CastOptions { ansi: self.environment.ansi && !safe, time_zone };
                functions::cast::cast(argument(0)?, to, options)
            }
            Kind::Normalize => deep_normalize(argument(0)?),
            Kind::CurrentTimestamp { clock } => {
                let now =
                    clock.as_ref().map_or_else(|| chrono::Utc::now().timestamp_millis(), BatchClock::timestamp_ms);
                let instant = TimestampMicrosecondArray::from(vec![now.saturating_mul(1000)]);
                Ok(Arc::new(instant.with_timezone(crate::types::UTC)))
            }
            Kind::Lambda { .. } | Kind::HigherOrder { .. } => {
                Err(Error::internal(format!("{} was not resolved", self.name())))
            }
            Kind::Arithmetic { .. } | Kind::Scalar(_) | Kind::Rewrite(_) | Kind::Generator { .. } => {
                Err(Error::internal(format!("{} is evaluated with its constants", self.name())))
            }
        }
    }

    /// A call whose constants stay single values.
    fn evaluate_call(
        &self,
        arguments: Vec<ArrayRef>,
        constant: Vec<bool>,
        rows: usize,
        returns: &DataType,
    ) -> Result<ArrayRef> {
        let types: Vec<DataType> = arguments.iter().map(|a| a.data_type().clone()).collect();
        let constants = arguments
            .iter()
            .zip(&constant)
            .map(|(array, constant)| constant.then(|| ScalarValue::try_from_array(array, 0)).transpose())
            .collect::<DataFusionResult<Vec<_>>>()?;
        match &self.kind {
            Kind::Arithmetic { op, safe } => {
                // What the analysis knew of the intervals' fields shows in the type that it found.
                let whole_days = *returns == DataType::Date32;
                let known = Arguments {
                    name: op.name(*safe),
                    types: &types,
                    constants,
                    whole_days,
                    environment: &self.environment,
                };
                let wanted = arithmetic::types(*op, &known)?.arguments;
                let (Ok(arrays), Ok(constant)) =
                    (<[ArrayRef; 2]>::try_from(arguments), <[bool; 2]>::try_from(constant))
                else {
                    return Err(Error::internal("an operation without two operands"));
                };
                let operands = arithmetic::Operands { arrays, constant, rows };
                // What try_ forgives is the operation, and the conversion of a text with it.
                let ansi = self.environment.ansi && !safe;
                let environment = Environment { ansi, ..self.environment.clone() };
                let operands = arithmetic::converted(operands, &wanted, &environment)?;
                arithmetic::evaluate(*op, &operands, returns, *safe, &self.environment)
            }
            Kind::Scalar(function) | Kind::Generator { function, .. } => {
                let known = Arguments {
                    name: function.name,
                    types: &types,
                    constants,
                    whole_days: false,
                    environment: &self.environment,
                };
                let wanted = function.typed(&known)?.arguments;
                let mut call =
                    Call { name: function.name, arguments, constant, rows, returns, environment: &self.environment };
                for (index, to) in wanted.iter().enumerate() {
                    let converted = call.cast(index, to)?;
                    if let Some(argument) = call.arguments.get_mut(index) {
                        *argument = converted;
                    }
                }
                conform((function.evaluate)(&call)?, returns)
            }
            _ => {
                let arrays = arguments.iter().zip(&constant).map(|(array, constant)| match *constant && rows != 1 {
                    true => Ok(ScalarValue::try_from_array(array, 0)?.to_array_of_size(rows)?),
                    false => Ok(array.clone()),
                });
                self.evaluate(&arrays.collect::<Result<Vec<_>>>()?, returns)
            }
        }
    }
}

/// Texts of any JSON as texts of objects with the one field `value`.
fn wrapped_texts(texts: &ArrayRef) -> Result<ArrayRef> {
    let texts = arrow::compute::cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter().map(|text| {
        text.map(|text| if text.trim().is_empty() { String::new() } else { format!("{{\"value\":{text}}}") })
    });
    Ok(Arc::new(arrow::array::StringArray::from_iter(texts)))
}

fn to_json_options(options: &[(String, String)], session_zone: Tz) -> Result<ToJsonOptions> {
    let given: Options = options.iter().map(|(key, value)| (key, value.as_str())).collect();
    let mut reader = given.reader("to_json");
    let zone = reader.parsed("timeZone", zone::EXPECTED, zone::region)?;
    let to_json = ToJsonOptions {
        time_zone: zone.unwrap_or(session_zone),
        timestamp_format: reader.text("timestampFormat").map(str::to_string),
        timestamp_ntz_format: reader.text("timestampNTZFormat").map(str::to_string),
        date_format: reader.text("dateFormat").map(str::to_string),
        ignore_null_fields: reader.bool("ignoreNullFields")?.unwrap_or(true),
    };
    reader.finish()?;
    Ok(to_json)
}

fn json_options(options: &[(String, String)], time_zone: Tz) -> Result<JsonOptions> {
    let options: Options = options.iter().map(|(key, value)| (key, value.as_str())).collect();
    let mut reader = options.reader("from_json");
    let json = JsonOptions::read(&mut reader, time_zone)?;
    reader.finish()?;
    Ok(json)
}
