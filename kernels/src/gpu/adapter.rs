//! Which adapter to use.
//!
//! Comes in: a [`DeviceChoice`]. Goes out: an opened device. Software adapters are opened only by name: llvmpipe runs
//! these kernels slower than the native twins. Fails with [`KernelError::DeviceNotFound`], which lists what there is.

use wgpu::{
    Adapter, AdapterInfo, Backends, DeviceDescriptor, DeviceType, Features, Instance, InstanceDescriptor,
    InstanceFlags, Limits,
};

use crate::device::DeviceChoice;
use crate::error::KernelError;

/// An opened adapter.
pub(super) struct Opened {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    /// Whether upload buffers may be bound to kernels: memory is shared with the CPU.
    pub unified: bool,
    /// The largest binding used.
    pub max_bytes: u64,
}

/// The largest storage binding that WebGPU guarantees. Larger ones would make batches behave differently from device to
/// device.
const MAX_BINDING: u64 = 128 << 20;

/// How good a kind of adapter is, best first; `None` for those that are not hardware.
fn rank(kind: DeviceType) -> Option<u8> {
    match kind {
        DeviceType::DiscreteGpu => Some(0),
        DeviceType::IntegratedGpu => Some(1),
        DeviceType::VirtualGpu => Some(2),
        DeviceType::Other => Some(3),
        DeviceType::Cpu => None,
    }
}

fn describe(info: &AdapterInfo) -> String {
    format!("{} ({:?}, {:?})", info.name, info.backend, info.device_type)
}

/// Opens the adapter that `choice` means; `unify` says whether memory that it shares with the CPU may be used as such.
pub(super) fn open(choice: &DeviceChoice, unify: bool) -> Result<Opened, KernelError> {
    // No flags: the validation layers that debug builds would load are for work on wgpu's back ends.
    let flags = InstanceFlags::empty();
    let instance = Instance::new(InstanceDescriptor { flags, ..InstanceDescriptor::new_without_display_handle() });
    let adapters = pollster::block_on(instance.enumerate_adapters(Backends::PRIMARY));
    let found: Vec<String> = adapters.iter().map(|adapter| describe(&adapter.get_info())).collect();
    let chosen = match choice {
        DeviceChoice::Named(name) => {
            let name = name.to_lowercase();
            adapters.into_iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&name))
        }
        DeviceChoice::Auto | DeviceChoice::Gpu => adapters
            .into_iter()
            .filter_map(|adapter| Some((rank(adapter.get_info().device_type)?, adapter)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, adapter)| adapter),
        DeviceChoice::Cpu => None,
    };
    let missing = || KernelError::DeviceNotFound {
        wanted: choice.to_string(),
        found: if found.is_empty() { "none".into() } else { found.join(", ") },
    };
    connect(chosen.ok_or_else(missing)?, unify)
}

fn connect(adapter: Adapter, unify: bool) -> Result<Opened, KernelError> {
    let info = adapter.get_info();
    let name = format!("{} ({:?})", info.name, info.backend);
    let offered = adapter.limits();
    let shared = matches!(info.device_type, DeviceType::IntegratedGpu | DeviceType::Cpu);
    let unified = unify && shared && adapter.features().contains(Features::MAPPABLE_PRIMARY_BUFFERS);
    let max_bytes = offered.max_storage_buffer_binding_size.min(offered.max_buffer_size).min(MAX_BINDING);
    let descriptor = DeviceDescriptor {
        label: Some("tidemill"),
        required_features: if unified { Features::MAPPABLE_PRIMARY_BUFFERS } else { Features::empty() },
        required_limits: Limits {
            max_storage_buffers_per_shader_stage: 8,
            max_storage_buffer_binding_size: max_bytes,
            max_buffer_size: offered.max_buffer_size.min(2 * MAX_BINDING),
            ..Limits::downlevel_defaults().using_resolution(offered)
        },
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
        KernelError::Device { device: name.clone(), reason: format!("it cannot be opened: {error}") }
    })?;
    Ok(Opened { name, device, queue, unified, max_bytes })
}
