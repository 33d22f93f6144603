//! The process: signals, kills, and starting again.

use crate::support::{run, stderr, stdout, tidemill, with_script};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command};

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Starts a script and waits until it has printed `lines` lines.
fn printed(directory: &Path, lines: usize) -> Child {
    let mut child = tidemill(directory, &["run", "script.sql"]).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let seen = BufReader::new(output).lines().take(lines).filter(|line| line.is_ok()).count();
    assert_eq!(seen, lines, "the process ended early");
    child
}

#[test]
fn signals_stop_the_queries_in_order() {
    let directory = with_script(
        "CREATE TABLE ticks USING rate OPTIONS (rowsPerSecond 1000);
         CREATE TABLE out USING console OPTIONS (format 'json', checkpointLocation 'ck');
         INSERT INTO out SELECT value FROM ticks;
         SELECT count(*) FROM ticks",
    );
    for name in ["-TERM", "-INT"] {
        let child = printed(directory.path(), 1);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
    }
}

#[test]
fn a_killed_process_goes_on_without_a_lost_or_doubled_row() {
    const FILES: usize = 40;
    let directory = with_script(
        "CREATE TABLE numbers (n BIGINT) USING json LOCATION 'in' OPTIONS (maxFilesPerTrigger 1);
         CREATE TABLE lake USING parquet LOCATION 'lake' OPTIONS (checkpointLocation 'ck-lake', trigger 'availableNow');
         CREATE TABLE seen USING console OPTIONS (format 'json', checkpointLocation 'ck-seen', trigger 'availableNow');
         INSERT INTO lake SELECT n, n * n AS square FROM numbers;
         INSERT INTO seen SELECT n FROM numbers",
    );
    std::fs::create_dir(directory.path().join("in")).unwrap();
    for file in 0..FILES {
        let rows: String = (0..5).map(|row| format!("{{\"n\":{}}}\n", file * 5 + row)).collect();
        std::fs::write(directory.path().join(format!("in/{file:03}.json")), rows).unwrap();
    }
    let mut kills = 0;
    for lines in [3, 8, 21, 34] {
        let mut child = printed(directory.path(), lines);
        signal(&child, "-KILL");
        kills += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills > 0, "no process was killed before its end");
    let output = run(directory.path(), &["run", "script.sql"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let check = "CREATE TABLE lake (n BIGINT, square BIGINT) USING parquet LOCATION 'lake';
                 CREATE TABLE out USING console OPTIONS (format 'json', trigger 'availableNow');
                 INSERT INTO out SELECT n, square FROM lake";
    let output = run(directory.path(), &["run", "-e", check]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut rows: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for line in stdout(&output).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| line["row"][name].as_u64().unwrap();
        let row = rows.entry(number("n")).or_insert((number("square"), 0));
        row.1 += 1;
    }
    let expected: BTreeMap<u64, (u64, usize)> = (0..FILES as u64 * 5).map(|n| (n, (n * n, 1))).collect();
    assert_eq!(rows, expected);
}
