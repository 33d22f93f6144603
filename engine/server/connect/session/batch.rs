//! Where the function of a query with `foreachBatch` sees its frames: a clone of the client's session, which lives as long as the query.
//!
//! Comes in: the client's session, when the query starts. Goes out: [`BatchSession`]. Fails: a session that is closed in the meantime.
//!
//! So views and settings of the function are its own, as in Spark since 4.3; `spark.sql.connect.streaming.foreachBatch.useClonedSession=false` has
//! the function in the client's session, as before. A clone is nobody's session: it is not counted as open, and not closed for being idle.

use super::{ClientSession, Inner, Key, close};
use crate::error::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::runtime::Handle;
use uuid::Uuid;

/// Whether functions of `foreachBatch` have a session of their own. Default `true`.
const USE_CLONED_SESSION: &str = "spark.sql.connect.streaming.foreachBatch.useClonedSession";
/// What Spark turns off in the session of a query that keeps state.
const ADAPTIVE: &str = "spark.sql.adaptive.enabled";

/// The session of a query's batches.
pub enum BatchSession {
    /// One of the query's own.
    Own(OwnSession),
    /// The client's. One that is let go is not held by its queries, which end with it.
    Clients(Weak<ClientSession>),
}

/// A query's own session, which is closed when this is dropped.
pub struct OwnSession {
    session: Arc<ClientSession>,
    home: Weak<Mutex<Inner>>,
}

/// Sessions of queries, by their ids.
#[derive(Default)]
pub(super) struct Clones {
    all: HashMap<Key, Entry>,
}

struct Entry {
    /// The session that has started the query.
    parent: Key,
    session: Arc<ClientSession>,
}

impl Clones {
    pub fn get(&self, key: &Key) -> Option<&Arc<ClientSession>> {
        self.all.get(key).map(|entry| &entry.session)
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<ClientSession>> {
        self.all.remove(key).map(|entry| entry.session)
    }

    pub fn all(&self) -> Vec<Arc<ClientSession>> {
        self.all.values().map(|entry| entry.session.clone()).collect()
    }

    /// Takes out the sessions of the queries that were started in the session `key`, and of the queries that were started in those.
    pub fn remove_below(&mut self, key: &Key) -> Vec<(Key, Arc<ClientSession>)> {
        let (mut parents, mut taken) = (vec![key.clone()], Vec::new());
        while let Some(parent) = parents.pop() {
            for (key, entry) in self.all.extract_if(|_, entry| entry.parent == parent) {
                parents.push(key.clone());
                taken.push((key, entry.session));
            }
        }
        taken
    }
}

impl BatchSession {
    /// The session for a query of `client` that starts now, and whether the query keeps state.
    ///
    /// # Errors
    /// A session that has been closed.
    pub fn new(client: &Arc<ClientSession>, stateful: bool) -> Result<Self> {
        if client.session.conf().get(USE_CLONED_SESSION).is_some_and(|set| set.eq_ignore_ascii_case("false")) {
            return Ok(Self::Clients(Arc::downgrade(client)));
        }
        let session = client.session.clone_session()?;
        if stateful {
            session.conf().set(ADAPTIVE, false)?;
        }
        let copy = client.copy(&Uuid::new_v4().to_string(), session);
        let home = client.home.upgrade().ok_or_else(closed)?;
        let mut inner = home.lock();
        let parent = client.key();
        if !inner.get(&parent).is_some_and(|open| Arc::ptr_eq(open, client)) {
            return Err(closed());
        }
        inner.clones.all.insert(copy.key(), Entry { parent, session: copy.clone() });
        Ok(Self::Own(OwnSession { session: copy, home: client.home.clone() }))
    }

    /// The session.
    ///
    /// # Errors
    /// As [`BatchSession::new`].
    pub fn session(&self) -> Result<Arc<ClientSession>> {
        match self {
            Self::Own(own) => Ok(own.session.clone()),
            Self::Clients(client) => client.upgrade().ok_or_else(closed),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::UserCode, "the session of foreachBatch has been closed")
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        // None where the client's session was closed before its query had ended.
        let Some((session, clones)) = home.lock().take(&self.session.key(), false) else { return };
        session.interrupt(|_| true);
        // Without a runtime nothing runs that could be waited for.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { close(&session, &clones).await });
        }
    }
}
