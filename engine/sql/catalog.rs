//! The tables and views that a session knows by name.
//!
//! Comes in: definitions. Goes out: frames. Fails: names that there are not, with the nearest that there is, and names that are taken.

use super::table::TableDefinition;
use crate::error::{Error, ErrorCode, Result};
use crate::options::edits;
use crate::plan::logical::LogicalPlan;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What names of views begin with that a session and its clones have in common.
const GLOBAL: &str = "global_temp.";

/// What a name stands for. A view is kept as its plan: a frame holds the session, which would never be dropped.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// `CREATE VIEW`, or a frame that was given a name.
    View(Arc<LogicalPlan>),
    /// `CREATE TABLE`: where rows come from or go to.
    Table(Arc<TableDefinition>),
}

/// Names, without regard to case and kept as written.
#[derive(Debug, Default)]
struct Names {
    entries: Mutex<BTreeMap<String, (String, Entry)>>,
    /// What to read in place of a name whose rows are kept in memory.
    kept: Mutex<BTreeMap<String, Arc<LogicalPlan>>>,
}

impl Names {
    fn has(&self, key: &str) -> bool {
        self.entries.lock().contains_key(key)
    }
}

/// What a session knows by name: views of its own, and tables, which a session and its clones have in common, as in Spark. A view hides a table of its name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    own: Names,
    shared: Arc<Names>,
}

impl Clone for Catalog {
    /// A catalog with the same tables, and with the same views, which then go their own way.
    fn clone(&self) -> Self {
        let own = Names {
            entries: Mutex::new(self.own.entries.lock().clone()),
            kept: Mutex::new(self.own.kept.lock().clone()),
        };
        Self { own, shared: self.shared.clone() }
    }
}

impl Catalog {
    /// Gives `name` a meaning.
    ///
    /// # Errors
    /// [`ErrorCode::TableExists`] for a name that has one, unless it is to be replaced.
    pub fn put(&self, name: &str, entry: Entry, replace: bool) -> Result<()> {
        self.put_or(name, entry, replace, ErrorCode::TableExists)
    }

    /// Gives `name` a meaning as a temporary view.
    ///
    /// # Errors
    /// [`ErrorCode::TempViewExists`] for a name that has one, unless it is to be replaced.
    pub fn put_temporary(&self, name: &str, entry: Entry, replace: bool) -> Result<()> {
        self.put_or(name, entry, replace, ErrorCode::TempViewExists)
    }

    fn put_or(&self, name: &str, entry: Entry, replace: bool, taken: ErrorCode) -> Result<()> {
        let key = name.to_ascii_lowercase();
        if !replace && (self.own.has(&key) || self.shared.has(&key)) {
            return Err(Error::new(
                taken,
                format!(
                    "there is a table or view named `{name}` already; write CREATE OR REPLACE, or choose another name"
                ),
            )
            .with_parameter("relationName", format!("`{name}`")));
        }
        self.let_go(name);
        let shared = matches!(entry, Entry::Table(_)) || key.starts_with(GLOBAL);
        let names = match shared {
            true => {
                self.own.entries.lock().remove(&key);
                &*self.shared
            }
            false => &self.own,
        };
        names.entries.lock().insert(key, (name.to_string(), entry));
        Ok(())
    }

    /// The names among which `key` is found first.
    fn names_of(&self, key: &str) -> &Names {
        match self.own.has(key) || !self.shared.has(key) {
            true => &self.own,
            false => &self.shared,
        }
    }

    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<Entry> {
        let key = name.to_ascii_lowercase();
        self.names_of(&key).entries.lock().get(&key).map(|(_, entry)| entry.clone())
    }

    /// Takes the meaning of `name` away.
    pub fn remove(&self, name: &str) -> Option<Entry> {
        self.let_go(name);
        let key = name.to_ascii_lowercase();
        self.names_of(&key).entries.lock().remove(&key).map(|(_, entry)| entry)
    }

    /// Has `plan` read in place of what `name` stands for, until that is something else.
    pub fn keep(&self, name: &str, plan: Arc<LogicalPlan>) {
        let key = name.to_ascii_lowercase();
        self.names_of(&key).kept.lock().insert(key, plan);
    }

    /// What to read in place of `name`, where its rows are kept.
    pub fn kept(&self, name: &str) -> Option<Arc<LogicalPlan>> {
        let key = name.to_ascii_lowercase();
        self.names_of(&key).kept.lock().get(&key).cloned()
    }

    /// Undoes [`Catalog::keep`].
    pub fn let_go(&self, name: &str) {
        let key = name.to_ascii_lowercase();
        self.names_of(&key).kept.lock().remove(&key);
    }

    /// Undoes every [`Catalog::keep`].
    #[cfg(feature = "connect")]
    pub fn let_all_go(&self) {
        self.own.kept.lock().clear();
        self.shared.kept.lock().clear();
    }

    /// Every name as written, and whether it is a view's.
    #[cfg(feature = "connect")]
    pub fn names(&self) -> Vec<(String, bool)> {
        let mut all = self.shared.entries.lock().clone();
        all.extend(self.own.entries.lock().clone());
        all.into_values().map(|(name, entry)| (name, matches!(entry, Entry::View(_)))).collect()
    }

    /// The refusal of a name that stands for nothing; `others` are names that count too.
    pub fn missing<'n>(&self, name: &str, others: impl IntoIterator<Item = &'n String>) -> Error {
        let (own, shared) = (self.own.entries.lock(), self.shared.entries.lock());
        let known =
            own.values().chain(shared.values()).map(|(name, _)| name.clone()).chain(others.into_iter().cloned());
        let wanted = name.to_lowercase();
        let near = known.map(|k| (edits(&wanted, &k.to_lowercase()), k)).min();
        let message = match near {
            Some((distance, near)) if distance <= (name.len() / 2).max(2) => {
                format!("there is no table or view named `{name}`; did you mean `{near}`?")
            }
            _ => format!("there is no table or view named `{name}`; CREATE it, or read files as json.`path`"),
        };
        Error::new(ErrorCode::TableNotFound, message).with_parameter("relationName", format!("`{name}`"))
    }
}
