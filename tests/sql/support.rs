//! Runs the binary in a directory of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary on the native twins, in `directory`, with logs of errors only.
pub fn tidemill(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).args(["--device", "cpu"]).current_dir(directory).env("RUST_LOG", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(directory: &Path, arguments: &[&str]) -> Output {
    tidemill(directory, arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory that holds `script.sql`.
pub fn with_script(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("script.sql"), text).unwrap();
    directory
}
