//! Real-time ride analytics: rides from Kafka, three windowed queries, and a generator that knows what must come out.
//!
//! Comes in: flags, see `--help`. Goes out: city metrics in Kafka, surge prices in a log, driver metrics in Parquet, a live view, tables
//! of the results, and a check of every closed window against the generator. Fails: exit code 1 when anything fails or the check
//! finds a difference.
//!
//! ```text
//! cargo run --example ride_analytics                  # 30 seconds with a broker in this process
//! cargo run --example ride_analytics -- --fast        # the same events as fast as possible
//! cargo run --example ride_analytics -- --brokers localhost:9092 --create-topics
//! ```

#[path = "../../tests/support/broker.rs"]
mod broker;
mod generator;
mod pipelines;
mod queries;
mod results;
mod view;

use broker::Broker;
use clap::Parser;
use generator::{Generator, Live, Script, Truth};
use pipelines::Settings;
use queries::{QueryGate, Watched};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use results::TopicTail;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill::frame::StreamingQuery;
use tokio::runtime::Handle;
use view::{SurgeLog, View, number};

/// Result of this program, which only prints its errors.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A failure in words.
pub fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(text.into().into())
}

/// Partitions of the topics that this program creates.
const RIDES_PARTITIONS: i32 = 4;
const CITY_PARTITIONS: i32 = 2;
/// Event time of a second of wall-clock time, unless the run is too short for 90 minutes at that speed.
const SPEED: i64 = 240;
/// Least event time: the driver query's windows of 15 minutes must end 30 minutes behind, several times.
const LEAST_SPAN_MS: i64 = 90 * 60_000;

/// Real-time ride analytics on generated rides, checked to the last count.
#[derive(Parser)]
struct Flags {
    /// Brokers of a real cluster, as host:port,...; without it a broker runs inside this process.
    #[arg(long)]
    brokers: Option<String>,
    /// Create the topics on the cluster if they do not exist.
    #[arg(long, requires = "brokers")]
    create_topics: bool,
    /// How long to generate events.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "fast")]
    seconds: u64,
    /// How many events to generate in a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with = "fast")]
    events_per_second: u64,
    /// Generate the events as fast as possible.
    #[arg(long)]
    fast: bool,
    /// How many events to generate with --fast.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..), requires = "fast")]
    events: u64,
    /// Seed of the generator: the same seed gives the same events.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where kernels run: auto, gpu, cpu, or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Directory of the output; every run makes a directory of its own in it.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ride_analytics: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<bool> {
    let directory = run_directory(flags.out.as_deref())?;
    log_to(&directory.join("engine.log"))?;
    // Kept until the end: dropping it ends the broker.
    let (brokers, _broker) = cluster(&flags).await?;

    let location = directory.to_string_lossy().into_owned();
    // Event time is fast, so triggers are too.
    let (trigger, drivers_trigger) =
        if flags.fast { ("50 milliseconds", "50 milliseconds") } else { ("250 milliseconds", "500 milliseconds") };
    let settings = Settings {
        trigger: trigger.into(),
        drivers_trigger: drivers_trigger.into(),
        ..Settings::new(&brokers, &location)
    };
    let session = pipelines::session().config("tidemill.device", &flags.device).build().await?;
    let surge_log = SurgeLog::create(&directory.join("surge.log"))?;
    let city_topic = blocking({
        let (brokers, topic) = (brokers.clone(), settings.city_topic.clone());
        move || TopicTail::at_end(&brokers, &topic)
    })
    .await?;

    // A query has fixed its first offsets, durably, when `start` returns. So `latest` means: before the first event of the generator.
    let city = pipelines::city_rides(&session, &settings).await?.start().await?;
    let surge =
        pipelines::surge_detection(&session, &settings).await?.console_output(surge_log.clone()).start().await?;
    let drivers = pipelines::driver_metrics(&session, &settings).await?.start().await?;
    let queries = vec![city, surge, drivers];
    println!("Rides on {brokers}, output in {}", directory.display());

    let script = script(&flags);
    let live = Arc::new(Live::default());
    let started = Instant::now();
    let mut watched: Vec<Watched> = ["cities", "surge", "drivers"]
        .into_iter()
        .zip(&queries)
        .map(|(name, query)| Watched::new(name, query.clone()))
        .collect();
    let mut view = View::new(script.events, watched.len(), live.clone(), surge_log);
    let generating = generate(script, &brokers, &settings.rides_topic, queries.clone(), live);
    tokio::pin!(generating);
    let truth = loop {
        tokio::select! {
            truth = &mut generating => break truth,
            // Only a failure ends a query here; the generator would notice it at its next look.
            ended = session.streams().await_any_termination() => break Err(ended.err().map_or("a query was stopped".into(), Into::into)),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        watched.iter_mut().for_each(Watched::update);
        view.update(&watched);
    };
    let elapsed = started.elapsed();
    watched.iter_mut().for_each(Watched::update);
    view.update(&watched);
    view.finish();
    let (truth, paced) = (truth?, !flags.fast);
    for query in &queries {
        query.stop().await;
    }
    report(&truth, &watched, city_topic, &settings, elapsed, paced).await
}

/// Reads the results back, prints them, and compares.
async fn report(
    truth: &Truth,
    watched: &[Watched],
    city_topic: TopicTail,
    settings: &Settings,
    elapsed: Duration,
    paced: bool,
) -> Result<bool> {
    let (cities, records) = blocking(move || results::read_cities(&city_topic)).await?;
    let (drivers, files) = results::read_drivers(Path::new(&settings.drivers_path))?;
    results::show_cities(&cities, truth.closed_before_ms);
    results::show_drivers(&drivers);
    println!(
        "\nGenerated {} records: {} in order, {} late but in time, {} duplicates,\n{} too late, {} of statuses that no query reads, {} malformed",
        number(truth.sent),
        number(truth.normal),
        number(truth.late),
        number(truth.duplicates),
        number(truth.very_late),
        number(truth.filtered),
        number(truth.malformed),
    );
    let checks = results::check(truth, watched, &cities, &drivers);
    results::show_checks(&checks);
    let rows: Vec<Vec<String>> = watched
        .iter()
        .map(|w| {
            let totals = &w.totals;
            vec![
                w.name.to_string(),
                number(totals.batches),
                number(totals.output_rows),
                number(totals.rate() as u64),
                format!("{:.0} ms", totals.busy_ms as f64 / totals.batches.max(1) as f64),
                view::device(totals).to_string(),
            ]
        })
        .collect();
    view::table(
        "Queries",
        &["", "batches", "rows out", "rows in/s while busy", "mean batch", "device of the last batch"],
        &rows,
    );
    println!(
        "\n{} records, each through three queries, in {:.1} s{}: {} records/s",
        number(truth.sent),
        elapsed.as_secs_f64(),
        if paced { " at a given pace" } else { "" },
        number((truth.sent as f64 / elapsed.as_secs_f64()) as u64),
    );
    println!("  topic {}: {} records", settings.city_topic, number(records as u64));
    println!("  {}: {files} files", settings.drivers_path);
    println!("  {}: the three checkpoints", settings.checkpoints);
    println!("  surge.log (the console sink's tables) and engine.log beside them");
    let wrong = checks.iter().filter(|check| !check.holds()).count();
    match wrong {
        0 => println!("\nCheck passed: every closed window is exact."),
        _ => println!("\nCheck FAILED: {wrong} of {} comparisons differ.", checks.len()),
    }
    Ok(wrong == 0)
}

/// What is to be generated.
fn script(flags: &Flags) -> Script {
    match flags.fast {
        true => Script { seed: flags.seed, events: flags.events, span_ms: LEAST_SPAN_MS, pace: None },
        false => Script {
            seed: flags.seed,
            events: (flags.seconds * flags.events_per_second).max(1_000),
            span_ms: (flags.seconds as i64 * SPEED * 1000).max(LEAST_SPAN_MS),
            pace: Some(Duration::from_secs(flags.seconds)),
        },
    }
}

async fn generate(
    script: Script,
    brokers: &str,
    topic: &str,
    queries: Vec<StreamingQuery>,
    live: Arc<Live>,
) -> Result<Truth> {
    let gate = QueryGate { queries, runtime: Handle::current() };
    let (brokers, topic) = (brokers.to_string(), topic.to_string());
    blocking(move || {
        let partitions = results::partitions(&brokers, &topic)?;
        Generator::new(script, &brokers, &topic, partitions, gate, live)?.run()
    })
    .await
}

/// The brokers' addresses, and the broker if it is ours.
async fn cluster(flags: &Flags) -> Result<(String, Option<Broker>)> {
    let settings = Settings::new("", "");
    let topics = [(settings.rides_topic.as_str(), RIDES_PARTITIONS), (settings.city_topic.as_str(), CITY_PARTITIONS)];
    let Some(brokers) = &flags.brokers else {
        let broker = Broker::start(&topics)?;
        return Ok((broker.bootstrap(), Some(broker)));
    };
    if flags.create_topics {
        let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        let topics = topics.map(|(topic, partitions)| NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for made in admin.create_topics(&topics, &options).await? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return fail(format!("the topic {topic} cannot be created: {code}")),
            }
        }
    }
    Ok((brokers.clone(), None))
}

/// A directory that no other run has used.
fn run_directory(out: Option<&Path>) -> Result<PathBuf> {
    let parent = match out {
        Some(out) => out.to_path_buf(),
        None if Path::new("target").is_dir() => Path::new("target").join("ride-analytics"),
        None => std::env::temp_dir().join("ride-analytics"),
    };
    std::fs::create_dir_all(&parent)?;
    let now = chrono::Local::now().format("%Y%m%d-%H%M%S");
    let directory = std::path::absolute(parent.join(format!("run-{now}-{}", std::process::id())))?;
    // Fails if it exists, which the process id makes impossible while this process lives.
    std::fs::create_dir(&directory)?;
    Ok(directory)
}

/// Sends the engine's log to a file: on the screen it would tear the view apart.
fn log_to(path: &Path) -> Result<()> {
    let file = std::fs::File::create(path)?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(file).init();
    Ok(())
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
