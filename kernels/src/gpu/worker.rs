//! The device's own thread.
//!
//! Comes in: [`Job`]s by channel. Goes out: an [`Answer`] and the job's upload buffer, by the job's own channel. The
//! thread owns the queue, the pipelines (by text) and the working buffers, which grow to the largest batch and stay; a
//! job is one submission and one map, or two if the result is larger than was guessed. Fails with
//! [`KernelError::DeviceLost`] when the device does not answer and [`KernelError::Device`] when it refuses.
//!
//! A lost device fails silently: submissions are accepted and waiting succeeds. Only the lost callback, a failing map and a
//! header without the batch's number tell, so all three are looked at before a result counts.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use wgpu::{
    BindGroupDescriptor, BindGroupEntry, BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType,
    Buffer, BufferBindingType, BufferDescriptor, BufferUsages, CommandEncoder, ComputePassDescriptor, ComputePipeline,
    ComputePipelineDescriptor, ErrorFilter, MapMode, PipelineLayoutDescriptor, PollType, ShaderModuleDescriptor,
    ShaderSource, ShaderStages,
};

use super::adapter::Opened;
use super::lost;
use super::upload::Uploads;
use crate::compose::Kernel;
use crate::error::KernelError;

/// A device that takes longer for one batch is taken for lost. Drivers reset a hung GPU after seconds; a software adapter
/// on a busy machine needs a few for the largest batches.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a wait looks at the lost flag.
const GLANCE: Duration = Duration::from_millis(50);
/// Bytes of the shader's `Header`, and of the region that it has in a readback buffer.
const HEADER: u64 = 24;
/// Pipelines kept. A query needs a handful; past this many the oldest texts are compiled again.
const PIPELINES: usize = 256;
/// Bindings of the kernels, see `shaders/lib/bindings.wgsl`; the first two are read only.
const BINDINGS: u32 = 8;

/// Bytes of a run's buffers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub table: u64,
    pub acc: u64,
    pub registers: u64,
    pub sets: u64,
    pub out: u64,
    /// Where pairs begin in the output.
    pub pairs_at: u64,
}

/// One run of a kernel.
#[derive(Debug)]
pub(super) struct Job {
    pub kernel: Arc<Kernel>,
    pub params: Vec<u32>,
    pub upload: Buffer,
    pub upload_bytes: u64,
    pub sizes: Sizes,
    /// Workgroups of the aggregation and of the compaction.
    pub workgroups: (u32, u32),
    /// Groups and pairs to read back in the first go.
    pub guess: (u64, u64),
    /// Words of a group in the output.
    pub record: u32,
}

/// What the kernel counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header {
    pub batch: u32,
    pub overflow: u32,
    pub groups: u32,
    pub pairs: u32,
    pub passed: u32,
    pub max_row: u32,
}

/// The result of a run. There are no groups and pairs after an overflow, or when not all of them fitted the output.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub header: Header,
    /// Records of groups.
    pub groups: Vec<u32>,
    /// Triples: set, slot, row.
    pub pairs: Vec<u32>,
}

/// What the device reports outside of calls.
#[derive(Debug, Clone, Default)]
struct Signals {
    lost: Arc<OnceLock<String>>,
    error: Arc<Mutex<Option<String>>>,
}

impl Answer {
    /// Whether all that was counted was read, groups being `record` words each.
    pub fn is_complete(&self, record: u32) -> bool {
        u64::from(self.header.groups) * u64::from(record) == self.groups.len() as u64
            && u64::from(self.header.pairs) * 3 == self.pairs.len() as u64
    }
}

type Reply = Result<(Answer, Buffer), KernelError>;

/// The callers' end.
#[derive(Debug)]
pub(super) struct Handle {
    pub name: String,
    pub device: wgpu::Device,
    pub unified: bool,
    pub max_bytes: u64,
    pub uploads: Uploads,
    signals: Signals,
    jobs: Sender<(Job, Sender<Reply>)>,
}

impl Handle {
    /// Runs a job and waits for it.
    pub fn run(&self, job: Job) -> Reply {
        self.check()?;
        let (reply, answer) = channel();
        let gone = || lost("its thread has ended");
        self.jobs.send((job, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Fails if the device is lost or has reported an error.
    pub fn check(&self) -> Result<(), KernelError> {
        check(&self.signals, &self.name)
    }
}

fn check(signals: &Signals, name: &str) -> Result<(), KernelError> {
    if let Some(reason) = signals.lost.get() {
        return Err(lost(reason.clone()));
    }
    match signals.error.lock().ok().and_then(|mut error| error.take()) {
        Some(reason) => Err(KernelError::Device { device: name.to_owned(), reason }),
        None => Ok(()),
    }
}

/// Starts the thread of an opened device.
pub(super) fn start(opened: Opened) -> Result<Handle, KernelError> {
    let Opened { name, device, queue, unified, max_bytes } = opened;
    let signals = Signals::default();
    let on_lost = signals.lost.clone();
    device.set_device_lost_callback(move |reason, message| {
        let _ = on_lost.set(format!("{reason:?}: {message}"));
    });
    let on_error = signals.error.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        if let Ok(mut first) = on_error.lock() {
            first.get_or_insert(error.to_string());
        }
    }));
    let entries: Vec<BindGroupLayoutEntry> = (0..BINDINGS)
        .map(|binding| BindGroupLayoutEntry {
            binding,
            visibility: ShaderStages::COMPUTE,
            ty: BindingType::Buffer {
                ty: BufferBindingType::Storage { read_only: binding < 2 },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let layout =
        device.create_bind_group_layout(&BindGroupLayoutDescriptor { label: Some("kernel"), entries: &entries });
    let (jobs, queued) = channel();
    let worker = Worker {
        name: name.clone(),
        device: device.clone(),
        queue,
        unified,
        layout,
        signals: signals.clone(),
        pipelines: HashMap::new(),
        buffers: HashMap::new(),
    };
    std::thread::Builder::new()
        .name("tidemill-gpu".into())
        .spawn(move || worker.serve(queued))
        .map_err(|error| KernelError::Device { device: name.clone(), reason: format!("no thread for it: {error}") })?;
    Ok(Handle { name, device, unified, max_bytes, uploads: Uploads::default(), signals, jobs })
}

/// Working buffers, each its own binding or copy target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Params,
    Arena,
    Header,
    Table,
    Acc,
    Registers,
    Sets,
    Out,
    Readback,
}

#[derive(Clone)]
struct Pipelines {
    aggregate: ComputePipeline,
    compact: ComputePipeline,
}

struct Worker {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    unified: bool,
    layout: BindGroupLayout,
    signals: Signals,
    pipelines: HashMap<String, Pipelines>,
    buffers: HashMap<Role, Buffer>,
}

impl Worker {
    fn serve(mut self, jobs: Receiver<(Job, Sender<Reply>)>) {
        for (job, reply) in jobs {
            let answer = self.run(&job);
            // Nobody may wait any more; the batch is then of no interest.
            let _ = reply.send(answer.map(|answer| (answer, job.upload)));
        }
    }

    fn run(&mut self, job: &Job) -> Result<Answer, KernelError> {
        let pipelines = self.pipelines(&job.kernel)?;
        let sizes = &job.sizes;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let params: &[u8] = bytemuck::cast_slice(&job.params);
        let arena = match self.unified {
            true => job.upload.clone(),
            false => self.buffer(Role::Arena, job.upload_bytes, storage),
        };
        let bound = [
            (self.buffer(Role::Params, params.len() as u64, storage), params.len() as u64),
            (arena, job.upload_bytes),
            (self.buffer(Role::Header, HEADER, storage), HEADER),
            (self.buffer(Role::Table, sizes.table, storage), sizes.table),
            (self.buffer(Role::Acc, sizes.acc, storage), sizes.acc),
            (self.buffer(Role::Registers, sizes.registers, storage), sizes.registers),
            (self.buffer(Role::Sets, sizes.sets, storage), sizes.sets),
            (self.buffer(Role::Out, sizes.out, storage), sizes.out),
        ];
        let entries: Vec<BindGroupEntry<'_>> = (0..)
            .zip(&bound)
            .map(|(binding, (buffer, bytes))| BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: std::num::NonZero::new((*bytes).max(4)),
                }),
            })
            .collect();
        let bindings = self.device.create_bind_group(&BindGroupDescriptor {
            label: Some("kernel"),
            layout: &self.layout,
            entries: &entries,
        });
        let [(params_buffer, _), (arena, _), cleared @ .., (out, _)] = &bound;
        self.queue.write_buffer(params_buffer, 0, params);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if !self.unified {
            encoder.copy_buffer_to_buffer(&job.upload, 0, arena, 0, job.upload_bytes);
        }
        for (buffer, bytes) in cleared.iter().filter(|(_, bytes)| *bytes > 0) {
            encoder.clear_buffer(buffer, 0, Some(*bytes));
        }
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_bind_group(0, &bindings, &[]);
            pass.set_pipeline(&pipelines.aggregate);
            pass.dispatch_workgroups(job.workgroups.0, 1, 1);
            pass.set_pipeline(&pipelines.compact);
            pass.dispatch_workgroups(job.workgroups.1, 1, 1);
        }
        let record = u64::from(job.record) * 4;
        let guess = (
            job.guess.0.saturating_mul(record).min(sizes.pairs_at),
            job.guess.1.saturating_mul(12).min(sizes.out - sizes.pairs_at),
        );
        let header_buffer = bound[2].0.clone();
        let words =
            self.read(encoder, &[(&header_buffer, 0, HEADER), (out, 0, guess.0), (out, sizes.pairs_at, guess.1)])?;
        let [header, groups, pairs] = words.try_into().unwrap_or_default();
        let word = |index: usize| header.get(index).copied().unwrap_or(0);
        let header = Header {
            batch: word(0),
            overflow: word(1),
            groups: word(2),
            pairs: word(3),
            passed: word(4),
            max_row: word(5),
        };
        let mut answer = Answer { header, groups, pairs };
        let exact = (u64::from(header.groups) * record, u64::from(header.pairs) * 12);
        if header.overflow != 0 || exact.0 > sizes.pairs_at || exact.1 > sizes.out - sizes.pairs_at {
            (answer.groups, answer.pairs) = (Vec::new(), Vec::new());
            return Ok(answer);
        }
        if exact.0 > guess.0 || exact.1 > guess.1 {
            let encoder = self.device.create_command_encoder(&Default::default());
            let words = self.read(encoder, &[(out, 0, exact.0), (out, sizes.pairs_at, exact.1)])?;
            [answer.groups, answer.pairs] = words.try_into().unwrap_or_default();
        }
        answer.groups.truncate((exact.0 / 4) as usize);
        answer.pairs.truncate((exact.1 / 4) as usize);
        Ok(answer)
    }

    /// The buffer of a role, of at least `bytes`.
    fn buffer(&mut self, role: Role, bytes: u64, usage: BufferUsages) -> Buffer {
        if let Some(buffer) = self.buffers.get(&role).filter(|buffer| buffer.size() >= bytes) {
            return buffer.clone();
        }
        // Dropped first, so that the old and the new one are not both in memory. Never destroyed: that would wait.
        self.buffers.remove(&role);
        let buffer = self.device.create_buffer(&BufferDescriptor {
            label: Some(match role {
                Role::Params => "params",
                Role::Arena => "arena",
                Role::Header => "header",
                Role::Table => "table",
                Role::Acc => "acc",
                Role::Registers => "registers",
                Role::Sets => "sets",
                Role::Out => "out",
                Role::Readback => "readback",
            }),
            size: bytes.max(256).next_power_of_two(),
            usage,
            mapped_at_creation: false,
        });
        self.buffers.insert(role, buffer.clone());
        buffer
    }

    /// Copies regions to the readback buffer behind what `encoder` holds, submits, waits and returns their words.
    fn read(
        &mut self,
        mut encoder: CommandEncoder,
        regions: &[(&Buffer, u64, u64)],
    ) -> Result<Vec<Vec<u32>>, KernelError> {
        let bytes: u64 = regions.iter().map(|(_, _, bytes)| bytes).sum();
        let readback = self.buffer(Role::Readback, bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut to = 0;
        for (buffer, from, bytes) in regions.iter().filter(|(_, _, bytes)| *bytes > 0) {
            encoder.copy_buffer_to_buffer(buffer, *from, &readback, to, *bytes);
            to += bytes;
        }
        let submission = self.queue.submit([encoder.finish()]);
        if bytes == 0 {
            return Ok(regions.iter().map(|_| Vec::new()).collect());
        }
        let (done, mapped) = channel();
        readback.map_async(MapMode::Read, ..bytes, move |result| {
            let _ = done.send(result.is_ok());
        });
        let start = Instant::now();
        loop {
            let _ =
                self.device.poll(PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(GLANCE) });
            match mapped.try_recv() {
                Ok(true) => break,
                Ok(false) => {
                    check(&self.signals, &self.name)?;
                    return Err(lost("its memory cannot be read"));
                }
                Err(_) => check(&self.signals, &self.name)?,
            }
            if start.elapsed() > PATIENCE {
                return Err(lost(format!("no answer in {} seconds", PATIENCE.as_secs())));
            }
        }
        let words = {
            let view = readback
                .slice(..bytes)
                .get_mapped_range()
                .map_err(|error| lost(format!("its memory cannot be read: {error}")))?;
            let words: &[u32] = bytemuck::cast_slice(&view);
            let mut rest = words;
            let mut parts = Vec::with_capacity(regions.len());
            for (_, _, bytes) in regions {
                let (part, others) = rest.split_at((*bytes / 4) as usize);
                parts.push(part.to_vec());
                rest = others;
            }
            parts
        };
        readback.unmap();
        check(&self.signals, &self.name)?;
        Ok(words)
    }

    /// The pipelines of a kernel, compiled at its first use.
    fn pipelines(&mut self, kernel: &Kernel) -> Result<Pipelines, KernelError> {
        if let Some(pipelines) = self.pipelines.get(&kernel.text) {
            return Ok(pipelines.clone());
        }
        let scope = self.device.push_error_scope(ErrorFilter::Validation);
        let module = self.device.create_shader_module(ShaderModuleDescriptor {
            label: Some("kernel"),
            source: ShaderSource::Wgsl(kernel.text.as_str().into()),
        });
        let layout = self.device.create_pipeline_layout(&PipelineLayoutDescriptor {
            label: Some("kernel"),
            bind_group_layouts: &[Some(&self.layout)],
            immediate_size: 0,
        });
        let pipeline = |entry| {
            self.device.create_compute_pipeline(&ComputePipelineDescriptor {
                label: Some(entry),
                layout: Some(&layout),
                module: &module,
                entry_point: Some(entry),
                compilation_options: Default::default(),
                cache: None,
            })
        };
        let pipelines = Pipelines { aggregate: pipeline("aggregate"), compact: pipeline("compact") };
        if let Some(error) = pollster::block_on(scope.pop()) {
            let reason = format!("it refuses a kernel: {error}");
            return Err(KernelError::Device { device: self.name.clone(), reason });
        }
        if self.pipelines.len() == PIPELINES {
            self.pipelines.clear();
        }
        self.pipelines.insert(kernel.text.clone(), pipelines.clone());
        Ok(pipelines)
    }
}
