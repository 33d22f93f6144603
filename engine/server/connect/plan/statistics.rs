//! Missing values, statistics, samples and shapes of tables.
//!
//! Comes in: a frame, names and constants. Goes out: a frame. Fails: unknown columns, constants that do not fit, and streams where the
//! operation needs all rows.

use super::{Planner, literal, required, unsupported};
use crate::error::{Error, ErrorCode, Result};
use crate::frame::{Column, DataFrame};
use datafusion::logical_expr::Expr;
use proto::expression::{ExprType, Literal};
use spark_connect_proto as proto;

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn constant(value: &Literal) -> Result<Column> {
    Ok(Column::from(Expr::Literal(literal::scalar(value)?, None)))
}

/// A seed of nobody's choice.
fn any_seed() -> i64 {
    uuid::Uuid::new_v4().as_u64_pair().0 as i64
}

/// `na.fill`: one value for several columns, or one for each.
pub(super) fn fill(frame: &DataFrame, fill: &proto::NaFill) -> Result<DataFrame> {
    let columns = texts(&fill.cols);
    if let [value] = fill.values.as_slice() {
        return frame.na_fill(constant(value)?, &columns);
    }
    if columns.len() != fill.values.len() {
        return Err(Error::new(
            ErrorCode::InvalidExpression,
            format!("na.fill: {} values for {} columns", fill.values.len(), columns.len()),
        ));
    }
    let values = fill.values.iter().map(constant).collect::<Result<Vec<_>>>()?;
    frame.na_fill_each(columns.into_iter().zip(values))
}

/// `na.drop`.
pub(super) fn drop(frame: &DataFrame, drop: &proto::NaDrop) -> Result<DataFrame> {
    let least = drop.min_non_nulls.map(|least| usize::try_from(least).unwrap_or(0));
    frame.na_drop(least, &texts(&drop.cols))
}

/// `na.replace`.
pub(super) fn replace(frame: &DataFrame, replace: &proto::NaReplace) -> Result<DataFrame> {
    let pair = |pair: &proto::na_replace::Replacement| {
        let old = constant(required(pair.old_value.as_ref(), "the value to replace")?)?;
        Ok((old, constant(required(pair.new_value.as_ref(), "the value in its place")?)?))
    };
    let pairs = replace.replacements.iter().map(pair).collect::<Result<Vec<_>>>()?;
    frame.na_replace(pairs, &texts(&replace.cols))
}

/// `describe`.
pub(super) fn describe(frame: &DataFrame, describe: &proto::StatDescribe) -> Result<DataFrame> {
    frame.describe(&texts(&describe.cols))
}

/// `summary`.
pub(super) fn summary(frame: &DataFrame, summary: &proto::StatSummary) -> Result<DataFrame> {
    frame.summary(&texts(&summary.statistics))
}

/// `corr`, of Pearson.
pub(super) fn corr(frame: &DataFrame, corr: &proto::StatCorr) -> Result<DataFrame> {
    match corr.method() {
        "" | "pearson" => frame.corr(&corr.col1, &corr.col2),
        other => unsupported(format!("corr(method={other:?}): there is \"pearson\"")),
    }
}

/// `approxQuantile`.
pub(super) fn approx_quantile(frame: &DataFrame, quantile: &proto::StatApproxQuantile) -> Result<DataFrame> {
    frame.approx_quantile(&texts(&quantile.cols), &quantile.probabilities, quantile.relative_error)
}

/// `freqItems`.
pub(super) fn freq_items(frame: &DataFrame, items: &proto::StatFreqItems) -> Result<DataFrame> {
    frame.freq_items(&texts(&items.cols), items.support.unwrap_or(0.01))
}

/// `sample`.
pub(super) fn sample(frame: &DataFrame, sample: &proto::Sample) -> Result<DataFrame> {
    let seed = sample.seed.unwrap_or_else(any_seed);
    frame.sample(sample.lower_bound, sample.upper_bound, sample.with_replacement(), seed)
}

/// `sampleBy`.
pub(super) fn sample_by(planner: &Planner<'_>, frame: &DataFrame, sample: &proto::StatSampleBy) -> Result<DataFrame> {
    let column = planner.expression(required(sample.col.as_ref(), "the column of sampleBy")?)?;
    let fraction = |fraction: &proto::stat_sample_by::Fraction| {
        Ok((constant(required(fraction.stratum.as_ref(), "a value of sampleBy")?)?, fraction.fraction))
    };
    let fractions = sample.fractions.iter().map(fraction).collect::<Result<Vec<_>>>()?;
    frame.sample_by(column, fractions, sample.seed.unwrap_or_else(any_seed))
}

/// `unpivot`.
pub(super) fn unpivot(planner: &Planner<'_>, frame: &DataFrame, unpivot: &proto::Unpivot) -> Result<DataFrame> {
    let columns = |of: &[proto::Expression]| of.iter().map(|e| planner.expression(e)).collect::<Result<Vec<_>>>();
    let values = unpivot.values.as_ref().map(|values| columns(&values.values)).transpose()?;
    frame.unpivot(columns(&unpivot.ids)?, values, &unpivot.variable_column_name, &unpivot.value_column_name)
}

/// `transpose`, by a column of a name.
pub(super) async fn transpose(frame: &DataFrame, transpose: &proto::Transpose) -> Result<DataFrame> {
    let name = match transpose.index_columns.as_slice() {
        [] => None,
        [proto::Expression { expr_type: Some(ExprType::UnresolvedAttribute(attribute)), .. }] => {
            Some(crate::plan::resolve::split_path(&attribute.unparsed_identifier).join("."))
        }
        _ => return unsupported("transpose: the index must be one column of the DataFrame"),
    };
    frame.transpose(name.as_deref()).await
}
