//! The garbage collector over random histories and over every crash of its own.

use super::*;
use crate::checkpoint::entry::StateFile;
use crate::checkpoint::gc::Collector;
use crate::checkpoint::{GC_INTERVAL, layout};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What a batch of a random history does.
#[derive(Debug, Clone)]
struct Step {
    /// Attempts that got as far as state files, and of those that lost, whether they were prepared.
    lost: Vec<bool>,
    snapshot: bool,
    restart: bool,
    collect: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::vec(any::<bool>(), 0..3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        prop::option::of(0usize..5),
    )
        .prop_map(|(lost, snapshot, restart, collect)| Step { lost, snapshot, restart, collect })
}

/// Runs one batch with two stateful operators; returns the files of their chains after it.
async fn batch(
    checkpoint: &Checkpoint,
    batch: u64,
    step: &Step,
    chains: &mut BTreeMap<&'static str, Vec<StateFile>>,
) -> Result<()> {
    checkpoint.write_offsets(&offsets(checkpoint, batch)).await?;
    let attempts = step.lost.iter().map(|prepared| (*prepared, false)).chain([(true, true)]);
    for (prepare, counts) in attempts {
        let attempt = Uuid::new_v4();
        let mut new = chains.clone();
        for operator in ["agg", "dedup"] {
            let body = Bytes::from(format!("{operator} {batch} {attempt}"));
            let file = checkpoint.write_state(operator, batch, attempt, step.snapshot, batch, body).await?;
            let chain = new.entry(operator).or_default();
            if step.snapshot {
                chain.clear();
            }
            chain.push(file);
        }
        if prepare {
            let state = new
                .iter()
                .map(|(operator, files)| StateChain { operator: operator.to_string(), files: files.clone() })
                .collect();
            checkpoint.write_prepared(&prepared(batch, attempt, state)).await?;
        }
        if counts {
            checkpoint.commit(batch, attempt).await?;
            *chains = new;
        }
    }
    Ok(())
}

/// Every retained commit has all that it refers to, readable; `exact` also says that nothing else is left.
async fn check(store: &MemoryStore, checkpoint: &Checkpoint, retain: usize, exact: bool) {
    let commits = checkpoint.inner.numbers(layout::COMMITS).await.unwrap();
    let mut needed = BTreeSet::new();
    for number in commits.iter().rev().take(retain.max(1)) {
        let (commit, prepared) = checkpoint.inner.load_committed(*number).await.unwrap();
        needed.extend([layout::commit(*number), layout::offsets(*number), layout::prepared(*number, commit.attempt)]);
        for file in prepared.state.iter().flat_map(|chain| &chain.files) {
            let body = checkpoint.read_state(file).await.unwrap();
            let batch = layout::parse_state(&file.path).unwrap();
            assert!(std::str::from_utf8(&body).unwrap().contains(&format!(" {batch} ")));
            needed.insert(file.path.clone());
        }
    }
    if exact {
        let logged =
            |name: &String| ["offsets/", "prepared/", "commits/", "state/"].iter().any(|p| name.starts_with(p));
        let left: BTreeSet<String> = store.names().into_iter().filter(logged).collect();
        assert_eq!(left, needed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn keeps_what_a_retained_commit_refers_to_and_nothing_else(history in prop::collection::vec(step(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(MemoryStore::default());
            let mut checkpoint = open_memory(&store).await.unwrap();
            let mut collector = Collector::default();
            let mut chains = BTreeMap::new();
            for (number, step) in history.iter().enumerate() {
                batch(&checkpoint, number as u64, step, &mut chains).await.unwrap();
                if step.restart {
                    checkpoint = open_memory(&store).await.unwrap();
                    collector = Collector::default();
                }
                if let Some(retain) = step.collect {
                    checkpoint.inner.collect(&mut collector, retain).await.unwrap();
                    check(&store, &checkpoint, retain, true).await;
                }
                let recovered = checkpoint.recover().await.unwrap();
                let last = recovered.last.unwrap();
                assert_eq!(last.commit.batch, number as u64);
                let files: Vec<_> = last.prepared.state.into_iter().map(|chain| chain.files).collect();
                assert_eq!(files, chains.values().cloned().collect::<Vec<_>>());
            }
        });
    }
}

#[tokio::test]
async fn a_pending_batch_is_untouched() {
    let store = Arc::new(MemoryStore::default());
    let checkpoint = open_memory(&store).await.unwrap();
    run_batch(&checkpoint, 0).await.unwrap();
    let attempt = Uuid::new_v4();
    checkpoint.write_offsets(&offsets(&checkpoint, 1)).await.unwrap();
    let file = checkpoint.write_state("agg", 1, attempt, true, 1, Bytes::from_static(b"s")).await.unwrap();
    checkpoint.write_prepared(&prepared(1, attempt, vec![])).await.unwrap();
    let before = store.names();
    checkpoint.collect_garbage(1).await.unwrap();
    assert_eq!(store.names(), before);
    assert_eq!(checkpoint.read_state(&file).await.unwrap(), "s");
}

#[tokio::test]
async fn a_crash_after_any_deletion_is_harmless() {
    let history = |snapshot| Step { lost: vec![true, false], snapshot, restart: false, collect: None };
    let mut crashes = 0;
    loop {
        let store = Arc::new(MemoryStore::default());
        let checkpoint = open_memory(&store).await.unwrap();
        let mut chains = BTreeMap::new();
        for number in 0..5 {
            batch(&checkpoint, number, &history(number % 2 == 1), &mut chains).await.unwrap();
        }
        *store.changes_left.lock() = Some(crashes);
        let done = checkpoint.collect_garbage(2).await.is_ok();
        *store.changes_left.lock() = None;
        let restarted = open_memory(&store).await.unwrap();
        assert_eq!(restarted.recover().await.unwrap().last.unwrap().commit.batch, 4);
        check(&store, &restarted, 2, false).await;
        restarted.collect_garbage(2).await.unwrap();
        check(&store, &restarted, 2, true).await;
        if done {
            break;
        }
        crashes += 1;
    }
    // 3 commits, 3 offsets, 3 old and 5 x 1 lost prepared records, and the state files nothing names.
    assert_eq!(crashes, 3 + 3 + (3 + 5) + (5 * 3 * 2 - 2 * 2));
}

#[tokio::test]
async fn works_now_and_then() {
    let store = Arc::new(MemoryStore::default());
    let checkpoint = open_memory(&store).await.unwrap();
    for batch in 0..=GC_INTERVAL {
        run_batch(&checkpoint, batch).await.unwrap();
        checkpoint.collect_garbage(2).await.unwrap();
        let left = checkpoint.inner.numbers(layout::COMMITS).await.unwrap();
        let first = if batch == GC_INTERVAL { batch - 1 } else { 0 };
        assert_eq!(left, (first..=batch).collect());
    }
}

#[tokio::test]
async fn old_claims_go() {
    let store = Arc::new(MemoryStore::default());
    for _ in 0..20 {
        open_memory(&store).await.unwrap();
    }
    let checkpoint = open_memory(&store).await.unwrap();
    run_batch(&checkpoint, 0).await.unwrap();
    checkpoint.collect_garbage(1).await.unwrap();
    assert_eq!(checkpoint.inner.numbers(layout::EPOCHS).await.unwrap(), (5..=20).collect());
    assert_eq!(open_memory(&store).await.unwrap().epoch(), 21);
}
