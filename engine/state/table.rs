//! Keyed state of an aggregation: groups by window start and key, columns of accumulators.
//!
//! Comes in: partial aggregates to merge, windows to drop, state files to apply. Goes out: groups touched since the last batch, and
//! their state as Arrow batches. Windows are kept apart, so expiry drops whole tables.

use super::accumulator::Accumulator;
use crate::error::{Error, ErrorCode, Result};
use crate::operator::partial::Partials;
use crate::plan::aggregate::Call;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Window start of groups that belong to no window.
pub const NO_WINDOW: i64 = i64::MIN;

/// Metadata of a state column: the call whose state it is.
const CALL_KEY: &str = "tidemill.call";
/// Metadata of a state column: the function, with its version, that made it.
const FUNCTION_KEY: &str = "tidemill.function";

/// The state of one aggregation.
pub struct Table {
    key_types: Vec<DataType>,
    calls: Vec<Call>,
    /// What each call's state is known by.
    texts: Vec<String>,
    converter: RowConverter,
    windows: BTreeMap<i64, Window>,
    /// Number of the batch in progress; groups stamped with it are touched.
    stamp: u64,
    /// Windows dropped since the last state file.
    dropped: Vec<i64>,
}

/// The groups of one window.
struct Window {
    index: HashTable<u32>,
    keys: Vec<Box<[u8]>>,
    accumulators: Vec<Accumulator>,
    /// Batch in which each group was last touched.
    stamps: Vec<u64>,
    /// Groups touched in batch `stamp`.
    touched: Vec<u32>,
    stamp: u64,
}

/// Some groups of one window, in order of their keys.
pub struct Selection {
    /// Window start, or [`NO_WINDOW`].
    pub start: i64,
    /// Group numbers within the window.
    pub groups: Vec<u32>,
}

impl Table {
    /// An empty table of calls, with their texts, by which a state file's columns are found.
    pub fn new(key_types: Vec<DataType>, calls: Vec<Call>, texts: Vec<String>) -> Result<Self> {
        let fields = key_types.iter().map(|t| SortField::new(t.clone())).collect();
        let converter = RowConverter::new(fields)?;
        Ok(Self { key_types, calls, texts, converter, windows: BTreeMap::new(), stamp: 1, dropped: vec![] })
    }

    /// Starts a batch: nothing is touched.
    pub fn begin(&mut self) {
        self.stamp += 1;
        self.dropped.clear();
    }

    /// Key rows of a chunk's groups, in the form that [`Table::merge`] takes.
    pub fn encode_keys(&self, keys: &[ArrayRef], groups: usize) -> Result<KeyRows> {
        Ok(match keys {
            [] => KeyRows { rows: None, groups },
            _ => KeyRows { rows: Some(self.converter.convert_columns(keys)?), groups },
        })
    }

    /// Merges group `from` of a chunk into the window that starts at `start`.
    pub fn merge(&mut self, start: i64, keys: &KeyRows, partials: &Partials, from: usize) -> Result<()> {
        let calls = &self.calls;
        let window = self.windows.entry(start).or_insert_with(|| Window::new(calls));
        let group = window.group(keys.get(from), self.stamp);
        for (accumulator, partial) in window.accumulators.iter_mut().zip(&partials.aggregates) {
            accumulator.merge(group, partial, from)?;
        }
        Ok(())
    }

    /// Makes sure that the one group of an aggregation without keys exists, and touches it.
    pub fn touch_global(&mut self) {
        let calls = &self.calls;
        self.windows.entry(NO_WINDOW).or_insert_with(|| Window::new(calls)).group(&[], self.stamp);
    }

    /// Ends the merging of a batch; results and state can be read then.
    pub fn settle(&mut self) -> Result<()> {
        for window in self.windows.values_mut().filter(|w| w.stamp == self.stamp) {
            let Window { accumulators, touched, .. } = window;
            accumulators.iter_mut().try_for_each(|a| a.settle(touched))?;
        }
        Ok(())
    }

    /// Groups touched in this batch.
    pub fn touched(&self) -> Vec<Selection> {
        let touched = self.windows.iter().filter(|(_, window)| window.stamp == self.stamp);
        touched.map(|(start, window)| window.ordered(*start, window.touched.clone())).collect()
    }

    /// Every group.
    pub fn all(&self) -> Vec<Selection> {
        self.ended(|_| true)
    }

    /// Groups of windows whose start satisfies `ended`.
    pub fn ended(&self, ended: impl Fn(i64) -> bool) -> Vec<Selection> {
        let windows = self.windows.iter().filter(|(start, window)| ended(**start) && !window.keys.is_empty());
        windows.map(|(start, window)| window.ordered(*start, (0..window.keys.len() as u32).collect())).collect()
    }

    /// Drops the windows whose start satisfies `ended`; returns the number of groups dropped.
    pub fn drop_windows(&mut self, ended: impl Fn(i64) -> bool) -> u64 {
        let gone: Vec<i64> = self.windows.keys().copied().filter(|start| ended(*start)).collect();
        let mut groups = 0;
        for start in gone {
            groups += self.windows.remove(&start).map_or(0, |w| w.keys.len() as u64);
            self.dropped.push(start);
        }
        groups
    }

    /// Key columns of selected groups.
    pub fn keys(&self, selections: &[Selection]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = selections.iter().flat_map(|s| {
            let window = self.windows.get(&s.start);
            s.groups.iter().filter_map(move |g| window?.keys.get(*g as usize))
        });
        if self.key_types.is_empty() {
            return Ok(vec![]);
        }
        Ok(self.converter.convert_rows(rows.map(|bytes| parser.parse(bytes)))?)
    }

    /// Results of call `index` for selected groups.
    pub fn results(&self, index: usize, selections: &[Selection]) -> Result<ArrayRef> {
        let call = self.calls.get(index).ok_or_else(|| Error::internal("no such aggregate call"))?;
        self.concatenated(selections, |window, groups| {
            let accumulator = window.accumulators.get(index).ok_or_else(|| Error::internal("no such accumulator"))?;
            Ok(vec![accumulator.results(call, groups)?])
        })
        .map(|mut columns| columns.remove(0))
    }

    fn concatenated(
        &self,
        selections: &[Selection],
        of: impl Fn(&Window, &[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Vec<ArrayRef>> {
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        for selection in selections {
            if let Some(window) = self.windows.get(&selection.start) {
                parts.push(of(window, &selection.groups)?);
            }
        }
        if parts.is_empty() {
            parts.push(of(&Window::new(&self.calls), &[])?);
        }
        let columns = parts.first().map_or(0, Vec::len);
        (0..columns)
            .map(|c| {
                let arrays: Vec<&dyn Array> = parts.iter().map(|p| p[c].as_ref()).collect();
                Ok(arrow::compute::concat(&arrays)?)
            })
            .collect()
    }

    /// Number of groups.
    pub fn len(&self) -> u64 {
        self.windows.values().map(|w| w.keys.len() as u64).sum()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> u64 {
        let window = |w: &Window| {
            let keys: usize = w.keys.iter().map(|k| k.len() + 32).sum();
            keys + w.accumulators.iter().map(Accumulator::memory).sum::<usize>()
        };
        self.windows.values().map(|w| window(w) as u64).sum()
    }

    /// Windows dropped since [`Table::begin`].
    pub fn dropped(&self) -> &[i64] {
        &self.dropped
    }

    /// The schema of state batches: window start, keys, accumulator columns.
    pub fn state_schema(&self) -> Schema {
        let mut fields = vec![Field::new("window", DataType::Int64, false)];
        fields.extend(self.key_types.iter().enumerate().map(|(i, t)| Field::new(format!("k{i}"), t.clone(), true)));
        for position in 0..self.calls.len() {
            fields.extend(self.call_fields(position));
        }
        Schema::new(fields)
    }

    /// State of selected groups as one batch of [`Table::state_schema`].
    pub fn encode(&self, selections: &[Selection]) -> Result<RecordBatch> {
        let starts: Int64Array =
            selections.iter().flat_map(|s| std::iter::repeat_n(Some(s.start), s.groups.len())).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        columns.extend(self.keys(selections)?);
        for index in 0..self.calls.len() {
            columns.extend(self.concatenated(selections, |window, groups| {
                window.accumulators.get(index).ok_or_else(|| Error::internal("no such accumulator"))?.encode(groups)
            })?);
        }
        Ok(RecordBatch::try_new(Arc::new(self.state_schema()), columns)?)
    }

    /// State columns of one call, which say what they are of.
    fn call_fields(&self, position: usize) -> Vec<Field> {
        let Some(call) = self.calls.get(position) else { return vec![] };
        let mut metadata = HashMap::new();
        metadata.extend(self.texts.get(position).map(|text| (CALL_KEY.to_string(), text.clone())));
        if let Call::Host(call) = call {
            metadata.insert(FUNCTION_KEY.to_string(), call.tag().to_string());
        }
        let fields = Accumulator::new(call).fields(position).into_iter();
        fields.map(|f| f.with_metadata(metadata.clone())).collect()
    }

    /// Where in a state file each call's columns begin. Columns are known by the call's text: calls may come in another order, and one
    /// that the file does not have begins without values.
    fn columns_of_calls(&self, schema: &Schema) -> Result<Vec<Option<usize>>> {
        let first = 1 + self.key_types.len();
        let own = |f: &Field| f.data_type().clone();
        let keys: Vec<DataType> = schema.fields().iter().take(first).map(|f| own(f)).collect();
        let expected: Vec<DataType> = std::iter::once(DataType::Int64).chain(self.key_types.iter().cloned()).collect();
        if keys != expected {
            return Err(Error::new(
                ErrorCode::CheckpointCorrupt,
                format!("a state file is of keys {keys:?}, expected {expected:?}"),
            ));
        }
        if let Some(unknown) = schema.fields().iter().skip(first).find(|f| !f.metadata().contains_key(CALL_KEY)) {
            let text = format!("the state column {} does not say which call it is of", unknown.name());
            return Err(Error::new(ErrorCode::CheckpointCorrupt, text));
        }
        let text_at = |at: usize| schema.fields().get(at).and_then(|f| f.metadata().get(CALL_KEY));
        let mut taken = vec![false; schema.fields().len()];
        let mut found = Vec::with_capacity(self.calls.len());
        for (position, text) in self.texts.iter().enumerate() {
            let fields = self.call_fields(position);
            let begins = |at: &usize| text_at(*at) == Some(text) && !taken[*at];
            let Some(at) = (first..taken.len()).find(begins) else {
                found.push(None);
                continue;
            };
            for (offset, field) in fields.iter().enumerate() {
                let theirs = schema.fields().get(at + offset);
                let tag = |f: &Field| f.metadata().get(FUNCTION_KEY).cloned();
                let same = theirs.is_some_and(|f| f.data_type() == field.data_type() && tag(f) == tag(field));
                if !same {
                    let tagged = |f: Option<&Field>| match f {
                        Some(f) => format!("{} ({})", tag(f).unwrap_or_else(|| "a kernel".into()), f.data_type()),
                        None => "nothing".to_string(),
                    };
                    let (then, now) = (tagged(theirs.map(AsRef::as_ref)), tagged(Some(field)));
                    return Err(Error::new(
                        ErrorCode::CheckpointIncompatible,
                        format!(
                            "the state of {text} is of {then} and this version keeps {now}; start with a new checkpointLocation"
                        ),
                    ));
                }
                if let Some(taken) = taken.get_mut(at + offset) {
                    *taken = true;
                }
            }
            found.push(Some(at));
        }
        Ok(found)
    }

    /// Applies a batch of a state file: each row replaces its group.
    pub fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        let places = self.columns_of_calls(&batch.schema())?;
        let starts = batch.column(0).as_primitive::<Int64Type>();
        let keys = &batch.columns()[1..][..self.key_types.len()];
        let rows = self.encode_keys(keys, batch.num_rows())?;
        let mut split: Vec<Option<&[ArrayRef]>> = Vec::new();
        for (position, place) in places.into_iter().enumerate() {
            let width = self.call_fields(position).len();
            split.push(place.and_then(|at| batch.columns().get(at..at + width)));
        }
        for row in 0..batch.num_rows() {
            let calls = &self.calls;
            let window = self.windows.entry(starts.value(row)).or_insert_with(|| Window::new(calls));
            let group = window.group(rows.get(row), 0);
            for (accumulator, columns) in window.accumulators.iter_mut().zip(&split) {
                if let Some(columns) = columns {
                    accumulator.decode(group, columns, row)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets windows that a state file says were dropped.
    pub fn forget(&mut self, starts: &[i64]) {
        for start in starts {
            self.windows.remove(start);
        }
    }
}

/// The keys of a chunk's groups as comparable bytes.
pub struct KeyRows {
    rows: Option<Rows>,
    groups: usize,
}

impl KeyRows {
    /// Key of group `group`.
    pub fn get(&self, group: usize) -> &[u8] {
        match &self.rows {
            Some(rows) => rows.row(group).data(),
            None => &[],
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }
}

impl Window {
    fn new(calls: &[Call]) -> Self {
        let accumulators = calls.iter().map(Accumulator::new).collect();
        Self { index: HashTable::new(), keys: vec![], accumulators, stamps: vec![], touched: vec![], stamp: 0 }
    }

    /// The groups in order of their keys.
    fn ordered(&self, start: i64, mut groups: Vec<u32>) -> Selection {
        groups.sort_unstable_by(|a, b| self.keys[*a as usize].cmp(&self.keys[*b as usize]));
        Selection { start, groups }
    }

    fn touch(&mut self, group: usize, stamp: u64) {
        if stamp == 0 || self.stamps[group] == stamp {
            return;
        }
        if self.stamp != stamp {
            self.stamp = stamp;
            self.touched.clear();
        }
        self.stamps[group] = stamp;
        self.touched.push(group as u32);
    }

    fn group(&mut self, key: &[u8], stamp: u64) -> usize {
        let hash = FxBuildHasher.hash_one(key);
        let keys = &self.keys;
        if let Some(found) = self.index.find(hash, |g| keys[*g as usize].as_ref() == key) {
            let group = *found as usize;
            self.touch(group, stamp);
            return group;
        }
        let group = self.keys.len();
        self.keys.push(key.into());
        self.stamps.push(0);
        self.touch(group, stamp);
        self.accumulators.iter_mut().for_each(Accumulator::push);
        let keys = &self.keys;
        self.index.insert_unique(hash, group as u32, |g| FxBuildHasher.hash_one(keys[*g as usize].as_ref()));
        group
    }
}

#[cfg(test)]
mod tests;
