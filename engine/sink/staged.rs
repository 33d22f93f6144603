//! Rows between `stage` and `publish` of a sink that keeps them in this process.
//!
//! Comes in: the rows of one attempt. Goes out: the same rows, once. Fails: a publication of what was not staged.

use crate::error::{Error, Result};
use crate::sink::Prepared;
use arrow::array::RecordBatch;
use uuid::Uuid;

/// At most one attempt's rows; a later one replaces it.
#[derive(Default)]
pub(crate) struct Staged {
    attempt: Option<(u64, Uuid)>,
    rows: Vec<RecordBatch>,
}

impl Staged {
    pub fn put(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) {
        self.attempt = Some((batch, attempt));
        self.rows = rows.to_vec();
    }

    pub fn take(&mut self, prepared: &Prepared) -> Result<Vec<RecordBatch>> {
        if self.attempt.take() != Some((prepared.batch, prepared.attempt)) {
            return Err(Error::internal(format!(
                "attempt {} of batch {} was published without being staged",
                prepared.attempt, prepared.batch
            )));
        }
        Ok(std::mem::take(&mut self.rows))
    }
}
