//! A source's own log in the checkpoint: numbered entries, compacted so that a long life stays a few files.
//!
//! Comes in: an entry's index and bytes. Goes out: all entries, ascending. Fails: CHECKPOINT_CORRUPT where a file is damaged
//! or an index already has other bytes; CHECKPOINT_FENCED; CHECKPOINT_IO.
//!
//! Once a block of ten consecutive indices is behind, its entries are written as one file; ten such files become one of a
//! hundred indices, and so on, so each entry is rewritten once per level and the log of n entries is about 9 log10(n)
//! files. The merged files go only after the compact one is durable; until then an entry is in two files, with the same bytes.

use super::envelope::corrupt;
use super::frames;
use super::layout;
use super::open::{Inner, place};
use crate::error::{Error, Result};
use crate::source::SourceLog;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Files that become one.
const FAN_IN: u64 = 10;

const KIND: &str = "source-log";

#[derive(Serialize, Deserialize)]
struct LogHeader {
    query_id: Uuid,
    source: usize,
    /// Index and length of each entry, in the order in which they lie in the payload.
    entries: Vec<(u64, u64)>,
}

pub(super) struct CheckpointSourceLog {
    inner: Arc<Inner>,
    source: usize,
    /// First and last index of each file; None before the first listing.
    files: Mutex<Option<Vec<Span>>>,
}

/// The indices that a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    first: u64,
    last: u64,
}

impl super::Checkpoint {
    /// The log of source number `index` of the query.
    pub fn source_log(&self, index: usize) -> Arc<dyn SourceLog> {
        Arc::new(CheckpointSourceLog { inner: self.inner.clone(), source: index, files: Mutex::new(None) })
    }
}

#[async_trait]
impl SourceLog for CheckpointSourceLog {
    async fn put(&self, index: u64, entry: Bytes) -> Result<()> {
        let mut files = self.files.lock().await;
        self.inner.check_epoch().await?;
        let known = match files.as_mut() {
            Some(known) => known,
            None => files.insert(self.list().await?),
        };
        let compact = |span: &&Span| span.first < span.last && (span.first..=span.last).contains(&index);
        if let Some(span) = known.iter().find(compact).copied() {
            // Only a source that starts over asks for an index that is compacted already.
            return match self.read(span).await?.into_iter().find(|(held, _)| *held == index) {
                Some((_, bytes)) => self.same(span, index, &entry, &bytes),
                None => Err(Error::internal(format!("entry {index} of a source log was written after later ones"))),
            };
        }
        let span = Span { first: index, last: index };
        if let Some(found) = self.inner.create(&self.path(span), self.encode(&[(index, entry.clone())])?).await? {
            let held = self.decode(span, &found)?;
            let bytes = held.into_iter().next().map(|(_, bytes)| bytes).unwrap_or_default();
            self.same(span, index, &entry, &bytes)?;
        }
        if !known.contains(&span) {
            known.push(span);
        }
        while let Some(block) = due(known, index) {
            self.compact(known, block).await?;
        }
        Ok(())
    }

    async fn entries(&self) -> Result<Vec<(u64, Bytes)>> {
        let mut files = self.files.lock().await;
        let known = self.list().await?;
        let mut entries = BTreeMap::new();
        for span in &known {
            self.merge(*span, &mut entries).await?;
        }
        *files = Some(known);
        Ok(entries.into_iter().collect())
    }
}

impl CheckpointSourceLog {
    fn same(&self, span: Span, index: u64, entry: &Bytes, found: &Bytes) -> Result<()> {
        if entry == found {
            return Ok(());
        }
        Err(self.inner.corrupt(&self.path(span), format!("entry {index} is there already, with other bytes")))
    }

    /// Writes the files inside `block` as one, then removes them.
    async fn compact(&self, known: &mut Vec<Span>, block: Span) -> Result<()> {
        let merged: Vec<Span> = known.iter().copied().filter(|span| inside(span, &block)).collect();
        let mut entries = BTreeMap::new();
        for span in &merged {
            self.merge(*span, &mut entries).await?;
        }
        let entries: Vec<(u64, Bytes)> = entries.into_iter().collect();
        let path = self.path(block);
        if let Some(found) = self.inner.create(&path, self.encode(&entries)?).await? {
            // An earlier run wrote it and did not come to remove the merged files. Those may go if it holds them all.
            let held: BTreeMap<u64, Bytes> = self.decode(block, &found)?.into_iter().collect();
            for (index, bytes) in &entries {
                let there = held.get(index).ok_or_else(|| self.inner.corrupt(&path, format!("lacks entry {index}")))?;
                self.same(block, *index, bytes, there)?;
            }
        }
        let gone: Vec<String> = merged.iter().filter(|span| **span != block).map(|span| self.path(*span)).collect();
        self.inner.store.delete(&gone).await?;
        known.retain(|span| !inside(span, &block));
        known.push(block);
        Ok(())
    }

    async fn merge(&self, span: Span, into: &mut BTreeMap<u64, Bytes>) -> Result<()> {
        for (index, bytes) in self.read(span).await? {
            match into.get(&index) {
                Some(found) => self.same(span, index, &bytes, found)?,
                None => drop(into.insert(index, bytes)),
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Span>> {
        let prefix = layout::source(self.source);
        let names = self.inner.store.list(&prefix).await?;
        Ok(names.iter().filter_map(|name| parse(name.strip_prefix(&prefix)?)).collect())
    }

    fn path(&self, span: Span) -> String {
        let prefix = layout::source(self.source);
        match span.first == span.last {
            true => format!("{prefix}{:020}", span.first),
            false => format!("{prefix}{:020}-{:020}.compact", span.first, span.last),
        }
    }

    fn encode(&self, entries: &[(u64, Bytes)]) -> Result<Bytes> {
        let header = LogHeader {
            query_id: self.inner.query_id,
            source: self.source,
            entries: entries.iter().map(|(index, bytes)| (*index, bytes.len() as u64)).collect(),
        };
        let payload: Vec<u8> = entries.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        frames::encode(KIND, &header, &payload)
    }

    async fn read(&self, span: Span) -> Result<Vec<(u64, Bytes)>> {
        let path = self.path(span);
        let file = self.inner.store.get(&path).await?.ok_or_else(|| self.inner.corrupt(&path, "missing"))?;
        self.decode(span, &file)
    }

    fn decode(&self, span: Span, file: &Bytes) -> Result<Vec<(u64, Bytes)>> {
        let path = self.path(span);
        let (header, mut rest) =
            frames::decode::<LogHeader>(&path, KIND, file).map_err(|e| place(&self.inner.location, e))?;
        if (header.query_id, header.source) != (self.inner.query_id, self.source) {
            let what = format!("belongs to source {} of query {}", header.source, header.query_id);
            return Err(self.inner.corrupt(&path, what));
        }
        let mut entries = Vec::with_capacity(header.entries.len());
        for (index, length) in header.entries {
            let fits = (span.first..=span.last).contains(&index) && length <= rest.len() as u64;
            if !fits {
                return Err(place(
                    &self.inner.location,
                    corrupt(&path, format!("entry {index} does not belong there")),
                ));
            }
            entries.push((index, rest.split_to(length as usize)));
        }
        Ok(entries)
    }
}

fn inside(span: &Span, block: &Span) -> bool {
    block.first <= span.first && span.last <= block.last
}

/// The span of a file's name.
fn parse(name: &str) -> Option<Span> {
    match name.strip_suffix(".compact") {
        None => layout::parse_number(name).map(|index| Span { first: index, last: index }),
        Some(stem) => {
            let (first, last) = stem.split_once('-')?;
            Some(Span { first: layout::parse_number(first)?, last: layout::parse_number(last)? })
        }
    }
}

/// A block that lies wholly before the block of `newest` and has more than one file, or a file not yet in its compact one:
/// the smallest block first.
fn due(files: &[Span], newest: u64) -> Option<Span> {
    let mut size = FAN_IN;
    loop {
        let current = newest / size;
        for span in files {
            let block = span.first / size;
            if block < current && span.last / size == block {
                let block = Span { first: block * size, last: block * size + (size - 1) };
                // A file that is the block itself, or part of a larger one, needs nothing.
                let alone = *span == block && !files.iter().any(|other| other != span && inside(other, &block));
                let covered = files.iter().any(|other| other != span && *other != block && inside(&block, other));
                if !alone && !covered {
                    return Some(block);
                }
            }
        }
        if current == 0 {
            return None;
        }
        size = size.checked_mul(FAN_IN)?;
    }
}
