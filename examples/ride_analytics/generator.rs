//! Ride events with a known truth: the same seed gives the same events, whatever the queries do meanwhile.
//!
//! Comes in: a [`Script`], the topic, and a [`Gate`] that knows how far the queries have come. Goes out: JSON records in the topic, and
//! [`Truth`], counted here from the events themselves. Fails: when the brokers refuse records, or a query ends early.
//!
//! What makes the truth exact:
//! * Event time runs by the number of the event, not by a clock. Records are sent in slices of [`SLICE_MS`] of event time, each delivered
//!   before the next is begun, and partitions take turns. So no reader sees one partition more than about a slice ahead of another, and
//!   an event that is at most [`LATE_MS`] behind can never be behind a watermark of 10 minutes, however batches are cut.
//! * Very late events lie in the first 15 minutes, and are sent only once every query has run a batch under a watermark beyond them. The
//!   watermark of one batch is what makes rows late in the next, so every query drops every one of them.
//! * The closing events come after everything else has been read, and lie so far ahead that every other window ends.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Result, fail};

/// Event time of the first event, at the start of a quarter of an hour: 2026-01-05T08:00:00Z.
pub const BASE_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;
/// Event time of a slice.
pub const SLICE_MS: i64 = 30_000;
/// How far events jitter behind the clock.
const JITTER_MS: i64 = 20_000;
/// How far late events may be behind the clock; with a slice and the jitter it stays under the watermark delay of 10 minutes.
const LATE_MS: (i64, i64) = (5 * MINUTE_MS, 8 * MINUTE_MS);
/// Very late events lie before this, and are sent when every watermark has passed it.
const VERY_LATE_END_MS: i64 = BASE_MS + 15 * MINUTE_MS;
/// How far ahead the closing events lie.
const CLOSING_MS: i64 = 2 * 60 * MINUTE_MS;
const CITY_WINDOW_MS: i64 = 5 * MINUTE_MS;
const DRIVER_WINDOW_MS: i64 = 15 * MINUTE_MS;
const WAIT: Duration = Duration::from_secs(60);

/// Name, share of the rides, latitude, longitude.
const CITIES: [(&str, f64, f64, f64); 8] = [
    ("New York", 24.0, 40.71, -74.01),
    ("London", 19.0, 51.51, -0.13),
    ("São Paulo", 16.0, -23.55, -46.63),
    ("Mumbai", 13.0, 19.08, 72.88),
    ("Paris", 10.0, 48.86, 2.35),
    ("San Francisco", 8.0, 37.77, -122.42),
    ("Berlin", 6.0, 52.52, 13.40),
    ("Sydney", 4.0, -33.87, 151.21),
];

/// What is generated.
#[derive(Debug, Clone)]
pub struct Script {
    /// Seed of everything random.
    pub seed: u64,
    /// Records before the very late and the closing ones.
    pub events: u64,
    /// Event time that they cover, in milliseconds.
    pub span_ms: i64,
    /// Wall-clock time that they take; None is as fast as possible.
    pub pace: Option<Duration>,
}

/// Where the queries stand. The generator runs on a thread of its own, so waiting is allowed.
pub trait Gate: Send {
    /// The least watermark under which every query has run a batch, or the failure of a query.
    fn watermark_ms(&self) -> Result<i64>;
    /// Returns when every query has read and committed everything that was sent.
    fn wait_until_read(&self) -> Result<()>;
}

/// A window of a city.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CityTruth {
    pub rides: u64,
    pub completed: u64,
    pub fares: Fares,
}

/// A window of a driver.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DriverTruth {
    pub completed: u64,
    pub fares: Fares,
    riders: HashSet<u32>,
}

impl DriverTruth {
    /// Distinct riders.
    pub fn riders(&self) -> usize {
        self.riders.len()
    }
}

/// Fares are multiples of a quarter, so that their sums are exact in a double too, and so is the comparison of means.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fares {
    quarters: u64,
    count: u64,
}

impl Fares {
    fn add(&mut self, quarters: u64) {
        self.quarters += quarters;
        self.count += 1;
    }

    /// The mean, rounded once.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.quarters as f64 / 4.0 / self.count as f64)
    }
}

/// What the generator knows of its own events.
#[derive(Debug, Default)]
pub struct Truth {
    /// Records sent, all kinds.
    pub sent: u64,
    /// Well-formed events in order, duplicates and closing events included, late ones not.
    pub normal: u64,
    /// Events behind the clock and inside every watermark.
    pub late: u64,
    /// Second copies; no query removes them, so they count.
    pub duplicates: u64,
    /// Records that are no JSON.
    pub malformed: u64,
    /// Events of a status that the queries do not look at.
    pub filtered: u64,
    /// Events that the city and surge queries must drop as late.
    pub very_late: u64,
    /// Those of them that the driver query sees, because they are completed rides.
    pub very_late_completed: u64,
    /// By window start and city, without the windows of the closing events.
    pub cities: BTreeMap<(i64, &'static str), CityTruth>,
    /// By window start and driver, without the windows of the closing events.
    pub drivers: BTreeMap<(i64, u32), DriverTruth>,
    /// Windows that start before this are closed in the end.
    pub closed_before_ms: i64,
}

/// Counters for those who watch.
#[derive(Debug, Default)]
pub struct Live {
    pub sent: AtomicU64,
    pub late: AtomicU64,
    pub malformed: AtomicU64,
    pub very_late: AtomicU64,
    pub clock_ms: AtomicI64,
}

/// One ride event.
#[derive(Debug, Clone)]
struct Ride {
    id: u64,
    city: usize,
    driver: u32,
    rider: u32,
    status: &'static str,
    quarters: u64,
    time_ms: i64,
}

impl Ride {
    fn driver_id(&self) -> String {
        driver_id(self.driver)
    }

    fn json(&self, rng: &mut StdRng) -> String {
        let (_, _, lat, lon) = CITIES[self.city];
        let mut place = || (lat + rng.random_range(-0.1..0.1), lon + rng.random_range(-0.1..0.1));
        let (pickup, dropoff) = (place(), place());
        let mut text = String::with_capacity(320);
        // Writing to a String does not fail.
        let _ = write!(
            text,
            r#"{{"ride_id":"ride-{}","driver_id":"{}","rider_id":"rider-{}","city":"{}","pickup_lat":{:.5},"pickup_lon":{:.5},"#,
            self.id,
            self.driver_id(),
            self.rider,
            CITIES[self.city].0,
            pickup.0,
            pickup.1,
        );
        if self.status == "completed" {
            let _ = write!(text, r#""dropoff_lat":{:.5},"dropoff_lon":{:.5},"#, dropoff.0, dropoff.1);
        } else {
            text.push_str(r#""dropoff_lat":null,"dropoff_lon":null,"#);
        }
        let _ = write!(
            text,
            r#""fare_amount":{:?},"status":"{}","event_time":"{}"}}"#,
            self.quarters as f64 / 4.0,
            self.status,
            tidemill::progress::iso_instant(self.time_ms)
        );
        text
    }
}

/// The id of a driver in the events.
pub fn driver_id(driver: u32) -> String {
    format!("driver-{driver:05}")
}

/// Makes the events, sends them, and keeps the truth.
pub struct Generator<G> {
    script: Script,
    rng: StdRng,
    /// For the very late events, whose place among the others depends on the queries.
    very_late_rng: StdRng,
    producer: BaseProducer,
    topic: String,
    partitions: i32,
    gate: G,
    live: Arc<Live>,
    truth: Truth,
    /// The partition whose turn it is.
    turn: i32,
    drivers: [u32; CITIES.len()],
    last: Option<(Ride, String)>,
}

impl<G: Gate> Generator<G> {
    /// A generator into a topic of so many partitions.
    pub fn new(script: Script, brokers: &str, topic: &str, partitions: i32, gate: G, live: Arc<Live>) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "1000000")
            .create()?;
        // As many drivers as make about one ride in progress for each in a window; where demand is high, there are two or three.
        let windows = (script.span_ms / CITY_WINDOW_MS).max(1) as f64;
        let total: f64 = CITIES.iter().map(|c| c.1).sum();
        let per_window = |share: f64| script.events as f64 / windows * share / total;
        let drivers = CITIES.map(|c| (per_window(c.1) * IN_PROGRESS / 1.1).round().max(2.0) as u32);
        Ok(Self {
            rng: StdRng::seed_from_u64(script.seed),
            very_late_rng: StdRng::seed_from_u64(!script.seed),
            script,
            producer,
            topic: topic.to_string(),
            partitions,
            gate,
            live,
            truth: Truth::default(),
            turn: 0,
            drivers,
            last: None,
        })
    }

    /// Sends everything and returns the truth.
    pub fn run(mut self) -> Result<Truth> {
        let started = Instant::now();
        let slices = (self.script.span_ms / SLICE_MS).max(1) as u64;
        let very_late = (self.script.events / 500).max(5);
        let very_late_per_slice = very_late.div_ceil(slices / 4 + 1);
        let mut from = 0;
        for slice in 0..slices {
            let to = self.script.events * (slice + 1) / slices;
            for index in from..to {
                self.event(index)?;
            }
            from = to;
            if self.truth.very_late < very_late && self.gate.watermark_ms()? >= VERY_LATE_END_MS {
                self.very_late(very_late_per_slice.min(very_late - self.truth.very_late))?;
            }
            self.deliver()?;
            if let Some(pace) = self.script.pace {
                let due = pace.mul_f64((slice + 1) as f64 / slices as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }
        self.gate.wait_until_read()?;
        let watermark_ms = self.gate.watermark_ms()?;
        if watermark_ms < VERY_LATE_END_MS {
            return fail(format!(
                "everything is read, and a query's watermark is only {}",
                tidemill::progress::iso_instant(watermark_ms)
            ));
        }
        self.very_late(very_late - self.truth.very_late)?;
        self.deliver()?;
        self.gate.wait_until_read()?;
        self.close()?;
        self.deliver()?;
        self.gate.wait_until_read()?;
        Ok(self.truth)
    }

    /// One record of the main stream. Every 200th is malformed, every 100th a duplicate, every 25th late, every 10th filtered.
    fn event(&mut self, index: u64) -> Result<()> {
        let clock_ms =
            BASE_MS + (self.script.span_ms as u128 * u128::from(index) / u128::from(self.script.events)) as i64;
        self.live.clock_ms.store(clock_ms, Ordering::Relaxed);
        if index % 200 == 7 {
            self.truth.malformed += 1;
            self.live.malformed.fetch_add(1, Ordering::Relaxed);
            let text = match index / 200 % 3 {
                0 => format!(r#"{{"ride_id":"ride-{index}","driver_id":"driver-"#),
                1 => "not a ride".to_string(),
                _ => format!("ride-{index};driver;city;12.50"),
            };
            return self.send("malformed", &text);
        }
        if index % 100 == 11
            && let Some((ride, text)) = self.last.take()
        {
            self.truth.duplicates += 1;
            self.count(&ride);
            return self.send(&ride.driver_id(), &text);
        }
        let late = index % 25 == 3 && clock_ms - LATE_MS.1 >= BASE_MS;
        let time_ms = match late {
            true => clock_ms - self.rng.random_range(LATE_MS.0..LATE_MS.1),
            false => (clock_ms - self.rng.random_range(0..JITTER_MS)).max(BASE_MS),
        };
        let mut ride = self.ride(index, time_ms);
        if index % 10 == 9 {
            ride.status = "requested";
            self.truth.filtered += 1;
        } else {
            match late {
                true => {
                    self.truth.late += 1;
                    self.live.late.fetch_add(1, Ordering::Relaxed);
                }
                false => self.truth.normal += 1,
            }
            self.count(&ride);
        }
        let text = ride.json(&mut self.rng);
        self.send(&ride.driver_id(), &text)?;
        self.last = (ride.status != "requested").then_some((ride, text));
        Ok(())
    }

    /// Events of the first quarter of an hour that come when it is over for every query.
    fn very_late(&mut self, count: u64) -> Result<()> {
        std::mem::swap(&mut self.rng, &mut self.very_late_rng);
        for _ in 0..count {
            let time_ms = self.rng.random_range(BASE_MS..VERY_LATE_END_MS);
            let ride = self.ride(self.script.events + self.truth.very_late, time_ms);
            self.truth.very_late += 1;
            self.truth.very_late_completed += u64::from(ride.status == "completed");
            self.live.very_late.fetch_add(1, Ordering::Relaxed);
            let text = ride.json(&mut self.rng);
            self.send(&ride.driver_id(), &text)?;
        }
        std::mem::swap(&mut self.rng, &mut self.very_late_rng);
        Ok(())
    }

    /// One event in every partition, far ahead: it ends every window before it.
    fn close(&mut self) -> Result<()> {
        let end_ms = BASE_MS + self.script.span_ms;
        // The driver query's watermark comes to rest 30 minutes before the closing events, long after this.
        self.truth.closed_before_ms = end_ms;
        for partition in 0..self.partitions {
            let mut ride = self.ride(u64::MAX - partition as u64, end_ms + CLOSING_MS);
            ride.status = "completed";
            self.truth.normal += 1;
            self.turn = partition;
            let text = ride.json(&mut self.rng);
            self.send(&ride.driver_id(), &text)?;
        }
        self.live.clock_ms.store(end_ms + CLOSING_MS, Ordering::Relaxed);
        Ok(())
    }

    fn ride(&mut self, id: u64, time_ms: i64) -> Ride {
        let window = time_ms.div_euclid(CITY_WINDOW_MS);
        let demand = |city: usize| CITIES[city].1 * rush(self.script.seed, window, city);
        let mut at = self.rng.random_range(0.0..(0..CITIES.len()).map(demand).sum());
        let city = (0..CITIES.len())
            .find(|city| {
                at -= demand(*city);
                at < 0.0
            })
            .unwrap_or(0);
        let before: u32 = self.drivers[..city].iter().sum();
        let status = match self.rng.random_range(0.0..1.0) {
            at if at < IN_PROGRESS => "in_progress",
            at if at < IN_PROGRESS + CANCELLED => "cancelled",
            _ => "completed",
        };
        Ride {
            id,
            city,
            driver: before + self.rng.random_range(0..self.drivers[city]),
            rider: self.rng.random_range(0..self.script.events.clamp(100, 1_000_000) as u32),
            status,
            // A cancelled ride costs a fee of 5.
            quarters: if status == "cancelled" { 20 } else { self.rng.random_range(16..240) },
            time_ms,
        }
    }

    /// Adds an event that is not dropped to the truth.
    fn count(&mut self, ride: &Ride) {
        let start = ride.time_ms - ride.time_ms.rem_euclid(CITY_WINDOW_MS);
        let city = self.truth.cities.entry((start, CITIES[ride.city].0)).or_default();
        city.rides += 1;
        city.fares.add(ride.quarters);
        if ride.status == "completed" {
            city.completed += 1;
            let start = ride.time_ms - ride.time_ms.rem_euclid(DRIVER_WINDOW_MS);
            let driver = self.truth.drivers.entry((start, ride.driver)).or_default();
            driver.completed += 1;
            driver.fares.add(ride.quarters);
            driver.riders.insert(ride.rider);
        }
    }

    /// Queues a record for the partition whose turn it is.
    fn send(&mut self, key: &str, value: &str) -> Result<()> {
        let mut record = BaseRecord::to(&self.topic).partition(self.turn).key(key).payload(value);
        self.turn = (self.turn + 1) % self.partitions;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.truth.sent += 1;
        self.live.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the brokers have everything. The client's own `flush` sleeps a tenth of a second at a time, too long for a slice.
    fn deliver(&self) -> Result<()> {
        let started = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if started.elapsed() > WAIT {
                return fail(format!("the brokers have not taken {} records", self.producer.in_flight_count()));
            }
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Shares of the statuses.
const IN_PROGRESS: f64 = 0.35;
const CANCELLED: f64 = 0.1;

/// Demand of a city in a window: mostly 1, now and then double or triple.
fn rush(seed: u64, window: i64, city: usize) -> f64 {
    let mut hash =
        seed ^ (window as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (city as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    hash = (hash ^ (hash >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match (hash >> 40) % 20 {
        0 => 4.0,
        1 | 2 => 2.8,
        _ => 1.0,
    }
}
