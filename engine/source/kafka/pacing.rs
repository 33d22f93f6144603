//! How much of a backlog the next batch takes. Pure: times come in as numbers.
//!
//! Comes in: what has been read, what there is, and when. Goes out: the end of the next batch. Fails: never.
//!
//! `minOffsetsPerTrigger` holds a batch back until enough is pending or `maxTriggerDelay` has passed; the first batch never
//! waits. `maxOffsetsPerTrigger` bounds a batch over all partitions, `maxRatePerPartition` each partition: by that many
//! offsets for every second since the last batch was planned, a second's worth at least.

use super::offsets::{self, Offsets};

/// The limits that options set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) max_offsets: Option<u64>,
    pub(super) min_offsets: Option<u64>,
    /// How long `min_offsets` may hold a batch back.
    pub(super) max_delay_ms: i64,
    /// Offsets a second and partition.
    pub(super) max_rate: Option<u64>,
}

impl Limits {
    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.max_offsets.is_some() || self.min_offsets.is_some() || self.max_rate.is_some()
    }
}

/// The limits and what they depend on from batch to batch.
pub(super) struct Pacing {
    limits: Limits,
    /// When `minOffsetsPerTrigger` last let a batch through.
    released_ms: Option<i64>,
    /// When the last batch with data was planned.
    planned_ms: Option<i64>,
}

impl Pacing {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, released_ms: None, planned_ms: None }
    }

    /// The end of the batch that begins at `start`. `draining` says that nothing newer than `latest` will ever be asked for, so
    /// that there is nothing to wait for.
    pub(super) fn admit(&mut self, now_ms: i64, start: &Offsets, latest: &Offsets, draining: bool) -> Offsets {
        if let (Some(least), false) = (self.limits.min_offsets, draining) {
            let waited = self.released_ms.is_none_or(|last| now_ms.saturating_sub(last) >= self.limits.max_delay_ms);
            if !waited && backlog(start, latest) < i128::from(least) {
                return start.clone();
            }
            self.released_ms = Some(now_ms);
        }
        let mut end = match self.limits.max_offsets {
            Some(limit) => offsets::rate_limit(limit, start, latest),
            None => latest.clone(),
        };
        if let Some(rate) = self.limits.max_rate {
            let elapsed_ms = self.planned_ms.map_or(1_000, |last| now_ms.saturating_sub(last).max(1_000));
            let most = i128::from(rate) * i128::from(elapsed_ms) / 1_000;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            for (at, end) in &mut end {
                *end = (*end).min(offsets::begin(start, at).saturating_add(most));
            }
        }
        if end != *start {
            self.planned_ms = Some(now_ms);
        }
        end
    }
}

/// Offsets between `start` and `latest`.
fn backlog(start: &Offsets, latest: &Offsets) -> i128 {
    latest.iter().map(|(at, end)| i128::from(end.saturating_sub(offsets::begin(start, at)).max(0))).sum()
}

#[cfg(test)]
mod tests {
    use super::super::offsets::tests::offsets;
    use super::*;

    #[test]
    fn a_batch_waits_for_its_minimum_or_for_the_delay() {
        let limits = Limits { min_offsets: Some(10), max_offsets: Some(12), max_delay_ms: 500, max_rate: None };
        let mut pacing = Pacing::new(limits);
        // The first batch runs, however little there is.
        assert_eq!(pacing.admit(0, &offsets(&[0, 0]), &offsets(&[1, 2]), false), offsets(&[1, 2]));
        let start = offsets(&[1, 2]);
        assert_eq!(pacing.admit(100, &start, &offsets(&[9, 3]), false), start, "9 are pending");
        assert_eq!(pacing.admit(200, &start, &offsets(&[9, 4]), false), offsets(&[9, 4]), "10 are pending");
        let start = offsets(&[9, 4]);
        assert_eq!(pacing.admit(699, &start, &offsets(&[9, 5]), false), start, "499 ms after the last batch");
        assert_eq!(pacing.admit(700, &start, &offsets(&[9, 5]), false), offsets(&[9, 5]));
        // Past the minimum, the maximum holds.
        assert_eq!(pacing.admit(800, &offsets(&[9, 5]), &offsets(&[33, 5]), false), offsets(&[21, 5]));
        // A query that only works off what was there does not wait for more.
        assert_eq!(pacing.admit(801, &offsets(&[32, 5]), &offsets(&[33, 5]), true), offsets(&[33, 5]));
    }

    #[test]
    fn a_rate_is_a_cap_for_each_partition_and_second() {
        let limits = Limits { max_rate: Some(100), ..Limits::default() };
        assert!(limits.any() && !Limits::default().any());
        let mut pacing = Pacing::new(limits);
        let latest = offsets(&[1_000, 1_000, 5]);
        let first = pacing.admit(50_000, &offsets(&[0, 40]), &latest, false);
        assert_eq!(first, offsets(&[100, 140, 5]), "one second's worth");
        let second = pacing.admit(50_200, &first, &latest, false);
        assert_eq!(second, offsets(&[200, 240, 5]), "at least one second's worth");
        let third = pacing.admit(52_750, &second, &latest, false);
        assert_eq!(third, offsets(&[455, 495, 5]), "2.55 seconds later");
        // A look that finds nothing is no batch.
        let quiet = offsets(&[1_000, 1_000, 5]);
        assert_eq!(pacing.admit(60_000, &quiet, &latest, false), quiet);
        assert_eq!(pacing.admit(62_750, &third, &latest, false), offsets(&[1_000, 1_000, 5]));
        let mut both = Pacing::new(Limits { max_rate: Some(3), max_offsets: Some(10), ..Limits::default() });
        assert_eq!(both.admit(0, &offsets(&[0, 0]), &offsets(&[10, 10]), true), offsets(&[3, 3]));
    }
}
