//! Functions over the rows of relations: `mapInPandas`, `applyInPandas`, `cogroup(...).applyInPandas`, and the same in Arrow.
//!
//! Comes in: frames, keys, and a function that the client has sent. Goes out: the frame of what the function makes. Fails: functions of other kinds and
//! languages, keys that do not resolve, and functions that keep state.

use super::{Planner, required, unsupported};
use crate::error::{Error, Result};
use crate::frame::{Column, DataFrame};
use crate::plan::LogicalPlan;
use crate::plan::scope::next_relation;
use crate::server::python::GroupedInput;
use spark_connect_proto as proto;
use std::sync::Arc;

/// `mapInPandas`, `mapInArrow`.
pub(super) fn map(planner: &Planner<'_>, input: &DataFrame, map: &proto::MapPartitions) -> Result<DataFrame> {
    let function = required(map.func.as_ref(), "the function of mapInPandas")?;
    made(planner, function, vec![keyed(planner, input, &[])?])
}

/// `groupBy(...).applyInPandas`, `applyInArrow`.
pub(super) fn map_groups(planner: &Planner<'_>, input: &DataFrame, map: &proto::GroupMap) -> Result<DataFrame> {
    if map.transform_with_state_info.is_some() || map.state_schema.is_some() || map.is_map_groups_with_state.is_some() {
        return unsupported(
            "transformWithStateInPandas and transformWithState are not run here, because state of a key would have to be kept for a Python worker; \
             use agg, dropDuplicatesWithinWatermark, or StatefulProcessor in Rust",
        );
    }
    if !map.sorting_expressions.is_empty() {
        return unsupported("groups in an order of their own: sort the rows in the function");
    }
    let function = required(map.func.as_ref(), "the function of applyInPandas")?;
    made(planner, function, vec![keyed(planner, input, &map.grouping_expressions)?])
}

/// `cogroup(...).applyInPandas`, `applyInArrow`.
pub(super) fn map_cogroups(
    planner: &Planner<'_>,
    left: &DataFrame,
    right: &DataFrame,
    map: &proto::CoGroupMap,
) -> Result<DataFrame> {
    if !map.input_sorting_expressions.is_empty() || !map.other_sorting_expressions.is_empty() {
        return unsupported("groups in an order of their own: sort the rows in the function");
    }
    let function = required(map.func.as_ref(), "the function of cogroup().applyInPandas")?;
    let left = keyed(planner, left, &map.input_grouping_expressions)?;
    made(planner, function, vec![left, keyed(planner, right, &map.other_grouping_expressions)?])
}

/// The frame with its keys behind its columns, and where both are.
fn keyed(planner: &Planner<'_>, frame: &DataFrame, keys: &[proto::Expression]) -> Result<(DataFrame, GroupedInput)> {
    let width = frame.schema().fields().len();
    let frame = match keys {
        [] => frame.clone(),
        keys => {
            let own = frame.plan().scope().all().into_iter().map(|column| Ok(Column::from(column)));
            frame.select(own.chain(keys.iter().map(|key| planner.expression(key))).collect::<Result<Vec<_>>>()?)?
        }
    };
    let schema = frame.schema().clone();
    let input = GroupedInput { keys: (width..schema.fields().len()).collect(), values: (0..width).collect(), schema };
    match input.keys.len() == keys.len() {
        true => Ok((frame, input)),
        false => Err(Error::internal("keys that are not a column each")),
    }
}

fn made(
    planner: &Planner<'_>,
    function: &proto::CommonInlineUserDefinedFunction,
    inputs: Vec<(DataFrame, GroupedInput)>,
) -> Result<DataFrame> {
    let (frames, inputs): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
    let (function, schema) = planner.resources.rows_function(function, inputs)?;
    let inputs = frames.iter().map(|frame| frame.plan().clone()).collect();
    let plan = LogicalPlan::MapRows { inputs, function, schema, id: next_relation() };
    Ok(DataFrame::from_plan(planner.session(), Arc::new(plan)))
}
