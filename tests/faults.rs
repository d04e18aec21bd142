//! Faults around a run: another process, a full disk, a folder that is deleted or read-only, a kill. Each is an error
//! with advice, and the last good state survives.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::{fs, thread, time::Duration};

use tempfile::TempDir;
use vqgen::checkpoint::{ResumeState, RunDir, Stage};

/// Arguments for training `steps` steps in the folder `r` of `dir`.
fn training(steps: usize) -> Vec<String> {
    let tiny = ["width=8", "residual_width=8", "kmeans_init=false", "batch_size=2", "code_dim=8"];
    let often = ["log_every=1", "checkpoint_every=2", "validate_every=1000000"];
    let line = format!("train-vqvae --device cpu --run r --steps {steps}");
    let words = line.split(' ').map(String::from).collect::<Vec<_>>();
    let settings =
        tiny.iter().chain(&often).flat_map(|set| ["--set".into(), format!("vqvae.{set}")]);
    words.into_iter().chain(settings).collect()
}

fn vqgen(dir: &TempDir, args: &[String]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vqgen"));
    command.current_dir(dir).args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for a line of `stderr` that contains `text`.
fn wait_for(stderr: &mut BufReader<ChildStderr>, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended before {text}");
    }
}

/// A training process that has written its first checkpoint and runs for long.
fn started(dir: &TempDir) -> (Child, BufReader<ChildStderr>) {
    let mut child = vqgen(dir, &training(1_000_000)).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "saved r/resume/vqvae.safetensors");
    (child, stderr)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn failure(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn run_dir(dir: &TempDir) -> RunDir {
    RunDir::new(dir.path().join("r"))
}

/// The run can be resumed, and holds no temporary files.
fn assert_intact(dir: &TempDir) {
    let (_, told) = ResumeState::latest(&run_dir(dir), Stage::Vqvae).unwrap();
    assert_eq!(told, None);
}

fn temporary_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().ends_with("vqgen-tmp")).collect()
}

#[test]
fn a_polite_kill_saves_and_exits_with_143() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut stderr) = started(&dir);
    signal(&child, "-TERM");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{rest}");
    assert!(rest.contains("resume with --resume"), "{rest}");
    assert_intact(&dir);
}

#[test]
fn under_nohup_a_closed_terminal_does_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("nohup");
    command.current_dir(&dir).arg(assert_cmd::cargo::cargo_bin!("vqgen")).args(training(1_000_000));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "saved r/resume/vqvae.safetensors");
    signal(&child, "-HUP");
    wait_for(&mut stderr, "saved r/resume/vqvae.safetensors");
    wait_for(&mut stderr, "saved r/resume/vqvae.safetensors");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_second_signal_ends_it_at_once_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, _stderr) = started(&dir);
    signal(&child, "-INT");
    signal(&child, "-TERM");
    let code = child.wait().unwrap().code();
    // The second may start after the first has finished.
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert_intact(&dir);
}

#[test]
fn a_killed_process_leaves_a_run_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, _stderr) = started(&dir);
    thread::sleep(Duration::from_millis(50));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_intact(&dir);
    let stderr = {
        let mut child =
            vqgen(&dir, &[training(1_000_000), vec!["--resume".into()]].concat()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut stderr, "resuming after step");
        wait_for(&mut stderr, "saved r/resume/vqvae.safetensors");
        child.kill().unwrap();
        child.wait().unwrap();
        stderr
    };
    drop(stderr);
}

#[test]
fn a_second_process_on_a_run_is_refused_and_told_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, _stderr) = started(&dir);
    let mut args = training(1_000_000);
    args.push("--resume".into());
    let (code, text) = failure(vqgen(&dir, &args));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(code, Some(1), "{text}");
    let owner = format!("r is in use by process {} (vqgen train-vqvae)", child.id());
    assert!(text.contains(&owner), "{text}");
}

#[test]
fn a_limit_of_the_file_size_is_an_error_and_the_last_state_stays() {
    let dir = tempfile::tempdir().unwrap();
    assert!(vqgen(&dir, &training(2)).status().unwrap().success());
    let before = fs::read(run_dir(&dir).resume_path(Stage::Vqvae)).unwrap();
    // In blocks of 512 or 1024 bytes, depending on the shell: far less than a checkpoint either way.
    let shell = "ulimit -f 8; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.current_dir(&dir).args([
        "-c",
        shell,
        assert_cmd::cargo::cargo_bin!("vqgen").to_str().unwrap(),
    ]);
    limited.args(training(6)).arg("--resume").stdout(Stdio::null()).stderr(Stdio::piped());
    let (code, text) = failure(limited);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cannot write r/"), "{text}");
    assert_eq!(fs::read(run_dir(&dir).resume_path(Stage::Vqvae)).unwrap(), before);
    for folder in [run_dir(&dir).path(), &run_dir(&dir).resume_dir()] {
        assert_eq!(temporary_files(folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_run_folder_that_is_deleted_under_way_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut stderr) = started(&dir);
    // The writer may be at work in it.
    while run_dir(&dir).path().exists() {
        let _ = fs::remove_dir_all(run_dir(&dir).path());
    }
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("error: cannot write r/"), "{rest}");
}

#[test]
fn a_folder_that_may_not_be_written_is_an_error_before_the_work() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("r");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("x"), "").is_ok() {
        eprintln!("skipped: this user writes wherever it wants");
        return;
    }
    let (code, text) = failure(vqgen(&dir, &training(2)));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error: cannot create r/resume"), "{text}");
}
