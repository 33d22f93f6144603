//! [`Observation`]: what an action told of the rows of a table on their way.
//!
//! Comes in: a table with metrics attached ([`DataFrame::observe`](super::DataFrame::observe)), and an action over it. Goes out: the metrics,
//! one row of them. Fails: an observation of a stream, and one that is attached twice.

use crate::error::{Error, ErrorCode, Result};
use crate::operator::measure::named_values;
use arrow::array::RecordBatch;
use chrono_tz::Tz;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use uuid::Uuid;

/// Takes the metrics of the first action over a table that it observes.
///
/// ```
/// # use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let seen = Observation::new("seen");
/// let ids = DataFrame::range(&session, 0, 10, 1)?.observe(&seen, [count_all().alias("rows"), max("id").alias("most")])?;
/// assert_eq!(ids.filter(col("id").gt(7))?.count().await?, 2);
/// let metrics = seen.get().await?;
/// assert_eq!((metrics["rows"].as_i64(), metrics["most"].as_i64()), (Some(10), Some(9)));
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Observation {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    attached: AtomicBool,
    metrics: watch::Sender<Option<Observed>>,
}

/// The metrics of an observation, after an action.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The observation's name.
    pub name: String,
    /// A row of them, a column each, in the order and with the types of the aggregates.
    pub row: RecordBatch,
    /// The session's zone, in which times are written as texts.
    pub time_zone: Tz,
}

impl Observed {
    /// The metrics by name, as a query's progress has them.
    ///
    /// # Errors
    /// Types that have no JSON.
    pub fn to_json(&self) -> Result<Map<String, Value>> {
        named_values(&self.row, self.time_zone)
    }
}

impl Default for Observation {
    /// An observation whose name is of no interest.
    fn default() -> Self {
        Self::new(&Uuid::new_v4().to_string())
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observation({:?})", self.inner.name)
    }
}

impl Observation {
    /// An observation for one table.
    pub fn new(name: &str) -> Self {
        let (metrics, _) = watch::channel(None);
        Self { inner: Arc::new(Inner { name: name.to_string(), attached: AtomicBool::new(false), metrics }) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The metrics by name. As in Spark, waits for the first action over the table to succeed.
    ///
    /// # Errors
    /// Types that have no JSON.
    pub async fn get(&self) -> Result<Map<String, Value>> {
        let mut metrics = self.inner.metrics.subscribe();
        // The sender is this observation's own, so that it cannot be gone.
        let known = metrics.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        known.map_or_else(|| Ok(Map::new()), |known| known.to_json())
    }

    /// The metrics, if an action has succeeded.
    pub fn observed(&self) -> Option<Observed> {
        self.inner.metrics.borrow().clone()
    }

    /// Belongs to a frame from now on.
    pub(super) fn attach(&self, streaming: bool) -> Result<()> {
        if streaming {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!(
                    "the observation {:?} takes one row of metrics, and a stream has one for every batch; observe it under a name, and read \
                     the observedMetrics of the query's progress",
                    self.name()
                ),
            ));
        }
        match self.inner.attached.swap(true, Ordering::AcqRel) {
            true => Err(Error::new(
                ErrorCode::DuplicatedMetricsName,
                format!("the observation {:?} observes a frame already; make another one", self.name()),
            )),
            false => Ok(()),
        }
    }

    /// Takes what an action has come to. The first counts.
    pub(crate) fn tell(&self, observed: &Observed) {
        self.inner.metrics.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(observed.clone());
            }
            first
        });
    }
}

/// What metrics are reported under: a name, or an [`Observation`].
pub trait IntoObservation {
    /// The name.
    fn name(&self) -> &str;

    /// Who waits for them.
    fn observation(&self) -> Option<&Observation> {
        None
    }
}

impl IntoObservation for &str {
    fn name(&self) -> &str {
        self
    }
}

impl IntoObservation for &String {
    fn name(&self) -> &str {
        self
    }
}

impl IntoObservation for &Observation {
    fn name(&self) -> &str {
        Observation::name(self)
    }

    fn observation(&self) -> Option<&Observation> {
        Some(self)
    }
}
