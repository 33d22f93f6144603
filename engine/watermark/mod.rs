//! Watermarks: how far event time has certainly come.
//!
//! Comes in: the greatest event time that each `with_watermark` node saw in a batch. Goes out: one number for the query, in
//! milliseconds since the epoch, which never goes down and takes effect in the next batch. Pure.

use crate::error::{Error, ErrorCode, Result};

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
