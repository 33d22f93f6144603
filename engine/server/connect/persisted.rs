//! What a client has asked to be kept: `persist()`, `cache()`, `unpersist()`, `storageLevel`.
//!
//! Comes in: relations. Goes out: frames that keep their rows once these are computed. Fails: streams, and what making a frame fails with.

use super::plan::{Kept, Planner};
use super::session::ClientSession;
use crate::error::Result;
use parking_lot::Mutex;
use spark_connect_proto::{Relation, StorageLevel};

/// The relations of a session that are kept. A program's frame is the same relation, number and all, in every request; so only what is
/// the same to the last byte is taken for it.
#[derive(Default)]
pub struct Persisted(Mutex<Vec<(Relation, StorageLevel, Kept)>>);

impl Persisted {
    /// The frame of a relation that is kept.
    pub fn find(&self, relation: &Relation) -> Option<Kept> {
        let kept = self.0.lock();
        kept.iter().find(|(known, ..)| known == relation).map(|(.., kept)| kept.clone())
    }

    /// How a relation is kept; not at all, by default.
    pub fn level(&self, relation: &Relation) -> StorageLevel {
        let kept = self.0.lock();
        let found = kept.iter().find(|(known, ..)| known == relation).map(|(_, level, _)| *level);
        found.unwrap_or(StorageLevel { replication: 1, ..StorageLevel::default() })
    }

    /// Lets a relation's rows go; frames that are being computed still have them.
    pub fn remove(&self, relation: &Relation) {
        self.0.lock().retain(|(known, ..)| known != relation);
    }

    /// Lets everything go.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Keeps the rows of a relation from the first time on that they are computed.
///
/// # Errors
/// As the module says.
pub async fn persist(client: &ClientSession, relation: Relation, level: StorageLevel) -> Result<()> {
    if client.persisted.find(&relation).is_some() {
        return Ok(());
    }
    let kept = Planner::new(client).kept(&relation).await?;
    client.persisted.0.lock().push((relation, level, kept));
    Ok(())
}
