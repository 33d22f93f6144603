//! Spark's functions as DataFusion's: their names, the types that they give, and their evaluation.
//!
//! Comes in: a call with the types or the columns of its arguments. Goes out: its type or its column. Fails: arguments of types that the function
//! does not take, and what evaluating it fails with.

use super::{Kind, SparkFunction, window_fields};
use crate::decode::zone::Zone;
use crate::error::{Error, ErrorCode};
use crate::functions;
use crate::functions::arithmetic::{self, Math};
use crate::functions::builtin::Arguments;
use crate::functions::interval::Fields as IntervalFields;
use crate::functions::java_text::{Style, texts};
use crate::types::timestamp;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

impl ScalarUDFImpl for SparkFunction {
    fn name(&self) -> &str {
        match &self.kind {
            Kind::Window { .. } => "window",
            Kind::FromJson { .. } => "from_json",
            Kind::SessionWindow => "session_window",
            Kind::ToJson { .. } => "to_json",
            Kind::FromCsv { .. } => "from_csv",
            Kind::ToCsv { .. } => "to_csv",
            Kind::WithField { .. } => "with_field",
            Kind::DropFields { .. } => "drop_fields",
            Kind::MakeStruct { .. } => "struct",
            Kind::Cast { safe: false, .. } => "cast",
            Kind::Cast { safe: true, .. } => "try_cast",
            Kind::Arithmetic { op, safe } => op.name(*safe),
            Kind::CurrentTimestamp { .. } => "current_timestamp",
            Kind::Lambda { .. } => "lambdafunction",
            Kind::HigherOrder { name, .. } => name,
            Kind::Scalar(function) => function.name,
            Kind::Rewrite(rewrite) => rewrite.name,
            Kind::Generator { function, .. } => function.name,
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
            let found = functions::cast::sql_name(found);
            Error::of_argument(format!("{} needs {needed}, not {found}", self.name()), 0, needed, &found).into()
        };
        let argument = args.arg_fields.first().map(|f| f.data_type()).unwrap_or(&DataType::Null);
        let data_type = match &self.kind {
            Kind::Window { .. } => match argument {
                DataType::Timestamp(TimeUnit::Microsecond, _) => DataType::Struct(window_fields()),
                other => return Err(mismatch("a timestamp", other)),
            },
            Kind::SessionWindow => match argument {
                DataType::Timestamp(TimeUnit::Microsecond, _) => {
                    let gap = args.arg_fields.get(1).map_or(&DataType::Null, |f| f.data_type());
                    functions::session_window::check_gap(gap)?;
                    DataType::Struct(window_fields())
                }
                other => return Err(mismatch("a timestamp", other)),
            },
            Kind::FromJson { schema, wrapped, .. } => match (argument, schema.fields.as_slice()) {
                (DataType::Utf8 | DataType::Binary | DataType::Null, [value]) if *wrapped => value.data_type.to_arrow(),
                (DataType::Utf8 | DataType::Binary | DataType::Null, _) => DataType::Struct(schema.to_arrow()),
                (other, _) => return Err(mismatch("a string", other)),
            },
            Kind::FromCsv { schema, .. } => match argument {
                DataType::Utf8 | DataType::Null => DataType::Struct(schema.to_arrow()),
                other => return Err(mismatch("a string", other)),
            },
            Kind::ToJson { .. } => match argument {
                DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => DataType::Utf8,
                other => return Err(mismatch("a struct, an array or a map", other)),
            },
            Kind::ToCsv { .. } => match argument {
                DataType::Struct(_) => DataType::Utf8,
                other => return Err(mismatch("a struct", other)),
            },
            Kind::WithField { name } => {
                let DataType::Struct(fields) = argument else { return Err(mismatch("a struct", argument)) };
                let value = args.arg_fields.get(1).map(|f| f.data_type().clone()).unwrap_or(DataType::Null);
                let replaced = fields.iter().any(|field| field.name().eq_ignore_ascii_case(name));
                let field = |field: &Arc<Field>| match field.name().eq_ignore_ascii_case(name) {
                    true => Arc::new(Field::new(field.name(), value.clone(), true)),
                    false => field.clone(),
                };
                let added = (!replaced).then(|| Arc::new(Field::new(name, value.clone(), true)));
                DataType::Struct(fields.iter().map(field).chain(added).collect())
            }
            Kind::DropFields { names } => {
                let DataType::Struct(fields) = argument else { return Err(mismatch("a struct", argument)) };
                let dropped = |field: &&Arc<Field>| !names.iter().any(|name| field.name().eq_ignore_ascii_case(name));
                let kept: Fields = fields.iter().filter(dropped).cloned().collect();
                if kept.is_empty() {
                    return Err(mismatch("to keep a field", argument));
                }
                DataType::Struct(kept)
            }
            Kind::MakeStruct { names } => {
                let fields = names.iter().zip(args.arg_fields).map(|(n, f)| Field::new(n, f.data_type().clone(), true));
                DataType::Struct(fields.collect())
            }
            Kind::Cast { to, .. } => {
                if !functions::cast::connects(argument, to) {
                    let (from, to) = (functions::cast::sql_name(argument), functions::cast::sql_name(to));
                    let text = format!("cannot cast {from} to {to}");
                    return Err(Error::new(ErrorCode::DatatypeMismatch, text)
                        .with_sub_condition("CAST_WITHOUT_SUGGESTION")
                        .into());
                }
                to.clone()
            }
            Kind::Normalize => argument.clone(),
            Kind::CurrentTimestamp { .. } => timestamp(),
            Kind::Arithmetic { op, safe } => {
                let types = types_of(args.arg_fields);
                arithmetic::types(*op, &self.arguments(op.name(*safe), &types, &args))?.returns
            }
            Kind::Scalar(function) | Kind::Generator { function, .. } => {
                let types = types_of(args.arg_fields);
                function.typed(&self.arguments(function.name, &types, &args))?.returns
            }
            // Replaced as soon as its arguments are resolved.
            Kind::Rewrite(_) | Kind::Lambda { .. } | Kind::HigherOrder { .. } => DataType::Null,
        };
        let fields = self.interval_fields(&data_type, args.arg_fields);
        let metadata = fields.map(|fields| fields.metadata().into_iter().collect());
        Ok(Arc::new(Field::new(self.name(), data_type, true).with_metadata(metadata.unwrap_or_default())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        if let Some(text) = self.interval_text(&args)? {
            return Ok(text);
        }
        let return_type = args.return_field.data_type();
        // A call on constants alone is evaluated on one row and stays a constant.
        let constant: Vec<bool> = args.args.iter().map(|a| matches!(a, ColumnarValue::Scalar(_))).collect();
        let constants_only = constant.iter().all(|constant| *constant);
        let rows = if constants_only { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args
            .args
            .iter()
            .map(|a| match a {
                ColumnarValue::Scalar(value) => value.to_array(),
                ColumnarValue::Array(array) => Ok(array.clone()),
            })
            .collect::<DataFusionResult<_>>()?;
        let result = self.evaluate_call(arrays, constant, rows, return_type)?;
        Ok(if constants_only {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

fn types_of(fields: &[FieldRef]) -> Vec<DataType> {
    fields.iter().map(|f| f.data_type().clone()).collect()
}

impl SparkFunction {
    fn arguments<'a>(&'a self, name: &'static str, types: &'a [DataType], args: &ReturnFieldArgs) -> Arguments<'a> {
        let constants = args.scalar_arguments.iter().map(|value| value.cloned()).collect();
        let mut intervals = args.arg_fields.iter().filter_map(|field| IntervalFields::of(field)).peekable();
        let whole_days = intervals.peek().is_some() && intervals.all(|fields| fields == IntervalFields::DAYS);
        Arguments { name, types, constants, whole_days, environment: &self.environment }
    }

    /// The fields of the interval that a call gives, where its type does not say them.
    fn interval_fields(&self, returns: &DataType, arguments: &[FieldRef]) -> Option<IntervalFields> {
        let all = IntervalFields::all(returns)?;
        let of_arguments = || {
            let same = arguments.iter().filter(|field| field.data_type() == returns);
            same.filter_map(|field| IntervalFields::of(field)).reduce(IntervalFields::union)
        };
        let found = match &self.kind {
            Kind::Arithmetic { op: Math::Subtract, .. }
                if arguments.iter().all(|f| *f.data_type() == DataType::Date32) =>
            {
                Some(IntervalFields::DAYS)
            }
            Kind::Arithmetic { op: Math::Add | Math::Subtract, .. } | Kind::Scalar(_) => of_arguments(),
            _ => None,
        };
        Some(found.unwrap_or(all))
    }

    /// `CAST(interval AS STRING)`, whose text depends on the fields of the interval.
    fn interval_text(&self, args: &ScalarFunctionArgs) -> DataFusionResult<Option<ColumnarValue>> {
        let (Kind::Cast { to: DataType::Utf8, .. }, [value], [field]) =
            (&self.kind, args.args.as_slice(), args.arg_fields.as_slice())
        else {
            return Ok(None);
        };
        if IntervalFields::of(field).is_none() {
            return Ok(None);
        }
        let style = Style { zone: Zone::Fixed(0), null: "null", hex: false, interval: None }.of(field);
        Ok(Some(match value {
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&texts(&value.to_array()?, style)?, 0)?)
            }
            ColumnarValue::Array(array) => ColumnarValue::Array(texts(array, style)?),
        }))
    }
}
