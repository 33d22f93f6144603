//! The results as any other program would read them, and their comparison with the generator's truth.
//!
//! Comes in: the city topic from where it ended before the run, the driver files, the queries' counters, the truth. Goes out: tables and
//! [`Check`]s. Fails: records and files that do not read.

use crate::generator::{Truth, driver_id};
use crate::queries::Watched;
use crate::view::{number, table};
use crate::{Result, fail};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

/// Keeps the client from printing what this program reports itself.
struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

/// A topic from a moment on.
pub struct TopicTail {
    consumer: BaseConsumer<Quiet>,
    from: TopicPartitionList,
}

/// The number of partitions of a topic.
pub fn partitions(brokers: &str, topic: &str) -> Result<i32> {
    Ok(TopicTail::at_end(brokers, topic)?.from.count() as i32)
}

impl TopicTail {
    /// From the topic's present end.
    pub fn at_end(brokers: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer<Quiet> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "ride-analytics-results")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create_with_context(Quiet)?;
        let metadata = consumer
            .fetch_metadata(Some(topic), WAIT)
            .map_err(|error| format!("{brokers} does not answer: {error}"))?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        let Some(found) = found.filter(|t| !t.partitions().is_empty()) else {
            return fail(format!("the topic {topic} does not exist on {brokers}; create it, or use --create-topics"));
        };
        let mut from = TopicPartitionList::new();
        for partition in found.partitions() {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), WAIT)?;
            from.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
        }
        Ok(Self { consumer, from })
    }

    /// Every committed record since, in the order of each partition.
    fn values(&self) -> Result<Vec<Vec<u8>>> {
        self.consumer.assign(&self.from)?;
        let (mut open, mut values) = (self.from.count(), Vec::new());
        while open > 0 {
            match self.consumer.poll(WAIT) {
                Some(Ok(record)) => values.push(record.payload().unwrap_or_default().to_vec()),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(error.into()),
                None => return fail("the city topic does not answer"),
            }
        }
        Ok(values)
    }
}

/// A window of a city, as the topic has it in the end.
#[derive(Debug, Clone)]
pub struct CityRow {
    rides: i64,
    completed: i64,
    average_fare: Option<f64>,
    drivers: i64,
    completion_rate: f64,
}

/// Rows by window start in milliseconds, and city.
pub type Cities = BTreeMap<(i64, String), CityRow>;

/// The last row of each window and city, by window start in milliseconds.
pub fn read_cities(tail: &TopicTail) -> Result<(Cities, usize)> {
    let values = tail.values()?;
    let mut rows = BTreeMap::new();
    for value in &values {
        let text = std::str::from_utf8(value)?;
        let row: serde_json::Value = serde_json::from_str(text)?;
        let parsed = (|| {
            let start = chrono::DateTime::parse_from_rfc3339(row["window"]["start"].as_str()?).ok()?;
            let city = row["city"].as_str()?.to_string();
            let values = CityRow {
                rides: row["ride_count"].as_i64()?,
                completed: row["completed_rides"].as_i64()?,
                average_fare: double(text, "avg_fare"),
                drivers: row["active_drivers"].as_i64()?,
                completion_rate: double(text, "completion_rate")?,
            };
            Some(((start.timestamp_millis(), city), values))
        })();
        match parsed {
            Some((key, row)) => rows.insert(key, row),
            None => return fail(format!("a record of the city topic is not as expected: {row}")),
        };
    }
    Ok((rows, values.len()))
}

/// A number field of a flat JSON object, to the last bit: serde_json rounds by an approximation unless a feature says otherwise.
fn double(json: &str, field: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"{field}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// A window of a driver, as the files have it.
#[derive(Debug, Clone)]
pub struct DriverRow {
    completed: i64,
    average_fare: Option<f64>,
    riders: i64,
}

/// Rows by window start in milliseconds, and driver.
pub type Drivers = BTreeMap<(i64, String), DriverRow>;

/// Every row of every file, by window start in milliseconds; a window and driver that come twice are an error.
pub fn read_drivers(directory: &Path) -> Result<(Drivers, usize)> {
    let (mut rows, mut files) = (BTreeMap::new(), 0);
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) || !name.ends_with(".parquet") {
            continue;
        }
        files += 1;
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()? {
            let batch = batch?;
            let column = |name: &str| -> Result<&ArrayRef> {
                batch.column_by_name(name).ok_or_else(|| format!("{} has no column {name}", path.display()).into())
            };
            let window = column("window")?.as_struct_opt().ok_or("the column window is no struct")?;
            let start = window.column_by_name("start").ok_or("the column window has no start")?;
            let start = start.as_primitive_opt::<TimestampMicrosecondType>().ok_or("window.start is no timestamp")?;
            let driver = cast(column("driver_id")?, &DataType::Utf8)?;
            let completed = cast(column("completed_rides")?, &DataType::Int64)?;
            let fare = cast(column("avg_fare")?, &DataType::Float64)?;
            let riders = cast(column("unique_riders")?, &DataType::Int64)?;
            for row in 0..batch.num_rows() {
                let fare = fare.as_primitive::<Float64Type>();
                let key = (start.value(row) / 1000, driver.as_string::<i32>().value(row).to_string());
                let values = DriverRow {
                    completed: completed.as_primitive::<Int64Type>().value(row),
                    average_fare: fare.is_valid(row).then(|| fare.value(row)),
                    riders: riders.as_primitive::<Int64Type>().value(row),
                };
                if let Some(_twice) = rows.insert(key.clone(), values) {
                    return fail(format!("the driver files have {key:?} twice"));
                }
            }
        }
    }
    Ok((rows, files))
}

/// One comparison.
pub struct Check {
    what: String,
    expected: String,
    found: String,
}

impl Check {
    fn new(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// Whether the two sides are equal.
    pub fn holds(&self) -> bool {
        self.expected == self.found
    }
}

/// Compares everything that can be known exactly.
pub fn check(truth: &Truth, queries: &[Watched], cities: &Cities, drivers: &Drivers) -> Vec<Check> {
    let mut checks = Vec::new();
    for watched in queries {
        let totals = &watched.totals;
        let late = if watched.name == "drivers" { truth.very_late_completed } else { truth.very_late };
        checks.push(Check::new(
            format!("{}: records read", watched.name),
            number(truth.sent),
            number(totals.input_rows),
        ));
        checks.push(Check::new(
            format!("{}: malformed", watched.name),
            number(truth.malformed),
            number(totals.malformed),
        ));
        checks.push(Check::new(format!("{}: dropped as late", watched.name), number(late), number(totals.late_rows)));
    }
    let closed: Vec<_> = cities.iter().filter(|((start, _), _)| *start < truth.closed_before_ms).collect();
    checks.push(Check::new("closed city windows", number(truth.cities.len() as u64), number(closed.len() as u64)));
    let equal = closed.iter().filter(|((start, city), row)| {
        let expected = truth.cities.iter().find(|((s, c), _)| s == start && *c == city.as_str()).map(|(_, t)| t);
        expected.is_some_and(|t| {
            t.rides as i64 == row.rides
                && t.completed as i64 == row.completed
                && t.fares.mean() == row.average_fare
                && t.completed as f64 / t.rides as f64 == row.completion_rate
        })
    });
    checks.push(Check::new(
        "  with equal counts, rates and mean fares",
        number(truth.cities.len() as u64),
        number(equal.count() as u64),
    ));
    let rides: u64 = truth.cities.values().map(|t| t.rides).sum();
    let found: i64 = closed.iter().map(|(_, row)| row.rides).sum();
    checks.push(Check::new("  rides in them", number(rides), number(found.max(0) as u64)));
    let expected: BTreeMap<(i64, String), _> =
        truth.drivers.iter().map(|((start, driver), t)| ((*start, driver_id(*driver)), t)).collect();
    checks.push(Check::new("closed driver windows", number(expected.len() as u64), number(drivers.len() as u64)));
    let equal = drivers.iter().filter(|(key, row)| {
        expected.get(*key).is_some_and(|t| {
            t.completed as i64 == row.completed && t.fares.mean() == row.average_fare && t.riders() as i64 == row.riders
        })
    });
    checks.push(Check::new(
        "  with equal counts, mean fares and distinct riders",
        number(expected.len() as u64),
        number(equal.count() as u64),
    ));
    checks
}

/// Prints the comparisons.
pub fn show_checks(checks: &[Check]) {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = if check.holds() { "ok" } else { "WRONG" };
            vec![check.what.clone(), check.expected.clone(), check.found.clone(), verdict.to_string()]
        })
        .collect();
    table("Self check", &["", "generated", "found", ""], &rows);
}

/// Prints the cities with the most rides in closed windows.
pub fn show_cities(cities: &Cities, closed_before_ms: i64) {
    #[derive(Default)]
    struct Sum {
        rides: i64,
        completed: i64,
        fares: f64,
        drivers: i64,
    }
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for ((_, city), row) in cities.iter().filter(|((start, _), _)| *start < closed_before_ms) {
        let sum = sums.entry(city).or_default();
        sum.rides += row.rides;
        sum.completed += row.completed;
        sum.fares += row.average_fare.unwrap_or(0.0) * row.rides as f64;
        sum.drivers = sum.drivers.max(row.drivers);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.rides));
    let rows: Vec<Vec<String>> = sums
        .iter()
        .map(|(city, sum)| {
            let rides = sum.rides.max(1) as f64;
            vec![
                city.to_string(),
                number(sum.rides.max(0) as u64),
                format!("{:.1} %", sum.completed as f64 * 100.0 / rides),
                format!("{:.2}", sum.fares / rides),
                number(sum.drivers.max(0) as u64),
            ]
        })
        .collect();
    table(
        "Cities, from Kafka",
        &["city", "rides", "completed", "average fare", "drivers in a window (estimate)"],
        &rows,
    );
}

/// Prints the driver windows with the most completed rides.
pub fn show_drivers(drivers: &Drivers) {
    let mut best: Vec<_> = drivers.iter().collect();
    best.sort_by_key(|(_, row)| std::cmp::Reverse(row.completed));
    let rows: Vec<Vec<String>> = best
        .iter()
        .take(5)
        .map(|((start, driver), row)| {
            let start = tidemill::progress::iso_instant(*start);
            vec![
                driver.clone(),
                start.get(11..16).unwrap_or_default().to_string(),
                number(row.completed.max(0) as u64),
                row.average_fare.map_or("-".to_string(), |fare| format!("{fare:.2}")),
                number(row.riders.max(0) as u64),
            ]
        })
        .collect();
    table(
        "Busiest quarters of an hour of drivers, from Parquet",
        &["driver", "from", "completed", "average fare", "riders"],
        &rows,
    );
}
