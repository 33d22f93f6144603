//! `show()` and what a notebook shows: a table as text, in one row.
//!
//! Comes in: a table. Goes out: a table of one text. Fails: as collecting the rows does.

use super::local;
use crate::error::Result;
use crate::frame::DataFrame;
use crate::functions::show;
use arrow::array::StringArray;
use spark_connect_proto as proto;
use std::sync::Arc;

/// The most rows that Spark shows.
const MOST: i32 = i32::MAX - 15;

/// The text of `show()`.
pub(super) async fn string(frame: &DataFrame, given: &proto::ShowString) -> Result<DataFrame> {
    let (rows, truncate) = (row_count(given.num_rows), usize::try_from(given.truncate).unwrap_or(0));
    let text = match given.vertical {
        false => frame.show_string(rows, truncate).await?,
        true => {
            let batches = frame.limit(rows as u64 + 1).collect().await?;
            let time_zone = frame.session().conf().environment()?.time_zone;
            show::vertical(&batches, frame.schema(), rows, truncate, time_zone)?
        }
    };
    // The client ends the last line, and the table's border has an empty one after it.
    let text = match text.strip_suffix('\n') {
        Some(cut) if cut.lines().last().is_some_and(|line| line.starts_with("only showing top")) => cut.to_string(),
        _ => text,
    };
    answer(frame, "show_string", text)
}

/// The HTML of a notebook.
pub(super) async fn html(frame: &DataFrame, given: &proto::HtmlString) -> Result<DataFrame> {
    let (rows, truncate) = (row_count(given.num_rows), usize::try_from(given.truncate).unwrap_or(0));
    let batches = frame.limit(rows as u64 + 1).collect().await?;
    let time_zone = frame.session().conf().environment()?.time_zone;
    let text = show::html(&batches, frame.schema(), rows, truncate, time_zone)?;
    answer(frame, "html_string", text)
}

fn row_count(rows: i32) -> usize {
    usize::try_from(rows.clamp(0, MOST)).unwrap_or(0)
}

fn answer(frame: &DataFrame, name: &str, text: String) -> Result<DataFrame> {
    local::columns(frame.session(), vec![(name, Arc::new(StringArray::from(vec![text])))])
}
