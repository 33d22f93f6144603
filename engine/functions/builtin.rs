//! What a scalar function of Spark is to this crate: a name, how its arguments are converted, and how rows are computed.
//!
//! Comes in: a call with columns as they are. Goes out: a column of the declared type. Fails: arguments of types that the
//! function does not take (`DATATYPE_MISMATCH`), and values that it refuses under ANSI.

use super::cast::{CastOptions, cast, sql_name};
use crate::decode::zone::Zone;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::Environment;
use crate::types::timestamp;
use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray,
    StringArray, make_array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A scalar function.
pub struct Builtin {
    /// Spark's name.
    pub name: &'static str,
    /// Types of arguments and result.
    pub types: Types,
    /// Computes a column.
    pub evaluate: fn(&Call) -> Result<ArrayRef>,
    /// Whether a value may end the query, so that rows must be filtered before.
    pub fallible: bool,
}

/// How a function's types are found.
pub enum Types {
    /// A letter an argument, and the result's: see `letter`. `|` stands before optional arguments, `*` after one that may be
    /// repeated.
    Fixed(&'static str, char),
    /// At least and at most this many arguments, and a function that knows their types.
    By(usize, usize, fn(&Arguments) -> Result<Typed>),
}

/// The arguments of a call as far as the analysis knows them.
pub struct Arguments<'a> {
    /// The function.
    pub name: &'static str,
    /// Types as they are.
    pub types: &'a [DataType],
    /// Values of the arguments that are literals.
    pub constants: Vec<Option<ScalarValue>>,
    /// Whether every interval among the arguments counts days only.
    pub whole_days: bool,
    /// The session's settings.
    pub environment: &'a Environment,
}

/// The types that a call works with.
pub struct Typed {
    /// What the arguments are converted to.
    pub arguments: Vec<DataType>,
    /// What comes out.
    pub returns: DataType,
}

impl Typed {
    /// Arguments as they are.
    pub fn new(arguments: &[DataType], returns: DataType) -> Result<Typed> {
        Ok(Typed { arguments: arguments.to_vec(), returns })
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Builtin {}

impl Hash for Builtin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A function of fixed types that does not fail once its arguments are converted.
pub const fn total(
    name: &'static str,
    takes: &'static str,
    gives: char,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Builtin {
    Builtin { name, types: Types::Fixed(takes, gives), evaluate, fallible: false }
}

/// A function of fixed types that refuses some values.
pub const fn partial(
    name: &'static str,
    takes: &'static str,
    gives: char,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Builtin {
    Builtin { name, types: Types::Fixed(takes, gives), evaluate, fallible: true }
}

/// A function whose types depend on its arguments'.
pub const fn typed(
    name: &'static str,
    count: (usize, usize),
    types: fn(&Arguments) -> Result<Typed>,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Builtin {
    Builtin { name, types: Types::By(count.0, count.1, types), evaluate, fallible: true }
}

/// Any number of arguments.
pub const ANY: usize = usize::MAX;

/// `s` string, `b` binary, `i` int, `l` bigint, `d` double, `t` timestamp, `D` date, `o` boolean, `a` any, `S` array of strings.
fn letter(letter: char) -> Option<DataType> {
    Some(match letter {
        's' => DataType::Utf8,
        'b' => DataType::Binary,
        'i' => DataType::Int32,
        'l' => DataType::Int64,
        'd' => DataType::Float64,
        't' => timestamp(),
        'D' => DataType::Date32,
        'o' => DataType::Boolean,
        'S' => list_of(DataType::Utf8),
        'I' => list_of(DataType::Int32),
        _ => return None,
    })
}

/// Spark's array of a type.
pub fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

impl Builtin {
    /// The least and the greatest number of arguments.
    pub fn count(&self) -> (usize, usize) {
        match &self.types {
            Types::By(least, most, _) => (*least, *most),
            Types::Fixed(takes, _) => {
                let required = takes.split('|').next().unwrap_or_default();
                let letters = |text: &str| text.chars().filter(|c| c.is_ascii_alphabetic()).count();
                // A repeated argument may be absent.
                let least = letters(required) - usize::from(required.ends_with('*'));
                (least, if takes.contains('*') { ANY } else { letters(takes) })
            }
        }
    }

    /// Types of a call.
    ///
    /// # Errors
    /// [`ErrorCode::DatatypeMismatch`].
    pub fn typed(&self, arguments: &Arguments) -> Result<Typed> {
        match &self.types {
            Types::By(_, _, types) => types(arguments),
            Types::Fixed(takes, gives) => {
                let letters: Vec<char> = takes.chars().filter(|c| c.is_ascii_alphabetic()).collect();
                let mut wanted = Vec::with_capacity(arguments.types.len());
                for (index, found) in arguments.types.iter().enumerate() {
                    let code = letters.get(index).or(letters.last()).copied().unwrap_or('a');
                    let to = letter(code).unwrap_or_else(|| found.clone());
                    if !converts(found, &to) {
                        return Err(arguments.mismatch(index, &sql_name(&to)));
                    }
                    wanted.push(to);
                }
                let returns = letter(*gives).or_else(|| arguments.types.first().cloned()).unwrap_or(DataType::Null);
                Ok(Typed { arguments: wanted, returns })
            }
        }
    }
}

impl Arguments<'_> {
    /// The error for an argument (from 0) of the wrong type.
    pub fn mismatch(&self, index: usize, needed: &str) -> Error {
        let found = self.types.get(index).map(sql_name).unwrap_or_default();
        let message = format!("{}: argument {} must be {needed}, but it is {found}; cast it", self.name, index + 1);
        Error::of_argument(message, index, needed, &found)
    }

    /// The type of an argument; NULL's beyond the last.
    pub fn of(&self, index: usize) -> &DataType {
        self.types.get(index).unwrap_or(&DataType::Null)
    }

    /// A literal argument as an integer.
    pub fn integer(&self, index: usize) -> Option<i64> {
        match self.constants.get(index)?.as_ref()?.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(value) => value,
            _ => None,
        }
    }

    /// A literal argument as text.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.constants.get(index)?.as_ref()?.try_as_str().flatten()
    }

    /// The element type of an array argument; NULL is an array of NULLs.
    pub fn element(&self, index: usize) -> Result<DataType> {
        match self.of(index) {
            DataType::List(field) => Ok(field.data_type().clone()),
            DataType::Null => Ok(DataType::Null),
            _ => Err(self.mismatch(index, "an ARRAY")),
        }
    }

    /// Key and value types of a map argument.
    pub fn entry(&self, index: usize) -> Result<(DataType, DataType)> {
        if let DataType::Map(entries, _) = self.of(index)
            && let DataType::Struct(fields) = entries.data_type()
            && let [key, value] = fields.as_ref()
        {
            return Ok((key.data_type().clone(), value.data_type().clone()));
        }
        Err(self.mismatch(index, "a MAP"))
    }
}

/// Whether Spark converts an argument of one type to another by itself.
pub fn converts(from: &DataType, to: &DataType) -> bool {
    let atomic = |t: &DataType| !t.is_nested();
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) => true,
        (_, DataType::Utf8) => atomic(from),
        (DataType::Utf8, DataType::Binary) => true,
        (DataType::Utf8, to) => atomic(to),
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (DataType::Date32, DataType::Timestamp(..)) | (DataType::Timestamp(..), DataType::Date32) => true,
        (DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (DataType::List(from), DataType::List(to)) => converts(from.data_type(), to.data_type()),
        _ => false,
    }
}

/// A call with its columns, converted to what the function wants.
pub struct Call<'a> {
    /// The function.
    pub name: &'static str,
    /// The columns; a constant has one row.
    pub arguments: Vec<ArrayRef>,
    /// Which columns are constants.
    pub constant: Vec<bool>,
    /// Rows to compute.
    pub rows: usize,
    /// The declared type of the result.
    pub returns: &'a DataType,
    /// The session's settings.
    pub environment: &'a Environment,
}

/// A column's values by row, whether it is a constant or not.
#[derive(Clone, Copy)]
pub struct Values<A> {
    array: A,
    constant: bool,
}

impl<A: ArrayAccessor> Values<A> {
    /// The value of a row.
    pub fn get(&self, row: usize) -> Option<A::Item> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

impl Call<'_> {
    /// The session's zone.
    pub(crate) fn zone(&self) -> Zone {
        self.environment.time_zone.into()
    }

    /// `spark.sql.ansi.enabled`.
    pub fn ansi(&self) -> bool {
        self.environment.ansi
    }

    /// Whether there is such an argument.
    pub fn has(&self, index: usize) -> bool {
        index < self.arguments.len()
    }

    /// The column of an argument.
    pub fn array(&self, index: usize) -> Result<&ArrayRef> {
        self.arguments.get(index).ok_or_else(|| wrong_number(self.name, self.arguments.len(), "more"))
    }

    /// The row of an argument's column that belongs to a row of the call.
    pub fn at(&self, index: usize, row: usize) -> usize {
        if self.constant.get(index) == Some(&true) { 0 } else { row }
    }

    /// The column of an argument, a row a row.
    pub fn expanded(&self, index: usize) -> Result<ArrayRef> {
        let array = self.array(index)?;
        if self.constant.get(index) != Some(&true) || array.len() == self.rows {
            return Ok(array.clone());
        }
        Ok(ScalarValue::try_from_array(array, 0)?.to_array_of_size(self.rows)?)
    }

    fn values<'c, A>(&'c self, index: usize, downcast: impl Fn(&'c ArrayRef) -> Option<A>) -> Result<Values<A>> {
        let array = self.array(index)?;
        let found = downcast(array).ok_or_else(|| {
            Error::internal(format!("{}: argument {} is {}", self.name, index + 1, array.data_type()))
        })?;
        Ok(Values { array: found, constant: self.constant.get(index) == Some(&true) })
    }

    /// Text values.
    pub fn text(&self, index: usize) -> Result<Values<&StringArray>> {
        self.values(index, |a| a.as_string_opt::<i32>())
    }

    /// Binary values.
    pub fn binary(&self, index: usize) -> Result<Values<&BinaryArray>> {
        self.values(index, |a| a.as_binary_opt::<i32>())
    }

    /// Truth values.
    pub fn boolean(&self, index: usize) -> Result<Values<&BooleanArray>> {
        self.values(index, |a| a.as_boolean_opt())
    }

    /// Lists.
    pub fn list(&self, index: usize) -> Result<&ListArray> {
        let array = self.array(index)?;
        array.as_list_opt::<i32>().ok_or_else(|| Error::internal(format!("{} of {}", self.name, array.data_type())))
    }

    /// Maps.
    pub fn map(&self, index: usize) -> Result<&MapArray> {
        let array = self.array(index)?;
        array.as_map_opt().ok_or_else(|| Error::internal(format!("{} of {}", self.name, array.data_type())))
    }

    /// Values of a primitive type.
    pub fn primitive<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Values<&PrimitiveArray<T>>> {
        self.values(index, |a| a.as_primitive_opt::<T>())
    }

    /// 32-bit integers.
    pub fn int(&self, index: usize) -> Result<Values<&PrimitiveArray<Int32Type>>> {
        self.primitive(index)
    }

    /// 64-bit integers.
    pub fn long(&self, index: usize) -> Result<Values<&PrimitiveArray<Int64Type>>> {
        self.primitive(index)
    }

    /// Doubles.
    pub fn double(&self, index: usize) -> Result<Values<&PrimitiveArray<Float64Type>>> {
        self.primitive(index)
    }

    /// Dates, as days.
    pub fn date(&self, index: usize) -> Result<Values<&PrimitiveArray<Date32Type>>> {
        self.primitive(index)
    }

    /// Instants, in microseconds.
    pub fn instant(&self, index: usize) -> Result<Values<&PrimitiveArray<TimestampMicrosecondType>>> {
        self.primitive(index)
    }

    /// A column in another type, by Spark's cast.
    pub fn cast(&self, index: usize, to: &DataType) -> Result<ArrayRef> {
        cast(self.array(index)?, to, self.cast_options())
    }

    /// The session's casts.
    pub fn cast_options(&self) -> CastOptions {
        CastOptions { ansi: self.ansi(), time_zone: self.environment.time_zone }
    }

    /// An error about a value.
    pub fn invalid(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorCode::InvalidParameterValue, format!("{}: {what}", self.name))
    }

    /// Computes with a function of DataFusion's that has the same meaning.
    pub fn delegate(&self, function: &ScalarUDF) -> Result<ArrayRef> {
        let fields: Vec<FieldRef> = self
            .arguments
            .iter()
            .enumerate()
            .map(|(i, a)| Arc::new(Field::new(format!("a{i}"), a.data_type().clone(), true)) as FieldRef)
            .collect();
        let mut scalars = Vec::new();
        for (array, constant) in self.arguments.iter().zip(&self.constant) {
            scalars.push(constant.then(|| ScalarValue::try_from_array(array, 0)).transpose()?);
        }
        let known: Vec<Option<&ScalarValue>> = scalars.iter().map(Option::as_ref).collect();
        let return_field =
            function.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &known })?;
        let args = self.arguments.iter().zip(&scalars).map(|(array, scalar)| match scalar {
            Some(scalar) => ColumnarValue::Scalar(scalar.clone()),
            None => ColumnarValue::Array(array.clone()),
        });
        let result = function.invoke_with_args(ScalarFunctionArgs {
            args: args.collect(),
            arg_fields: fields,
            number_rows: self.rows,
            return_field,
            config_options: Arc::new(ConfigOptions::default()),
        })?;
        cast(&result.into_array(self.rows)?, self.returns, self.cast_options())
    }
}

/// The error for a number of arguments that a function does not take.
pub fn wrong_number(name: &str, found: usize, needed: &str) -> Error {
    Error::new(ErrorCode::WrongNumArgs, format!("{name}() takes {needed} arguments, and {found} were given"))
        .with_parameter("functionName", format!("`{name}`"))
        .with_parameter("expectedNum", needed)
        .with_parameter("actualNum", found)
}

/// Gives values another type of the same layout: integers as dates or instants, lists other field names.
pub fn conform(array: ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array);
    }
    if let (DataType::List(_), DataType::List(field)) = (array.data_type(), to) {
        let list = array.as_list::<i32>();
        let values = conform(list.values().clone(), field.data_type())?;
        return Ok(Arc::new(ListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned())?));
    }
    if array.data_type() == &DataType::Null || to.is_nested() {
        return Ok(arrow::compute::cast(&array, to)?);
    }
    Ok(make_array(array.to_data().into_builder().data_type(to.clone()).build()?))
}

/// Rows of which no argument is NULL through a body that gives `Result<Option<_>>`; other rows are NULL.
macro_rules! strict {
    ($call:expr, $out:ty, |$($name:ident : $kind:ident $index:literal),+| $body:expr) => {{
        $( let $name = $call.$kind($index)?; )+
        let mut out: Vec<Option<_>> = Vec::with_capacity($call.rows);
        for row in 0..$call.rows {
            out.push(match ($( $name.get(row), )+) {
                ($( Some($name), )+) => { let value: Result<Option<_>> = $body; value? }
                _ => None,
            });
        }
        let array: arrow::array::ArrayRef = std::sync::Arc::new(<$out>::from_iter(out));
        Ok(array)
    }};
}
pub(crate) use strict;
