//! Spark's implicit conversions: the type that several values have in common, and the operands of operators.
//!
//! Comes in: an expression whose operands are resolved. Goes out: one whose operands have one type. Fails: operands that have no type in
//! common.

use super::spark_function::{Environment, SparkFunction};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::arithmetic::{Math, decimal_literal, decimal_of};
use crate::functions::builtin::list_of;
use crate::functions::cast::{CastOptions, cast, sql_name};
use crate::functions::collection::map_of;
use crate::types::timestamp;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, binary_expr};

/// The type that values of these types are converted to; None when there is none.
pub fn common_type(types: &[DataType]) -> Option<DataType> {
    types.iter().try_fold(DataType::Null, |common, next| common_of_two(&common, next))
}

fn common_of_two(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (left, right) {
        (l, r) if l == r => l.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (l, r) if l.is_integer() && r.is_integer() => {
            if l.primitive_width() >= r.primitive_width() {
                l.clone()
            } else {
                r.clone()
            }
        }
        (l, r) if (l.is_floating() && r.is_numeric()) || (r.is_floating() && l.is_numeric()) => Float64,
        (l, r) if l.is_numeric() && r.is_numeric() => {
            let ((p1, s1), (p2, s2)) = (decimal_of(l)?, decimal_of(r)?);
            let scale = s1.max(s2);
            let whole = (i32::from(p1) - i32::from(s1)).max(i32::from(p2) - i32::from(s2));
            // Past 38 digits, digits of the fraction go.
            let precision = (whole + i32::from(scale)).min(38);
            Decimal128(precision as u8, i32::from(scale).min(38 - whole.min(38)) as i8)
        }
        (Utf8, n) | (n, Utf8) if n.is_integer() => Int64,
        (Utf8, n) | (n, Utf8) if n.is_numeric() => Float64,
        (Utf8, t @ (Date32 | Timestamp(..) | Boolean | Binary))
        | (t @ (Date32 | Timestamp(..) | Boolean | Binary), Utf8) => t.clone(),
        (Date32, t @ Timestamp(..)) | (t @ Timestamp(..), Date32) => t.clone(),
        (Timestamp(..), Timestamp(..)) => timestamp(),
        (List(l), List(r)) => list_of(common_of_two(l.data_type(), r.data_type())?),
        (Struct(l), Struct(r)) if l.len() == r.len() => {
            let fields = l
                .iter()
                .zip(r)
                .map(|(l, r)| Some(Field::new(l.name(), common_of_two(l.data_type(), r.data_type())?, true)));
            Struct(Fields::from(fields.collect::<Option<Vec<_>>>()?))
        }
        (Map(l, _), Map(r, _)) => match (l.data_type(), r.data_type()) {
            (Struct(l), Struct(r)) => match (l.as_ref(), r.as_ref()) {
                ([lk, lv], [rk, rv]) => map_of(
                    common_of_two(lk.data_type(), rk.data_type())?,
                    common_of_two(lv.data_type(), rv.data_type())?,
                ),
                _ => return None,
            },
            _ => return None,
        },
        _ => return None,
    })
}

/// `expr` in another type: a literal at once, anything else by a cast.
fn converted(expr: Expr, to: &DataType, schema: &DFSchema, environment: &Environment) -> Result<Expr> {
    if expr.get_type(schema)? == *to {
        return Ok(expr);
    }
    if let Expr::Literal(value, metadata) = &expr
        && !to.is_nested()
    {
        let options = CastOptions { ansi: environment.ansi, time_zone: environment.time_zone };
        // A value that cannot be converted is an error where, and if, it is evaluated.
        if let Ok(array) = cast(&value.to_array()?, to, options) {
            return Ok(Expr::Literal(ScalarValue::try_from_array(&array, 0)?, metadata.clone()));
        }
    }
    Ok(SparkFunction::cast(to.clone(), false).within(environment).call(vec![expr]))
}

fn compares(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn math(op: Operator) -> Option<Math> {
    Some(match op {
        Operator::Plus => Math::Add,
        Operator::Minus => Math::Subtract,
        Operator::Multiply => Math::Multiply,
        Operator::Divide => Math::Divide,
        Operator::Modulo => Math::Remainder,
        Operator::IntegerDivide => Math::IntegralDivide,
        _ => return None,
    })
}

/// Integer literals beside a decimal become decimals of their own digits.
pub(super) fn beside_decimals(args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let types: Vec<DataType> = args.iter().map(|e| e.get_type(schema)).collect::<datafusion::error::Result<_>>()?;
    if !types.iter().any(|t| matches!(t, DataType::Decimal128(..))) {
        return Ok(args);
    }
    let literal = |expr: Expr| match &expr {
        Expr::Literal(value, metadata) => match decimal_literal(value) {
            Some(decimal) => Expr::Literal(decimal, metadata.clone()),
            None => expr,
        },
        _ => expr,
    };
    Ok(args.into_iter().map(literal).collect())
}

/// Spark's meaning of an operator over resolved operands; other expressions come back as they are.
pub(super) fn operator(expr: Expr, schema: &DFSchema, environment: &Environment) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
            if l == r {
                return Ok(Transformed::no(binary_expr(*left, op, *right)));
            }
            let Some(common) = common_of_two(&l, &r) else {
                // Layouts that Spark does not have are DataFusion's to compare.
                if foreign(&l) || foreign(&r) {
                    return Ok(Transformed::no(binary_expr(*left, op, *right)));
                }
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!(
                        "{left} {op} {right}: {} and {} cannot be compared; cast one side",
                        sql_name(&l),
                        sql_name(&r)
                    ),
                )
                .with_sub_condition("BINARY_OP_DIFF_TYPES")
                .with_parameter("left", format!("\"{}\"", sql_name(&l)))
                .with_parameter("right", format!("\"{}\"", sql_name(&r))));
            };
            let left = converted(*left, &common, schema, environment)?;
            let right = converted(*right, &common, schema, environment)?;
            Transformed::yes(binary_expr(left, op, right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if math(op).is_some() => {
            let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
            if foreign(&l) || foreign(&r) {
                return Ok(Transformed::no(binary_expr(*left, op, *right)));
            }
            let simple = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
            if simple && l.is_numeric() && r.is_numeric() && common_of_two(&l, &r) == Some(DataType::Float64) {
                // Doubles cannot fail, so they stay an operator that DataFusion knows.
                let left = converted(*left, &DataType::Float64, schema, environment)?;
                let right = converted(*right, &DataType::Float64, schema, environment)?;
                return Ok(Transformed::yes(binary_expr(left, op, right)));
            }
            let op = math(op).ok_or_else(|| Error::internal("an operator without arithmetic"))?;
            let args = beside_decimals(vec![*left, *right], schema)?;
            Transformed::yes(SparkFunction::math(op, false).within(environment).call(args))
        }
        Expr::Negative(inner) => {
            Transformed::yes(SparkFunction::named("negative")?.within(environment).call(vec![*inner]))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let low = operator(binary_expr(*expr.clone(), Operator::GtEq, *low), schema, environment)?.data;
            let high = operator(binary_expr(*expr, Operator::LtEq, *high), schema, environment)?.data;
            let both = low.and(high);
            Transformed::yes(if negated { !both } else { both })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let mut types = vec![expr.get_type(schema)?];
            for value in &list {
                types.push(value.get_type(schema)?);
            }
            let Some(common) = common_type(&types) else {
                if types.iter().any(foreign) {
                    return Ok(Transformed::no(Expr::InList(InList { expr, list, negated })));
                }
                let names: Vec<String> = types.iter().map(sql_name).collect();
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!("{expr} IN (...): {} have no type in common; cast them", names.join(", ")),
                )
                .with_sub_condition("DATA_DIFF_TYPES"));
            };
            let expr = Box::new(converted(*expr, &common, schema, environment)?);
            let list =
                list.into_iter().map(|value| converted(value, &common, schema, environment)).collect::<Result<_>>()?;
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::Case(mut case) => {
            let mut types = Vec::new();
            for (_, then) in &case.when_then_expr {
                types.push(then.get_type(schema)?);
            }
            if let Some(other) = &case.else_expr {
                types.push(other.get_type(schema)?);
            }
            let Some(common) = common_type(&types) else {
                if types.iter().any(foreign) {
                    return Ok(Transformed::no(Expr::Case(case)));
                }
                let names: Vec<String> = types.iter().map(sql_name).collect();
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!("CASE: the branches are {}, which have no type in common; cast them", names.join(", ")),
                )
                .with_sub_condition("DATA_DIFF_TYPES"));
            };
            if let Some(base) = case.expr.take() {
                for (when, _) in &mut case.when_then_expr {
                    let equal = binary_expr(*base.clone(), Operator::Eq, *when.clone());
                    **when = operator(equal, schema, environment)?.data;
                }
            }
            for (when, _) in &case.when_then_expr {
                let found = when.get_type(schema)?;
                if found != DataType::Boolean {
                    let message = format!(
                        "CASE: the condition {when} must be a BOOLEAN, but it is {}; cast it",
                        sql_name(&found)
                    );
                    return Err(Error::new(ErrorCode::DatatypeMismatch, message));
                }
            }
            for (_, then) in &mut case.when_then_expr {
                **then = converted(*then.clone(), &common, schema, environment)?;
            }
            if let Some(other) = &mut case.else_expr {
                **other = converted(*other.clone(), &common, schema, environment)?;
            }
            Transformed::yes(Expr::Case(case))
        }
        other => Transformed::no(other),
    })
}

/// Whether this is a layout that no Spark type has.
fn foreign(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Utf8View
            | LargeUtf8
            | BinaryView
            | LargeBinary
            | Dictionary(..)
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Float16
            | Decimal256(..)
            | Decimal32(..)
            | Decimal64(..)
            | Date64
            | Time32(_)
            | Time64(_)
            | LargeList(_)
            | FixedSizeList(..)
            | ListView(_)
            | LargeListView(_)
            | RunEndEncoded(..)
            | Union(..)
    )
}
