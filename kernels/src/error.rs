//! What can go wrong in a kernel, whatever device runs it.
//!
//! Comes in: a refusal found by validation, decoding or a size limit. Goes out: [`KernelError`], whose variants are
//! stable, so that the engine can give each its own error code. Nothing fails here.

/// A refusal by the kernels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The program contradicts itself: a missing column, a column of the wrong type, a parameter out of range.
    #[error("invalid kernel program: {place}: {reason}")]
    InvalidProgram {
        /// The part of the program, such as `aggregates[2]`.
        place: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// The batch does not fit the program: another number of columns, a short buffer, a short table, a code past its
    /// dictionary.
    #[error("invalid batch for the kernel program: {place}: {reason}")]
    InvalidBatch {
        /// The part of the batch, such as `columns[0]`.
        place: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// The partial aggregates of one batch would pass a limit; a smaller batch does not.
    #[error(
        "the batch is too large for the kernels: {what} would need {needed}, the limit is {limit}; use fewer rows a chunk"
    )]
    BatchTooLarge {
        /// What would grow too large.
        what: &'static str,
        /// How much would be needed.
        needed: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// Bytes that are not an encoded exact sum.
    #[error("not an exact sum: {reason}")]
    InvalidExactSum {
        /// What is wrong with the bytes.
        reason: &'static str,
    },
    /// No adapter is what was asked for.
    #[error(
        "no device for `{wanted}`; adapters found: {found}; use `cpu` or `auto`, install a driver, or name an adapter"
    )]
    DeviceNotFound {
        /// The choice as it was given.
        wanted: String,
        /// Names of the adapters that there are.
        found: String,
    },
    /// The device is gone: reset, unplugged, or hung. The batch is not lost; the native twin can run it.
    #[error("the device is lost: {reason}")]
    DeviceLost {
        /// What was seen.
        reason: String,
    },
    /// The device refused something.
    #[error("device {device} failed: {reason}")]
    Device {
        /// Name of the device.
        device: String,
        /// What it said.
        reason: String,
    },
}
