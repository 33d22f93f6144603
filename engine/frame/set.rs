//! Tables as sets: the rows that two have in common, and those that one has alone.
//!
//! Comes in: two frames with the same columns. Goes out: a frame, in which every row stands once. Fails: other columns, and streams, whose
//! rows are never all there.

use super::data_frame::DataFrame;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::logical::{JoinType, LogicalPlan, join_scope};
use crate::plan::resolve::resolve_predicate;
use crate::plan::scope::next_relation;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Operator, binary_expr};

impl DataFrame {
    /// The rows that both tables have, each once. NULL equals NULL.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let (small, even) = (DataFrame::range(&session, 0, 6, 1)?, DataFrame::range(&session, 0, 20, 2)?);
    /// assert_eq!(small.intersect(&even)?.count().await?, 3);
    /// assert_eq!(small.except(&even)?.count().await?, 3);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Streams, and other columns.
    pub fn intersect(&self, other: &DataFrame) -> Result<Self> {
        self.compared(other, JoinType::LeftSemi, "intersect")
    }

    /// The rows of this table that the other has not, each once; `subtract` in PySpark. NULL equals NULL.
    ///
    /// # Errors
    /// Streams, and other columns.
    #[doc(alias = "subtract")]
    pub fn except(&self, other: &DataFrame) -> Result<Self> {
        self.compared(other, JoinType::LeftAnti, "except")
    }

    fn compared(&self, other: &DataFrame, join_type: JoinType, name: &str) -> Result<Self> {
        if self.is_streaming() || other.is_streaming() {
            let join = if join_type == JoinType::LeftSemi { "left semi join" } else { "left anti join" };
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!("{name} takes tables only, because the rows of a stream are never all there; use a {join}"),
            ));
        }
        let types =
            |frame: &DataFrame| frame.schema().fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let (left, right) = (types(self), types(other));
        if left != right || left.is_empty() {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("{name} needs the same columns on both sides: {left:?} and {right:?}; cast them"),
            ));
        }
        let id = next_relation();
        let scope = join_scope(self.plan(), other.plan(), id);
        let column = |index| scope.reference_to(index).ok_or_else(|| Error::internal("a column without a place"));
        let equal = |index| Ok(binary_expr(column(index)?, Operator::IsNotDistinctFrom, column(left.len() + index)?));
        let equal = (0..left.len()).map(equal).collect::<Result<Vec<_>>>()?;
        let environment = self.session().conf().environment()?;
        let condition = conjunction(equal).map(|all| resolve_predicate(all, &scope, &environment)).transpose()?;
        let (left, right, schema) = (self.plan().clone(), other.plan().clone(), self.schema().clone());
        self.with(LogicalPlan::Join { left, right, join_type, condition, schema, id }).distinct()
    }
}
