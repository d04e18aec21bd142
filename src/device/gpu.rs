//! GPUs through wgpu: listing adapters and opening one.
//!
//! OpenGL is left out: its drivers do not report the kind of device, and its features are insufficient for training.

use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::{WgpuBackend, wgpu};
use burn::tensor::{Device, DeviceKind};
use cubecl_environment::future::block_on;

use super::quiet::without_panic;
use super::{DeviceSpec, Kind, Listed, use_kernel_cache};
use crate::error::{Error, Result};

/// The graphics APIs in order of preference: `gpu:N` counts the adapters of the first one with a hardware GPU.
const APIS: [Api; 3] = [
    Api { name: "Metal", wgpu: wgpu::Backend::Metal, burn: WgpuBackend::Metal },
    Api { name: "Vulkan", wgpu: wgpu::Backend::Vulkan, burn: WgpuBackend::Vulkan },
    Api { name: "DirectX 12", wgpu: wgpu::Backend::Dx12, burn: WgpuBackend::Dx12 },
];

#[derive(Clone, Copy)]
struct Api {
    name: &'static str,
    wgpu: wgpu::Backend,
    burn: WgpuBackend,
}

/// One GPU as one API sees it.
#[derive(Clone)]
struct Adapter {
    api: Api,
    name: String,
    kind: Kind,
    /// Its index among those of the same type, by which Burn addresses it.
    index_of_type: usize,
    device_type: wgpu::DeviceType,
}

/// Every adapter under each name that reaches it.
pub(super) fn list() -> Vec<Listed> {
    let listed = |spec, adapter: Adapter| Listed {
        spec,
        name: adapter.name,
        kind: adapter.kind,
        api: adapter.api.name,
        auto: false,
    };
    let any = adapters_of_best_api().into_iter().enumerate();
    let mut devices: Vec<_> =
        any.map(|(index, adapter)| listed(DeviceSpec::Gpu(Some(index)), adapter)).collect();
    if cfg!(feature = "vulkan") {
        let adapters = adapters_of(APIS[1]).into_iter().enumerate();
        devices.extend(adapters.map(|(index, one)| listed(DeviceSpec::Vulkan(index), one)));
    }
    if cfg!(feature = "metal") {
        let adapters = adapters_of(APIS[0]).into_iter().enumerate();
        devices.extend(adapters.map(|(index, one)| listed(DeviceSpec::Metal(index), one)));
    }
    devices
}

/// Opens the adapter that `spec` (one of [`list`]) names.
pub(super) fn open(spec: DeviceSpec) -> Result<Device> {
    let found = match spec {
        DeviceSpec::Gpu(Some(index)) => adapters_of_best_api().into_iter().nth(index),
        DeviceSpec::Vulkan(index) => adapters_of(APIS[1]).into_iter().nth(index),
        DeviceSpec::Metal(index) => adapters_of(APIS[0]).into_iter().nth(index),
        _ => None,
    };
    let adapter =
        found.ok_or_else(|| Error::invalid(format!("there is no device {spec} any more")))?;
    let failed = format!("cannot start {spec} ({}, {})", adapter.name, adapter.api.name);
    let kind = device_kind(&adapter)
        .ok_or_else(|| Error::invalid(format!("{failed}: it cannot be addressed")))?;
    // A runtime is created once per adapter and shared from then on, under whatever name it is opened.
    static STARTED: Mutex<Vec<(DeviceKind, WgpuBackend, Device)>> = Mutex::new(Vec::new());
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |(of_kind, api, _): &&(DeviceKind, WgpuBackend, Device)| {
        *of_kind == kind && *api == adapter.api.burn
    };
    if let Some((_, _, device)) = started.iter().find(same) {
        return Ok(device.clone());
    }
    use_kernel_cache();
    let device = without_panic(&failed, || {
        Device::wgpu_options().graphics_api(adapter.api.burn).device_kind(kind.clone()).init()
    })?
    .map_err(|error| Error::invalid(format!("{failed}: {error}")))?;
    started.push((kind, adapter.api.burn, device.clone()));
    Ok(device)
}

fn device_kind(adapter: &Adapter) -> Option<DeviceKind> {
    let index = adapter.index_of_type;
    match adapter.device_type {
        wgpu::DeviceType::DiscreteGpu => Some(DeviceKind::DiscreteGpu(index)),
        wgpu::DeviceType::IntegratedGpu => Some(DeviceKind::IntegratedGpu(index)),
        wgpu::DeviceType::VirtualGpu => Some(DeviceKind::VirtualGpu(index)),
        // Burn can address only the first of these.
        wgpu::DeviceType::Cpu => (index == 0).then_some(DeviceKind::Cpu),
        wgpu::DeviceType::Other => None,
    }
}

/// The adapters of the first API with a hardware GPU, or else of the first with any adapter: on a machine with
/// two APIs, each GPU is counted once.
fn adapters_of_best_api() -> Vec<Adapter> {
    let mut found: Vec<Vec<Adapter>> =
        APIS.into_iter().map(adapters_of).filter(|adapters| !adapters.is_empty()).collect();
    // Stable, so the order of the APIs holds among equals.
    found.sort_by_key(|adapters| !adapters.iter().any(|one| one.kind.is_hardware_gpu()));
    found.into_iter().next().unwrap_or_default()
}

/// The adapters of one API, the best first. None where the machine has no driver for it.
fn adapters_of(api: Api) -> Vec<Adapter> {
    // The Vulkan loader crashes when instances come and go on several threads at once.
    static INSTANCE: Mutex<()> = Mutex::new(());
    if !wgpu::Instance::enabled_backend_features().contains(api.wgpu.into()) {
        return Vec::new();
    }
    let _guard = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let infos = without_panic("cannot list adapters", || {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: api.wgpu.into(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = block_on(instance.enumerate_adapters(api.wgpu.into()));
        adapters.iter().map(wgpu::Adapter::get_info).collect::<Vec<_>>()
    });
    sorted(api, infos.unwrap_or_default())
}

/// Numbers adapters by type in the driver's order, then puts the best kind first.
fn sorted(api: Api, infos: Vec<wgpu::AdapterInfo>) -> Vec<Adapter> {
    let types: Vec<_> = infos.iter().map(|info| info.device_type).collect();
    let mut adapters: Vec<_> = infos
        .into_iter()
        .enumerate()
        .map(|(position, info)| Adapter {
            api,
            kind: kind_of(info.device_type, &info.name),
            index_of_type: types[..position].iter().filter(|one| **one == info.device_type).count(),
            device_type: info.device_type,
            name: info.name,
        })
        .collect();
    adapters.sort_by_key(|adapter| adapter.kind);
    adapters
}

fn kind_of(device_type: wgpu::DeviceType, name: &str) -> Kind {
    // Some drivers report these as something other than a CPU.
    const SOFTWARE: [&str; 4] = ["llvmpipe", "lavapipe", "swiftshader", "microsoft basic render"];
    let name = name.to_lowercase();
    if SOFTWARE.iter().any(|software| name.contains(software)) {
        return Kind::Software;
    }
    match device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::VirtualGpu => Kind::Virtual,
        wgpu::DeviceType::Cpu => Kind::Software,
        wgpu::DeviceType::Other => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_rasterisers_are_known_by_type_and_by_name() {
        let names = ["llvmpipe (LLVM 19.1.7, 256 bits)", "SwiftShader Device (Subzero)"];
        for name in names.into_iter().chain(["Microsoft Basic Render Driver"]) {
            assert_eq!(kind_of(wgpu::DeviceType::VirtualGpu, name), Kind::Software, "{name}");
        }
        assert_eq!(kind_of(wgpu::DeviceType::Cpu, "something"), Kind::Software);
        assert_eq!(kind_of(wgpu::DeviceType::DiscreteGpu, "NVIDIA H100"), Kind::Discrete);
    }

    #[test]
    fn listing_adapters_works_without_a_driver() {
        // With or without a GPU, it neither panics nor hangs.
        for adapter in adapters_of_best_api() {
            assert!(!adapter.name.is_empty());
        }
    }
}
