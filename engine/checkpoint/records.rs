//! The write-ahead log of a [`Checkpoint`]: offsets, prepared records, commits, plans, and what a restart finds of them.
//!
//! Comes in: entries. Goes out: durable records, and a [`Recovered`] whose records have been verified against their
//! checksums, their names and each other. Fails: CHECKPOINT_FENCED before a write where a newer run has started, and
//! where another run has decided the batch; CHECKPOINT_CORRUPT; CHECKPOINT_IO.

use super::entry::{CommitEntry, OffsetsEntry, PreparedEntry};
use super::envelope;
use super::fail;
use super::layout;
use super::open::{Checkpoint, Inner, place};
use super::recovery::{Recovery, decide};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use uuid::Uuid;

const OFFSETS: &str = "offsets";
const PREPARED: &str = "prepared";
const COMMIT: &str = "commit";
const PLAN: &str = "plan";

/// What a restart finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// What to do first.
    pub decision: Recovery,
    /// The last committed batch; None before the first commit.
    pub last: Option<Committed>,
    /// The planned batch that is not committed; present exactly when the decision is to replay.
    pub pending: Option<Pending>,
}

/// The records of a committed batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// What the batch read.
    pub offsets: OffsetsEntry,
    /// What the attempt that counts produced.
    pub prepared: PreparedEntry,
    /// The decision.
    pub commit: CommitEntry,
}

/// The records of a planned batch that is not committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// What the batch reads.
    pub offsets: OffsetsEntry,
    /// The attempts that got as far as a prepared record, those of the newest epoch first: an older one beside a newer was
    /// never published, because its run had been fenced before.
    pub prepared: Vec<PreparedEntry>,
}

/// A prepared record as it is written.
#[derive(Serialize, Deserialize)]
struct PreparedRecord<E> {
    /// Epoch of the run that prepared it.
    #[serde(default)]
    epoch: u64,
    #[serde(flatten)]
    entry: E,
}

#[derive(Serialize, Deserialize)]
struct PlanEntry {
    hash: String,
    plan: Value,
}

impl Checkpoint {
    /// Finds out where the last run stopped.
    ///
    /// # Errors
    /// CHECKPOINT_CORRUPT where a record is missing or damaged; nothing is guessed.
    pub async fn recover(&self) -> Result<Recovered> {
        let inner = &self.inner;
        let offsets = inner.numbers(layout::OFFSETS).await?;
        let commits = inner.numbers(layout::COMMITS).await?;
        let names = inner.store.list(layout::PREPARED).await?;
        let prepared: BTreeSet<_> = names.iter().filter_map(|name| layout::parse_prepared(name)).collect();
        let decision = decide(&offsets, &prepared, &commits).map_err(|e| place(&inner.location, e))?;
        let last = match commits.last() {
            None => None,
            Some(batch) => {
                let (commit, prepared) = inner.load_committed(*batch).await?;
                Some(Committed { offsets: inner.offsets(*batch).await?, prepared, commit })
            }
        };
        let pending = match &decision {
            Recovery::Replay { batch, prepared: attempts } => {
                let mut prepared = Vec::with_capacity(attempts.len());
                for attempt in attempts {
                    prepared.push(inner.prepared(*batch, *attempt).await?.0);
                }
                prepared.sort_by_key(|record| std::cmp::Reverse(record.epoch));
                let prepared = prepared.into_iter().map(|record| record.entry).collect();
                Some(Pending { offsets: inner.offsets(*batch).await?, prepared })
            }
            Recovery::Fresh | Recovery::Next { .. } => None,
        };
        Ok(Recovered { decision, last, pending })
    }

    /// Logs what a batch reads, before it reads anything. A replayed batch keeps the record it has.
    ///
    /// # Errors
    /// CHECKPOINT_FENCED where another run has started or has planned the batch; CHECKPOINT_IO.
    pub async fn write_offsets(&self, entry: &OffsetsEntry) -> Result<()> {
        let inner = &self.inner;
        inner.check_epoch().await?;
        let path = layout::offsets(entry.batch);
        if let Some(found) = inner.create(&path, envelope::encode(OFFSETS, entry)?).await? {
            let other: OffsetsEntry = inner.decode(&path, OFFSETS, &found)?;
            if other.run_id != inner.run_id {
                return Err(inner.fenced_by(other.epoch).await);
            }
            return Err(Error::internal(format!("batch {} was planned twice, with different offsets", entry.batch)));
        }
        inner.fail.hit(fail::AFTER_OFFSETS)
    }

    /// Logs what an attempt produced, once all of it is durable and before any of it is visible.
    ///
    /// # Errors
    /// CHECKPOINT_FENCED where another run has started; CHECKPOINT_IO.
    pub async fn write_prepared(&self, entry: &PreparedEntry) -> Result<()> {
        let inner = &self.inner;
        inner.fail.hit(fail::BEFORE_PREPARED)?;
        inner.check_epoch().await?;
        let (batch, attempt) = (entry.sink.batch, entry.sink.attempt);
        let path = layout::prepared(batch, attempt);
        let bytes = envelope::encode(PREPARED, &PreparedRecord { epoch: inner.epoch, entry })?;
        let sha256 = sha256(&bytes);
        if inner.create(&path, bytes).await?.is_some() {
            return Err(Error::internal(format!("attempt {attempt} of batch {batch} was prepared twice")));
        }
        // A run that starts from here on finds the record. One that has started already may not have, and will run the batch
        // itself: then this attempt must not become visible.
        inner.check_epoch().await?;
        *inner.prepared.lock() = Some((batch, attempt, sha256));
        inner.fail.hit(fail::AFTER_PREPARED)
    }

    /// Decides that `attempt` of `batch` counts. Deciding the same again is fine.
    ///
    /// # Errors
    /// CHECKPOINT_FENCED where another run has started, or has decided otherwise; CHECKPOINT_CORRUPT where the attempt's
    /// prepared record cannot be read; CHECKPOINT_IO.
    pub async fn commit(&self, batch: u64, attempt: Uuid) -> Result<()> {
        let inner = &self.inner;
        inner.check_epoch().await?;
        let known = inner.prepared.lock().clone().filter(|(b, a, _)| (*b, *a) == (batch, attempt));
        let prepared_sha256 = match known {
            Some((_, _, sha256)) => sha256,
            None => inner.prepared(batch, attempt).await?.1,
        };
        let entry = CommitEntry { batch, attempt, epoch: inner.epoch, prepared_sha256 };
        let path = layout::commit(batch);
        if let Some(found) = inner.create(&path, envelope::encode(COMMIT, &entry)?).await? {
            let other: CommitEntry = inner.decode(&path, COMMIT, &found)?;
            if other.attempt != attempt {
                return Err(inner.fenced_by(other.epoch).await);
            }
        }
        *inner.committed.lock() = Some(batch);
        inner.fail.hit(fail::AFTER_COMMIT)
    }

    /// Keeps a plan under its hash (letters and digits). Keeping the same plan again is fine.
    ///
    /// # Errors
    /// CHECKPOINT_CORRUPT where another plan is kept under the hash; CHECKPOINT_FENCED; CHECKPOINT_IO.
    pub async fn write_plan(&self, hash: &str, plan: &Value) -> Result<()> {
        let inner = &self.inner;
        inner.check_epoch().await?;
        let path = layout::plan(hash);
        let entry = PlanEntry { hash: hash.to_string(), plan: plan.clone() };
        // Most starts find their plan, and a read is cheaper than a create.
        let found = match inner.store.get(&path).await? {
            Some(found) => Some(found),
            None => inner.create(&path, envelope::encode(PLAN, &entry)?).await?,
        };
        if let Some(found) = found {
            let other: PlanEntry = inner.decode(&path, PLAN, &found)?;
            if other.plan != entry.plan {
                return Err(inner.corrupt(&path, "holds another plan of the same hash"));
            }
        }
        Ok(())
    }

    /// The plan kept under `hash`.
    ///
    /// # Errors
    /// CHECKPOINT_CORRUPT where there is none, or a damaged one; CHECKPOINT_IO.
    pub async fn read_plan(&self, hash: &str) -> Result<Value> {
        let path = layout::plan(hash);
        let (entry, _) = self.inner.require::<PlanEntry>(&path, PLAN).await?;
        if entry.hash != hash {
            return Err(self.inner.corrupt(&path, format!("holds the plan {}", entry.hash)));
        }
        Ok(entry.plan)
    }

    /// Hash and plan of the newest planned batch; None before the first.
    ///
    /// # Errors
    /// CHECKPOINT_CORRUPT; CHECKPOINT_IO.
    pub async fn latest_plan(&self) -> Result<Option<(String, Value)>> {
        let Some(batch) = self.inner.numbers(layout::OFFSETS).await?.last().copied() else { return Ok(None) };
        let hash = self.inner.offsets(batch).await?.plan;
        let plan = self.read_plan(&hash).await?;
        Ok(Some((hash, plan)))
    }
}

impl Inner {
    /// The numbered objects under `prefix`.
    pub async fn numbers(&self, prefix: &str) -> Result<BTreeSet<u64>> {
        let names = self.store.list(prefix).await?;
        Ok(names.iter().filter_map(|name| layout::parse_numbered(prefix, name)).collect())
    }

    async fn offsets(&self, batch: u64) -> Result<OffsetsEntry> {
        let path = layout::offsets(batch);
        let (entry, _) = self.require::<OffsetsEntry>(&path, OFFSETS).await?;
        if entry.batch != batch {
            return Err(self.corrupt(&path, format!("holds batch {}", entry.batch)));
        }
        Ok(entry)
    }

    /// A prepared record and its hash.
    async fn prepared(&self, batch: u64, attempt: Uuid) -> Result<(PreparedRecord<PreparedEntry>, String)> {
        let path = layout::prepared(batch, attempt);
        let (record, bytes) = self.require::<PreparedRecord<PreparedEntry>>(&path, PREPARED).await?;
        let found = (record.entry.sink.batch, record.entry.sink.attempt);
        if found != (batch, attempt) {
            return Err(self.corrupt(&path, format!("holds batch {}, attempt {}", found.0, found.1)));
        }
        Ok((record, sha256(&bytes)))
    }

    /// The decision on a batch, and the prepared record it names.
    pub async fn load_committed(&self, batch: u64) -> Result<(CommitEntry, PreparedEntry)> {
        let path = layout::commit(batch);
        let (commit, _) = self.require::<CommitEntry>(&path, COMMIT).await?;
        if commit.batch != batch {
            return Err(self.corrupt(&path, format!("holds batch {}", commit.batch)));
        }
        let (PreparedRecord { entry: prepared, .. }, sha256) = self.prepared(batch, commit.attempt).await?;
        if sha256 != commit.prepared_sha256 {
            let what = format!("has SHA-256 {sha256}, {path} says {}", commit.prepared_sha256);
            return Err(self.corrupt(&layout::prepared(batch, commit.attempt), what));
        }
        Ok((commit, prepared))
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
