//! Watermarks: how far event time has certainly come.
//!
//! Comes in: the greatest event time that each `with_watermark` node saw in a batch. Goes out: one number for the query, in
//! milliseconds since the epoch, which never goes down and takes effect in the next batch. Pure.

use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, TimestampMicrosecondArray};

/// How several watermarks make one (`spark.sql.streaming.multipleWatermarkPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The slowest input decides; nothing is lost.
    Min,
    /// The fastest input decides; slower inputs lose rows.
    Max,
}

impl Policy {
    /// Parses `min` or `max`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`].
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "min" => Ok(Policy::Min),
            "max" => Ok(Policy::Max),
            _ => Err(Error::new(
                ErrorCode::InvalidOption,
                format!("spark.sql.streaming.multipleWatermarkPolicy = {text:?}: use min or max"),
            )),
        }
    }
}

/// The event times that a watermark node saw.
///
/// ```
/// use arrow::array::TimestampMicrosecondArray;
/// use tidemill::watermark::EventTimeStats;
/// let times = TimestampMicrosecondArray::from(vec![Some(3_000_000), None, Some(1_000_000)]);
/// let seen = EventTimeStats::of(&times);
/// assert_eq!((seen.count, seen.min, seen.max, seen.avg_ms()), (2, 1_000_000, 3_000_000, Some(2_000)));
/// assert_eq!(EventTimeStats::default().avg_ms(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimeStats {
    /// Times that are not NULL.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum: i128,
    /// The least in microseconds; `i64::MAX` where there is none.
    pub min: i64,
    /// The greatest in microseconds; `i64::MIN` where there is none.
    pub max: i64,
}

impl Default for EventTimeStats {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX, max: i64::MIN }
    }
}

impl EventTimeStats {
    /// The statistics of a column of times.
    pub fn of(times: &TimestampMicrosecondArray) -> Self {
        match times.null_count() {
            0 => Self::of_values(times.values()),
            _ => times.iter().flatten().fold(Self::default(), |seen, time| seen.merge(Self::of_values(&[time]))),
        }
    }

    fn of_values(times: &[i64]) -> Self {
        // In halves, neither of which can overflow, so that the loops have no branch and run on vectors.
        let high: i64 = times.iter().map(|time| time >> 32).sum();
        let low: u64 = times.iter().map(|time| *time as u64 & u64::from(u32::MAX)).sum();
        Self {
            count: times.len() as u64,
            sum: (i128::from(high) << 32) + i128::from(low),
            min: times.iter().copied().fold(i64::MAX, i64::min),
            max: times.iter().copied().fold(i64::MIN, i64::max),
        }
    }

    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// The mean in milliseconds, cut off as Spark cuts it.
    pub fn avg_ms(&self) -> Option<i64> {
        let mean = self.sum.checked_div(i128::from(self.count))?;
        i64::try_from(mean / 1000).ok()
    }
}

/// The watermark of a query.
///
/// ```
/// use tidemill::watermark::{Policy, Tracker};
/// let mut tracker = Tracker::new(vec![10_000, 20_000], Policy::Min);
/// tracker.observe(0, 100_000_000);
/// assert_eq!(tracker.advance(), 0); // the second input has shown nothing yet
/// tracker.observe(1, 60_000_000);
/// assert_eq!(tracker.advance(), 40_000);
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    delays_ms: Vec<i64>,
    policy: Policy,
    /// Per node, the greatest event time seen less the delay, in milliseconds.
    nodes_ms: Vec<Option<i64>>,
    global_ms: i64,
}

impl Tracker {
    /// A tracker for nodes with these delays in milliseconds, at the epoch.
    pub fn new(delays_ms: Vec<i64>, policy: Policy) -> Self {
        let nodes_ms = vec![None; delays_ms.len()];
        Self { delays_ms, policy, nodes_ms, global_ms: 0 }
    }

    /// Continues where a checkpoint stopped.
    pub fn restore(&mut self, global_ms: i64, nodes_ms: &[Option<i64>]) {
        self.global_ms = self.global_ms.max(global_ms);
        if nodes_ms.len() == self.nodes_ms.len() {
            self.nodes_ms = nodes_ms.to_vec();
        }
    }

    /// Notes an event time of node `node`, in microseconds.
    pub fn observe(&mut self, node: usize, time_us: i64) {
        if let (Some(seen), Some(delay)) = (self.nodes_ms.get_mut(node), self.delays_ms.get(node)) {
            let watermark = time_us.div_euclid(1000).saturating_sub(*delay);
            *seen = Some(seen.map_or(watermark, |s| s.max(watermark)));
        }
    }

    /// The watermark after everything observed; it becomes the current one.
    pub fn advance(&mut self) -> i64 {
        let known = self.nodes_ms.iter().flatten().copied();
        let candidate = match self.policy {
            Policy::Min if self.nodes_ms.iter().any(Option::is_none) => None,
            Policy::Min => known.min(),
            Policy::Max => known.max(),
        };
        self.global_ms = self.global_ms.max(candidate.unwrap_or(0));
        self.global_ms
    }

    /// The current watermark in milliseconds.
    pub fn current_ms(&self) -> i64 {
        self.global_ms
    }

    /// What each node has shown, for the checkpoint.
    pub fn nodes_ms(&self) -> &[Option<i64>] {
        &self.nodes_ms
    }

    /// Whether the query has any watermark.
    pub fn is_defined(&self) -> bool {
        !self.delays_ms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_to_milliseconds_and_never_goes_down_or_below_zero() {
        let mut tracker = Tracker::new(vec![0], Policy::Min);
        tracker.observe(0, -5_000_000);
        assert_eq!(tracker.advance(), 0);
        tracker.observe(0, 14_999_999);
        assert_eq!(tracker.advance(), 14_999);
        tracker.observe(0, 3_000_000);
        assert_eq!(tracker.advance(), 14_999);
    }

    #[test]
    fn statistics_do_not_depend_on_how_times_are_split() {
        let times = [i64::MAX, -1, i64::MIN, 7, -7_000_001, 1 << 40];
        let whole = EventTimeStats::of(&TimestampMicrosecondArray::from(times.to_vec()));
        let sum: i128 = times.iter().map(|time| i128::from(*time)).sum();
        assert_eq!(whole, EventTimeStats { count: 6, sum, min: i64::MIN, max: i64::MAX });
        for at in 0..=times.len() {
            let part = |times: &[i64]| EventTimeStats::of(&TimestampMicrosecondArray::from(times.to_vec()));
            assert_eq!(part(&times[..at]).merge(part(&times[at..])), whole);
            let with_null = times[..at].iter().copied().map(Some).chain([None]).collect::<TimestampMicrosecondArray>();
            assert_eq!(EventTimeStats::of(&with_null).merge(part(&times[at..])), whole);
        }
    }

    #[test]
    fn max_policy_takes_the_fastest_known_input() {
        let mut tracker = Tracker::new(vec![10, 20], Policy::Max);
        tracker.observe(0, 100_000);
        assert_eq!(tracker.advance(), 90);
        tracker.observe(1, 200_000);
        assert_eq!(tracker.advance(), 180);
    }

    #[test]
    fn restored_nodes_count_as_seen() {
        let mut tracker = Tracker::new(vec![0, 0], Policy::Min);
        tracker.restore(40, &[Some(90), Some(40)]);
        tracker.observe(1, 60_000);
        assert_eq!(tracker.advance(), 60);
    }
}
