//! Session windows: the step that finds the sessions of a chunk, and the operator that merges them with those that it keeps.
//!
//! Comes in: rows, then partial aggregates whose last two keys are a session's start and end. Goes out: sessions that the watermark
//! has passed (append), or all (complete). Fails: gaps that are no interval, sums outside their type, and sessions without another key.

use super::clock::BatchClock;
use super::partial::Partials;
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::session_window::gaps;
use crate::plan::session::SessionPlan;
use crate::plan::spark_function::{normalize, window_array};
use crate::sink::OutputMode;
use crate::state::rows::{Key, Keys};
use crate::state::sessions::{Session, Sessions};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// The rows of a chunk that belong to a session, in order of time, and for each its start and end: of the session that it makes with the other rows of
/// its key. A row whose own session ended before `late` stays alone, so that the operator can tell it.
pub(crate) fn of_chunk(
    keys: &[ArrayRef],
    time: &ArrayRef,
    gap: &ArrayRef,
    late: i64,
) -> Result<(UInt32Array, Vec<ArrayRef>)> {
    let times = time
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| Error::internal(format!("a session over times of {}", time.data_type())))?;
    let gaps = gaps(gap)?;
    let is_row = |row: &u32| {
        let row = *row as usize;
        times.is_valid(row) && gaps.is_valid(row) && gaps.value(row) > 0
    };
    let start_of = |row: u32| times.value(row as usize);
    let mut kept: Vec<u32> = (0..times.len() as u32).filter(is_row).collect();
    // What a session collects is in order of time, as in Spark.
    kept.sort_by_key(|row| start_of(*row));
    let end_of = |row: u32| start_of(row).saturating_add(gaps.value(row as usize));
    let mut starts: Vec<i64> = kept.iter().map(|row| start_of(*row)).collect();
    let mut ends: Vec<i64> = kept.iter().map(|row| end_of(*row)).collect();
    let keys: Vec<ArrayRef> = keys.iter().map(normalize).collect();
    let types = keys.iter().map(|key| key.data_type().clone()).collect();
    let keys = match keys.as_slice() {
        [] => None,
        columns => Some(Keys::new(types)?.rows(columns)?),
    };
    let key_of = |row: u32| keys.as_ref().map(|keys| keys.row(row as usize));
    // Places in `kept` of rows that are not late, by key and time.
    let mut order: Vec<usize> = (0..kept.len()).filter(|place| ends[*place] > late).collect();
    order.sort_unstable_by_key(|place| (key_of(kept[*place]), starts[*place]));
    let mut from = 0;
    while let Some(first) = order.get(from) {
        let (key, start, mut end) = (key_of(kept[*first]), starts[*first], ends[*first]);
        let mut to = from + 1;
        while let Some(next) = order.get(to).filter(|next| starts[**next] <= end && key_of(kept[**next]) == key) {
            end = end.max(ends[*next]);
            to += 1;
        }
        for place in &order[from..to] {
            (starts[*place], ends[*place]) = (start, end);
        }
        from = to;
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(starts)), Arc::new(Int64Array::from(ends))];
    Ok((UInt32Array::from(kept), columns))
}

impl OperatorPlan for SessionPlan {
    fn kind(&self) -> &'static str {
        "session"
    }

    fn describe(&self) -> String {
        let bounded = if self.watermarked { "until the watermark passes the session" } else { "for ever" };
        format!("{} aggregates a session, kept {bounded}", self.inner.calls.len())
    }

    fn unbounded(&self) -> Option<String> {
        let why = "the aggregation keeps every session for ever; a watermark on its time would bound its state";
        (!self.watermarked).then(|| why.to_string())
    }

    fn create(&self, mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        let mut types = self.inner.key_types.clone();
        types.truncate(types.len().saturating_sub(2));
        let sessions = match types.is_empty() {
            true => None,
            false => Some(Sessions::new(types, self.inner.calls.clone())?),
        };
        let evicts = self.watermarked && mode != OutputMode::Complete;
        let (late, metrics) = (FxHashSet::default(), Metrics::default());
        Ok(Box::new(SessionOperator {
            plan: self.clone(),
            mode,
            evicts,
            sessions,
            late,
            late_us: i64::MIN,
            ended_us: i64::MIN,
            failure: None,
            metrics,
        }))
    }
}

/// Executable form of a [`SessionPlan`], owner of its state.
struct SessionOperator {
    plan: SessionPlan,
    mode: OutputMode,
    evicts: bool,
    /// None without a key beside the window: no row can be taken in.
    sessions: Option<Sessions>,
    late: FxHashSet<(Key, i64, i64)>,
    late_us: i64,
    ended_us: i64,
    /// What went wrong when the batch began.
    failure: Option<Error>,
    metrics: Metrics,
}

impl SessionOperator {
    fn output(&self, sessions: &Sessions, selected: &[(Key, Session)]) -> Result<RecordBatch> {
        let mut columns = sessions.key_columns(selected)?;
        let bound = |of: fn(&Session) -> i64| -> TimestampMicrosecondArray {
            selected.iter().map(|(_, session)| Some(of(session))).collect()
        };
        let window = window_array(bound(|s| s.start), bound(|s| s.end))?;
        columns.insert(self.plan.window.min(columns.len()), Arc::new(window));
        for index in 0..self.plan.inner.calls.len() {
            columns.push(sessions.results(index, selected)?);
        }
        Ok(RecordBatch::try_new(self.plan.schema.clone(), columns)?)
    }
}

impl StatefulOperator for SessionOperator {
    fn name(&self) -> &'static str {
        "sessionWindowStateStoreSaveExec"
    }

    fn begin(&mut self, clock: OperatorClock) {
        self.late.clear();
        self.metrics = Metrics::default();
        (self.late_us, self.ended_us) = match self.evicts {
            true => (clock.late_ms.saturating_mul(1000), clock.watermark_ms.saturating_mul(1000)),
            false => (i64::MIN, i64::MIN),
        };
        self.plan.late.set(self.late_us);
        self.failure = self.sessions.as_mut().and_then(|sessions| sessions.begin().err());
    }

    fn partials_in_order(&self) -> bool {
        self.plan.inner.ordered()
    }

    fn partials(&mut self, partials: &Partials) -> Result<()> {
        if partials.rows.is_empty() {
            return Ok(());
        }
        let sessions = self.sessions.as_mut().ok_or_else(without_key)?;
        let wrong = || Error::internal("partials of sessions without their bounds");
        let (keys, bounds) = partials.keys.split_at_checked(partials.keys.len().saturating_sub(2)).ok_or_else(wrong)?;
        let [starts, ends] = bounds else { return Err(wrong()) };
        let starts = starts.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let keys = sessions.rows(keys)?;
        for (group, rows) in partials.rows.iter().enumerate() {
            let (start, end, key) = (starts.value(group), ends.value(group), keys.row(group));
            if end <= self.late_us {
                self.late.insert((Key::from(key.data()), start, end));
                self.metrics.late_input_rows += rows;
                continue;
            }
            self.metrics.rows_removed += sessions.merge(key.data(), start, end, &partials.aggregates, group)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.settle()?;
        }
        let Some(sessions) = &self.sessions else { return Ok(vec![]) };
        self.metrics.rows_updated = sessions.touched();
        let ended = if self.evicts { sessions.ended(self.ended_us) } else { vec![] };
        let rows = match self.mode {
            OutputMode::Complete => self.output(sessions, &sessions.all())?,
            OutputMode::Append | OutputMode::Update => self.output(sessions, &ended)?,
        };
        if let Some(sessions) = &mut self.sessions {
            sessions.remove(&ended);
            self.metrics.rows_total = sessions.len();
            self.metrics.memory_bytes = sessions.memory();
        }
        self.metrics.rows_removed += ended.len() as u64;
        self.metrics.rows_dropped_by_watermark = self.late.len() as u64;
        Ok(vec![rows])
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, moved: bool, _now_ms: i64) -> bool {
        moved && self.evicts
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        self.sessions.as_ref().map_or(Ok((Bytes::new(), 0)), Sessions::delta)
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.sessions.as_ref().map_or(Ok((Bytes::new(), 0)), Sessions::snapshot)
    }

    fn restore(&mut self, bytes: &[u8], snapshot: bool) -> Result<()> {
        match &mut self.sessions {
            Some(sessions) => sessions.apply(bytes, snapshot),
            None => Ok(()),
        }
    }
}

fn without_key() -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        "Global aggregation with session window in streaming query is not supported; group by another column beside session_window()",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    type Rows = Vec<(u32, i64, i64)>;

    fn found(keys: &[Option<&str>], times: &[Option<i64>], gaps: &[Option<&str>], late: i64) -> Rows {
        let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        let gaps: ArrayRef = Arc::new(StringArray::from(gaps.to_vec()));
        let (rows, bounds) = of_chunk(&[keys], &times, &gaps, late).unwrap();
        let bound = |index: usize, place: usize| bounds[index].as_primitive::<Int64Type>().value(place);
        rows.values().iter().enumerate().map(|(place, row)| (*row, bound(0, place), bound(1, place))).collect()
    }

    const SECOND: i64 = 1_000_000;

    #[test]
    fn rows_that_touch_are_one_session() {
        let gap = Some("5 seconds");
        let rows =
            found(&[Some("a"); 3], &[Some(15 * SECOND), Some(10 * SECOND), Some(21 * SECOND)], &[gap; 3], i64::MIN);
        assert_eq!(rows, [(1, 10 * SECOND, 20 * SECOND), (0, 10 * SECOND, 20 * SECOND), (2, 21 * SECOND, 26 * SECOND)]);
    }

    #[test]
    fn null_keys_are_one_key_and_other_keys_are_apart() {
        let gap = Some("5 seconds");
        let rows = found(&[None, Some("a"), None], &[Some(0), Some(1), Some(2)], &[gap; 3], i64::MIN);
        assert_eq!(rows, [(0, 0, 5 * SECOND + 2), (1, 1, 5 * SECOND + 1), (2, 0, 5 * SECOND + 2)]);
    }

    #[test]
    fn rows_without_time_or_gap_vanish() {
        let gaps = [Some("5 seconds"), None, Some("0 seconds"), Some("-1 second"), Some("soon"), Some("1 second")];
        let times = [None, Some(1), Some(2), Some(3), Some(3), Some(4)];
        assert_eq!(found(&[Some("a"); 6], &times, &gaps, i64::MIN), [(5, 4, SECOND + 4)]);
    }

    #[test]
    fn a_late_row_stays_alone_although_it_touches() {
        let gap = Some("5 seconds");
        let times = [Some(0), Some(4 * SECOND), Some(9 * SECOND)];
        let rows = found(&[Some("a"); 3], &times, &[gap; 3], 5 * SECOND);
        assert_eq!(rows, [(0, 0, 5 * SECOND), (1, 4 * SECOND, 14 * SECOND), (2, 4 * SECOND, 14 * SECOND)]);
    }

    #[test]
    fn a_long_gap_covers_short_ones_behind_it() {
        let gaps = [Some("20 seconds"), Some("1 second"), Some("1 second")];
        let times = [Some(0), Some(3 * SECOND), Some(15 * SECOND)];
        let whole = (0, 20 * SECOND);
        let rows = found(&[Some("a"); 3], &times, &gaps, i64::MIN);
        assert_eq!(rows, [(0, whole.0, whole.1), (1, whole.0, whole.1), (2, whole.0, whole.1)]);
    }

    #[test]
    fn a_gap_of_months_is_refused() {
        let gap: ArrayRef = Arc::new(StringArray::from(vec!["1 month"]));
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
        let error = of_chunk(&[], &time, &gap, i64::MIN).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    }
}
