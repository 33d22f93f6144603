//! Tests that lack a component on this machine.

use std::io::Write;

/// Says in one line, past the test harness's capture, that `test` was skipped and why; `make test` counts these lines.
pub fn skipped(test: &str, why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
