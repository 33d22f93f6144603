//! Functions of functions: `transform(array, x -> ...)` and its like.
//!
//! Comes in: a call with values and lambdas, not yet resolved. Goes out ([`bind`]): a function whose lambdas are resolved expressions over
//! their parameters and over the columns that they mention beside these, which are arguments of the call: so a plan sees every column that is
//! read. Elements of all rows are computed as one batch. Fails: lambdas of other widths and types than the function calls, and what their
//! expressions fail with.

mod apply;

use super::builtin::list_of;
use super::cast::sql_name;
use super::collection::map_of;
use crate::error::{Error, ErrorCode, Result};
use crate::operator::clock::BatchClock;
use crate::operator::executable::executable;
use crate::plan::resolve::{df_schema, is_fallible, quoted, resolve, split_path};
use crate::plan::scope::{Origin, Scope, next_relation, reference};
use crate::plan::spark_function::{Environment, Kind, SparkFunction};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::any::Any;
use std::sync::Arc;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HigherOrder {
    Transform,
    Filter,
    Exists,
    Forall,
    Aggregate,
    ZipWith,
    ArraySort,
    MapFilter,
    MapZipWith,
    TransformKeys,
    TransformValues,
}

/// Names, functions, and how many values stand before how many lambdas.
const FUNCTIONS: &[(&str, HigherOrder, usize, (usize, usize))] = &[
    ("transform", HigherOrder::Transform, 1, (1, 1)),
    ("filter", HigherOrder::Filter, 1, (1, 1)),
    ("exists", HigherOrder::Exists, 1, (1, 1)),
    ("forall", HigherOrder::Forall, 1, (1, 1)),
    ("aggregate", HigherOrder::Aggregate, 2, (1, 2)),
    ("reduce", HigherOrder::Aggregate, 2, (1, 2)),
    ("zip_with", HigherOrder::ZipWith, 2, (1, 1)),
    ("array_sort", HigherOrder::ArraySort, 1, (1, 1)),
    ("map_filter", HigherOrder::MapFilter, 1, (1, 1)),
    ("map_zip_with", HigherOrder::MapZipWith, 2, (1, 1)),
    ("transform_keys", HigherOrder::TransformKeys, 1, (1, 1)),
    ("transform_values", HigherOrder::TransformValues, 1, (1, 1)),
];

/// Names of the functions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, ..)| *name)
}

/// A lambda, as an argument of a call: its body mentions the parameters as columns.
pub(crate) fn lambda(parameters: Vec<String>, body: Expr) -> Expr {
    SparkFunction::new(Kind::Lambda { parameters, body: Box::new(body) }).call(vec![])
}

fn lambda_of(expr: &Expr) -> Option<(&[String], &Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match SparkFunction::of(call).map(|function| &function.kind) {
        Some(Kind::Lambda { parameters, body }) => Some((parameters, body)),
        _ => None,
    }
}

/// The lambda with another body; other expressions as they are.
pub(crate) fn with_body(expr: &Expr, change: impl FnOnce(&Expr) -> Result<Expr>) -> Result<Option<Expr>> {
    match lambda_of(expr) {
        Some((parameters, body)) => Ok(Some(lambda(parameters.to_vec(), change(body)?))),
        None => Ok(None),
    }
}

/// Spark's text of a lambda: parameters have no names in it.
pub(crate) fn text(parameters: &[String], body: &Expr, text: impl Fn(&Expr) -> String) -> String {
    const VARIABLE: &str = "namedlambdavariable()";
    let nameless = parameters.iter().map(|name| (name.clone(), VARIABLE.to_string())).collect::<Vec<_>>();
    let body = renamed(body, &nameless).unwrap_or_else(|_| body.clone());
    format!("lambdafunction({}, {})", text(&body), vec![VARIABLE; parameters.len()].join(", "))
}

/// The call by name; None where no such function is called with a lambda.
pub(crate) fn call(name: &str, args: &[Expr]) -> Option<Result<Expr>> {
    let (name, function, values, (least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
    let lambdas = args.iter().filter(|argument| lambda_of(argument).is_some()).count();
    if lambdas == 0 && *function == HigherOrder::ArraySort {
        return None;
    }
    let in_place = args.iter().skip(*values).filter(|argument| lambda_of(argument).is_some()).count() == lambdas;
    if !in_place || args.len() != values + lambdas || !(*least..=*most).contains(&lambdas) {
        return Some(Err(Error::new(
            ErrorCode::WrongNumArgs,
            format!("{name}() takes {values} values and then {least} to {most} lambdas such as x -> x + 1"),
        )));
    }
    Some(Ok(SparkFunction::new(Kind::HigherOrder { name, function: *function }).call(args.to_vec())))
}

/// `body` with columns that go by the first of a pair under the name of the second. A lambda inside that has a parameter of the same name
/// means its own.
fn renamed(body: &Expr, names: &[(String, String)]) -> Result<Expr> {
    let rewritten = body.clone().transform_up(|e| match &e {
        Expr::Column(column) if column.relation.is_none() => {
            let path = split_path(&column.name);
            let parameter =
                path.first().and_then(|first| names.iter().find(|(name, _)| name.eq_ignore_ascii_case(first)));
            let Some((_, to)) = parameter else { return Ok(Transformed::no(e)) };
            let parts: Vec<String> =
                std::iter::once(quoted(to)).chain(path.iter().skip(1).map(|part| quoted(part))).collect();
            Ok(Transformed::yes(reference(&parts.join("."))))
        }
        Expr::ScalarFunction(_) => {
            let Some((parameters, inner)) = lambda_of(&e) else { return Ok(Transformed::no(e)) };
            let own = |name: &String| parameters.iter().any(|parameter| parameter.eq_ignore_ascii_case(name));
            let visible: Vec<_> = names.iter().filter(|(name, _)| !own(name)).cloned().collect();
            Ok(Transformed::yes(lambda(parameters.to_vec(), renamed(inner, &visible)?)))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(rewritten.data)
}

/// A resolved lambda: an expression over its parameters and over columns from outside, by these names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bound {
    parameters: Vec<(String, DataType)>,
    body: Expr,
    returns: DataType,
}

/// A function with its lambdas; its arguments are the values, and then the columns from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Applied {
    name: &'static str,
    function: HigherOrder,
    values: Vec<DataType>,
    outside: Vec<(String, DataType)>,
    lambdas: Vec<Bound>,
    returns: DataType,
    signature: Signature,
}

/// The function with its lambdas resolved; `args` are resolved values and lambdas that are not.
pub(crate) fn bind(
    name: &'static str,
    function: HigherOrder,
    args: Vec<Expr>,
    scope: &Scope,
    schema: &DFSchemaRef,
    environment: &Environment,
) -> Result<Expr> {
    let (lambdas, values): (Vec<Expr>, Vec<Expr>) = args.into_iter().partition(|e| lambda_of(e).is_some());
    let types: Vec<DataType> = values.iter().map(|e| e.get_type(schema.as_ref())).collect::<DataFusionResult<_>>()?;
    let mut bound = Vec::new();
    for (place, written) in lambdas.iter().enumerate() {
        let Some((parameters, body)) = lambda_of(written) else {
            return Err(Error::internal("a lambda that is none"));
        };
        let taken = parameter_types(name, function, &types, place, parameters.len())?;
        let id = next_relation();
        let named: Vec<(String, String)> =
            parameters.iter().map(|parameter| (parameter.clone(), format!("#lambda{id}.{parameter}"))).collect();
        let body = renamed(body, &named)?;
        let own =
            named.iter().zip(&taken).map(|((_, name), data_type)| Arc::new(Field::new(name, data_type.clone(), true)));
        let fields: Vec<FieldRef> = scope.schema().fields().iter().cloned().chain(own).collect();
        let inner_schema = Arc::new(Schema::new(fields));
        let fresh = Scope::fresh(&inner_schema, id);
        let mut origins: Vec<Origin> = scope.origins().to_vec();
        origins.extend_from_slice(fresh.origins().get(origins.len()..).unwrap_or_default());
        let body = resolve(body, &Scope::new(inner_schema.clone(), origins), environment)?;
        crate::plan::resolve::refuse_aggregates(&body, name, ErrorCode::InvalidExpression)?;
        let returns = body.get_type(df_schema(&inner_schema)?.as_ref())?;
        let parameters = named.into_iter().map(|(_, name)| name).zip(taken).collect();
        bound.push(Bound { parameters, body, returns });
    }
    let returns = returned(name, function, &types, &bound)?;
    let mut outside: Vec<(String, DataType)> = Vec::new();
    for lambda in &bound {
        let mut mentioned: Vec<String> = lambda.body.column_refs().into_iter().map(|c| c.name.clone()).collect();
        mentioned.sort();
        for column in mentioned {
            let known = lambda.parameters.iter().chain(&outside).any(|(name, _)| *name == column);
            if !known {
                outside.push((column.clone(), reference(&column).get_type(schema.as_ref())?));
            }
        }
    }
    let arguments = values.into_iter().chain(outside.iter().map(|(name, _)| reference(name))).collect();
    let signature = Signature::variadic_any(Volatility::Immutable);
    let applied = Applied { name, function, values: types, outside, lambdas: bound, returns, signature };
    Ok(applied.call(arguments))
}

fn element(name: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::List(item) => Ok(item.data_type().clone()),
        other => Err(mismatch(name, "an ARRAY", other)),
    }
}

fn entry(name: &str, data_type: &DataType) -> Result<(DataType, DataType)> {
    match data_type {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => match fields.as_ref() {
                [key, value] => Ok((key.data_type().clone(), value.data_type().clone())),
                _ => Err(Error::internal("a map without two sides")),
            },
            _ => Err(Error::internal("a map without entries")),
        },
        other => Err(mismatch(name, "a MAP", other)),
    }
}

fn mismatch(name: &str, needed: &str, found: &DataType) -> Error {
    Error::new(ErrorCode::DatatypeMismatch, format!("{name}() needs {needed}, not {}", sql_name(found)))
}

/// Types of the parameters of the lambda at a place.
fn parameter_types(
    name: &str,
    function: HigherOrder,
    values: &[DataType],
    place: usize,
    given: usize,
) -> Result<Vec<DataType>> {
    let value = |at: usize| values.get(at).ok_or_else(|| Error::internal("a value is missing"));
    let (types, least) = match function {
        HigherOrder::Transform | HigherOrder::Filter => (vec![element(name, value(0)?)?, DataType::Int32], 1),
        HigherOrder::Exists | HigherOrder::Forall => (vec![element(name, value(0)?)?], 1),
        HigherOrder::Aggregate if place == 0 => (vec![value(1)?.clone(), element(name, value(0)?)?], 2),
        HigherOrder::Aggregate => (vec![value(1)?.clone()], 1),
        HigherOrder::ZipWith => (vec![element(name, value(0)?)?, element(name, value(1)?)?], 2),
        HigherOrder::ArraySort => (vec![element(name, value(0)?)?; 2], 2),
        HigherOrder::MapZipWith => {
            let ((key, left), (other, right)) = (entry(name, value(0)?)?, entry(name, value(1)?)?);
            if key != other {
                return Err(mismatch(name, "two MAPs with keys of one type", value(1)?));
            }
            (vec![key, left, right], 3)
        }
        HigherOrder::MapFilter | HigherOrder::TransformKeys | HigherOrder::TransformValues => {
            let (key, value) = entry(name, value(0)?)?;
            (vec![key, value], 2)
        }
    };
    match (least..=types.len()).contains(&given) {
        true => Ok(types.into_iter().take(given).collect()),
        false => Err(Error::new(
            ErrorCode::WrongNumArgs,
            format!("{name}(): its lambda takes {} parameters, not {given}", types.len()),
        )),
    }
}

/// What the function gives, with lambdas that give what it takes.
fn returned(name: &str, function: HigherOrder, values: &[DataType], lambdas: &[Bound]) -> Result<DataType> {
    let value = |at: usize| values.get(at).ok_or_else(|| Error::internal("a value is missing"));
    let first = lambdas.first().ok_or_else(|| Error::internal("a lambda is missing"))?;
    let truth = |gives: DataType| match &first.returns {
        DataType::Boolean | DataType::Null => Ok(gives),
        other => Err(mismatch(name, "a lambda that gives a BOOLEAN", other)),
    };
    Ok(match function {
        HigherOrder::Transform | HigherOrder::ZipWith => list_of(first.returns.clone()),
        HigherOrder::Filter | HigherOrder::MapFilter => truth(value(0)?.clone())?,
        HigherOrder::Exists | HigherOrder::Forall => truth(DataType::Boolean)?,
        HigherOrder::Aggregate => match first.returns == *value(1)? {
            true => lambdas.get(1).map_or_else(|| first.returns.clone(), |finish| finish.returns.clone()),
            false => {
                let needed = format!("a lambda that gives its start's type {} (cast the start)", sql_name(value(1)?));
                return Err(mismatch(name, &needed, &first.returns));
            }
        },
        HigherOrder::ArraySort => match first.returns.is_integer() {
            true => value(0)?.clone(),
            false => return Err(mismatch(name, "a lambda that gives an INT", &first.returns)),
        },
        HigherOrder::TransformKeys => map_of(first.returns.clone(), entry(name, value(0)?)?.1),
        HigherOrder::TransformValues | HigherOrder::MapZipWith => {
            map_of(entry(name, value(0)?)?.0, first.returns.clone())
        }
    })
}

impl Applied {
    /// The function that `call` calls, if it is one of these.
    pub(crate) fn of(call: &ScalarFunction) -> Option<&Applied> {
        let implementation: &dyn Any = call.func.inner().as_ref();
        implementation.downcast_ref()
    }

    fn call(self, arguments: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(self)), arguments))
    }

    /// Whether a lambda may end the query.
    pub(crate) fn is_fallible(&self) -> bool {
        self.function == HigherOrder::TransformKeys || self.lambdas.iter().any(|lambda| is_fallible(&lambda.body))
    }

    /// The call with lambdas as they are to be compiled.
    pub(crate) fn executable(&self, arguments: Vec<Expr>, clock: &BatchClock) -> Result<Expr> {
        let mut applied = self.clone();
        for at in 0..applied.lambdas.len() {
            let schema = df_schema(&self.inner_schema(at)?)?;
            if let Some(lambda) = applied.lambdas.get_mut(at) {
                lambda.body = executable(&lambda.body, &schema, clock)?;
            }
        }
        Ok(applied.call(arguments))
    }

    /// What the lambda at a place is over: its parameters, and the columns from outside.
    fn inner_schema(&self, place: usize) -> Result<Schema> {
        let lambda = self.lambdas.get(place).ok_or_else(|| Error::internal("a lambda is missing"))?;
        let fields = lambda.parameters.iter().chain(&self.outside);
        Ok(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect::<Vec<_>>()))
    }

    /// The lambdas, without the numbers that tell parameters apart.
    fn texts(&self) -> String {
        let text = |lambda: &Bound| {
            let plain =
                lambda.parameters.iter().enumerate().fold(lambda.body.to_string(), |text, (at, (name, _))| {
                    text.replace(name.as_str(), &format!("#{at}"))
                });
            format!("-> {plain}")
        };
        self.lambdas.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

impl ScalarUDFImpl for Applied {
    fn name(&self) -> &str {
        self.name
    }

    fn display_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let shown: Vec<String> = args.iter().take(self.values.len()).map(ToString::to_string).collect();
        Ok(format!("{}({}, {})", self.name, shown.join(", "), self.texts()))
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let shown: Vec<String> = args.iter().map(|e| e.schema_name().to_string()).collect();
        Ok(format!("{}({}, {})", self.name, shown.join(", "), self.texts()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name, self.returns.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|argument| argument.into_array(rows)).collect::<DataFusionResult<_>>()?;
        Ok(ColumnarValue::Array(self.evaluate(&arrays, rows)?))
    }
}
