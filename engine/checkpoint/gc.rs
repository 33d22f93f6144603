//! The garbage collector: which files of a checkpoint nothing needs any more.
//!
//! Comes in: what exists, and the prepared records of the commits to be kept. Goes out: deletions. Fails: CHECKPOINT_IO,
//! CHECKPOINT_CORRUPT where a record to be kept cannot be read (without it, nothing says what may go).
//!
//! Safe against a crash: the oldest commits go first, durably, and what belonged to them only then; recovery passes over
//! what is left of a batch below the oldest commit. Safe against another run that has taken over in the meantime: only
//! files of batches up to the last commit seen go, and a later batch builds on files of that commit only.

use super::fail;
use super::layout;
use super::open::{Checkpoint, Inner};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Commits between two collections.
pub const GC_INTERVAL: u64 = 10;

/// Claims of earlier runs that are kept, to name them in messages.
const EPOCHS_KEPT: usize = 16;

/// What the collector remembers between its runs.
#[derive(Default)]
pub(super) struct Collector {
    /// Last commit at the last collection.
    collected: Option<u64>,
    /// Attempt and state files of the commits kept.
    kept: BTreeMap<u64, (Uuid, Vec<String>)>,
}

/// Names of what exists, ascending.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Listing {
    pub epochs: Vec<String>,
    pub offsets: Vec<String>,
    pub prepared: Vec<String>,
    pub commits: Vec<String>,
    pub state: Vec<String>,
}

impl Checkpoint {
    /// Keeps the last `retain` commits (Spark's `minBatchesToRetain`, at least one) with every file their prepared
    /// records name, and deletes what is older, and attempts that lost. Call it after each commit: it does its work at the
    /// first call and then every [`GC_INTERVAL`] commits.
    ///
    /// # Errors
    /// CHECKPOINT_FENCED where another run has started; CHECKPOINT_CORRUPT; CHECKPOINT_IO.
    pub async fn collect_garbage(&self, retain: usize) -> Result<()> {
        let mut collector = self.inner.collector.lock().await;
        let committed = *self.inner.committed.lock();
        if let (Some(collected), Some(committed)) = (collector.collected, committed)
            && committed.saturating_sub(collected) < GC_INTERVAL
        {
            return Ok(());
        }
        self.inner.collect(&mut collector, retain).await
    }
}

impl Inner {
    pub(super) async fn collect(&self, collector: &mut Collector, retain: usize) -> Result<()> {
        self.check_epoch().await?;
        // Commits before everything else: what belongs to a later one is then protected by its batch number.
        let commits = self.store.list(layout::COMMITS).await?;
        let numbers: BTreeSet<u64> =
            commits.iter().filter_map(|name| layout::parse_numbered(layout::COMMITS, name)).collect();
        let Some(last) = numbers.last().copied() else { return Ok(()) };
        let kept: BTreeSet<u64> = numbers.iter().rev().take(retain.max(1)).copied().collect();
        collector.kept.retain(|batch, _| kept.contains(batch));
        for batch in &kept {
            if !collector.kept.contains_key(batch) {
                let (commit, prepared) = self.load_committed(*batch).await?;
                let files = prepared.state.into_iter().flat_map(|chain| chain.files).map(|file| file.path).collect();
                collector.kept.insert(*batch, (commit.attempt, files));
            }
        }
        let listing = Listing {
            epochs: self.store.list(layout::EPOCHS).await?,
            offsets: self.store.list(layout::OFFSETS).await?,
            prepared: self.store.list(layout::PREPARED).await?,
            commits,
            state: self.store.list(layout::STATE).await?,
        };
        for group in garbage(&listing, last, &collector.kept) {
            if !group.is_empty() {
                self.store.delete(&group).await?;
                self.fail.hit(fail::DURING_GC)?;
            }
        }
        collector.collected = Some(last);
        Ok(())
    }
}

/// What may go, in groups that must go in this order.
pub(super) fn garbage(listing: &Listing, last: u64, kept: &BTreeMap<u64, (Uuid, Vec<String>)>) -> [Vec<String>; 5] {
    let first = kept.keys().next().copied().unwrap_or(last);
    let files: BTreeSet<&str> = kept.values().flat_map(|(_, files)| files).map(String::as_str).collect();
    let pick = |names: &[String], gone: &dyn Fn(&str) -> bool| -> Vec<String> {
        names.iter().filter(|name| gone(name)).cloned().collect()
    };
    let older = |prefix: &'static str| {
        move |name: &str| layout::parse_numbered(prefix, name).is_some_and(|batch| batch < first)
    };
    let lost = |name: &str| {
        layout::parse_prepared(name).is_some_and(|(batch, attempt)| {
            batch <= last && kept.get(&batch).is_none_or(|(counts, _)| *counts != attempt)
        })
    };
    let unnamed = |name: &str| layout::parse_state(name).is_some_and(|batch| batch <= last && !files.contains(name));
    let claims = pick(&listing.epochs, &|name: &str| layout::parse_numbered(layout::EPOCHS, name).is_some());
    let old_claims = claims.len().saturating_sub(EPOCHS_KEPT);
    [
        pick(&listing.commits, &older(layout::COMMITS)),
        pick(&listing.offsets, &older(layout::OFFSETS)),
        pick(&listing.prepared, &lost),
        pick(&listing.state, &unnamed),
        claims.into_iter().take(old_claims).collect(),
    ]
}
