//! The GPU back end.
//!
//! Comes in: a [`Program`] and a [`Batch`] that the twins' validation has accepted. Goes out: the same [`Groups`] as the
//! native twin's, bit for bit. The caller's thread surveys the batch ([`survey`]), composes the kernel, writes the columns
//! straight into mapped upload memory ([`upload`]) and decodes the result ([`decode`]); a thread of the device's own
//! ([`worker`]) owns the queue and the buffers, submits once and maps once.
//! Fails with [`Failure`]: either the batch does not suit the device and goes to the twin, or the device has failed.

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
}

impl Gpu {
    /// Opens the adapter that `choice` means.
    pub fn open(choice: &DeviceChoice) -> Result<Self, KernelError> {
        Self::start(adapter::open(choice, true)?)
    }

    /// Opens an adapter as if it shared no memory with the CPU, for tests of the way that discrete GPUs are fed.
    pub fn open_staged(choice: &DeviceChoice) -> Result<Self, KernelError> {
        Self::start(adapter::open(choice, false)?)
    }

    fn start(opened: adapter::Opened) -> Result<Self, KernelError> {
        let worker = worker::start(opened)?;
        Ok(Self { worker: Arc::new(worker), batches: Arc::new(AtomicU32::new(0)) })
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
        let survey = survey::survey(program, batch, self.worker.max_bytes)?;
        let (_, width, register_words, _) = layout(program, &survey.forms);
        let tier = self.tier(&survey, batch.rows, width, register_words, tuning);
        let shape = Shape { tier, columns: survey.forms.clone() };
        let kernel = memory.kernel(program, &shape)?;
        let mut tables = Tables::new(&kernel, &survey, tier, batch.rows, memory, tuning, self.worker.max_bytes)?;
        let mut upload = Some(self.worker.uploads.acquire(&self.worker, survey.words * 4)?);
        if let Some(upload) = &upload {
            upload::write(upload, batch, &survey)?;
        }
        loop {
            let Some(taken) = upload.take() else { return Err(lost("the upload buffer did not come back").into()) };
            let (sizes, params, groups) = self.plan(&kernel, &survey, tier, &tables, batch.rows, tuning)?;
            let number = params.1;
            let record = 1 + kernel.width + kernel.register_words;
            let job = Job {
                kernel: kernel.clone(),
                params: params.0,
                upload: taken,
                upload_bytes: survey.words * 4,
                sizes,
                workgroups: groups,
                guess: match memory.groups {
                    0 => (FIRST_READ / (4 * u64::from(record)), FIRST_READ / 12),
                    groups => (groups, memory.pairs),
                },
                record,
            };
            let (answer, returned) = self.worker.run(job)?;
            if answer.header.batch != number {
                return Err(lost("the device answered without having run the batch").into());
            }
            if answer.header.overflow == 0 {
                self.worker.uploads.release(returned);
                memory.learn(answer.header.groups, answer.header.pairs);
                let counted = u64::from(answer.header.groups) * u64::from(record);
                if counted != answer.groups.len() as u64
                    || u64::from(answer.header.pairs) * 3 != answer.pairs.len() as u64
                {
                    let groups = answer.header.groups;
                    return Err(Failure::Unsuited(format!("{groups} groups do not fit the device's result buffer")));
                }
                return decode::groups(program, batch, &kernel, &answer, &|c| survey.param(Param::ExponentMin(c)))
                    .map_err(Failure::Device);
            }
            if let Err(full) = tables.grow(answer.header.overflow) {
                self.worker.uploads.release(returned);
                return Err(full);
            }
            upload = Some(returned);
        }
    }

    /// The tier for a batch.
    fn tier(&self, survey: &Survey, rows: usize, width: u32, register_words: u32, tuning: Tuning) -> Tier {
        let Some(slots) = survey.dense_slots else { return Tier::Hash };
        let words = slots.saturating_mul(u64::from(width.max(register_words)));
        let private = slots.saturating_mul(u64::from(width)) <= u64::from(PRIVATE_WORDS);
        let dense = words.saturating_mul(4) <= self.worker.max_bytes / 2 && slots <= DENSE_SLOTS.max(4 * rows as u64);
        match tuning.tier {
            Some(Tier::Private) if private && dense => Tier::Private,
            Some(Tier::Dense) if dense => Tier::Dense,
            Some(Tier::Hash) => Tier::Hash,
            _ if private && dense && rows >= PRIVATE_ROWS => Tier::Private,
            _ if dense => Tier::Dense,
            _ => Tier::Hash,
        }
    }

    /// Buffer sizes, parameters with the batch's number, and workgroups of one run.
    #[allow(clippy::type_complexity)]
    fn plan(
        &self,
        kernel: &Kernel,
        survey: &Survey,
        tier: Tier,
        tables: &Tables,
        rows: usize,
        tuning: Tuning,
    ) -> Result<(Sizes, (Vec<u32>, u32), (u32, u32)), Failure> {
        let slots = u64::from(tables.slots);
        let set_slots = u64::from(tables.set_slots);
        let record = u64::from(1 + kernel.width + kernel.register_words);
        let out_pairs = (set_slots * u64::from(kernel.sets)).min(rows as u64 * u64::from(kernel.sets));
        // What is left of the largest binding; more groups than that are seen when they have been counted.
        let room = (self.worker.max_bytes / 4).saturating_sub(3 * out_pairs);
        let out_groups = slots.min(rows as u64).min(room / record);
        let pairs_at = out_groups * record;
        let sizes = Sizes {
            table: if tier == Tier::Hash { slots * 4 } else { 0 },
            acc: slots * u64::from(kernel.width) * 4,
            registers: slots * u64::from(kernel.register_words) * 4,
            sets: set_slots * u64::from(kernel.sets) * 8,
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
            if bytes > self.worker.max_bytes {
                let limit = self.worker.max_bytes;
                return Err(Failure::Unsuited(format!(
                    "the {what} would take {bytes} bytes, the device binds {limit}"
                )));
            }
        }
        // Each private workgroup flushes every slot once, so it should see many rows; elsewhere a few rows an invocation
        // hide the fixed cost. The caps fill the largest GPUs several times over.
        let (each, cap) = if tier == Tier::Private { (16, 1024) } else { (4, 2048) };
        let aggregate = match tuning.workgroups {
            Some(workgroups) => workgroups.clamp(1, 65535),
            None => rows.div_ceil(WORKGROUP * each).clamp(1, cap) as u32,
        };
        let entries = slots.max(set_slots * u64::from(kernel.sets));
        let compact = entries.div_ceil(WORKGROUP as u64).clamp(1, 2048) as u32;
        let number = self.batches.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        let params = kernel
            .params
            .iter()
            .map(|param| match *param {
                Param::Rows => rows as u32,
                Param::Stride => aggregate * WORKGROUP as u32,
                Param::CompactStride => compact * WORKGROUP as u32,
                Param::Batch => number,
                Param::Slots => tables.slots,
                Param::Probes => tables.probes(),
                Param::SetSlots => tables.set_slots,
                Param::OutGroups => out_groups as u32,
                Param::OutPairs => out_pairs as u32,
                Param::PairsAt => pairs_at as u32,
                other => survey.param(other),
            })
            .collect();
        Ok((sizes, (params, number), (aggregate, compact)))
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
    fn new(
        kernel: &Kernel,
        survey: &Survey,
        tier: Tier,
        rows: usize,
        memory: &Memory,
        tuning: Tuning,
        max_bytes: u64,
    ) -> Result<Self, Failure> {
        // The largest power of two that fits the device, but no more than twice what can be needed.
        let cap = |needed: u64, bytes_each: u64| -> u32 {
            let fits = (max_bytes / bytes_each.max(4)).max(1);
            let fits = 1u64 << (63 - fits.leading_zeros());
            (needed.max(1) * 2).next_power_of_two().min(fits).min(1 << 31) as u32
        };
        let first = |remembered: u64, guess: u64, cap: u32| -> u32 {
            let expected = if remembered == 0 { guess } else { remembered };
            let slots = tuning.first_slots.map_or(expected * 2, u64::from).max(16).next_power_of_two();
            slots.min(u64::from(cap)) as u32
        };
        let (slots, slots_max) = match (tier, survey.dense_slots) {
            (Tier::Private | Tier::Dense, Some(slots)) => (slots as u32, slots as u32),
            _ => {
                let words = (1 + kernel.width).max(kernel.register_words);
                let cap = cap(rows as u64, u64::from(words) * 4);
                let guess = (rows as u64 / FIRST_ROWS_PER_GROUP).max(FIRST_GROUPS);
                (first(memory.groups, guess, cap), cap)
            }
        };
        let (set_slots, set_slots_max) = match u64::from(kernel.sets) {
            0 => (0, 0),
            sets => {
                let cap = cap(rows as u64, sets * 12);
                // Every other row is a guess that costs no more than clearing a few bytes a row.
                (first(memory.pairs, rows as u64 / 2, cap), cap)
            }
        };
        Ok(Self { slots, slots_max, set_slots, set_slots_max })
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
        // Where one table is as large as it gets, the other may be what made the probes short.
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
