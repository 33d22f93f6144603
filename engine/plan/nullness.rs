//! Which columns are never NULL, as Spark says of them in a schema.
//!
//! Comes in: resolved expressions over a schema. Goes out: marks of columns. Nothing fails: what is not known may be NULL.
//!
//! It is a mark for those who read the schema. Arrays are nullable whatever it says, so that no plan can be wrong by it.

use super::logical::JoinType;
use super::spark_function::{Kind, SparkFunction};
use crate::functions::arithmetic::Math;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use std::sync::Arc;

/// The mark.
const KEY: &str = "spark.neverNull";

/// Whether a column is marked.
pub(crate) fn is_never_null(field: &Field) -> bool {
    field.metadata().contains_key(KEY)
}

/// The column with the mark.
pub(crate) fn marked(field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(KEY.to_string(), String::new());
    field.with_metadata(metadata)
}

/// The column without the mark.
pub(crate) fn unmarked(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(KEY);
    field.clone().with_metadata(metadata)
}

/// The columns of a join, of which the first `width` are the left side's: rows without a match have NULL on one side.
pub(crate) fn joined(schema: &SchemaRef, width: usize, join_type: JoinType) -> SchemaRef {
    let (left, right) = match join_type {
        JoinType::LeftOuter => (false, true),
        JoinType::RightOuter => (true, false),
        JoinType::FullOuter => (true, true),
        _ => return schema.clone(),
    };
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let lost = if index < width { left } else { right };
        if lost { Arc::new(unmarked(field)) } else { field.clone() }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Functions whose result is never NULL.
const ALWAYS: &[&str] = &[
    "array",
    "concat_ws",
    "current_timestamp",
    "e",
    "format_string",
    "hash",
    "map",
    "monotonically_increasing_id",
    "pi",
    "rand",
    "randn",
    "spark_partition_id",
    "uuid",
    "xxhash64",
];

/// Functions whose result is NULL only where an argument is.
const STRICT: &[&str] = &[
    "array_size",
    "ascii",
    "base64",
    "char_length",
    "concat",
    "contains",
    "crc32",
    "endswith",
    "hex",
    "initcap",
    "instr",
    "length",
    "like",
    "locate",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "repeat",
    "replace",
    "reverse",
    "rlike",
    "rpad",
    "rtrim",
    "sha1",
    "size",
    "sort_array",
    "split",
    "startswith",
    "substring",
    "translate",
    "trim",
    "typeof",
    "upper",
];

/// As [`STRICT`], of numbers and times: a text among the arguments may be none.
const STRICT_BUT_FOR_TEXTS: &[&str] = &[
    "abs",
    "bitand",
    "bitnot",
    "bitor",
    "bitxor",
    "date_add",
    "date_sub",
    "datediff",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "hour",
    "last_day",
    "minute",
    "month",
    "negative",
    "pow",
    "quarter",
    "second",
    "sequence",
    "shiftleft",
    "shiftright",
    "shiftrightunsigned",
    "weekday",
    "weekofyear",
    "year",
];

/// As [`STRICT_BUT_FOR_TEXTS`], with one text that is no value.
const STRICT_WITH_ONE_TEXT: &[&str] = &["date_format", "timestampadd", "timestampdiff"];

/// Functions that give the first argument that is not NULL, or skip those that are.
const ANY_ARGUMENT: &[&str] = &["greatest", "least"];

/// Aggregates that are never NULL.
const COUNTS: &[&str] = &["count", "count_if", "approx_count_distinct", "collect_list", "collect_set"];

/// Whether the expression is never NULL.
pub(super) fn never(expr: &Expr, schema: &datafusion::common::DFSchema) -> bool {
    let all = |expressions: &[Expr]| expressions.iter().all(|e| never(e, schema));
    match expr {
        Expr::Alias(alias) => never(&alias.expr, schema),
        Expr::Literal(value, _) => !value.is_null(),
        Expr::Column(column) => {
            schema.field_with_unqualified_name(&column.name).is_ok_and(|field| is_never_null(field))
        }
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_) => true,
        Expr::Not(inner) | Expr::Negative(inner) => never(inner, schema),
        Expr::Between(between) => [&between.expr, &between.low, &between.high].iter().all(|e| never(e, schema)),
        Expr::InList(list) => never(&list.expr, schema) && all(&list.list),
        Expr::Like(like) => never(&like.expr, schema) && never(&like.pattern, schema),
        Expr::BinaryExpr(BinaryExpr { op: Operator::IsDistinctFrom | Operator::IsNotDistinctFrom, .. }) => true,
        Expr::BinaryExpr(BinaryExpr { op: Operator::Modulo | Operator::Divide, .. }) => false,
        Expr::BinaryExpr(binary) => never(&binary.left, schema) && never(&binary.right, schema),
        Expr::Case(case) => {
            let value = |condition: &Expr, value: &Expr| match condition {
                // As coalesce() is written.
                Expr::IsNotNull(tested) => {
                    let untaken = matches!(&**tested, Expr::Literal(value, _) if value.is_null());
                    untaken || **tested == *value || never(value, schema)
                }
                _ => never(value, schema),
            };
            case.else_expr.as_ref().is_some_and(|other| never(other, schema))
                && case.when_then_expr.iter().all(|(condition, then)| value(condition, then))
        }
        Expr::AggregateFunction(call) => COUNTS.contains(&call.func.name()),
        Expr::ScalarFunction(call) => called(call, schema),
        _ => false,
    }
}

fn called(call: &ScalarFunction, schema: &datafusion::common::DFSchema) -> bool {
    let Some(function) = SparkFunction::of(call) else { return false };
    let all = || call.args.iter().all(|e| never(e, schema));
    let texts = || call.args.iter().filter(|e| e.get_type(schema).is_ok_and(|t| t == DataType::Utf8)).count();
    match &function.kind {
        Kind::MakeStruct { .. } | Kind::CurrentTimestamp { .. } => true,
        Kind::Window { .. } | Kind::Normalize => all(),
        Kind::Arithmetic { op: Math::Add | Math::Subtract | Math::Multiply, safe: false } => {
            function.environment.ansi && texts() == 0 && all()
        }
        Kind::Cast { to, safe: false } => {
            let from = call.args.first().and_then(|e| e.get_type(schema).ok()).unwrap_or(DataType::Null);
            let total = from == *to
                || *to == DataType::Utf8
                || (function.environment.ansi
                    && (from.is_integer() || from.is_floating())
                    && (to.is_integer() || to.is_floating()));
            total && all()
        }
        Kind::Scalar(builtin) if ALWAYS.contains(&builtin.name) => true,
        Kind::Scalar(builtin) if STRICT.contains(&builtin.name) => all(),
        Kind::Scalar(builtin) if STRICT_BUT_FOR_TEXTS.contains(&builtin.name) => texts() == 0 && all(),
        Kind::Scalar(builtin) if STRICT_WITH_ONE_TEXT.contains(&builtin.name) => texts() == 1 && all(),
        Kind::Scalar(builtin) if ANY_ARGUMENT.contains(&builtin.name) => call.args.iter().any(|e| never(e, schema)),
        _ => false,
    }
}
