//! Tables whose rows are computed once.
//!
//! Comes in: a table. Goes out: the same table, which keeps its rows once they are computed. Fails: streams.

use super::data_frame::DataFrame;
use crate::error::Result;
use crate::plan::logical::LogicalPlan;
use crate::plan::output_mode;
use std::sync::Arc;

impl DataFrame {
    /// The same table, whose rows are computed when they are first asked for and kept in memory as long as a frame that is made of this one
    /// is there. `cache()` and `persist()` in Spark.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    /// let numbers = DataFrame::range(&session, 0, 9, 1)?.with_column("x", call_function::<Column>("rand", []))?.cached()?;
    /// assert_eq!(numbers.collect().await?, numbers.collect().await?);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Streams.
    #[doc(alias = "persist")]
    pub fn cached(&self) -> Result<Self> {
        let kept = LogicalPlan::Cached { input: self.plan().clone(), rows: Arc::default() };
        match self.is_streaming() {
            true => Err(output_mode::table_only(&kept)),
            false => Ok(self.with(kept)),
        }
    }

    /// [`DataFrame::cached`] with its rows computed at once; `checkpoint()` and `localCheckpoint()` in Spark, whose partitions may be lost.
    ///
    /// # Errors
    /// Streams, and what reading and expressions fail with.
    #[doc(alias = "local_checkpoint")]
    pub async fn checkpointed(&self) -> Result<Self> {
        let kept = self.cached()?;
        kept.collect().await?;
        Ok(kept)
    }
}
