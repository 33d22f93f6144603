//! Tidemill's aggregation kernels: a typed program, composed to WGSL for GPUs and interpreted by native twins.

#[cfg(feature = "gpu")]
pub mod compose;
pub mod cpu;
pub mod device;
pub mod error;
pub mod exact_sum;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod hll;
pub mod order_key;
pub mod program;
pub mod validate;

pub use device::{Device, DeviceChoice, Ran, Scratch};
pub use error::KernelError;
pub use exact_sum::ExactSum;
pub use order_key::{from_order_key, order_key};
pub use program::*;
