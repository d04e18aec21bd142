//! SIGINT: the first one saves the state and exits with 130, and `--resume` continues from there.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn training(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vqgen"));
    command
        .current_dir(dir)
        .args(["train-vqvae", "--device", "cpu", "--run", "r", "--set", "vqvae.log_every=1"])
        .args(["--set", "vqvae.width=8", "--set", "vqvae.residual_width=8"])
        .args(["--set", "vqvae.kmeans_init=false", "--set", "vqvae.batch_size=2"])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_first_interrupt_saves_the_state_and_exits_with_130() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = training(&dir, &["--steps", "1000000"]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("step 2/") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended before step 2");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopping after this step"), "{rest}");
    assert!(rest.contains("error: interrupted: "), "{rest}");
    assert!(dir.path().join("r/resume/vqvae.safetensors").is_file());

    // Far beyond the step it stopped at, so that work remains.
    let stopped: usize = rest
        .rsplit_once(" of 1000000")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("the step is not named: {rest}"));
    let steps = (stopped + 1).to_string();
    let resumed = training(&dir, &["--resume", "--steps", &steps]).output().unwrap();
    let text = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success(), "{text}");
    assert!(text.contains(&format!("resuming after step {stopped} of {steps}")), "{text}");
}
