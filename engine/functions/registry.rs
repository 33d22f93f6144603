//! [`FunctionRegistry`]: every function that a program can call by name.
//!
//! Comes in: a name in any case, and unresolved arguments. Goes out: an unresolved expression. Fails: a name that no function has
//! (`UNRESOLVED_ROUTINE`, with the nearest names), numbers of arguments that a function does not take (`WRONG_NUM_ARGS`), and functions
//! that have no place in a query that must be replayed.

use super::arithmetic::Math;
use super::builtin::{ANY, wrong_number};
use super::conditional::REWRITES;
use super::{builtins, generator, lambda, schema_text};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::Column;
use crate::frame::functions as f;
use crate::options::edits;
use crate::plan::spark_aggregate;
use crate::plan::spark_function::{Kind, SparkFunction};
use crate::types;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{AggregateUDF, Expr, Operator, ScalarUDF, binary_expr};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The functions of a session: Spark's, and those that the user registers. A clone is a registry of its own.
///
/// ```
/// use tidemill::functions::registry::FunctionRegistry;
/// use tidemill::ErrorCode;
/// let functions = FunctionRegistry::default();
/// let city = datafusion::prelude::col("city");
/// assert!(functions.call("UPPER", vec![city.clone()], false).is_ok());
/// let error = functions.call("uper", vec![city], false).unwrap_err();
/// assert_eq!(error.code(), ErrorCode::UnresolvedRoutine);
/// assert!(error.message().contains("upper"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct FunctionRegistry {
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
}

/// Other names of functions in the tables.
const ALIASES: &[(&str, &str)] = &[
    ("!=", "<>"),
    ("array_agg", "collect_list"),
    ("bit_xor_", "bitxor"),
    ("cardinality", "size"),
    ("ceiling", "ceil"),
    ("char", "chr"),
    ("char_length", "length"),
    ("character_length", "length"),
    ("bit_get", "getbit"),
    ("date_diff", "datediff"),
    ("current_database", "current_schema"),
    ("datepart", "date_part"),
    ("day", "dayofmonth"),
    ("extract", "date_part"),
    ("iff", "if"),
    ("lcase", "lower"),
    ("len", "length"),
    ("notnull", "isnotnull"),
    ("pow", "pow"),
    ("power", "pow"),
    ("position", "locate"),
    ("printf", "format_string"),
    ("random", "rand"),
    ("regexp", "rlike"),
    ("regexp_like", "rlike"),
    ("sha", "sha1"),
    ("sign", "signum"),
    ("substr", "substring"),
    ("timestamp_add", "timestampadd"),
    ("timestamp_diff", "timestampdiff"),
    ("to_varchar", "to_char"),
    ("ucase", "upper"),
    ("week", "weekofyear"),
    ("<<", "shiftleft"),
    (">>", "shiftright"),
    (">>>", "shiftrightunsigned"),
    ("&", "bitand"),
    ("|", "bitor"),
    ("^", "bitxor"),
    ("~", "bitnot"),
];

/// What is missing, and why.
const MISSING: &[(&str, &str)] = &[
    (
        "aes_decrypt aes_encrypt try_aes_decrypt",
        "ciphers are left to a library for them; register a function of your own under another name",
    ),
    ("from_avro from_protobuf to_avro to_protobuf", "Avro and Protobuf are not read; register a function of your own"),
    (
        "from_xml schema_of_xml to_xml xpath xpath_boolean xpath_double xpath_float xpath_int xpath_long xpath_number xpath_short \
         xpath_string",
        "XML is not read; register a function of your own under another name",
    ),
    ("java_method reflect try_reflect", "there is no Java here whose methods could be called"),
    (
        "is_valid_variant is_variant_null parse_json schema_of_variant schema_of_variant_agg to_variant_object try_parse_json \
         try_variant_array_append try_variant_get try_variant_insert try_variant_set variant_array_append variant_delete variant_get \
         variant_insert variant_set variant_strip_nulls",
        "there is no type VARIANT; parse JSON by from_json with a schema, or read a part of it by get_json_object",
    ),
    (
        "current_time make_time time_diff time_from_micros time_from_millis time_from_seconds time_to_micros time_to_millis \
         time_to_seconds time_trunc to_time try_to_time",
        "there is no type TIME; keep a time of day in a TIMESTAMP_NTZ",
    ),
    ("timestamp_nanos unix_nanos", "times are kept in microseconds; use timestamp_micros and unix_micros"),
    ("st_asbinary st_geogfromwkb st_geomfromwkb st_setsrid st_srid", "there are no types for geometries"),
    (
        "hll_sketch_agg hll_sketch_estimate hll_union hll_union_agg count_min_sketch",
        "sketches are not kept in Spark's format; approx_count_distinct counts without one",
    ),
    (
        "kll_merge_agg_bigint kll_merge_agg_double kll_merge_agg_float kll_sketch_agg_bigint kll_sketch_agg_double \
         kll_sketch_agg_float kll_sketch_get_n_bigint kll_sketch_get_n_double kll_sketch_get_n_float \
         kll_sketch_get_quantile_bigint kll_sketch_get_quantile_double kll_sketch_get_quantile_float \
         kll_sketch_get_rank_bigint kll_sketch_get_rank_double kll_sketch_get_rank_float kll_sketch_merge_bigint \
         kll_sketch_merge_double kll_sketch_merge_float kll_sketch_to_string_bigint kll_sketch_to_string_double \
         kll_sketch_to_string_float",
        "sketches are not kept in Spark's format; percentile_approx needs none",
    ),
    (
        "theta_difference theta_intersection theta_intersection_agg theta_sketch_agg theta_sketch_estimate theta_union \
         theta_union_agg tuple_difference_double tuple_difference_integer tuple_difference_theta_double \
         tuple_difference_theta_integer tuple_intersection_agg_double tuple_intersection_agg_integer tuple_intersection_double \
         tuple_intersection_integer tuple_intersection_theta_double tuple_intersection_theta_integer \
         tuple_sketch_agg_double tuple_sketch_agg_integer tuple_sketch_estimate_double tuple_sketch_estimate_integer \
         tuple_sketch_summary_double tuple_sketch_summary_integer tuple_sketch_theta_double tuple_sketch_theta_integer \
         tuple_union_agg_double tuple_union_agg_integer tuple_union_double tuple_union_integer tuple_union_theta_double \
         tuple_union_theta_integer",
        "sketches are not kept in Spark's format; approx_count_distinct counts without one",
    ),
    (
        "approx_top_k approx_top_k_accumulate approx_top_k_combine approx_top_k_estimate",
        "it is not computed in this version; count by group and take the first rows",
    ),
    (
        "input_file_name input_file_block_start input_file_block_length",
        "a row does not know the file that it was read from; keep its name in a column of the file, or in the directories (partition columns)",
    ),
    (
        "counter_diff current_path histogram_numeric sentences vector_avg vector_sum",
        "it is not computed in this version; register a function of your own under another name",
    ),
];

/// Arguments that a function takes for those that are left out, and shows in the name of its column; the first argument of these is the one
/// at the place that stands beside the name.
fn left_out(name: &str) -> Option<(usize, Vec<ScalarValue>)> {
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_string()));
    let zeros = |count: usize, seconds: bool| {
        let whole = std::iter::repeat_n(ScalarValue::Int32(Some(0)), count);
        whole.chain(seconds.then_some(ScalarValue::Decimal128(Some(0), 8, 6))).collect()
    };
    Some(match name {
        "mask" => (1, vec![text("X"), text("x"), text("n"), ScalarValue::Null]),
        "hmac" => (2, vec![text("SHA-256")]),
        "make_interval" | "try_make_interval" => (0, zeros(6, true)),
        "make_dt_interval" => (0, zeros(3, true)),
        "make_ym_interval" => (0, zeros(2, false)),
        "vector_norm" | "vector_normalize" => (1, vec![ScalarValue::Float32(Some(2.0))]),
        _ => return None,
    })
}

impl FunctionRegistry {
    /// Adds a scalar function, or replaces one of its name.
    pub fn register_udf(&mut self, function: ScalarUDF) {
        self.scalars.insert(function.name().to_ascii_lowercase(), Arc::new(function));
    }

    /// Adds an aggregate function, or replaces one of its name.
    pub fn register_udaf(&mut self, function: AggregateUDF) {
        self.aggregates.insert(function.name().to_ascii_lowercase(), Arc::new(function));
    }

    /// The expression of a call; `distinct` is `name(DISTINCT ...)`.
    ///
    /// # Errors
    /// `UnresolvedRoutine`, `WrongNumArgs`, `UnsupportedOperation`, and what a constant argument makes impossible.
    pub fn call(&self, name: &str, args: Vec<Expr>, distinct: bool) -> Result<Expr> {
        let lower = name.to_ascii_lowercase();
        if let Some(function) = self.aggregates.get(&lower) {
            let call = AggregateFunction::new_udf(function.clone(), args, distinct, None, vec![], None);
            return Ok(Expr::AggregateFunction(call));
        }
        if let Some(function) = self.scalars.get(&lower).filter(|_| !distinct) {
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), args)));
        }
        if spark_aggregate::names().any(|known| known == lower)
            && let Some(done) = spark_aggregate::call(&lower, args.clone(), distinct)
        {
            return done;
        }
        if distinct {
            return Err(Error::new(
                ErrorCode::InvalidExpression,
                format!("{name}(DISTINCT ...): only aggregate functions take DISTINCT"),
            ));
        }
        self.scalar(&lower, args)
    }

    /// Whether there is a function of this name.
    pub fn contains(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.names().contains(&lower)
    }

    /// Names of every function, sorted.
    pub fn names(&self) -> Vec<String> {
        let own = self.scalars.keys().chain(self.aggregates.keys()).cloned();
        let known = builtins().keys().copied().chain(REWRITES.iter().map(|r| r.name));
        let known = known.chain(ALIASES.iter().map(|(alias, _)| *alias)).chain(SPECIAL.iter().copied());
        let known = known.chain(generator::FUNCTIONS.iter().map(|g| g.name)).chain(spark_aggregate::names());
        let known = known.chain(lambda::names());
        let mut names: Vec<String> = own.chain(known.map(str::to_string)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn scalar(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        if let Some(done) = lambda::call(name, &args).or_else(|| special(name, &args)) {
            return done;
        }
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, own)| own);
        // decode(bytes, charset) is a function, decode(value, wanted, result, ...) a CASE.
        let rewrite = REWRITES.iter().find(|r| r.name == name).filter(|r| r.name != "decode" || args.len() > 2);
        if let Some(rewrite) = rewrite {
            check(name, args.len(), rewrite.count)?;
            return Ok(SparkFunction::new(Kind::Rewrite(rewrite)).call(args));
        }
        if let Some(function) = builtins().get(name) {
            let mut args = args;
            if let Some((first, values)) = left_out(name)
                && let Some(given) = args.len().checked_sub(first)
            {
                args.extend(values.into_iter().skip(given).map(|value| Expr::Literal(value, None)));
            }
            check(name, args.len(), function.count())?;
            return Ok(SparkFunction::scalar(function).call(args));
        }
        let (base, outer) = name.strip_suffix("_outer").map_or((name, false), |base| (base, true));
        if let Some(function) = generator::FUNCTIONS.iter().find(|g| g.name == base) {
            check(name, args.len(), function.count())?;
            return Ok(SparkFunction::new(Kind::Generator { function, outer, names: vec![] }).call(args));
        }
        let refuse = |why: &str| Err(Error::new(ErrorCode::UnsupportedOperation, format!("{name}(): {why}")));
        let missing = MISSING.iter().find(|(names, _)| names.split_ascii_whitespace().any(|known| known == name));
        if let Some((_, why)) = missing {
            return refuse(why);
        }
        Err(self.unresolved(name))
    }

    fn unresolved(&self, name: &str) -> Error {
        let mut near: Vec<(usize, String)> =
            self.names().into_iter().map(|known| (edits(name, &known), known)).collect();
        near.sort();
        let near: Vec<String> = near.into_iter().take(3).map(|(_, known)| known).collect();
        Error::new(
            ErrorCode::UnresolvedRoutine,
            format!(
                "there is no function {name:?}; did you mean one of [{}]? Functions of your own are registered with the session",
                near.join(", ")
            ),
        )
        .with_parameter("routineName", format!("`{name}`"))
    }
}

fn check(name: &str, found: usize, (least, most): (usize, usize)) -> Result<()> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let needed = match (least, most) {
        (least, ANY) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    Err(wrong_number(name, found, &needed))
}

/// Names that [`special`] knows.
const SPECIAL: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "=",
    "==",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "<=>",
    "and",
    "or",
    "not",
    "!",
    "in",
    "between",
    "mod",
    "div",
    "pmod",
    "try_add",
    "try_subtract",
    "try_multiply",
    "try_divide",
    "try_mod",
    "window",
    "session_window",
    "from_json",
    "to_json",
    "from_csv",
    "to_csv",
    "struct",
    "named_struct",
    "current_timestamp",
    "now",
    "localtimestamp",
    "current_date",
    "curdate",
    "unix_timestamp",
    "dateadd",
    "when",
    "string",
    "int",
    "bigint",
    "double",
    "date",
    "timestamp",
    "boolean",
    "equal_null",
    "get_field",
    "schema_of_csv",
    "shuffle",
];

/// Calls that need their arguments as expressions; None for another name.
fn special(name: &str, args: &[Expr]) -> Option<Result<Expr>> {
    let two = |op: Operator| match args {
        [left, right] => Ok(binary_expr(left.clone(), op, right.clone())),
        _ => Err(wrong_number(name, args.len(), "2")),
    };
    let math = |op: Math, safe: bool| match args {
        [_, _] => Ok(SparkFunction::math(op, safe).call(args.to_vec())),
        _ => Err(wrong_number(name, args.len(), "2")),
    };
    let now = || SparkFunction::new(Kind::CurrentTimestamp { clock: None }).call(vec![]);
    let cast = |e: Expr, to: DataType| SparkFunction::cast(to, false).call(vec![e]);
    let none = |expr: Expr| if args.is_empty() { Ok(expr) } else { Err(wrong_number(name, args.len(), "no")) };
    let column = |index: usize| args.get(index).cloned().map(Column::from);
    Some(match name {
        "+" if args.len() == 1 => args.first().cloned().ok_or_else(|| Error::internal("an argument is missing")),
        "+" => two(Operator::Plus),
        "-" => two(Operator::Minus),
        "*" => two(Operator::Multiply),
        "/" => two(Operator::Divide),
        "%" | "mod" => two(Operator::Modulo),
        "div" => math(Math::IntegralDivide, false),
        "pmod" => math(Math::Pmod, false),
        "try_add" => math(Math::Add, true),
        "try_subtract" => math(Math::Subtract, true),
        "try_multiply" => math(Math::Multiply, true),
        "try_divide" => math(Math::Divide, true),
        "try_mod" => math(Math::Remainder, true),
        "=" | "==" => two(Operator::Eq),
        "<>" | "!=" => two(Operator::NotEq),
        "<" => two(Operator::Lt),
        "<=" => two(Operator::LtEq),
        ">" => two(Operator::Gt),
        ">=" => two(Operator::GtEq),
        "<=>" | "equal_null" => two(Operator::IsNotDistinctFrom),
        "and" => two(Operator::And),
        "or" => two(Operator::Or),
        "not" | "!" => match args {
            [condition] => Ok(!condition.clone()),
            _ => Err(wrong_number(name, args.len(), "1")),
        },
        "in" => match args {
            [value, list @ ..] if !list.is_empty() => Ok(value.clone().in_list(list.to_vec(), false)),
            _ => Err(wrong_number(name, args.len(), "at least 2")),
        },
        "between" => match args {
            [value, low, high] => Ok(value.clone().between(low.clone(), high.clone())),
            _ => Err(wrong_number(name, args.len(), "3")),
        },
        "when" => return Some(FunctionRegistry::default().scalar("case", args.to_vec())),
        "current_timestamp" | "now" => none(now()),
        "localtimestamp" => none(cast(now(), super::datetime::NTZ)),
        "current_date" | "curdate" => none(cast(now(), DataType::Date32)),
        "unix_timestamp" if args.is_empty() => {
            return Some(FunctionRegistry::default().scalar("unix_seconds", vec![now()]));
        }
        "dateadd" | "date_add" if args.len() == 3 => {
            return Some(FunctionRegistry::default().scalar("timestampadd", args.to_vec()));
        }
        "dateadd" => return Some(FunctionRegistry::default().scalar("date_add", args.to_vec())),
        "datediff" | "date_diff" if args.len() == 3 => {
            return Some(FunctionRegistry::default().scalar("timestampdiff", args.to_vec()));
        }
        "window" => window(args),
        "session_window" => match (column(0), args.get(1)) {
            (Some(time), Some(gap)) if args.len() == 2 => match text(gap) {
                Some(gap) => f::session_window(time, gap).0,
                None => Ok(SparkFunction::new(Kind::SessionWindow).call(args.to_vec())),
            },
            _ => Err(wrong_number(name, args.len(), "2")),
        },
        "struct" => Ok(SparkFunction::make_struct().call(args.to_vec())),
        "named_struct" => named_struct(args),
        "get_field" => match (column(0), args.get(1).and_then(text)) {
            (Some(value), Some(field)) => value.get_field(field).0,
            _ => Err(wrong_number(name, args.len(), "2")),
        },
        "from_json" | "from_csv" => parse(name, args),
        "shuffle" => super::shuffle::call(args),
        "schema_of_csv" => match args {
            [csv, given] => options(name, given).and_then(|given| {
                let given = given.into_iter().flat_map(|(key, value)| [key, value]);
                let given = given.map(|text| Expr::Literal(ScalarValue::Utf8(Some(text)), None));
                Ok(SparkFunction::named(name)?.call([csv.clone()].into_iter().chain(given).collect()))
            }),
            [csv] => SparkFunction::named(name).map(|function| function.call(vec![csv.clone()])),
            _ => Err(wrong_number(name, args.len(), "1 to 2")),
        },
        "to_json" | "to_csv" => match args {
            [value] | [value, _] => {
                let given = args.get(1).map_or(Ok(vec![]), |map| options(name, map));
                given.and_then(|options| match name {
                    "to_json" => Ok(SparkFunction::to_json(options)?.call(vec![value.clone()])),
                    _ => Ok(SparkFunction::new(Kind::ToCsv { options }).call(vec![value.clone()])),
                })
            }
            _ => Err(wrong_number(name, args.len(), "1 to 2")),
        },
        "string" | "int" | "bigint" | "double" | "date" | "timestamp" | "boolean" => match args {
            [value] => types::IntoDataType::into_data_type(name).map(|to| cast(value.clone(), to.to_arrow())),
            _ => Err(wrong_number(name, args.len(), "1")),
        },
        _ => return None,
    })
}

/// A literal text.
fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

fn window(args: &[Expr]) -> Result<Expr> {
    let [time, durations @ ..] = args else { return Err(wrong_number("window", args.len(), "2 to 4")) };
    let durations: Option<Vec<&str>> = durations.iter().map(text).collect();
    let time = Column::from(time.clone());
    match durations.as_deref() {
        Some([duration]) => f::window(time, duration).0,
        Some([duration, slide]) => f::window_sliding(time, duration, slide).0,
        Some([duration, slide, start]) => f::window_from(time, duration, slide, start).0,
        Some(_) => Err(wrong_number("window", args.len(), "2 to 4")),
        None => {
            Err(Error::new(ErrorCode::DatatypeMismatch, "window: durations are constant texts such as '10 minutes'")
                .with_sub_condition("NON_FOLDABLE_INPUT"))
        }
    }
}

fn named_struct(args: &[Expr]) -> Result<Expr> {
    if args.is_empty() || !args.len().is_multiple_of(2) {
        return Err(wrong_number("named_struct", args.len(), "an even number of"));
    }
    let mut names = Vec::new();
    for name in args.iter().step_by(2) {
        let found = text(name).ok_or_else(|| {
            Error::new(
                ErrorCode::DatatypeMismatch,
                format!("named_struct: {name} must be a constant text, the name of a field"),
            )
        })?;
        names.push(found.to_string());
    }
    let values = args.iter().skip(1).step_by(2).cloned().collect();
    Ok(SparkFunction::new(Kind::MakeStruct { names }).call(values))
}

fn parse(name: &str, args: &[Expr]) -> Result<Expr> {
    let (value, schema, given) = match args {
        [value, schema] => (value, schema, vec![]),
        [value, schema, given] => (value, schema, options(name, given)?),
        _ => return Err(wrong_number(name, args.len(), "2 to 3")),
    };
    let inferred;
    let schema = match schema {
        // schema_of_json('...') is a constant too.
        Expr::ScalarFunction(call) if matches!(call.name(), "schema_of_json" | "schema_of_csv") => {
            inferred = SparkFunction::constant(schema)?;
            text(&inferred)
        }
        other => text(other),
    };
    let schema = schema.ok_or_else(|| {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{name}: the schema must be a constant text such as 'a INT, b STRING'"),
        )
    })?;
    let data_type = schema_text::parse(schema)?;
    match (name, data_type) {
        ("from_json", data_type) => Ok(SparkFunction::from_json_type(data_type, given)?.call(vec![value.clone()])),
        (_, types::DataType::Struct(schema)) => {
            Ok(SparkFunction::new(Kind::FromCsv { schema, options: given }).call(vec![value.clone()]))
        }
        (_, other) => {
            Err(Error::new(ErrorCode::DatatypeMismatch, format!("{name}: the schema must be a STRUCT, not {other:?}")))
        }
    }
}

/// Options written as `map('key', 'value', ...)`.
fn options(name: &str, expr: &Expr) -> Result<Vec<(String, String)>> {
    let refuse = || {
        Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{name}: options are written map('key', 'value', ...) of constant texts"),
        )
    };
    let Expr::ScalarFunction(call) = expr else { return Err(refuse()) };
    if call.name() != "map" {
        return Err(refuse());
    }
    let texts: Option<Vec<&str>> = call.args.iter().map(text).collect();
    let texts = texts.ok_or_else(refuse)?;
    Ok(texts
        .chunks(2)
        .filter_map(|p| if let [k, v] = p { Some((k.to_string(), v.to_string())) } else { None })
        .collect())
}

/// An interval literal: `1 day 2 hours` is a day-time interval, `1 year` a year-month interval.
///
/// # Errors
/// `CannotParseInterval`, and `ParseSyntaxError` for years or months beside days or hours.
pub fn interval_literal(text: &str) -> Result<Expr> {
    super::interval::literal(text)
}
