//! Names of the files of a checkpoint.
//!
//! ```text
//! FORMAT                                        format version and query id
//! epochs/<epoch>                                one claim per start of the query
//! plans/<hash>                                  what the query was
//! offsets/<batch>                               what the batch reads
//! state/<operator>/<batch>-<attempt>.delta      state files, also `.snapshot`
//! prepared/<batch>-<attempt>                    what an attempt produced
//! commits/<batch>                               which attempt counts
//! sources/<i>/<index>                           a source's own log, also `<first>-<last>.compact`
//! ```
//! Comes in: numbers and ids. Goes out: names, and numbers and ids again. A name that is not exactly what this module
//! writes parses to None: listings may hold what an operator or a file system left there.

use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(crate) const FORMAT: &str = "FORMAT";
pub(crate) const EPOCHS: &str = "epochs/";
pub(crate) const PLANS: &str = "plans/";
pub(crate) const OFFSETS: &str = "offsets/";
pub(crate) const PREPARED: &str = "prepared/";
pub(crate) const COMMITS: &str = "commits/";
pub(crate) const STATE: &str = "state/";
pub(crate) const SOURCES: &str = "sources/";

/// Every directory at the top, without its slash.
pub(crate) const DIRECTORIES: &[&str] = &["epochs", "plans", "offsets", "prepared", "commits", "state", "sources"];

/// Digits of every number in a name, so that names sort as numbers do and every u64 fits.
const DIGITS: usize = 20;

pub(crate) fn epoch(epoch: u64) -> String {
    format!("{EPOCHS}{epoch:020}")
}

pub(crate) fn plan(hash: &str) -> String {
    format!("{PLANS}{hash}")
}

pub(crate) fn offsets(batch: u64) -> String {
    format!("{OFFSETS}{batch:020}")
}

pub(crate) fn prepared(batch: u64, attempt: Uuid) -> String {
    format!("{PREPARED}{batch:020}-{attempt}")
}

pub(crate) fn commit(batch: u64) -> String {
    format!("{COMMITS}{batch:020}")
}

pub(crate) fn state(operator: &str, batch: u64, attempt: Uuid, snapshot: bool) -> String {
    let kind = if snapshot { "snapshot" } else { "delta" };
    format!("{STATE}{}/{batch:020}-{attempt}.{kind}", part(operator))
}

pub(crate) fn source(index: usize) -> String {
    format!("{SOURCES}{index}/")
}

/// The batch of a state file's name.
pub(crate) fn parse_state(path: &str) -> Option<u64> {
    let (_, name) = path.strip_prefix(STATE)?.split_once('/')?;
    let stem = name.strip_suffix(".delta").or_else(|| name.strip_suffix(".snapshot"))?;
    Some(parse_attempt(stem)?.0)
}

/// The number of `<prefix><number>`.
pub(crate) fn parse_numbered(prefix: &str, path: &str) -> Option<u64> {
    parse_number(path.strip_prefix(prefix)?)
}

/// Batch and attempt of a prepared record's name.
pub(crate) fn parse_prepared(path: &str) -> Option<(u64, Uuid)> {
    parse_attempt(path.strip_prefix(PREPARED)?)
}

/// A number of exactly [`DIGITS`] digits.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    (text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn parse_attempt(stem: &str) -> Option<(u64, Uuid)> {
    let (batch, attempt) = stem.split_once('-')?;
    let id = Uuid::try_parse(attempt).ok()?;
    (id.to_string() == attempt).then_some(())?;
    Some((parse_number(batch)?, id))
}

/// Any text as one part of a name: itself where it is plain and short, percent-encoded otherwise, and a hash where even
/// that is too long. Different texts give different parts.
fn part(text: &str) -> String {
    let encoded: String = text
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    match encoded.len() {
        1..=100 => encoded,
        _ => format!("%{:x}", Sha256::digest(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sort_as_numbers() {
        let id = Uuid::from_u128(7);
        assert_eq!(offsets(7), "offsets/00000000000000000007");
        assert_eq!(prepared(u64::MAX, id), "prepared/18446744073709551615-00000000-0000-0000-0000-000000000007");
        assert_eq!(parse_prepared(&prepared(u64::MAX, id)), Some((u64::MAX, id)));
        assert_eq!(parse_numbered(COMMITS, &commit(12)), Some(12));
        assert_eq!(parse_state(&state("agg", 3, id, true)), Some(3));
        assert!(commit(9) < commit(10));
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in [
            "commits/7",
            "commits/0000000000000000000x",
            "commits/000000000000000000070",
            "commits/99999999999999999999",
        ] {
            assert_eq!(parse_numbered(COMMITS, name), None, "{name}");
        }
        assert_eq!(parse_prepared("prepared/00000000000000000007-{00000000-0000-0000-0000-000000000007}"), None);
        assert_eq!(parse_prepared("prepared/00000000000000000007-0000000A-0000-0000-0000-000000000007"), None);
        assert_eq!(parse_state("state/agg/00000000000000000007-x.delta"), None);
    }

    #[test]
    fn operators_become_one_safe_part() {
        assert_eq!(part("agg-0"), "agg-0");
        assert_eq!(part("../a b"), "%2E%2E%2Fa%20b");
        assert_eq!(part("").len(), 65);
        assert_eq!(part(&"ä".repeat(100)).len(), 65);
        crate::checkpoint::store::check_name(&state("../../etc", 0, Uuid::nil(), false)).unwrap();
    }
}
