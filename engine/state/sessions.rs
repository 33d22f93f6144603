//! Keyed state of an aggregation by session windows: for each key its sessions, which neither overlap nor touch.
//!
//! Comes in: partial aggregates of the sessions of a chunk, times that have passed, state files. Goes out: sessions, and their state. Fails:
//! sums outside their type, and files that are not this state.
//!
//! A change is stored by key: the keys that changed, and all sessions that they have now.

use super::accumulator::Accumulator;
use super::rows::{self, Key, Keys};
use crate::error::{Error, ErrorCode, Result};
use crate::operator::partial::PartialColumn;
use crate::plan::aggregate::Call;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::Rows;
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a session beside its key and its aggregates, roughly.
const SESSION_BYTES: usize = 24;

/// A session of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The first row's time in microseconds.
    pub start: i64,
    /// The greatest end of its rows' gaps, in microseconds; not part of the session.
    pub end: i64,
    slot: u32,
}

/// The sessions of all keys.
pub struct Sessions {
    keys: Keys,
    calls: Vec<Call>,
    /// Sessions by key, in order of time.
    of_key: FxHashMap<Key, Vec<Session>>,
    /// Every session by its end.
    by_end: BTreeSet<(i64, Key, i64)>,
    accumulators: Vec<Accumulator>,
    /// Groups that the accumulators have, those without a session included.
    slots: u32,
    changed: FxHashSet<Key>,
}

impl Sessions {
    /// State without sessions.
    ///
    /// # Errors
    /// Key types that cannot be compared.
    pub fn new(key_types: Vec<DataType>, calls: Vec<Call>) -> Result<Self> {
        Ok(Self {
            keys: Keys::new(key_types)?,
            accumulators: calls.iter().map(Accumulator::new).collect(),
            calls,
            of_key: FxHashMap::default(),
            by_end: BTreeSet::new(),
            slots: 0,
            changed: FxHashSet::default(),
        })
    }

    /// Starts a batch: nothing is changed.
    ///
    /// # Errors
    /// State that does not encode.
    pub fn begin(&mut self) -> Result<()> {
        self.changed.clear();
        self.compact()
    }

    /// Comparable bytes of each key of a chunk.
    ///
    /// # Errors
    /// Columns of other types.
    pub fn rows(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.keys.rows(columns)
    }

    /// Merges group `from` of a chunk, whose rows make a session from `start` to `end`. Returns the number of starts at which no session
    /// begins any more.
    ///
    /// # Errors
    /// Sums outside their type.
    pub fn merge(&mut self, key: &[u8], start: i64, end: i64, partials: &[PartialColumn], from: usize) -> Result<u64> {
        let (key, mut sessions) = match self.of_key.remove_entry(key) {
            Some(found) => found,
            None => (Key::from(key), vec![]),
        };
        // Sessions that end where another starts are one.
        let first = sessions.partition_point(|session| session.end < start);
        let last = sessions.partition_point(|session| session.start <= end);
        let mut touched: Vec<Session> = sessions.drain(first..last).collect();
        for session in &touched {
            self.by_end.remove(&(session.end, key.clone(), session.start));
        }
        let starts: Vec<i64> = touched.iter().map(|session| session.start).collect();
        // What is collected is in order of the sessions' starts, as a row that comes late does not change that.
        let after = touched.partition_point(|session| session.start <= start);
        let own = match after.checked_sub(1).and_then(|before| touched.get(before)).filter(|_| after == touched.len()) {
            Some(last) => last.slot,
            None => {
                let slot = self.slot();
                touched.insert(after, Session { start, end, slot });
                slot
            }
        };
        for (accumulator, partial) in self.accumulators.iter_mut().zip(partials) {
            accumulator.merge(own as usize, partial, from)?;
        }
        let Some(mut merged) = touched.first().copied() else { return Err(Error::internal("a session of nothing")) };
        for session in touched.iter().skip(1) {
            for accumulator in &mut self.accumulators {
                accumulator.absorb(merged.slot as usize, session.slot as usize)?;
            }
            (merged.start, merged.end) = (merged.start.min(session.start), merged.end.max(session.end));
        }
        (merged.start, merged.end) = (merged.start.min(start), merged.end.max(end));
        // Sessions are kept by their starts: one that begins earlier now is another.
        let absorbed = starts.iter().filter(|start| **start != merged.start).count() as u64;
        self.by_end.insert((merged.end, key.clone(), merged.start));
        sessions.insert(first, merged);
        self.changed.insert(key.clone());
        self.of_key.insert(key, sessions);
        Ok(absorbed)
    }

    /// Sessions that end at `watermark` or before it, in order of start and key.
    pub fn ended(&self, watermark: i64) -> Vec<(Key, Session)> {
        let ended = self.by_end.iter().take_while(|(end, _, _)| *end <= watermark);
        let ended = ended.filter_map(|(_, key, start)| Some((key.clone(), self.session(key, *start)?)));
        ordered(ended.collect())
    }

    /// Every session, in order of start and key.
    pub fn all(&self) -> Vec<(Key, Session)> {
        let each = self.of_key.iter().flat_map(|(key, sessions)| sessions.iter().map(|s| (key.clone(), *s)));
        ordered(each.collect())
    }

    /// Forgets sessions.
    pub fn remove(&mut self, gone: &[(Key, Session)]) {
        for (key, session) in gone {
            self.by_end.remove(&(session.end, key.clone(), session.start));
            self.changed.insert(key.clone());
            if let Some(sessions) = self.of_key.get_mut(key) {
                sessions.retain(|other| other.slot != session.slot);
                if sessions.is_empty() {
                    self.of_key.remove(key);
                }
            }
        }
    }

    /// Key columns of sessions.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn key_columns(&self, sessions: &[(Key, Session)]) -> Result<Vec<ArrayRef>> {
        self.keys.columns(sessions.iter().map(|(key, _)| key.as_ref()))
    }

    /// Results of call `index` for sessions.
    ///
    /// # Errors
    /// Sums outside their type.
    pub fn results(&self, index: usize, sessions: &[(Key, Session)]) -> Result<ArrayRef> {
        let (Some(accumulator), Some(call)) = (self.accumulators.get(index), self.calls.get(index)) else {
            return Err(Error::internal("no such aggregate call"));
        };
        accumulator.results(call, &slots(sessions))
    }

    /// Number of sessions.
    pub fn len(&self) -> u64 {
        self.by_end.len() as u64
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// Ends the merging of a batch.
    ///
    /// # Errors
    /// State that a call on the host refuses.
    pub fn settle(&mut self) -> Result<()> {
        let changed = self.changed.iter().filter_map(|key| self.of_key.get(key)).flatten();
        let groups: Vec<u32> = changed.map(|session| session.slot).collect();
        self.accumulators.iter_mut().try_for_each(|accumulator| accumulator.settle(&groups))
    }

    /// Sessions of the keys that changed in this batch.
    pub fn touched(&self) -> u64 {
        self.changed.iter().filter_map(|key| self.of_key.get(key)).map(|sessions| sessions.len() as u64).sum()
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> u64 {
        let keys: usize = self.of_key.iter().map(|(key, s)| 64 + key.len() + s.len() * (SESSION_BYTES + 48)).sum();
        (keys + self.accumulators.iter().map(Accumulator::memory).sum::<usize>()) as u64
    }

    /// What has changed in this batch, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    pub fn delta(&self) -> Result<(Bytes, u64)> {
        let mut changed: Vec<&Key> = self.changed.iter().collect();
        changed.sort_unstable();
        let of =
            |key: &&Key| self.of_key.get(*key).into_iter().flatten().map(|s| ((*key).clone(), *s)).collect::<Vec<_>>();
        let sessions = changed.iter().flat_map(of).collect();
        self.file(&changed, sessions)
    }

    /// Everything, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    pub fn snapshot(&self) -> Result<(Bytes, u64)> {
        self.file(&[], self.all())
    }

    /// Applies a file: everything, or a change.
    ///
    /// # Errors
    /// `CheckpointCorrupt` for a file of another state.
    pub fn apply(&mut self, bytes: &[u8], snapshot: bool) -> Result<()> {
        if snapshot {
            self.of_key.clear();
            self.by_end.clear();
            self.slots = 0;
            self.accumulators = self.calls.iter().map(Accumulator::new).collect();
        }
        let [changed_schema, session_schema] = self.schemas();
        let damaged = || Error::new(ErrorCode::CheckpointCorrupt, "a state file has another shape than sessions");
        let tables = rows::read(bytes, &[changed_schema, session_schema])?;
        let [changed, sessions] = tables.as_slice() else { return Err(damaged()) };
        for key in self.keys.rows(changed.columns())?.iter() {
            for session in self.of_key.remove(key.data()).unwrap_or_default() {
                self.by_end.remove(&(session.end, Key::from(key.data()), session.start));
            }
        }
        let (key_columns, rest) = sessions.columns().split_at(self.keys.width());
        let [starts, ends, state @ ..] = rest else { return Err(damaged()) };
        let number = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(damaged);
        let (starts, ends) = (number(starts)?, number(ends)?);
        let keys = self.keys.rows(key_columns)?;
        for row in 0..sessions.num_rows() {
            let slot = self.slot();
            self.decode(slot, state, row)?;
            let key = Key::from(keys.row(row).data());
            let session = Session { start: starts.value(row), end: ends.value(row), slot };
            self.by_end.insert((session.end, key.clone(), session.start));
            // A key's sessions are stored in order.
            self.of_key.entry(key).or_default().push(session);
        }
        self.changed.clear();
        Ok(())
    }

    fn decode(&mut self, slot: u32, mut state: &[ArrayRef], row: usize) -> Result<()> {
        for (position, accumulator) in self.accumulators.iter_mut().enumerate() {
            let width = accumulator.fields(position).len();
            let (own, rest) =
                state.split_at_checked(width).ok_or_else(|| Error::internal("a state column is missing"))?;
            accumulator.decode(slot as usize, own, row)?;
            state = rest;
        }
        Ok(())
    }

    fn session(&self, key: &Key, start: i64) -> Option<Session> {
        self.of_key.get(key)?.iter().find(|session| session.start == start).copied()
    }

    /// A new group of the accumulators.
    fn slot(&mut self) -> u32 {
        self.accumulators.iter_mut().for_each(Accumulator::push);
        self.slots += 1;
        self.slots - 1
    }

    /// Lets go of groups without a session, once they are most of all.
    fn compact(&mut self) -> Result<()> {
        let live = self.by_end.len();
        if (self.slots as usize) < 2 * live + 64 {
            return Ok(());
        }
        let sessions = self.all();
        let groups = slots(&sessions);
        let state: Vec<Vec<ArrayRef>> = self.accumulators.iter().map(|a| a.encode(&groups)).collect::<Result<_>>()?;
        let state: Vec<ArrayRef> = state.into_iter().flatten().collect();
        self.accumulators = self.calls.iter().map(Accumulator::new).collect();
        self.slots = 0;
        for (row, (key, session)) in sessions.into_iter().enumerate() {
            let slot = self.slot();
            self.decode(slot, &state, row)?;
            let own = self.of_key.get_mut(&key).into_iter().flatten().find(|own| own.start == session.start);
            own.ok_or_else(|| Error::internal("a session without a place"))?.slot = slot;
        }
        Ok(())
    }

    /// The table of changed keys, and that of sessions.
    fn schemas(&self) -> [SchemaRef; 2] {
        let (keys, mut sessions) = (self.keys.fields(), self.keys.fields());
        sessions.extend(["start", "end"].map(|name| Field::new(name, DataType::Int64, false)));
        for (position, call) in self.calls.iter().enumerate() {
            // State of another version of a function is another state.
            let tag = match call {
                Call::Host(call) => Some(("tidemill.function".to_string(), call.tag().to_string())),
                _ => None,
            };
            let fields = Accumulator::new(call).fields(position).into_iter();
            sessions.extend(fields.map(|field| field.with_metadata(tag.clone().into_iter().collect())));
        }
        [Arc::new(Schema::new(keys)), Arc::new(Schema::new(sessions))]
    }

    fn file(&self, changed: &[&Key], sessions: Vec<(Key, Session)>) -> Result<(Bytes, u64)> {
        let [changed_schema, session_schema] = self.schemas();
        let keys = self.keys.columns(changed.iter().map(|key| key.as_ref()))?;
        let changed = rows::table(&changed_schema, keys, changed.len())?;
        let mut columns = self.key_columns(&sessions)?;
        columns.push(Arc::new(sessions.iter().map(|(_, s)| Some(s.start)).collect::<Int64Array>()));
        columns.push(Arc::new(sessions.iter().map(|(_, s)| Some(s.end)).collect::<Int64Array>()));
        let groups = slots(&sessions);
        for accumulator in &self.accumulators {
            columns.extend(accumulator.encode(&groups)?);
        }
        let count = sessions.len();
        let sessions = rows::table(&session_schema, columns, count)?;
        Ok((rows::write(&[changed, sessions])?, count as u64))
    }
}

fn slots(sessions: &[(Key, Session)]) -> Vec<u32> {
    sessions.iter().map(|(_, session)| session.slot).collect()
}

fn ordered(mut sessions: Vec<(Key, Session)>) -> Vec<(Key, Session)> {
    sessions.sort_unstable_by(|(a, s), (b, t)| (s.start, a).cmp(&(t.start, b)));
    sessions
}
