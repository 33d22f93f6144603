//! When a batch runs.
//!
//! Comes in: the user's trigger and the clock. Goes out: when the next batch is due. Pure.

use super::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::options::parse_duration;

/// Spark's triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A batch every so many milliseconds, on multiples of the interval since the epoch; 0 runs the next batch as soon as the
    /// last one ends, which is the default. The first batch runs at once, and a batch that overruns is followed at once.
    ProcessingTime {
        /// The interval.
        interval_ms: i64,
    },
    /// One batch of everything there is, whatever the rate limits say, then stop.
    Once,
    /// Everything there is now, in batches that respect the rate limits, then stop.
    AvailableNow,
    /// Rows go to the sink as they arrive, at least once; every so many milliseconds their offsets are committed. For selections and
    /// filters only: see [`continuous`](super::continuous).
    Continuous {
        /// The interval of the commits.
        interval_ms: i64,
    },
    /// [`Trigger::Continuous`] under the rules of Spark's real-time mode: update mode, and at least five seconds.
    RealTime {
        /// The interval of the commits.
        interval_ms: i64,
    },
}

impl Default for Trigger {
    fn default() -> Self {
        Trigger::ProcessingTime { interval_ms: 0 }
    }
}

impl Trigger {
    /// `processingTime="30 seconds"`.
    ///
    /// # Errors
    /// A text that is no interval, or a negative one.
    pub fn processing_time(interval: &str) -> Result<Self> {
        Ok(Trigger::ProcessingTime { interval_ms: interval_ms(interval)? })
    }

    /// `continuous="1 second"`.
    ///
    /// # Errors
    /// A text that is no interval, or a negative one.
    pub fn continuous(interval: &str) -> Result<Self> {
        Ok(Trigger::Continuous { interval_ms: interval_ms(interval)? })
    }

    /// `realTime="5 seconds"`.
    ///
    /// # Errors
    /// A text that is no interval, or a negative one.
    pub fn real_time(interval: &str) -> Result<Self> {
        Ok(Trigger::RealTime { interval_ms: interval_ms(interval)? })
    }

    /// How rows flow, and the interval of the commits, where there are no micro-batches.
    pub fn flow(self) -> Option<(Flow, i64)> {
        match self {
            Trigger::Continuous { interval_ms } => Some((Flow::Continuous, interval_ms)),
            Trigger::RealTime { interval_ms } => Some((Flow::RealTime, interval_ms)),
            _ => None,
        }
    }

    /// How long to wait, in milliseconds, at `now_ms` after a batch that was triggered at `triggered_ms`.
    pub fn wait_ms(self, triggered_ms: i64, now_ms: i64) -> i64 {
        match self {
            Trigger::ProcessingTime { interval_ms }
            | Trigger::Continuous { interval_ms }
            | Trigger::RealTime { interval_ms }
                if interval_ms > 0 =>
            {
                let due = (triggered_ms.div_euclid(interval_ms) + 1).saturating_mul(interval_ms);
                // A clock that was set back must not stop the query for as long as it was set back by.
                due.saturating_sub(now_ms).clamp(0, interval_ms)
            }
            _ => 0,
        }
    }

    /// Whether the query ends when there is nothing left to do.
    pub fn is_finite(self) -> bool {
        matches!(self, Trigger::Once | Trigger::AvailableNow)
    }
}

fn interval_ms(interval: &str) -> Result<i64> {
    let micros = parse_duration(interval)?;
    if micros < 0 {
        return Err(Error::new(ErrorCode::InvalidOption, "the interval of trigger should not be negative"));
    }
    Ok(micros / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_on_multiples_of_the_interval() {
        let trigger = Trigger::processing_time("4 seconds").unwrap();
        assert_eq!(trigger.wait_ms(12_276, 12_300), 3_700);
        assert_eq!(trigger.wait_ms(16_000, 16_001), 3_999);
        assert_eq!(trigger.wait_ms(16_000, 25_000), 0);
        assert_eq!(trigger.wait_ms(3_616_000, 16_000), 4_000);
        assert_eq!(Trigger::default().wait_ms(5, 7), 0);
    }

    #[test]
    fn a_negative_interval_is_refused() {
        for trigger in [Trigger::processing_time, Trigger::continuous, Trigger::real_time] {
            let error = trigger("-1 seconds").unwrap_err();
            assert_eq!(error.to_string(), "[INVALID_OPTION] the interval of trigger should not be negative");
            assert_eq!(trigger("x").unwrap_err().condition(), "INVALID_INTERVAL_FORMAT.UNRECOGNIZED_NUMBER");
        }
    }

    #[test]
    fn continuous_triggers_flow_and_do_not_end() {
        let (continuous, real_time) =
            (Trigger::continuous("1 second").unwrap(), Trigger::real_time("5 seconds").unwrap());
        assert_eq!(continuous.flow(), Some((Flow::Continuous, 1000)));
        assert_eq!(real_time.flow(), Some((Flow::RealTime, 5000)));
        assert_eq!((continuous.wait_ms(10_250, 10_250), continuous.is_finite()), (750, false));
        assert_eq!((Trigger::Once.flow(), Trigger::Once.is_finite()), (None, true));
    }
}
