//! Session windows.
//!
//! Comes in: a time and a gap. Goes out: a column to group by. Fails: gaps that are no interval, when the column is used.

use crate::frame::column::{Column, IntoColumn, Operand};
use crate::functions::session_window as function;

/// Sessions over a timestamp column: rows of the other grouping columns that follow each other within `gap`, a text or a column of
/// texts or intervals. The column `session_window` is a struct of `start` and `end`, where a session ends its last gap after a row. A row
/// whose gap is NULL or not positive belongs to no session.
///
/// ```
/// # use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let session = Session::builder().build().await?;
/// # let schema = StructType::from_ddl("user STRING, kind STRING, t TIMESTAMP")?.to_arrow_schema();
/// # let clicks = MemoryStream::new(schema).frame(&session)?;
/// let gap = when(col("kind").eq("video"), "30 minutes").otherwise("5 minutes");
/// let visits = clicks
///     .with_watermark("t", "10 minutes")?
///     .group_by([session_window("t", gap), col("user")])?
///     .count()?;
/// # assert_eq!(visits.schema().field(0).name(), "session_window");
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
pub fn session_window(time: impl IntoColumn, gap: impl Operand) -> Column {
    let (time, gap) = (time.into_column().0, gap.operand().0);
    Column(time.and_then(|time| function::session_window(time, gap?)))
}
