//! Device selection: the values of `--device`, the devices of this machine, and opening one. The only module that names
//! a backend; everything else takes a `&Device`. It prints nothing and knows no models.
//!
//! `auto` takes the first hardware GPU, or the CPU where there is none. Software rasterisers (lavapipe, SwiftShader,
//! WARP) look like GPUs but are slower than the CPU device, so they are used only if named.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "wgpu")]
mod gpu;
mod memory;
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
mod quiet;
mod spec;
mod threads;

pub use burn::tensor::Device;
pub(crate) use memory::available_memory;
pub(crate) use spec::DeviceSpec;
pub(crate) use threads::{MOST_THREADS, in_pool, thread_count};

use crate::error::{Error, Result};

/// The kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A graphics card.
    Discrete,
    /// A GPU inside the processor.
    Integrated,
    /// A hardware GPU as seen by a virtual machine.
    Virtual,
    /// An adapter that does not report its kind.
    Unknown,
    /// A rasteriser that runs on the CPU: it works, but slower than the CPU device.
    Software,
    /// The CPU device.
    Cpu,
}

impl Kind {
    /// Its name in lists.
    pub fn label(self) -> &'static str {
        match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Unknown => "unknown GPU",
            Self::Software => "software rasteriser",
            Self::Cpu => "CPU",
        }
    }

    /// Whether `auto` may choose it as a GPU.
    fn is_hardware_gpu(self) -> bool {
        matches!(self, Self::Discrete | Self::Integrated | Self::Virtual)
    }
}

/// One line of [`list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The value for `--device`.
    pub spec: DeviceSpec,
    /// The model name.
    pub name: String,
    /// The kind of processor.
    pub kind: Kind,
    /// The API: `flex`, `Vulkan`, `Metal`, `DirectX 12` or `CUDA`.
    pub api: &'static str,
    /// Whether `--device auto` chooses it.
    pub auto: bool,
}

/// An opened device.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device, without autodiff.
    pub device: Device,
    /// Its name in [`list`]; never `auto`.
    pub spec: DeviceSpec,
    /// The model name and the API, for the log.
    pub description: String,
    /// Something the user should know about this choice.
    pub note: Option<String>,
}

/// Every device this build can use on this machine, the CPU last. Takes some tens of milliseconds with a GPU driver and
/// less without.
pub fn list() -> Vec<Listed> {
    let mut devices = gpus();
    devices.push(cpu());
    let chosen = devices.iter().position(|device| device.kind.is_hardware_gpu());
    let chosen = chosen.unwrap_or(devices.len() - 1);
    devices[chosen].auto = true;
    devices
}

fn cpu() -> Listed {
    Listed { spec: DeviceSpec::Cpu, name: cpu_name(), kind: Kind::Cpu, api: "flex", auto: false }
}

/// Opens the device that `spec` names.
///
/// # Errors
/// No such device (the message lists those available), a device this build cannot use (it names the cargo feature), or
/// a driver failure.
pub fn open(spec: DeviceSpec) -> Result<Opened> {
    let listed = choose(spec)?;
    let device = start(&listed)?;
    let note = (listed.kind == Kind::Software).then(|| {
        format!(
            "{} is a software rasteriser: it runs on the CPU and is slower than --device cpu",
            listed.name
        )
    });
    let description = format!("{} ({}, {})", listed.name, listed.kind.label(), listed.api);
    Ok(Opened { device, spec: listed.spec, description, note })
}

/// The device of [`list`] that `spec` means.
fn choose(spec: DeviceSpec) -> Result<Listed> {
    if let Some((name, feature)) = spec.missing_feature() {
        let instead = match spec {
            DeviceSpec::Vulkan(_) | DeviceSpec::Metal(_) if cfg!(feature = "wgpu") => {
                "; --device gpu reaches the same GPUs in this build"
            }
            _ => "",
        };
        return Err(Error::invalid(format!(
            "cannot use --device {spec}: this build has no {name} (build with --features {feature}{instead})"
        )));
    }
    if spec == DeviceSpec::Cpu {
        return Ok(cpu()); // without loading any GPU driver
    }
    let devices = list();
    let found = match spec {
        DeviceSpec::Auto => devices.iter().find(|device| device.auto),
        DeviceSpec::Gpu(None) => devices.iter().find(|device| device.kind.is_hardware_gpu()),
        _ => devices.iter().find(|device| device.spec == spec),
    };
    match found {
        Some(device) => Ok(device.clone()),
        None => {
            let missing = match spec {
                DeviceSpec::Gpu(None) => "no hardware GPU (others must be named by number)",
                _ => "no such device",
            };
            let there: Vec<_> =
                devices.iter().map(|one| format!("{} ({})", one.spec, one.name)).collect();
            Err(Error::invalid(format!(
                "cannot use --device {spec}: there is {missing}, there are {}",
                there.join(", ")
            )))
        }
    }
}

/// The GPUs, the best first.
fn gpus() -> Vec<Listed> {
    #[allow(unused_mut)]
    let mut devices = Vec::new();
    #[cfg(feature = "cuda")]
    devices.extend(cuda::list());
    #[cfg(feature = "wgpu")]
    devices.extend(gpu::list());
    devices
}

fn start(listed: &Listed) -> Result<Device> {
    match listed.spec {
        #[cfg(feature = "cuda")]
        DeviceSpec::Cuda(index) => cuda::open(index),
        #[cfg(feature = "wgpu")]
        DeviceSpec::Gpu(Some(_)) | DeviceSpec::Vulkan(_) | DeviceSpec::Metal(_) => {
            gpu::open(listed.spec)
        }
        _ => Ok(Device::flex()),
    }
}

/// Where tuned kernels are cached between runs: the user's cache folder, so that a run in another working directory
/// does not tune again.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub fn kernel_cache_dir() -> std::path::PathBuf {
    // CubeCL's own default depends on the working directory.
    let neighbour = cubecl_environment::persistence::CacheConfig::Global.root();
    neighbour.with_file_name("vqgen").join("kernels")
}

/// Must be called before the first GPU device is opened: a cache already open would have to be reopened.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn use_kernel_cache() {
    cubecl_environment::environment::set_root(kernel_cache_dir());
}

/// The processor's model name and the number of compute threads.
fn cpu_name() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let threads = thread_count();
    let plural = if threads == 1 { "" } else { "s" };
    let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{model}, {threads} thread{plural}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_list_ends_with_the_cpu_and_marks_one_device_for_auto() {
        let devices = list();
        assert_eq!(devices.last().unwrap().spec, DeviceSpec::Cpu);
        assert_eq!(devices.iter().filter(|device| device.auto).count(), 1);
        let chosen = devices.iter().find(|device| device.auto).unwrap();
        assert_ne!(chosen.kind, Kind::Software);
    }

    #[test]
    fn auto_opens_what_the_list_marks() {
        let chosen = list().into_iter().find(|device| device.auto).unwrap();
        assert_eq!(choose(DeviceSpec::Auto).unwrap(), chosen);
    }

    #[test]
    fn the_cpu_opens() {
        let opened = open(DeviceSpec::Cpu).unwrap();
        assert_eq!(opened.spec, DeviceSpec::Cpu);
        assert!(opened.description.ends_with("(CPU, flex)"), "{}", opened.description);
        assert_eq!(opened.note, None);
    }

    #[test]
    fn a_gpu_that_is_there_opens_twice_and_computes() {
        // Nothing to check on a machine without any adapter.
        let Some(gpu) = gpus().into_iter().next() else { return };
        let opened = open(gpu.spec).unwrap();
        assert_eq!(opened.note.is_some(), gpu.kind == Kind::Software);
        let again = open(gpu.spec).unwrap();
        assert_eq!(opened.device, again.device);
        let x = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0], &again.device);
        let sum = (x.clone() + x).into_data();
        assert_eq!(sum.iter::<f32>().collect::<Vec<_>>(), [2.0, 4.0]);
    }

    #[test]
    fn a_device_that_is_not_there_lists_those_that_are() {
        let message = choose(DeviceSpec::Gpu(Some(999))).unwrap_err().to_string();
        if cfg!(feature = "wgpu") {
            assert!(message.contains("there is no such device, there are "), "{message}");
            assert!(message.contains("cpu ("), "{message}");
        } else {
            assert!(message.contains("--features wgpu"), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_of_another_build_names_the_feature() {
        let message = open(DeviceSpec::Cuda(0)).unwrap_err().to_string();
        assert!(
            message.contains("this build has no CUDA (build with --features cuda"),
            "{message}"
        );
    }
}
