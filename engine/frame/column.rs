//! [`Column`]: an expression over the columns of a frame, with Spark's operators.
//!
//! Comes in: names, literals and other columns. Goes out: a DataFusion [`Expr`], not yet resolved against any frame; a
//! mistake that needs no frame to be seen (a type name that does not parse) is kept inside and reported by the first
//! frame operation that uses the column, so that expressions compose without `?`.

use crate::error::Result;
use crate::plan::spark_function::SparkFunction;
use crate::types::IntoDataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, SortExpr, binary_expr};
use datafusion::prelude as df;

/// An expression over the columns of a frame.
///
/// Converts from and to DataFusion's [`Expr`], so every DataFusion function can be used in a frame.
///
/// ```
/// use tidemill::prelude::*;
/// let rate = (col("completed_rides") / col("ride_count")).alias("completion_rate");
/// let rides = col("status").isin(["completed", "cancelled"]).and(col("fare").gt(0.0));
/// # let _ = (rate, rides);
/// ```
#[derive(Debug, Clone)]
pub struct Column(pub(crate) Result<Expr>);

impl From<Expr> for Column {
    fn from(expr: Expr) -> Self {
        Column(Ok(expr))
    }
}

impl TryFrom<Column> for Expr {
    type Error = crate::Error;

    fn try_from(column: Column) -> Result<Expr> {
        column.0
    }
}

/// A function argument: a column, or the name of one.
pub trait IntoColumn {
    /// The column.
    fn into_column(self) -> Column;
}

impl IntoColumn for Column {
    fn into_column(self) -> Column {
        self
    }
}

impl IntoColumn for &Column {
    fn into_column(self) -> Column {
        self.clone()
    }
}

impl IntoColumn for &str {
    fn into_column(self) -> Column {
        super::functions::col(self)
    }
}

/// An operand of an operator: a column, or a literal value. A `&str` is a text, not a name, as in Spark.
pub trait Operand {
    /// The operand as a column.
    fn operand(self) -> Column;
}

impl Operand for Column {
    fn operand(self) -> Column {
        self
    }
}

impl Operand for &Column {
    fn operand(self) -> Column {
        self.clone()
    }
}

macro_rules! literal_operands {
    ($($type:ty),*) => {$(
        impl Operand for $type {
            fn operand(self) -> Column {
                Column(Ok(df::lit(self)))
            }
        }
    )*};
}
literal_operands!(&str, String, bool, i8, i16, i32, i64, f32, f64);

impl Column {
    pub(crate) fn map(self, f: impl FnOnce(Expr) -> Expr) -> Column {
        Column(self.0.map(f))
    }

    pub(crate) fn zip(self, other: Column, f: impl FnOnce(Expr, Expr) -> Expr) -> Column {
        Column(self.0.and_then(|left| other.0.map(|right| f(left, right))))
    }

    fn binary(self, op: Operator, right: impl Operand) -> Column {
        self.zip(right.operand(), |left, right| binary_expr(left, op, right))
    }

    /// Names the column.
    pub fn alias(self, name: impl Into<String>) -> Column {
        self.map(|e| e.alias(name))
    }

    /// Names the columns that a generator makes.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// # let stops = session.sql("SELECT array('Oslo', 'Moss') AS stops").await?;
    /// let named = stops.select([posexplode("stops").aliases(["place", "stop"])])?;
    /// assert_eq!(named.schema().field(1).name(), "stop");
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    pub fn aliases<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Column {
        let names = names.into_iter().map(Into::into).collect();
        Column(self.0.and_then(|e| SparkFunction::with_generator_names(e, names)))
    }

    /// Converts to another type, given as a [`DataType`](crate::types::DataType) or as its DDL name. In ANSI mode (the
    /// default) a value that does not fit ends the query with `CAST_INVALID_INPUT`.
    pub fn cast(self, data_type: impl IntoDataType) -> Column {
        Column(
            self.0.and_then(|e| Ok(SparkFunction::cast(data_type.into_data_type()?.to_arrow(), false).call(vec![e]))),
        )
    }

    /// Converts to another type; a value that does not fit becomes NULL.
    pub fn try_cast(self, data_type: impl IntoDataType) -> Column {
        Column(self.0.and_then(|e| Ok(SparkFunction::cast(data_type.into_data_type()?.to_arrow(), true).call(vec![e]))))
    }

    /// `=`
    pub fn eq(self, other: impl Operand) -> Column {
        self.binary(Operator::Eq, other)
    }

    /// `<>`
    pub fn not_eq(self, other: impl Operand) -> Column {
        self.binary(Operator::NotEq, other)
    }

    /// `>`
    pub fn gt(self, other: impl Operand) -> Column {
        self.binary(Operator::Gt, other)
    }

    /// `>=`
    pub fn gt_eq(self, other: impl Operand) -> Column {
        self.binary(Operator::GtEq, other)
    }

    /// `<`
    pub fn lt(self, other: impl Operand) -> Column {
        self.binary(Operator::Lt, other)
    }

    /// `<=`
    pub fn lt_eq(self, other: impl Operand) -> Column {
        self.binary(Operator::LtEq, other)
    }

    /// `AND`
    pub fn and(self, other: impl Operand) -> Column {
        self.binary(Operator::And, other)
    }

    /// `OR`
    pub fn or(self, other: impl Operand) -> Column {
        self.binary(Operator::Or, other)
    }

    /// Whether the value is one of `values`.
    pub fn isin<V: Operand>(self, values: impl IntoIterator<Item = V>) -> Column {
        let values: Result<Vec<Expr>> = values.into_iter().map(|v| v.operand().0).collect();
        Column(self.0.and_then(|e| Ok(e.in_list(values?, false))))
    }

    /// Whether the value lies in `low..=high`.
    pub fn between(self, low: impl Operand, high: impl Operand) -> Column {
        let low = self.clone().gt_eq(low);
        low.and(self.lt_eq(high))
    }

    /// `IS NULL`
    pub fn is_null(self) -> Column {
        self.map(Expr::is_null)
    }

    /// `IS NOT NULL`
    pub fn is_not_null(self) -> Column {
        self.map(Expr::is_not_null)
    }

    /// `<=>`: equal, where NULL equals NULL.
    pub fn eq_null_safe(self, other: impl Operand) -> Column {
        self.binary(Operator::IsNotDistinctFrom, other)
    }

    /// SQL `LIKE` with `%` and `_`.
    pub fn like(self, pattern: &str) -> Column {
        self.map(|e| e.like(df::lit(pattern)))
    }

    /// `LIKE` without regard to case.
    pub fn ilike(self, pattern: &str) -> Column {
        self.map(|e| e.ilike(df::lit(pattern)))
    }

    /// Whether a regular expression matches some part of the text.
    pub fn rlike(self, pattern: &str) -> Column {
        self.function("rlike", [pattern])
    }

    /// Whether the text has `part` in it.
    pub fn contains(self, part: impl Operand) -> Column {
        self.function("contains", [part])
    }

    /// Whether the text begins with `part`.
    pub fn starts_with(self, part: impl Operand) -> Column {
        self.function("startswith", [part])
    }

    /// Whether the text ends with `part`.
    pub fn ends_with(self, part: impl Operand) -> Column {
        self.function("endswith", [part])
    }

    /// `length` characters from `position` on; the first is 1, and -1 the last.
    pub fn substr(self, position: impl Operand, length: impl Operand) -> Column {
        self.function("substring", [position.operand(), length.operand()])
    }

    /// An element of an array by its index from 0, the value of a key of a map, or a field of a struct.
    pub fn get_item(self, key: impl Operand) -> Column {
        self.function("get_item", [key])
    }

    /// The field `name` of a struct column.
    pub fn get_field(self, name: &str) -> Column {
        self.map(|e| datafusion::functions::core::expr_fn::get_field(e, name))
    }

    /// The struct with the field `name` added, or replaced.
    pub fn with_field(self, name: &str, value: impl Operand) -> Column {
        self.zip(value.operand(), |parent, value| SparkFunction::with_field(name).call(vec![parent, value]))
    }

    /// The struct without the fields of these names.
    pub fn drop_fields<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Column {
        let names = names.into_iter().map(str::to_string).collect();
        self.map(|parent| SparkFunction::drop_fields(names).call(vec![parent]))
    }

    /// Bits that both integers have.
    pub fn bitwise_and(self, other: impl Operand) -> Column {
        self.function("bitand", [other])
    }

    /// Bits that one of the integers has.
    pub fn bitwise_or(self, other: impl Operand) -> Column {
        self.function("bitor", [other])
    }

    /// Bits that just one of the integers has.
    pub fn bitwise_xor(self, other: impl Operand) -> Column {
        self.function("bitxor", [other])
    }

    /// Ascending, NULL first; for `sort`, as are the following.
    pub fn asc(self) -> Result<SortExpr> {
        self.sorted(true, true)
    }

    /// Ascending, NULL first.
    pub fn asc_nulls_first(self) -> Result<SortExpr> {
        self.sorted(true, true)
    }

    /// Ascending, NULL last.
    pub fn asc_nulls_last(self) -> Result<SortExpr> {
        self.sorted(true, false)
    }

    /// Descending, NULL last.
    pub fn desc(self) -> Result<SortExpr> {
        self.sorted(false, false)
    }

    /// Descending, NULL first.
    pub fn desc_nulls_first(self) -> Result<SortExpr> {
        self.sorted(false, true)
    }

    /// Descending, NULL last.
    pub fn desc_nulls_last(self) -> Result<SortExpr> {
        self.sorted(false, false)
    }

    fn sorted(self, ascending: bool, nulls_first: bool) -> Result<SortExpr> {
        Ok(self.0?.sort(ascending, nulls_first))
    }

    fn function<A: Operand>(self, name: &str, others: impl IntoIterator<Item = A>) -> Column {
        let others: Result<Vec<Expr>> = others.into_iter().map(|o| o.operand().0).collect();
        let call = |e: Expr| -> Result<Expr> { Ok(SparkFunction::named(name)?.call([vec![e], others?].concat())) };
        Column(self.0.and_then(call))
    }

    /// A further branch of [`when`](super::functions::when).
    pub fn when(self, condition: Column, value: impl Operand) -> Column {
        let value = value.operand();
        Column(self.0.and_then(|e| {
            let Expr::Case(mut case) = e else {
                return Err(crate::Error::new(
                    crate::ErrorCode::InvalidExpression,
                    "when() can only follow when(); start the expression with the function when()",
                ));
            };
            case.when_then_expr.push((Box::new(condition.0?), Box::new(value.0?)));
            Ok(Expr::Case(case))
        }))
    }

    /// The value where no branch of [`when`](super::functions::when) holds (NULL without it).
    pub fn otherwise(self, value: impl Operand) -> Column {
        let value = value.operand();
        Column(self.0.and_then(|e| match e {
            Expr::Case(mut case) if case.else_expr.is_none() => {
                case.else_expr = Some(Box::new(value.0?));
                Ok(Expr::Case(case))
            }
            _ => Err(crate::Error::new(
                crate::ErrorCode::InvalidExpression,
                "otherwise() can only follow when(), and only once",
            )),
        }))
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident),*) => {$(
        impl<R: Operand> std::ops::$trait<R> for Column {
            type Output = Column;
            fn $method(self, right: R) -> Column {
                self.binary(Operator::$op, right)
            }
        }
    )*};
}
operators!(Add add Plus, Sub sub Minus, Mul mul Multiply, Div div Divide, Rem rem Modulo);

impl std::ops::Not for Column {
    type Output = Column;
    fn not(self) -> Column {
        self.map(|e| !e)
    }
}

impl std::ops::Neg for Column {
    type Output = Column;
    fn neg(self) -> Column {
        self.map(|e| -e)
    }
}

/// NULL of no particular type.
pub(crate) fn null() -> Expr {
    Expr::Literal(ScalarValue::Null, None)
}
