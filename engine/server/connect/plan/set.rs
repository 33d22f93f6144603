//! Unions, intersections and differences.
//!
//! Comes in: two frames. Goes out: one, whose columns have a type that those of both sides fit. Fails: types that do not fit together, and
//! combinations that there are not.

use super::unsupported;
use crate::error::Result;
use crate::frame::DataFrame;
use proto::SetOperation;
use proto::set_operation::SetOpType;
use spark_connect_proto as proto;

/// The rows of both frames as the operation combines them.
pub(super) fn combined(left: &DataFrame, right: &DataFrame, operation: &SetOperation) -> Result<DataFrame> {
    match (operation.set_op_type(), operation.is_all()) {
        (SetOpType::Union, all) => {
            let united = match operation.by_name() {
                true => left.union_by_name(right, operation.allow_missing_columns())?,
                false => left.union(right)?,
            };
            if all { Ok(united) } else { united.distinct() }
        }
        (SetOpType::Intersect, true) => left.intersect_all(right),
        (SetOpType::Intersect, false) => left.intersect(right),
        (SetOpType::Except, true) => left.except_all(right),
        (SetOpType::Except, false) => left.except(right),
        (SetOpType::Unspecified, _) => unsupported("a set operation that the client does not name"),
    }
}
