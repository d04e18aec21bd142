//! `vqgen bench`: the speed of this machine on named shapes, as JSON lines.

use clap::Args as ClapArgs;
use serde_json::json;

use super::Session;
use crate::bench::{PRECISION, cases, measure};
use crate::device::thread_count;

/// The flags of `bench`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Only the case of this name, or if there is none the cases whose names begin with it
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,

    /// Timed runs per case, of which the median is reported
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
}

/// Measures each case and prints one line for it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<()> {
    let all = cases()?;
    let is_wanted = |name: &str| {
        args.case.as_ref().is_none_or(|wanted| match all.iter().any(|case| case.name == wanted) {
            true => name == wanted,
            false => name.starts_with(wanted.as_str()),
        })
    };
    if !all.iter().any(|case| is_wanted(case.name)) {
        let mut names: Vec<_> = all.iter().map(|case| case.name).collect();
        names.dedup();
        anyhow::bail!(
            "there is no case {} (there are {})",
            args.case.as_deref().unwrap_or_default(),
            names.join(", ")
        );
    }
    let (opened, precision) = session.open()?;
    for case in all.iter().filter(|case| is_wanted(case.name)) {
        let mut work = case.work(&opened.device)?;
        let timing = measure(&mut *work, args.repeats as usize)?;
        session.result(json!({
            "case": case.name,
            "variant": if case.variant == PRECISION { precision.name() } else { case.variant },
            "median_ms": rounded(timing.median_ms),
            "least_ms": rounded(timing.least_ms),
            "rate": (case.units as f64 / timing.median_ms * 1e4).round() / 10.0,
            "unit": case.unit,
            "device": format!("{}: {}", opened.spec, opened.description),
            "threads": thread_count(),
            "precision": precision.name(),
            "version": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("VQGEN_COMMIT"),
        }))?;
    }
    Ok(())
}

/// Rounds to hundredths: further digits are noise.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 100.0).round() / 100.0
}
