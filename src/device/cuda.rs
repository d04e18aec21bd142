//! NVIDIA GPUs through CUDA, whose libraries are loaded on first use.

use burn::tensor::{Device, DeviceType};

use super::quiet::without_panic;
use super::{DeviceSpec, Kind, Listed, use_kernel_cache};
use crate::error::{Error, Result};

/// The CUDA devices; none where the driver is missing.
pub(super) fn list() -> Vec<Listed> {
    use_kernel_cache();
    let names = without_panic("cannot list CUDA devices", || {
        let devices = Device::enumerate(DeviceType::Cuda);
        let name = |device: &Device| device.identity().map(|identity| identity.name.to_string());
        devices.iter().map(|device| name(device).unwrap_or_default()).collect::<Vec<_>>()
    });
    let listed = |(index, name)| Listed {
        spec: DeviceSpec::Cuda(index),
        name,
        kind: Kind::Discrete,
        api: "CUDA",
        auto: false,
    };
    names.unwrap_or_default().into_iter().enumerate().map(listed).collect()
}

/// Opens the device of this index.
pub(super) fn open(index: usize) -> Result<Device> {
    use_kernel_cache();
    let failed = format!("cannot start cuda:{index}");
    without_panic(&failed, || {
        let device = Device::cuda(index);
        device.sync().map(|()| device)
    })?
    .map_err(|error| Error::invalid(format!("{failed}: {error}")))
}
