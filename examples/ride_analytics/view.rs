//! What a person sees while it runs: bars on a terminal, a line every two seconds elsewhere.
//!
//! Comes in: the generator's counters, the queries' sums, the surge tables of the console sink. Goes out: text on standard output. The
//! tables themselves go to a file, because they would tear the bars apart; the newest rows are shown below the bars. Fails: never, a view
//! that cannot draw says nothing.

use crate::generator::Live;
use crate::queries::{Totals, Watched};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Surge rows shown.
const SURGES: usize = 5;
/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The console sink's output: a file, and the newest rows for the view.
#[derive(Clone)]
pub struct SurgeLog {
    file: Arc<File>,
    newest: Arc<Mutex<Vec<String>>>,
}

impl SurgeLog {
    /// A log in this file.
    pub fn create(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::create(path)?), newest: Arc::default() })
    }

    /// The rows of the last table that had any, newest windows first.
    pub fn newest(&self) -> Vec<String> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for SurgeLog {
    /// The console sink writes a batch at a time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write_all(bytes)?;
        let text = String::from_utf8_lossy(bytes);
        // The first line between bars is the header.
        let mut rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(1).collect();
        if !rows.is_empty() {
            // The window comes first, so the order of the texts is the order of time.
            rows.sort_unstable_by(|a, b| b.cmp(a));
            let rows = rows.iter().take(SURGES).filter_map(|row| surge_text(row)).collect();
            *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}

/// `|{2026-01-05 08:00:00, 2026-01-05 08:05:00}|Paris|57|30|9|2.0|` in fewer words.
fn surge_text(row: &str) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [window, city, requests, active, drivers, surge] = cells.as_slice() else { return None };
    let (start, end) = window.trim_matches(['{', '}']).split_once(", ")?;
    let clock = |time: &str| Some(time.split_once(' ')?.1.get(..5)?.to_string());
    Some(format!(
        "{}-{}  {city:<14} x{surge}   {requests:>5} requests, {active:>5} rides in progress, {drivers:>4} drivers",
        clock(start)?,
        clock(end)?
    ))
}

/// The view.
pub struct View {
    kind: Kind,
    live: Arc<Live>,
    surge: SurgeLog,
    events: u64,
    started: Instant,
}

enum Kind {
    Bars { events: ProgressBar, queries: Vec<ProgressBar>, heading: ProgressBar, surge: Vec<ProgressBar> },
    Lines { printed: Instant },
}

impl View {
    /// A view of so many expected events and these queries.
    pub fn new(events: u64, queries: usize, live: Arc<Live>, surge: SurgeLog) -> Self {
        let kind =
            if io::stdout().is_terminal() { bars(events, queries) } else { Kind::Lines { printed: Instant::now() } };
        Self { kind, live, surge, events, started: Instant::now() }
    }

    /// Shows how things stand.
    pub fn update(&mut self, queries: &[Watched]) {
        let (sent, clock) = (self.live.sent.load(Ordering::Relaxed), self.live.clock_ms.load(Ordering::Relaxed));
        let rate = sent as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let counts = format!(
            "{}/s  at {}  late {}  too late {}  malformed {}",
            number(rate as u64),
            time(clock),
            number(self.live.late.load(Ordering::Relaxed)),
            number(self.live.very_late.load(Ordering::Relaxed)),
            number(self.live.malformed.load(Ordering::Relaxed)),
        );
        match &mut self.kind {
            Kind::Bars { events, queries: bars, surge, .. } => {
                events.set_length(self.events.max(sent));
                events.set_position(sent);
                events.set_message(counts);
                for (bar, watched) in bars.iter().zip(queries) {
                    bar.set_message(query_text(watched.name, &watched.totals));
                }
                let newest = self.surge.newest();
                for (index, bar) in surge.iter().enumerate() {
                    bar.set_message(newest.get(index).cloned().unwrap_or_default());
                }
            }
            Kind::Lines { printed } if printed.elapsed() >= LINE_EVERY => {
                *printed = Instant::now();
                println!("events  {}/{}  {counts}", number(sent), number(self.events.max(sent)));
                for watched in queries {
                    println!("  {}", query_text(watched.name, &watched.totals));
                }
            }
            Kind::Lines { .. } => {}
        }
    }

    /// Leaves the screen to what comes next.
    pub fn finish(self) {
        if let Kind::Bars { events, queries, heading, surge } = self.kind {
            surge.iter().chain([&heading]).for_each(ProgressBar::finish_and_clear);
            queries.iter().chain([&events]).for_each(ProgressBar::abandon);
            // Bars end without a new line.
            println!();
        }
    }
}

fn bars(events: u64, queries: usize) -> Kind {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(10));
    // A template is a constant of this file; a wrong one would show as plain text.
    let style =
        |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let text = || all.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
    let bar = all.add(
        ProgressBar::new(events)
            .with_style(style("events  [{bar:10}] {human_pos}/{human_len}  {wide_msg}").progress_chars("=> ")),
    );
    let queries = (0..queries).map(|_| text()).collect();
    let heading = text();
    heading.set_message("Newest surge prices");
    let surge = (0..SURGES).map(|_| all.add(ProgressBar::no_length().with_style(style("  {wide_msg}")))).collect();
    Kind::Bars { events: bar, queries, heading, surge }
}

fn query_text(name: &str, totals: &Totals) -> String {
    let Some(last) = &totals.last else { return format!("{name:<8} waits for its first batch") };
    format!(
        "{name:<8}#{:<4}{:>9} rows {:>8}/s {:>5} ms  watermark {}  late {:<4} state {:<6} {}",
        last.batch_id,
        number(totals.input_rows),
        number(totals.rate() as u64),
        last.batch_duration,
        time(last.watermark_ms().unwrap_or(0)),
        number(totals.late_rows),
        number(totals.state_rows()),
        device(totals),
    )
}

/// The device's name without its driver, and without the reason why it ran.
pub fn device(totals: &Totals) -> &str {
    totals.device.as_deref().and_then(|d| d.split(": ").next()?.split(" (").next()).unwrap_or("-")
}

fn time(millis: i64) -> String {
    match millis {
        0 => "-".repeat(8),
        _ => tidemill::progress::iso_instant(millis).get(11..19).unwrap_or_default().to_string(),
    }
}

/// With thousands separated.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows under a header, columns as wide as they must be: texts to the left, the rest to the right.
pub fn table(title: &str, header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        println!("  {}", cells.collect::<Vec<_>>().join("   "));
    };
    println!("\n{title}");
    line(&header.iter().map(|h| h.to_string()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}
