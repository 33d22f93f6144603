//! The device that runs programs.
//!
//! Comes in: a [`DeviceChoice`], then programs and batches. Goes out: [`Groups`], the same bits whatever ran, and [`Ran`],
//! which says what did and why. The native twin runs where there is no GPU, for small batches under `auto`, for batches
//! that do not suit the device, and once the device is lost. Fails with [`KernelError::DeviceNotFound`] at opening when
//! a GPU was asked for and there is none, and with the twins' errors on invalid programs and batches.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
#[cfg(feature = "gpu")]
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};
#[cfg(feature = "gpu")]
use std::time::{Duration, Instant};

use crate::cpu;
use crate::error::KernelError;
#[cfg(feature = "gpu")]
use crate::gpu::{Failure, Gpu, Memory, Tuning};
use crate::program::{Batch, Groups, Program};

/// Rows under which `auto` runs the twin. A batch costs a GPU some 0.15 ms before its first row (the calls to write,
/// submit and map, measured on a software adapter at 0.05 to 0.2 ms), in which the twin aggregates 15,000 rows on one core
/// at 10 ns each. Twice that, because the transfer is not free and other cores run twins of other queries meanwhile. Not
/// yet measured on a discrete GPU.
pub const BREAK_EVEN_ROWS: usize = 32_768;

/// How long a device that failed is left alone before a batch tries to open it again. A driver needs seconds to reset;
/// an attempt that fails costs a batch a tenth of a second.
#[cfg(feature = "gpu")]
const REST: Duration = Duration::from_secs(30);

/// Which device a session wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A hardware GPU where there is one and the batch is worth it, otherwise the CPU.
    #[default]
    Auto,
    /// A hardware GPU, whatever the size of the batch; opening fails without one.
    Gpu,
    /// The native twins.
    Cpu,
    /// The first adapter whose name contains this, in any case; software adapters too.
    Named(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    /// `auto`, `gpu`, `cpu`, or part of an adapter's name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim().to_lowercase().as_str() {
            "" | "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            name => Self::Named(name.to_owned()),
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Named(name) => name,
        })
    }
}

/// What ran a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Whether a GPU did.
    pub gpu: bool,
    /// Name of the device.
    pub device: Arc<str>,
    /// Why this one.
    pub reason: Arc<str>,
}

/// What one query keeps from batch to batch on a device. A fresh one is always right, and slower.
#[derive(Debug, Default)]
pub struct Scratch {
    cpu: cpu::Scratch,
    #[cfg(feature = "gpu")]
    memory: Memory,
}

/// A device, cheap to clone.
#[derive(Debug, Clone)]
pub struct Device(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Cpu {
        reason: Arc<str>,
    },
    #[cfg(feature = "gpu")]
    Gpu {
        state: Mutex<State>,
        name: Arc<str>,
        reason: Arc<str>,
        /// Rows under which the twin runs.
        least_rows: usize,
        fallbacks: AtomicU64,
    },
}

/// The GPU and, when it has failed, since when and why it is not used.
#[cfg(feature = "gpu")]
#[derive(Debug)]
struct State {
    gpu: Gpu,
    down: Option<(Instant, Arc<str>)>,
}

#[cfg(feature = "gpu")]
impl State {
    /// Opens the GPU again.
    fn reopen(&mut self) -> Result<(), KernelError> {
        self.gpu = self.gpu.reopen()?;
        self.down = None;
        Ok(())
    }

    /// The GPU, if it is up or comes up again after its rest; else why not.
    fn ready(&mut self) -> Result<Gpu, Arc<str>> {
        if let Some((since, reason)) = &self.down {
            let reason = reason.clone();
            if since.elapsed() < REST {
                return Err(reason);
            }
            if self.reopen().is_err() {
                self.down = Some((Instant::now(), reason.clone()));
                return Err(reason);
            }
        }
        Ok(self.gpu.clone())
    }
}

/// A panic while the lock was held leaves nothing half done in a [`State`].
#[cfg(feature = "gpu")]
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

const CPU: &str = "cpu";

impl Device {
    /// Opens the device that `choice` means.
    pub fn open(choice: &DeviceChoice) -> Result<Self, KernelError> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu("device = cpu")),
            #[cfg(not(feature = "gpu"))]
            DeviceChoice::Auto => Ok(Self::cpu("built without the feature `gpu`")),
            #[cfg(not(feature = "gpu"))]
            DeviceChoice::Gpu | DeviceChoice::Named(_) => Err(KernelError::DeviceNotFound {
                wanted: choice.to_string(),
                found: "none, since this program was built without the feature `gpu`".into(),
            }),
            #[cfg(feature = "gpu")]
            DeviceChoice::Auto => match Gpu::open(choice) {
                Ok(gpu) => Ok(Self::with_gpu(gpu, "device = auto found a GPU", BREAK_EVEN_ROWS)),
                Err(KernelError::DeviceNotFound { found, .. }) => {
                    Ok(Self::cpu(&format!("device = auto found no hardware GPU (adapters: {found})")))
                }
                Err(error) => Ok(Self::cpu(&format!("device = auto: {error}"))),
            },
            #[cfg(feature = "gpu")]
            DeviceChoice::Gpu | DeviceChoice::Named(_) => {
                Ok(Self::with_gpu(Gpu::open(choice)?, &format!("device = {choice}"), 0))
            }
        }
    }

    /// The native twins, with the reason for them.
    pub fn cpu(reason: &str) -> Self {
        Self(Arc::new(Kind::Cpu { reason: reason.into() }))
    }

    /// An open GPU, with the reason for it and the number of rows under which the twin runs.
    #[cfg(feature = "gpu")]
    pub fn with_gpu(gpu: Gpu, reason: &str, least_rows: usize) -> Self {
        let (name, reason) = (gpu.name().into(), reason.into());
        let (state, fallbacks) = (Mutex::new(State { gpu, down: None }), AtomicU64::new(0));
        Self(Arc::new(Kind::Gpu { state, name, reason, least_rows, fallbacks }))
    }

    /// Name of the device: `cpu`, or the adapter's.
    pub fn name(&self) -> &str {
        match &*self.0 {
            Kind::Cpu { .. } => CPU,
            #[cfg(feature = "gpu")]
            Kind::Gpu { name, .. } => name,
        }
    }

    /// Why this device.
    pub fn reason(&self) -> &str {
        match &*self.0 {
            Kind::Cpu { reason } => reason,
            #[cfg(feature = "gpu")]
            Kind::Gpu { reason, .. } => reason,
        }
    }

    /// Whether batches may run on a GPU.
    pub fn is_gpu(&self) -> bool {
        match &*self.0 {
            Kind::Cpu { .. } => false,
            #[cfg(feature = "gpu")]
            Kind::Gpu { state, .. } => lock(state).down.is_none(),
        }
    }

    /// Batches that ran on the twin although a GPU was open and they were large enough.
    pub fn fallbacks(&self) -> u64 {
        match &*self.0 {
            Kind::Cpu { .. } => 0,
            #[cfg(feature = "gpu")]
            Kind::Gpu { fallbacks, .. } => fallbacks.load(Ordering::Relaxed),
        }
    }

    /// The GPU, for tests and measurements.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<Gpu> {
        match &*self.0 {
            Kind::Cpu { .. } => None,
            Kind::Gpu { state, .. } => Some(lock(state).gpu.clone()),
        }
    }

    /// Opens a GPU that has failed again, now. Batches do so by themselves half a minute after the failure.
    #[cfg(feature = "gpu")]
    pub fn reopen(&self) -> Result<(), KernelError> {
        match &*self.0 {
            Kind::Cpu { .. } => Ok(()),
            Kind::Gpu { state, .. } => lock(state).reopen(),
        }
    }

    /// Aggregates one batch. Blocks until it is done.
    pub fn aggregate(
        &self,
        program: &Program,
        batch: &Batch<'_>,
        scratch: &mut Scratch,
    ) -> Result<(Groups, Ran), KernelError> {
        #[cfg(feature = "gpu")]
        let memory = &mut scratch.memory;
        let mut twin = |reason: &Arc<str>| {
            let groups = cpu::aggregate_with(program, batch, &mut scratch.cpu)?;
            Ok((groups, Ran { gpu: false, device: CPU.into(), reason: reason.clone() }))
        };
        match &*self.0 {
            Kind::Cpu { reason } => twin(reason),
            #[cfg(feature = "gpu")]
            Kind::Gpu { state, name, reason, least_rows, fallbacks } => {
                if batch.rows < *least_rows {
                    return twin(&format!("fewer than {least_rows} rows").into());
                }
                // The lock is not held while the batch runs: other queries' batches queue at the device.
                let ready = lock(state).ready();
                let gpu = match ready {
                    Ok(gpu) => gpu,
                    Err(reason) => {
                        fallbacks.fetch_add(1, Ordering::Relaxed);
                        return twin(&reason);
                    }
                };
                program.validate()?;
                program.check(batch)?;
                let why: Arc<str> = match gpu.aggregate(program, batch, memory, Tuning::default()) {
                    Ok(groups) => {
                        return Ok((groups, Ran { gpu: true, device: name.clone(), reason: reason.clone() }));
                    }
                    Err(Failure::Unsuited(why)) => why.into(),
                    Err(Failure::Device(error)) => {
                        let why: Arc<str> = error.to_string().into();
                        tracing::warn!(device = %name, reason = %why, "a batch runs on the CPU");
                        // A refusal (of a kernel, of memory) says nothing about other batches.
                        if matches!(error, KernelError::DeviceLost { .. }) {
                            lock(state).down = Some((Instant::now(), why.clone()));
                        }
                        why
                    }
                };
                fallbacks.fetch_add(1, Ordering::Relaxed);
                twin(&why)
            }
        }
    }

    /// As [`aggregate`](Self::aggregate) on the GPU alone, with forced choices: what cannot run there is an error.
    #[cfg(feature = "gpu")]
    pub fn aggregate_on_gpu(
        &self,
        program: &Program,
        batch: &Batch<'_>,
        scratch: &mut Scratch,
        tuning: Tuning,
    ) -> Result<Groups, KernelError> {
        program.validate()?;
        program.check(batch)?;
        let Some(gpu) = self.as_gpu() else {
            return Err(KernelError::Device { device: CPU.into(), reason: "it is not a GPU".into() });
        };
        gpu.aggregate(program, batch, &mut scratch.memory, tuning).map_err(|failure| match failure {
            Failure::Unsuited(reason) => KernelError::Device { device: gpu.name().into(), reason },
            Failure::Device(error) => error,
        })
    }
}
