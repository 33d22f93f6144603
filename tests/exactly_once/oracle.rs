//! The rides, and what the queries must say of them, computed the plain way.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use tidemill_kernels::hll;

/// 2026-01-01T00:00:00Z.
const EPOCH_S: i64 = 1_767_225_600;
const FIVE_MINUTES: i64 = 300;
const FIFTEEN_MINUTES: i64 = 900;

/// A ride event; fares are multiples of a quarter, so that plain sums of them are exact.
#[derive(Debug, Clone)]
pub struct Ride {
    pub city: &'static str,
    pub driver: String,
    pub rider: String,
    pub fare: Option<f64>,
    pub status: &'static str,
    /// Seconds since the epoch.
    pub time: i64,
    /// Partition it is sent to, where that matters.
    pub partition: Option<i32>,
}

impl Ride {
    pub fn json(&self) -> String {
        let time = chrono::DateTime::from_timestamp(self.time, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ");
        let fare = self.fare.map_or("null".to_string(), |fare| fare.to_string());
        format!(
            r#"{{"ride_id":"r","driver_id":"{}","rider_id":"{}","city":"{}","pickup_lat":1.5,"pickup_lon":-2.25,"dropoff_lat":null,"dropoff_lon":null,"fare_amount":{fare},"status":"{}","event_time":"{time}"}}"#,
            self.driver, self.rider, self.city, self.status
        )
    }
}

/// Makes rides whose event time moves on, out of order by less than any watermark's delay.
pub struct Generator {
    random: StdRng,
    now: i64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), now: EPOCH_S }
    }

    pub fn next(&mut self, rides: usize) -> Vec<Ride> {
        (0..rides)
            .map(|_| {
                self.now += self.random.random_range(0..12);
                let random = &mut self.random;
                Ride {
                    city: ["sf", "nyc", "oslo"][random.random_range(0..3)],
                    driver: format!("d{}", random.random_range(0..6)),
                    rider: format!("u{}", random.random_range(0..40)),
                    fare: (random.random_range(0..10) > 0).then(|| f64::from(random.random_range(12..400)) / 4.0),
                    status: ["completed", "completed", "cancelled", "in_progress", "requested"]
                        [random.random_range(0..5)],
                    time: self.now - random.random_range(0..240),
                    partition: None,
                }
            })
            .collect()
    }

    /// A ride that is asked for and one that is completed in each partition, of different riders, so late that every window and every
    /// join before them closes.
    pub fn closing(&mut self, partitions: i32) -> Vec<Ride> {
        self.now += 7200;
        let ride = |(partition, status): (i32, &'static str)| Ride {
            city: "closing",
            driver: "closing".to_string(),
            rider: format!("closing {status}"),
            fare: None,
            status,
            time: self.now,
            partition: Some(partition),
        };
        (0..partitions).flat_map(|partition| [(partition, "requested"), (partition, "completed")]).map(ride).collect()
    }
}

fn window(time: i64, width: i64) -> i64 {
    time - time.rem_euclid(width)
}

fn iso(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

fn mean(fares: &[f64]) -> Option<f64> {
    (!fares.is_empty()).then(|| fares.iter().sum::<f64>() / fares.len() as f64)
}

fn about(drivers: &BTreeSet<&str>) -> i64 {
    let mut registers = [0u8; 512];
    for driver in drivers {
        let packed = hll::pack(hll::hash_bytes(driver.as_bytes()), 9);
        let register = &mut registers[(packed >> 8) as usize];
        *register = (*register).max(packed as u8);
    }
    hll::estimate(&registers, 9)
}

/// `records` are key and JSON value, in the order of each partition.
pub fn check_cities(rides: &[Ride], records: &[(String, serde_json::Value)]) {
    let mut groups: BTreeMap<(i64, &str), Vec<&Ride>> = BTreeMap::new();
    for ride in rides.iter().filter(|r| r.status != "requested") {
        groups.entry((window(ride.time, FIVE_MINUTES), ride.city)).or_default().push(ride);
    }
    let expected: BTreeMap<(String, String), serde_json::Value> = groups
        .into_iter()
        .map(|((start, city), rides)| {
            let completed = rides.iter().filter(|r| r.status == "completed").count();
            let fares: Vec<f64> = rides.iter().filter_map(|r| r.fare).collect();
            let drivers = rides.iter().map(|r| r.driver.as_str()).collect();
            let mut row = serde_json::json!({
                "window": {"start": iso(start), "end": iso(start + FIVE_MINUTES)},
                "city": city,
                "ride_count": rides.len(),
                "completed_rides": completed,
            });
            if let Some(fare) = mean(&fares) {
                row["avg_fare"] = fare.into();
            }
            row["active_drivers"] = about(&drivers).into();
            row["completion_rate"] = (completed as f64 / rides.len() as f64).into();
            ((iso(start), city.to_string()), row)
        })
        .collect();
    let mut last: BTreeMap<(String, String), serde_json::Value> = BTreeMap::new();
    for (key, row) in records {
        assert_eq!(row["city"].as_str(), Some(key.as_str()));
        let place = (row["window"]["start"].as_str().unwrap().to_string(), key.clone());
        let count = |row: &serde_json::Value| row["ride_count"].as_u64().unwrap();
        // A batch writes a group once, and only if it has grown: a batch that came twice would repeat a count.
        if let Some(before) = last.get(&place) {
            assert!(count(before) < count(row), "{place:?}: {row} came after {before}");
        }
        last.insert(place, row.clone());
    }
    for (place, row) in &expected {
        assert_eq!(last.get(place), Some(row), "{place:?}");
    }
    assert_eq!(last.len(), expected.len(), "groups that no ride belongs to");
}

/// A driver's row: window start in seconds, driver, rides, mean fare by its bits, riders.
pub type DriverRow = (i64, String, i64, Option<u64>, i64);

pub fn check_drivers(rides: &[Ride], rows: &[DriverRow]) {
    let mut groups: BTreeMap<(i64, &str), Vec<&Ride>> = BTreeMap::new();
    for ride in rides.iter().filter(|r| r.status == "completed" && r.city != "closing") {
        groups.entry((window(ride.time, FIFTEEN_MINUTES), &ride.driver)).or_default().push(ride);
    }
    let expected: Vec<DriverRow> = groups
        .into_iter()
        .map(|((start, driver), rides)| {
            let fares: Vec<f64> = rides.iter().filter_map(|r| r.fare).collect();
            let riders: BTreeSet<&str> = rides.iter().map(|r| r.rider.as_str()).collect();
            (start, driver.to_string(), rides.len() as i64, mean(&fares).map(f64::to_bits), riders.len() as i64)
        })
        .collect();
    assert!(expected.len() > 50, "too few groups to prove anything");
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(rows, expected);
}
