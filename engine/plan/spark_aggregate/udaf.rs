//! Spark's aggregates as DataFusion's: their types, their state and their accumulators.
//!
//! Comes in: a call with the types of its arguments. Goes out: what it returns, keeps and computes with. Fails: arguments of types that the
//! aggregate does not take, and constants that make it impossible.

use super::bitmaps::BitmapOperation;
use super::moments::Statistic;
use super::{Kind, SparkAggregate, collections, distinct, hashing, list_of, orderable, sliding};
use crate::error::Error;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions_aggregate as theirs;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature};
use std::sync::Arc;

impl AggregateUDFImpl for SparkAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Spark's implicit casts. What does not fit is left, for [`SparkAggregate::return_type`] to refuse.
    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let number = |t: &DataType| match t {
            t if t.is_numeric() || matches!(t, DataType::Utf8 | DataType::Null) => DataType::Float64,
            other => other.clone(),
        };
        let percentage = |t: &DataType| match t {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => list_of(DataType::Float64),
            _ => DataType::Float64,
        };
        let coerced = |(index, data_type): (usize, &DataType)| {
            let data_type = match data_type {
                DataType::Dictionary(_, values) => values.as_ref(),
                other => other,
            };
            match (self.kind, index) {
                (Kind::Sum { .. }, 0) if data_type.is_integer() => DataType::Int64,
                (Kind::Sum { .. } | Kind::Avg { .. } | Kind::Product, 0) => match (self.kind, data_type) {
                    (Kind::Sum { .. } | Kind::Avg { .. }, DataType::Decimal128(_, _)) => data_type.clone(),
                    (Kind::Sum { .. } | Kind::Avg { .. }, DataType::Decimal32(p, s) | DataType::Decimal64(p, s)) => {
                        DataType::Decimal128(*p, *s)
                    }
                    _ => number(data_type),
                },
                (Kind::Statistic(_), _) | (Kind::Median | Kind::Percentile, 0) => number(data_type),
                (Kind::Percentile | Kind::PercentileApprox, 1) => percentage(data_type),
                (Kind::Percentile, 2) => DataType::Int64,
                (Kind::PercentileApprox, 2) => DataType::Int32,
                (Kind::PercentileApprox, 0) if matches!(data_type, DataType::Utf8 | DataType::Null) => {
                    DataType::Float64
                }
                (Kind::ApproxCountDistinct, 1) => DataType::Float64,
                (Kind::ListAgg, _) => DataType::Utf8,
                (Kind::Bitmap(BitmapOperation::Construct), 0)
                    if data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::Null) =>
                {
                    DataType::Int64
                }
                (Kind::Bool { .. } | Kind::CountIf, _) if data_type.is_null() => DataType::Boolean,
                _ => data_type.clone(),
            }
        };
        Ok(types.iter().enumerate().map(coerced).collect())
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let first = types.first().unwrap_or(&DataType::Null);
        let must_be_orderable = |t: &DataType| -> DataFusionResult<()> {
            match orderable(t) {
                true => Ok(()),
                false => Err(self.mismatch("a type that can be ordered", t)),
            }
        };
        let doubles = |types: &[DataType]| match types.iter().find(|t| **t != DataType::Float64) {
            Some(other) => Err(self.mismatch("numbers", other)),
            None => Ok(()),
        };
        let per_percentage = |result: DataType| match types.get(1) {
            Some(DataType::List(_)) => list_of(result),
            _ => result,
        };
        Ok(match self.kind {
            Kind::Count => DataType::Int64,
            Kind::CountIf => match first {
                DataType::Boolean => DataType::Int64,
                other => return Err(self.mismatch("a condition", other)),
            },
            Kind::Sum { .. } => match first {
                DataType::Int64 | DataType::Float64 => first.clone(),
                DataType::Decimal128(precision, scale) => {
                    DataType::Decimal128(precision.saturating_add(10).min(DECIMAL128_MAX_PRECISION), *scale)
                }
                other => return Err(self.mismatch("numbers", other)),
            },
            Kind::Avg { .. } => match first {
                DataType::Float64 => DataType::Float64,
                DataType::Decimal128(precision, scale) => DataType::Decimal128(
                    precision.saturating_add(4).min(DECIMAL128_MAX_PRECISION),
                    scale.saturating_add(4).min(DECIMAL128_MAX_PRECISION as i8),
                ),
                other => return Err(self.mismatch("numbers", other)),
            },
            Kind::Product => {
                doubles(types)?;
                DataType::Float64
            }
            Kind::Statistic(statistic) => {
                doubles(types)?;
                if statistic == Statistic::RegrCount { DataType::Int64 } else { DataType::Float64 }
            }
            Kind::Extreme { .. } | Kind::Mode => {
                must_be_orderable(first)?;
                first.clone()
            }
            Kind::By { .. } => {
                must_be_orderable(types.get(1).unwrap_or(&DataType::Null))?;
                first.clone()
            }
            Kind::First { .. } => first.clone(),
            Kind::ApproxCountDistinct => match hashing::hashable(first) {
                true => DataType::Int64,
                false => {
                    return Err(self.mismatch("a value that is no struct, array or map (cast it to string)", first));
                }
            },
            Kind::CollectList => list_of(first.clone()),
            Kind::CollectSet => {
                must_be_orderable(first)?;
                list_of(first.clone())
            }
            Kind::CollectUnion => match first {
                DataType::List(element) => {
                    must_be_orderable(element.data_type())?;
                    list_of(element.data_type().clone())
                }
                other => return Err(self.mismatch("an array", other)),
            },
            Kind::Bitmap(operation) => match (operation, first) {
                (BitmapOperation::Construct, DataType::Int64) => DataType::Binary,
                (BitmapOperation::Or | BitmapOperation::And, DataType::Binary) => DataType::Binary,
                (BitmapOperation::Construct, other) => return Err(self.mismatch("integers", other)),
                (_, other) => return Err(self.mismatch("BINARY", other)),
            },
            Kind::ListAgg => DataType::Utf8,
            Kind::Median => {
                doubles(types)?;
                DataType::Float64
            }
            Kind::Percentile => {
                doubles(types.get(..1).unwrap_or_default())?;
                per_percentage(DataType::Float64)
            }
            Kind::PercentileApprox => match first {
                t if t.is_numeric() || matches!(t, DataType::Date32 | DataType::Timestamp(_, _)) => {
                    per_percentage(first.clone())
                }
                other => return Err(self.mismatch("numbers, dates or timestamps", other)),
            },
            Kind::Bool { .. } => match first {
                DataType::Boolean => DataType::Boolean,
                other => return Err(self.mismatch("conditions", other)),
            },
            Kind::Bits(_) => match first {
                t if t.is_signed_integer() => first.clone(),
                other => return Err(self.mismatch("integers", other)),
            },
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        let plain = self.plain_accumulator(&args)?;
        if !args.is_distinct {
            return Ok(plain);
        }
        let types = args.expr_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Box::new(distinct::Distinct::new(types, plain)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        // Which of its arguments are constants is known now only.
        let owned = sliding::Owned::of(&args);
        let function = self.clone();
        Ok(Box::new(sliding::Sliding::new(Box::new(move || owned.with(|args| Ok(function.plain_accumulator(args)?))))))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DataFusionResult<Vec<FieldRef>> {
        let types = match args.is_distinct {
            true => vec![distinct::state(args.input_fields.iter().map(|f| f.data_type()))],
            false => self.plain_state(&args),
        };
        let named = |(index, t)| Arc::new(Field::new(format!("{}[{index}]", args.name), t, true));
        Ok(types.into_iter().enumerate().map(named).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        theirs_for(self.kind, &args).is_some_and(|f| f.groups_accumulator_supported(args))
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        match theirs_for(self.kind, &args) {
            Some(function) => function.create_groups_accumulator(args),
            None => Err(Error::internal(format!("{} has no accumulator of groups", self.name)).into()),
        }
    }

    fn default_value(&self, data_type: &DataType) -> DataFusionResult<ScalarValue> {
        match self.kind {
            Kind::Count | Kind::CountIf | Kind::ApproxCountDistinct => Ok(ScalarValue::from(0i64)),
            Kind::Bitmap(operation) => Ok(operation.empty()),
            Kind::CollectList | Kind::CollectSet | Kind::CollectUnion => match data_type {
                DataType::List(element) => Ok(collections::list_scalar(
                    arrow::array::new_empty_array(element.data_type()),
                    element.data_type().clone(),
                )),
                other => ScalarValue::try_from(other),
            },
            _ => ScalarValue::try_from(data_type),
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        matches!(self.kind, Kind::First { .. })
    }
}

/// DataFusion's function whose accumulator of groups has the same meaning and the same state.
fn theirs_for(kind: Kind, args: &AccumulatorArgs) -> Option<Arc<AggregateUDF>> {
    let [field] = args.expr_fields else { return None };
    let exact = match field.data_type() {
        DataType::Boolean | DataType::Utf8 | DataType::Binary | DataType::Date32 | DataType::Timestamp(_, _) => true,
        DataType::Decimal128(_, _) => true,
        other => other.is_integer(),
    };
    match kind {
        _ if args.is_distinct => None,
        Kind::Count => Some(theirs::count::count_udaf()),
        Kind::Extreme { greatest: false } if exact => Some(theirs::min_max::min_udaf()),
        Kind::Extreme { greatest: true } if exact => Some(theirs::min_max::max_udaf()),
        _ => None,
    }
}
