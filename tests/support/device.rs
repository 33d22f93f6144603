//! The software GPU for tests, where there is one.

#[path = "skip.rs"]
mod skip;

use tidemill_kernels::{Device, DeviceChoice};

/// Name of the software adapter; None, with a line that says that the test is skipped, where there is none.
pub fn software_gpu(test: &str) -> Option<String> {
    match Device::open(&DeviceChoice::Named("llvmpipe".into())) {
        Ok(_) => Some("llvmpipe".to_string()),
        Err(error) => {
            skip::skipped(test, error);
            None
        }
    }
}
