//! The rate source read as its rows arise, rather than by whole seconds.
//!
//! Comes in: stretches of the time since the query's first start, in milliseconds. Goes out: the rows that fall due in them, which are
//! those of the whole seconds, with the same times. Offsets are `{"elapsedMs":n}`; those of a run in batches, which are seconds,
//! are taken over. Fails: offsets of neither form.

use super::{Offset, RateSource, Stretch};
use crate::error::{Error, ErrorCode, Result};
use crate::source::{Chunk, Chunks, Origin, Proposal};
use arrow::datatypes::SchemaRef;
use serde_json::json;

/// Milliseconds since the first start at an offset.
fn elapsed_ms(offset: &Offset) -> Result<i64> {
    let seconds = offset.as_i64().map(|seconds| seconds.saturating_mul(1000));
    let millis = seconds.or_else(|| offset.get("elapsedMs")?.as_i64()).or_else(|| offset.is_null().then_some(0));
    millis.filter(|millis| *millis >= 0).ok_or_else(|| {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{offset} is not an offset of the rate source"))
    })
}

fn offset(elapsed_ms: i64) -> Offset {
    json!({ "elapsedMs": elapsed_ms })
}

impl RateSource {
    /// The values of a second, with their times.
    fn second(&self, second: i64) -> Result<Stretch> {
        let (first, after) = (self.value_at(second)?, self.value_at(second.saturating_add(1))?);
        let begin_ms = self.created_ms()?.saturating_add(second.saturating_mul(1000));
        Ok(Stretch { first, rows: after.saturating_sub(first), begin_ms, length_ms: 1000 })
    }

    /// The first value that comes after so many milliseconds.
    fn value_after(&self, elapsed_ms: i64) -> Result<i64> {
        let Stretch { first, rows, .. } = self.second(elapsed_ms.div_euclid(1000))?;
        let passed = i128::from(rows) * i128::from(elapsed_ms.rem_euclid(1000)) / 1000;
        Ok(first.saturating_add(i64::try_from(passed).unwrap_or(rows)))
    }

    /// Proposes the present, if a row has fallen due since `start`.
    pub(super) fn propose_flowing(&mut self, start: &Offset) -> Result<Proposal> {
        let from = elapsed_ms(start)?;
        self.newest_ms = self.newest_ms.max((self.clock)().saturating_sub(self.created_ms()?)).max(from);
        let latest = offset(self.newest_ms);
        let due = self.value_after(self.newest_ms)? > self.value_after(from)?;
        Ok(Proposal { end: if due { latest.clone() } else { start.clone() }, latest })
    }

    /// The rows that fall due in a stretch of time.
    pub(super) fn read_flowing(
        &self,
        start: &Offset,
        end: &Offset,
        rows: usize,
        projection: &[usize],
    ) -> Result<Flowing> {
        let (from, to) = (elapsed_ms(start)?, elapsed_ms(end)?);
        let (mut next, after) = (self.value_after(from)?, self.value_after(to)?);
        let mut pieces = Vec::new();
        for second in from.div_euclid(1000)..=to.div_euclid(1000) {
            let stretch = self.second(second)?;
            let end = after.min(stretch.first.saturating_add(stretch.rows));
            while next < end {
                let piece = next..end.min(next.saturating_add(rows as i64));
                next = piece.end;
                pieces.push((stretch, piece.start - stretch.first..piece.end - stretch.first));
            }
        }
        Ok(Flowing { pieces: pieces.into_iter(), schema: self.schema.clone(), projection: projection.to_vec() })
    }
}

/// The rows of a stretch of time, second by second.
pub(super) struct Flowing {
    pieces: std::vec::IntoIter<(Stretch, std::ops::Range<i64>)>,
    schema: SchemaRef,
    projection: Vec<usize>,
}

impl Chunks for Flowing {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let Some((stretch, rows)) = self.pieces.next() else { return Ok(None) };
        let values = stretch.first + rows.start..stretch.first + rows.end;
        let batch = super::rows(values, |value| stretch.micros(value), &self.schema, &self.projection)?;
        Ok(Some(Chunk::Columns { batch, origin: Origin::Process }))
    }
}
