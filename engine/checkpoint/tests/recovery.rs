//! The recovery decision against a model of the protocol: it accepts exactly the states that a crash can leave.

use crate::checkpoint::recovery::{Recovery, decide};
use crate::error::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const BATCHES: u64 = 3;
const ATTEMPTS: [Uuid; 2] = [Uuid::from_u128(1), Uuid::from_u128(2)];

/// What exists, and what the protocol knows of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct State {
    offsets: BTreeSet<u64>,
    prepared: BTreeSet<(u64, Uuid)>,
    commits: BTreeSet<u64>,
}

impl State {
    fn decide(&self) -> crate::Result<Recovery> {
        decide(&self.offsets, &self.prepared, &self.commits)
    }

    /// The states one durable step of the protocol or of the collector later.
    fn next(&self) -> Vec<State> {
        let mut next = Vec::new();
        let mut step = |change: &dyn Fn(&mut State)| {
            let mut state = self.clone();
            change(&mut state);
            next.push(state);
        };
        let batch = self.commits.last().map_or(0, |last| last + 1);
        if batch < BATCHES {
            if !self.offsets.contains(&batch) {
                step(&|s| {
                    s.offsets.insert(batch);
                });
            } else {
                for attempt in ATTEMPTS {
                    step(&|s| {
                        s.prepared.insert((batch, attempt));
                    });
                }
                if self.prepared.iter().any(|(b, _)| *b == batch) {
                    step(&|s| {
                        s.commits.insert(batch);
                    });
                }
            }
        }
        // The collector: the oldest commit unless it is the last, then leftovers below, and lost attempts, in any order.
        if let (Some(first), true) = (self.commits.first().copied(), self.commits.len() > 1) {
            step(&|s| {
                s.commits.remove(&first);
            });
        }
        if let Some(first) = self.commits.first().copied() {
            for old in 0..first {
                step(&|s| {
                    s.offsets.remove(&old);
                });
            }
            for lost in &self.prepared {
                let others = self.prepared.iter().any(|p| p.0 == lost.0 && p != lost);
                if lost.0 < first || (self.commits.contains(&lost.0) && others) {
                    step(&|s| {
                        s.prepared.remove(lost);
                    });
                }
            }
        }
        next
    }
}

#[test]
fn accepts_exactly_what_a_crash_can_leave() {
    let mut reachable: BTreeMap<State, ()> = BTreeMap::new();
    let mut open = vec![State::default()];
    while let Some(state) = open.pop() {
        if reachable.insert(state.clone(), ()).is_none() {
            open.extend(state.next());
        }
    }
    let mut accepted = 0;
    for bits in 0u32..1 << (BATCHES * 4) {
        let bit = |at: u64| bits & (1 << at) != 0;
        let state = State {
            offsets: (0..BATCHES).filter(|b| bit(*b)).collect(),
            commits: (0..BATCHES).filter(|b| bit(BATCHES + b)).collect(),
            prepared: (0..BATCHES * 2)
                .filter(|p| bit(BATCHES * 2 + p))
                .map(|p| (p / 2, ATTEMPTS[(p % 2) as usize]))
                .collect(),
        };
        let told = (state.offsets.clone(), state.prepared.clone(), state.commits.clone());
        match state.decide() {
            Ok(decision) => {
                assert!(reachable.contains_key(&state), "accepted {told:?}");
                let batch = state.commits.last().map_or(0, |last| last + 1);
                let expected = match (state.offsets.contains(&batch), state.commits.is_empty()) {
                    (true, _) => Recovery::Replay {
                        batch,
                        prepared: state.prepared.iter().filter(|p| p.0 == batch).map(|p| p.1).collect(),
                    },
                    (false, true) => Recovery::Fresh,
                    (false, false) => Recovery::Next { batch },
                };
                assert_eq!(decision, expected, "{told:?}");
                accepted += 1;
            }
            Err(e) => {
                assert_eq!(e.code(), ErrorCode::CheckpointCorrupt);
                assert!(!reachable.contains_key(&state), "refused {told:?}: {e}");
            }
        }
    }
    assert_eq!(accepted, reachable.len());
}

#[test]
fn names_what_is_missing() {
    let set = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
    let attempts = |numbers: &[u64]| numbers.iter().map(|b| (*b, ATTEMPTS[0])).collect::<BTreeSet<_>>();
    let number = |n: u64| format!("{n:020}");
    for (offsets, prepared, commits, missing) in [
        (set(&[0, 1, 2]), attempts(&[0, 1, 2]), set(&[0, 2]), format!("commits/{}: missing", number(1))),
        (set(&[0, 2]), attempts(&[0, 1, 2]), set(&[0, 1, 2]), format!("offsets/{}: missing", number(1))),
        (set(&[0, 1]), attempts(&[0]), set(&[0, 1]), format!("prepared/{}-<attempt>: missing", number(1))),
        (set(&[0, 1, 2]), attempts(&[0]), set(&[0]), format!("commits/{}: missing", number(1))),
        (set(&[7]), attempts(&[]), set(&[]), format!("commits/{}: missing", number(0))),
        (set(&[0]), attempts(&[0, 1]), set(&[0]), format!("offsets/{}: missing", number(1))),
        (set(&[]), attempts(&[0]), set(&[]), format!("offsets/{}: missing", number(0))),
        (
            set(&[u64::MAX]),
            attempts(&[u64::MAX]),
            set(&[u64::MAX]),
            format!("commits/{}: no batch can follow it", u64::MAX),
        ),
    ] {
        let error = decide(&offsets, &prepared, &commits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
        assert!(error.message().starts_with(&missing), "{error}");
    }
}
