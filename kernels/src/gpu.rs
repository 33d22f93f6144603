//! The GPU back end.
//!
//! Comes in: a [`Program`] and a [`Batch`] that the twins' validation has accepted. Goes out: the same [`Groups`] as the
//! native twin's, bit for bit. The caller's thread surveys the batch (`survey`), composes the kernel, writes the columns
//! straight into mapped upload memory (`upload`) and decodes the result (`decode`); a thread of the device's own
//! (`worker`) owns the queue and the buffers, submits once and maps once.
//! Fails with `Failure`: either the batch does not suit the device and goes to the twin, or the device has failed.

mod adapter;
mod decode;
mod survey;
mod upload;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::compose::{Kernel, PRIVATE_WORDS, Param, Shape, Tier, compose, layout};
use crate::device::DeviceChoice;
use crate::error::KernelError;
use crate::program::{Batch, Groups, Program};
use survey::Survey;
use worker::{Handle, Job, Sizes};

#[cfg(target_endian = "big")]
compile_error!("the GPU back end writes columns as little-endian words; build without the feature `gpu`");

/// Rows below which few groups do not contend enough to pay for flushing private accumulators.
const PRIVATE_ROWS: usize = 4096;
/// Invocations of a workgroup, as the skeletons say.
const WORKGROUP: usize = 256;
/// Dense slots that are always acceptable, whatever the number of rows.
const DENSE_SLOTS: u64 = 4096;
/// Groups to expect of a query's first batch at least, and one for so many rows. A wrong guess costs one more run.
const FIRST_GROUPS: u64 = 4096;
const FIRST_ROWS_PER_GROUP: u64 = 16;
/// Bytes of groups, and of pairs, to read back in the first go of a query's first batch.
const FIRST_READ: u64 = 64 << 10;
/// Steps of a search in a table that may still grow; past them it is taken for too full. At half load, linear probing
/// passes 128 steps about once in many millions.
const PROBES: u32 = 128;
/// Steps of a search in a table that is as large as it can get.
const LAST_PROBES: u32 = 4096;

/// Why a batch was not aggregated on the device.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This batch, or program, is left to the twin.
    Unsuited(String),
    /// The device failed.
    Device(KernelError),
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Self::Device(error)
    }
}

/// Forced choices, for tests and measurements: every one of them gives the same [`Groups`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Tuning {
    /// Workgroups of the aggregation.
    pub workgroups: Option<u32>,
    /// Where groups are kept, if the batch allows it.
    pub tier: Option<Tier>,
    /// Slots that the hash table and the sets begin with.
    pub first_slots: Option<u32>,
}

/// What one query keeps between batches: how many groups to expect, and its composed kernels.
#[derive(Debug, Default)]
pub struct Memory {
    groups: u64,
    pairs: u64,
    kernels: Vec<(Program, Shape, Arc<Kernel>)>,
}

impl Memory {
    /// Expects a quarter more than this batch had, since most streams keep their number of groups, and forgets a larger
    /// batch slowly, since running again costs more than clearing a table that is too large.
    fn learn(&mut self, groups: u32, pairs: u32) {
        let expect = |old: u64, found: u32| (u64::from(found) * 5 / 4 + 64).max(old - old / 8);
        self.groups = expect(self.groups, groups);
        self.pairs = expect(self.pairs, pairs);
    }

    /// Kernels kept; a query needs one for each combination of forms that its batches take.
    const KERNELS: usize = 32;

    fn kernel(&mut self, program: &Program, shape: &Shape) -> Result<Arc<Kernel>, Failure> {
        let known = self.kernels.iter().find(|(p, s, _)| s == shape && p == program);
        if let Some((_, _, kernel)) = known {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(compose(program, shape).map_err(|complex| Failure::Unsuited(complex.to_string()))?);
        if self.kernels.len() == Self::KERNELS {
            self.kernels.remove(0);
        }
        self.kernels.push((program.clone(), shape.clone(), kernel.clone()));
        Ok(kernel)
    }
}

/// A GPU, or a software adapter that was asked for by name. Cheap to clone; the last clone ends its thread.
#[derive(Debug, Clone)]
pub struct Gpu {
    worker: Arc<Handle>,
    batches: Arc<AtomicU32>,
    choice: DeviceChoice,
    unify: bool,
}

impl Gpu {
    /// Opens the adapter that `choice` means.
    pub fn open(choice: &DeviceChoice) -> Result<Self, KernelError> {
        Self::start(choice.clone(), true)
    }

    /// Opens an adapter as if it shared no memory with the CPU, for tests of the way that discrete GPUs are fed.
    pub fn open_staged(choice: &DeviceChoice) -> Result<Self, KernelError> {
        Self::start(choice.clone(), false)
    }

    /// Opens the same adapter again, after it was lost.
    pub fn reopen(&self) -> Result<Self, KernelError> {
        Self::start(self.choice.clone(), self.unify)
    }

    fn start(choice: DeviceChoice, unify: bool) -> Result<Self, KernelError> {
        let worker = worker::start(adapter::open(&choice, unify)?)?;
        Ok(Self { worker: Arc::new(worker), batches: Arc::new(AtomicU32::new(0)), choice, unify })
    }

    /// The adapter's name and back end.
    pub fn name(&self) -> &str {
        &self.worker.name
    }

    /// Makes the device as lost as when its driver resets it, for tests of what happens then.
    pub fn lose(&self) {
        self.worker.device.destroy();
    }

    /// Aggregates one batch.
    pub(crate) fn aggregate(
        &self,
        program: &Program,
        batch: &Batch<'_>,
        memory: &mut Memory,
        tuning: Tuning,
    ) -> Result<Groups, Failure> {
        let max_bytes = self.worker.max_bytes;
        let survey = survey::survey(program, batch, max_bytes)?;
        let tier = choose_tier(program, &survey, batch.rows, tuning, max_bytes);
        let kernel = memory.kernel(program, &Shape { tier, columns: survey.forms.clone() })?;
        let run = Run { kernel: &kernel, survey: &survey, tier, rows: batch.rows, tuning, max_bytes };
        let mut tables = Tables::new(&run, memory);
        let mut upload = self.worker.uploads.acquire(&self.worker, survey.words * 4)?;
        upload::write(&upload, batch, &survey)?;
        loop {
            // Never 0, which is what a device that has run nothing leaves in the header.
            let number = self.batches.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
            let job = run.job(&tables, memory, number, upload)?;
            let (answer, returned) = self.worker.run(job)?;
            if answer.header.batch != number {
                return Err(lost("the device answered without having run the batch").into());
            }
            if answer.header.overflow == 0 {
                self.worker.uploads.release(returned);
                memory.learn(answer.header.groups, answer.header.pairs);
                if !answer.is_complete(run.record()) {
                    let groups = answer.header.groups;
                    return Err(Failure::Unsuited(format!("{groups} groups do not fit the device's result buffer")));
                }
                let exponent_min = |column| survey.param(Param::ExponentMin(column));
                return decode::groups(program, batch, &kernel, &answer, &exponent_min).map_err(Failure::Device);
            }
            if let Err(full) = tables.grow(answer.header.overflow) {
                self.worker.uploads.release(returned);
                return Err(full);
            }
            upload = returned;
        }
    }
}

/// The tier for a batch.
fn choose_tier(program: &Program, survey: &Survey, rows: usize, tuning: Tuning, max_bytes: u64) -> Tier {
    let Some(slots) = survey.dense_slots else { return Tier::Hash };
    let (_, width, registers, _) = layout(program, &survey.forms);
    let bytes = slots.saturating_mul(4 * u64::from(width.max(registers)));
    let private = slots.saturating_mul(u64::from(width)) <= u64::from(PRIVATE_WORDS);
    let dense = bytes <= max_bytes / 2 && slots <= DENSE_SLOTS.max(4 * rows as u64);
    match tuning.tier {
        Some(Tier::Private) if private && dense => Tier::Private,
        Some(Tier::Dense) if dense => Tier::Dense,
        Some(Tier::Hash) => Tier::Hash,
        _ if private && dense && rows >= PRIVATE_ROWS => Tier::Private,
        _ if dense => Tier::Dense,
        _ => Tier::Hash,
    }
}

/// A batch on its way to the device.
struct Run<'a> {
    kernel: &'a Arc<Kernel>,
    survey: &'a Survey,
    tier: Tier,
    rows: usize,
    tuning: Tuning,
    max_bytes: u64,
}

impl Run<'_> {
    /// Words of a group in the output: slot, accumulators, packed registers.
    fn record(&self) -> u32 {
        1 + self.kernel.width + self.kernel.registers / 4
    }

    /// The job for tables of these sizes.
    fn job(&self, tables: &Tables, memory: &Memory, number: u32, upload: wgpu::Buffer) -> Result<Job, Failure> {
        let sizes = self.sizes(tables)?;
        let workgroups = self.workgroups(tables);
        let guess = match memory.groups {
            0 => (FIRST_READ / (4 * u64::from(self.record())), FIRST_READ / 12),
            groups => (groups, memory.pairs),
        };
        Ok(Job {
            kernel: self.kernel.clone(),
            params: self.params(tables, &sizes, workgroups, number),
            upload,
            upload_bytes: self.survey.words * 4,
            sizes,
            workgroups,
            guess,
            record: self.record(),
        })
    }

    /// Buffer sizes.
    fn sizes(&self, tables: &Tables) -> Result<Sizes, Failure> {
        let (slots, set_slots) = (u64::from(tables.slots), u64::from(tables.set_slots));
        let (sets, rows) = (u64::from(self.kernel.sets), self.rows as u64);
        let out_pairs = sets * set_slots.min(rows);
        // What is left of the largest binding; more groups than that are noticed when they have been counted.
        let room = (self.max_bytes / 4).saturating_sub(3 * out_pairs);
        let pairs_at = u64::from(self.record()) * slots.min(rows).min(room / u64::from(self.record()));
        let sizes = Sizes {
            table: if self.tier == Tier::Hash { slots * 4 } else { 0 },
            acc: slots * u64::from(self.kernel.width) * 4,
            registers: slots * u64::from(self.kernel.registers) * 4,
            sets: set_slots * sets * 8,
            out: (pairs_at + 3 * out_pairs) * 4,
            pairs_at: pairs_at * 4,
        };
        for (what, bytes) in [
            ("hash table", sizes.table),
            ("accumulators", sizes.acc),
            ("HLL registers", sizes.registers),
            ("sets of distinct values", sizes.sets),
            ("result", sizes.out),
        ] {
            if bytes > self.max_bytes {
                let limit = self.max_bytes;
                return Err(Failure::Unsuited(format!(
                    "the {what} would take {bytes} bytes, the device binds {limit}"
                )));
            }
        }
        Ok(sizes)
    }

    /// Workgroups of the aggregation and of the compaction.
    fn workgroups(&self, tables: &Tables) -> (u32, u32) {
        // Each private workgroup flushes every slot once, so it should see many rows; elsewhere a few rows an invocation
        // hide the fixed cost. The caps fill the largest GPUs several times over.
        let (each, cap) = if self.tier == Tier::Private { (16, 1024) } else { (4, 2048) };
        let aggregate = match self.tuning.workgroups {
            Some(workgroups) => workgroups.clamp(1, 65535),
            None => self.rows.div_ceil(WORKGROUP * each).clamp(1, cap) as u32,
        };
        let entries = u64::from(tables.slots).max(u64::from(tables.set_slots) * u64::from(self.kernel.sets));
        (aggregate, entries.div_ceil(WORKGROUP as u64).clamp(1, 2048) as u32)
    }

    /// The parameter buffer.
    fn params(&self, tables: &Tables, sizes: &Sizes, workgroups: (u32, u32), number: u32) -> Vec<u32> {
        let value = |param: &Param| match *param {
            Param::Rows => self.rows as u32,
            Param::Stride => workgroups.0 * WORKGROUP as u32,
            Param::CompactStride => workgroups.1 * WORKGROUP as u32,
            Param::Batch => number,
            Param::Slots => tables.slots,
            Param::Probes => tables.probes(),
            Param::SetSlots => tables.set_slots,
            Param::OutGroups => (sizes.pairs_at / 4) as u32 / self.record(),
            Param::OutPairs => ((sizes.out - sizes.pairs_at) / 12) as u32,
            Param::PairsAt => (sizes.pairs_at / 4) as u32,
            other => self.survey.param(other),
        };
        self.kernel.params.iter().map(value).collect()
    }
}

/// Sizes of the tables of a batch, which grow when the device reports an overflow.
struct Tables {
    slots: u32,
    slots_max: u32,
    set_slots: u32,
    set_slots_max: u32,
}

impl Tables {
    fn new(run: &Run<'_>, memory: &Memory) -> Self {
        let rows = run.rows as u64;
        // The largest power of two that fits the device, but no more than twice what can be needed.
        let cap = |words_each: u32| -> u32 {
            let fits = (run.max_bytes / (4 * u64::from(words_each))).max(1).ilog2();
            (rows.max(1) * 2).next_power_of_two().min(1 << fits) as u32
        };
        let first = |remembered: u64, guess: u64, cap: u32| -> u32 {
            let expected = if remembered == 0 { guess } else { remembered };
            let slots = run.tuning.first_slots.map_or(expected * 2, u64::from).max(16).next_power_of_two();
            slots.min(u64::from(cap)) as u32
        };
        let (slots, slots_max) = match (run.tier, run.survey.dense_slots) {
            (Tier::Private | Tier::Dense, Some(slots)) => (slots as u32, slots as u32),
            _ => {
                let cap = cap(run.kernel.width.max(run.kernel.registers));
                (first(memory.groups, (rows / FIRST_ROWS_PER_GROUP).max(FIRST_GROUPS), cap), cap)
            }
        };
        let (set_slots, set_slots_max) = match run.kernel.sets {
            0 => (0, 0),
            sets => {
                // A set's entry is two words in its table and three in the output. Every other row is a first guess that
                // costs no more than clearing a few bytes a row.
                let cap = cap(sets.saturating_mul(3));
                (first(memory.pairs, rows / 2, cap), cap)
            }
        };
        Self { slots, slots_max, set_slots, set_slots_max }
    }

    fn probes(&self) -> u32 {
        if self.slots == self.slots_max && self.set_slots == self.set_slots_max { LAST_PROBES } else { PROBES }
    }

    /// Quadruples what overflowed.
    fn grow(&mut self, overflow: u32) -> Result<(), Failure> {
        if self.probes() == LAST_PROBES {
            let (slots, set_slots) = (self.slots, self.set_slots);
            return Err(Failure::Unsuited(format!(
                "more groups or distinct values than the device's tables hold ({slots} and {set_slots} slots)"
            )));
        }
        let larger = |slots: u32, max: u32| (u64::from(slots) * 4).min(u64::from(max)) as u32;
        // A table that is as large as it gets may still overflow, because the probes are short as long as the other one
        // can grow: then let that one grow.
        if overflow & 1 != 0 || self.set_slots == self.set_slots_max {
            self.slots = larger(self.slots, self.slots_max);
        }
        if overflow & 2 != 0 || self.slots == self.slots_max {
            self.set_slots = larger(self.set_slots, self.set_slots_max);
        }
        Ok(())
    }
}

pub(crate) fn lost(reason: impl Into<String>) -> KernelError {
    KernelError::DeviceLost { reason: reason.into() }
}
