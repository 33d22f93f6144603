//! What a restarted query does next, from the names in its checkpoint alone.
//!
//! Comes in: the batches that have offsets, prepared records and commits. Goes out: a [`Recovery`]. Fails:
//! CHECKPOINT_CORRUPT, naming the file, for a combination that no crash of the protocol leaves.
//!
//! The protocol writes `offsets/N`, then any number of `prepared/N-*`, then `commits/N`, then goes on with N + 1. The
//! garbage collector removes the oldest commits first, ascending and durably, and only then what belonged to them. So
//! from the oldest commit on, everything must be there; below it is only what a collector did not come to remove.

use super::envelope::corrupt;
use super::layout;
use crate::error::Result;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What to do first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The query has never planned a batch.
    Fresh,
    /// Everything planned is committed: plan this batch.
    Next {
        /// The batch after the last commit.
        batch: u64,
    },
    /// A planned batch is not committed: read exactly its ranges again, unless the sink has published one of these
    /// attempts, which is then committed.
    Replay {
        /// The batch.
        batch: u64,
        /// Its prepared attempts, ascending by id.
        prepared: Vec<Uuid>,
    },
}

/// Decides from what exists.
pub fn decide(offsets: &BTreeSet<u64>, prepared: &BTreeSet<(u64, Uuid)>, commits: &BTreeSet<u64>) -> Result<Recovery> {
    if let (Some(first), Some(last)) = (commits.first(), commits.last()) {
        for batch in *first..=*last {
            let missing = if !commits.contains(&batch) {
                layout::commit(batch)
            } else if !offsets.contains(&batch) {
                layout::offsets(batch)
            } else if attempts(prepared, batch).next().is_none() {
                format!("{}{batch:020}-<attempt>", layout::PREPARED)
            } else {
                continue;
            };
            return Err(corrupt(&missing, format!("missing, although {} exists", layout::commit(*last))));
        }
    }
    let next = match commits.last() {
        None => 0,
        Some(last) => last.checked_add(1).ok_or_else(|| corrupt(&layout::commit(*last), "no batch can follow it"))?,
    };
    if let Some(later) = offsets.last().filter(|batch| **batch > next) {
        return Err(corrupt(&layout::commit(next), format!("missing, although {} exists", layout::offsets(*later))));
    }
    let pending = offsets.contains(&next);
    if let Some((batch, attempt)) = prepared.last().filter(|(batch, _)| *batch > next || (*batch == next && !pending)) {
        let found = layout::prepared(*batch, *attempt);
        return Err(corrupt(&layout::offsets(*batch), format!("missing, although {found} exists")));
    }
    Ok(match (pending, commits.is_empty()) {
        (true, _) => Recovery::Replay { batch: next, prepared: attempts(prepared, next).collect() },
        (false, true) => Recovery::Fresh,
        (false, false) => Recovery::Next { batch: next },
    })
}

fn attempts(prepared: &BTreeSet<(u64, Uuid)>, batch: u64) -> impl Iterator<Item = Uuid> + '_ {
    prepared.range((batch, Uuid::nil())..=(batch, Uuid::max())).map(|(_, attempt)| *attempt)
}
