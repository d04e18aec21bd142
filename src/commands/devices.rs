//! `vqgen devices`: the devices that this build can use here, and the choice of `--device auto`.

use super::Session;
use super::silence::silently;
use crate::device::{self, Listed};

/// Lists the devices, one per line.
pub fn run(session: &Session) -> anyhow::Result<()> {
    for line in table(&silently(device::list)) {
        session.result(line)?;
    }
    Ok(())
}

/// `gpu:0  discrete GPU  Vulkan  NVIDIA H100  (auto)`, in columns.
fn table(devices: &[Listed]) -> Vec<String> {
    let width = |of: fn(&Listed) -> String| devices.iter().map(|one| of(one).len()).max();
    let spec = width(|one| one.spec.to_string()).unwrap_or(0);
    let kind = width(|one| one.kind.label().to_owned()).unwrap_or(0);
    let api = width(|one| one.api.to_owned()).unwrap_or(0);
    let line = |one: &Listed| {
        let auto = if one.auto { "  (auto)" } else { "" };
        format!(
            "{:spec$}  {:kind$}  {:api$}  {}{auto}",
            one.spec.to_string(),
            one.kind.label(),
            one.api,
            one.name
        )
    };
    devices.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceSpec, Kind};

    #[test]
    fn the_table_aligns_and_marks_the_device_of_auto() {
        let one = |spec, name: &str, kind, api, auto| Listed {
            spec,
            name: name.to_owned(),
            kind,
            api,
            auto,
        };
        let devices = [
            one(DeviceSpec::Gpu(Some(0)), "llvmpipe", Kind::Software, "Vulkan", false),
            one(DeviceSpec::Cpu, "EPYC, 2 threads", Kind::Cpu, "flex", true),
        ];
        assert_eq!(
            table(&devices),
            [
                "gpu:0  software rasteriser  Vulkan  llvmpipe",
                "cpu    CPU                  flex    EPYC, 2 threads  (auto)",
            ]
        );
    }
}
