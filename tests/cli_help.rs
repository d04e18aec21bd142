//! The command line from outside: help, usage errors and their exit codes, without any work done.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

const SUBCOMMANDS: [&str; 14] = [
    "run",
    "train-vqvae",
    "extract-codes",
    "train-prior",
    "sample",
    "reconstruct",
    "eval",
    "data",
    "inspect",
    "pack",
    "import",
    "devices",
    "bench",
    "completions",
];

fn vqgen(args: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    command.args(args);
    command
}

#[test]
fn every_subcommand_has_help_on_stdout_with_the_flags_of_all() {
    for subcommand in SUBCOMMANDS {
        vqgen(&[subcommand, "--help"])
            .assert()
            .success()
            .stdout(contains("--config").and(contains("--device")).and(contains("--seed")))
            .stderr("");
    }
}

#[test]
fn the_help_lists_every_subcommand_and_the_exit_codes() {
    let mut assert =
        vqgen(&["--help"]).assert().success().stdout(contains("130, 143 or 129 stopped"));
    for subcommand in SUBCOMMANDS {
        assert = assert.stdout(contains(format!("  {subcommand} ")));
    }
}

#[test]
fn the_flags_that_scripts_rely_on_are_there() {
    for (subcommand, flags) in [
        ("train-vqvae", &["--steps", "--resume"][..]),
        ("train-prior", &["--steps", "--resume"]),
        ("extract-codes", &["--views"]),
        ("sample", &["-n", "-o", "--separate", "--class", "--temperature", "--top-k", "--top-p"]),
        ("sample", &["--guidance", "--complete", "--keep-rows", "--run", "--data", "--set"]),
        ("reconstruct", &["-n", "-o", "--separate", "[PATHS]"]),
        ("eval", &["--split", "--json"]),
        ("devices", &["--threads", "--quiet", "--strict"]),
    ] {
        for flag in flags {
            vqgen(&[subcommand, "--help"]).assert().success().stdout(contains(*flag));
        }
    }
}

#[test]
fn nothing_typed_shows_the_help_and_exits_with_2() {
    vqgen(&[]).assert().code(2).stderr(contains("Usage: vqgen"));
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_allowed() {
    let cases: [(&[&str], &str); 10] = [
        (&["sample", "--unknown-flag"], "--unknown-flag"),
        (&["smaple"], "sample"),
        (&["devices", "--device", "tpu"], "allowed are auto, cpu, gpu"),
        (&["devices", "--threads", "0"], "allowed are 1 to 1024"),
        (&["run", "--set", "vqvae.steps"], "not of the form KEY=VALUE"),
        (&["run", "--seed", "lucky"], "--seed"),
        (&["extract-codes", "--views", "all"], "none, flip"),
        (&["eval", "--split", "tset"], "train, validation, test"),
        (&["sample", "--keep-rows", "2"], "--complete"),
        (&["sample", "--temperature", "warm"], "--temperature"),
    ];
    for (args, expected) in cases {
        vqgen(args).assert().code(2).stdout("").stderr(contains(expected));
    }
}

#[test]
fn the_version_is_the_crates() {
    vqgen(&["--version"]).assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn devices_lists_the_cpu_on_stdout_and_marks_what_auto_takes() {
    // Stderr is not checked: graphics drivers write to it.
    let assert = vqgen(&["devices"]).assert().success();
    let stdout = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(stdout.lines().last().unwrap().starts_with("cpu "), "{stdout}");
    let taken: Vec<_> = stdout.lines().filter(|line| line.ends_with("(auto)")).collect();
    assert_eq!(taken.len(), 1, "{stdout}");
    assert!(!taken[0].contains("software rasteriser"), "{stdout}");
}

#[test]
fn each_shell_gets_a_script_that_knows_commands_flags_and_values() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut assert = vqgen(&["completions", shell]).assert().success().stderr("");
        for word in ["train-vqvae", "resume", "guidance", "validation"] {
            assert = assert.stdout(contains(word));
        }
    }
    vqgen(&["completions", "tcsh"]).assert().code(2).stderr(contains("bash, elvish, fish"));
}

#[test]
fn drivers_do_not_complain_where_there_is_no_desktop() {
    vqgen(&["devices"]).env_remove("XDG_RUNTIME_DIR").assert().success().stderr("");
}
