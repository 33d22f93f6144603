//! Exactly once, judged from outside: the ride queries run in a child process that is killed with SIGKILL at every step of the
//! protocol and at random times; only the sinks are read. The broker lives in this process and survives the kills.
//!
//! The child is this same test binary, called with [`CHILD`] in its environment.

#[path = "../support/broker.rs"]
mod broker;
mod child;
mod join;
mod oracle;
#[path = "../../examples/ride_analytics/pipelines.rs"]
#[allow(dead_code, reason = "the surge query goes to the console, which promises nothing")]
mod pipelines;
mod sinks;

use broker::Broker;
use child::{Kill, Outcome};
use oracle::Ride;
use pipelines::Settings;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tidemill::checkpoint::fail;

const PARTITIONS: i32 = 2;
/// Rides sent before each child starts: several batches for it to be killed in.
const RIDES_A_RUN: usize = 60;

/// Runs a query through `kills`, then to its end; the rides it was given.
fn survive(query: &str, settings: &Settings, kills: &[Kill]) -> Vec<Ride> {
    let mut generator = oracle::Generator::new(kills.len() as u64);
    let mut rides = Vec::new();
    let mut killed = 0;
    for kill in kills {
        let mut kill = kill.clone();
        loop {
            let more = generator.next(RIDES_A_RUN);
            sinks::produce(settings, PARTITIONS, &more);
            rides.extend(more);
            match (child::run(query, settings, Some(&kill)), &kill) {
                (Outcome::Killed, _) => break,
                // It was faster than the clock; the next one gets half the time.
                (Outcome::Finished, Kill::After(time)) => kill = Kill::After(*time / 2),
                (Outcome::Finished, _) => panic!("{query} ended before {kill:?} took effect"),
                (Outcome::Failed(text), _) => panic!("{query} failed after {killed} kills, at {kill:?}:\n{text}"),
            }
        }
        killed += 1;
    }
    let closing = generator.closing(PARTITIONS);
    sinks::produce(settings, PARTITIONS, &closing);
    rides.extend(closing);
    match child::run(query, settings, None) {
        Outcome::Finished => {}
        Outcome::Killed => panic!("somebody else killed {query}"),
        Outcome::Failed(text) => panic!("{query} failed at the end:\n{text}"),
    }
    eprintln!("{query}: {killed} kills, {} rides", rides.len());
    assert!(killed >= 40, "{query} was killed only {killed} times");
    rides
}

/// A kill at each point, the first and a later time it is passed; then kills at random times.
fn kills(points: &[&'static str], random: u64) -> Vec<Kill> {
    let mut kills = Vec::new();
    for point in points {
        let hits: &[u32] = match *point {
            fail::AFTER_CLAIM => &[1],
            // Passed by every durable file, of the start and of each batch.
            fail::STORE_AFTER_WRITE | fail::STORE_AFTER_SYNC | fail::STORE_AFTER_LINK => &[1, 4, 7, 11],
            // Passed by the start's own small transaction too.
            fail::KAFKA_SENT | fail::KAFKA_COMMITTED => &[1, 2, 3],
            // The second batch of a run has a predecessor of its own run; the first continues from a recovery.
            _ => &[1, 2],
        };
        kills.extend(hits.iter().map(|hit| Kill::At { point: point.to_string(), hit: *hit }));
    }
    let mut times = StdRng::seed_from_u64(random);
    kills.extend((0..random).map(|_| Kill::After(Duration::from_millis(times.random_range(60..400)))));
    kills
}

fn settings(broker: &Broker, directory: &tempfile::TempDir) -> Settings {
    let location = directory.path().to_string_lossy();
    Settings {
        starting_offsets: "earliest".to_string(),
        max_offsets_per_trigger: 15,
        trigger: "0 seconds".to_string(),
        drivers_trigger: "0 seconds".to_string(),
        ..Settings::new(&broker.bootstrap(), &location)
    }
}

fn start() -> (Broker, tempfile::TempDir) {
    let broker = Broker::start(&[("ride-events", PARTITIONS), ("city-ride-metrics", PARTITIONS)]).unwrap();
    (broker, tempfile::tempdir().unwrap())
}

/// Update mode into Kafka: readers of committed records find, for each window and city, counts that only grow, and last the
/// count of all rides.
#[test]
fn kafka_update_survives_every_kill() {
    let (broker, directory) = start();
    let settings = settings(&broker, &directory);
    // Points of files that this query passes only now and then would never be reached within a run's few batches.
    let points: Vec<_> =
        fail::ALL.iter().copied().filter(|p| ![fail::DURING_GC, fail::FILE_PUBLISHED].contains(p)).collect();
    let rides = survive("city", &settings, &kills(&points, 26));
    oracle::check_cities(&rides, &sinks::committed(&settings.brokers, &settings.city_topic));
}

/// Append mode into Parquet: the files together are the batch computation of all windows that have closed.
#[test]
fn parquet_append_survives_every_kill() {
    let (broker, directory) = start();
    let settings = settings(&broker, &directory);
    // Not every batch closes a window, and the point within the publication of several files has a test of its own.
    let others = [fail::KAFKA_SENT, fail::KAFKA_COMMITTED, fail::DURING_GC, fail::FILE_PUBLISHED];
    let points: Vec<_> = fail::ALL.iter().copied().filter(|p| !others.contains(p)).collect();
    let rides = survive("drivers", &settings, &kills(&points, 26));
    oracle::check_drivers(&rides, &sinks::drivers(&settings.drivers_path));
}

/// A join of two streams in append mode into Parquet: the files together are the batch computation of the join, every ride without a partner
/// among them once.
#[test]
fn a_join_survives_every_kill() {
    let (broker, directory) = start();
    let settings = settings(&broker, &directory);
    let others = [fail::KAFKA_SENT, fail::KAFKA_COMMITTED, fail::DURING_GC, fail::FILE_PUBLISHED];
    let points: Vec<_> = fail::ALL.iter().copied().filter(|p| !others.contains(p)).collect();
    let rides = survive("pickups", &settings, &kills(&points, 16));
    join::check(&rides, join::pickups_in(&join::directory(&settings)));
}

/// The child's side: does nothing unless it was started as a child.
#[test]
fn child() {
    if std::env::var_os(child::CHILD).is_some() {
        child::main();
    }
}
