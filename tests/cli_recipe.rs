//! Recipes from the command line: a mistake in one exits with 1 before any work, names the key and the remedy, and
//! leaves nothing behind. What a run keeps of its recipe.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;

use workshop::Workshop;

fn vqgen(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    command.current_dir(dir).args(args);
    command
}

#[test]
fn a_mistake_in_a_recipe_exits_with_1_and_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.json"), r#"{"vqvae": {"codebok_size": 512}}"#).unwrap();
    std::fs::write(dir.path().join("y.json"), "{\n  \"seed\": 1,\n  \"seed\": 2\n}").unwrap();
    let cases: [(&[&str], &str); 9] = [
        (
            &["train-vqvae", "--config", "x.json"],
            "error: unknown key vqvae.codebok_size in x.json, did you mean vqvae.codebook_size?\n",
        ),
        (&["train-vqvae", "--config", "y.json"], "the key seed appears twice at line 3"),
        (&["train-vqvae", "--set", "prior.droput=0.1"], "did you mean prior.dropout?"),
        (
            &["train-vqvae", "--set", "vqvae.learning_rate=fast"],
            r#"error: vqvae.learning_rate in --set is "fast", expected a number"#,
        ),
        (&["train-vqvae", "--steps", "0"], "vqvae.steps is 0, allowed are 1 to"),
        (&["sample", "--temperature", "-1"], "sample.temperature is -1, allowed are 0 to 100"),
        (&["sample", "--top-p", "nan"], r#"sample.top_p in --top-p is "NaN", expected a number"#),
        (&["run", "--config", "nowhere"], "there is no such recipe (a path, or one of the built"),
        (&["run", "--set", "name=a/b"], r#"name is "a/b""#),
    ];
    for (args, expected) in cases {
        vqgen(&dir, args).assert().code(1).stdout("").stderr(contains(expected));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn a_flag_of_all_subcommands_may_come_before_or_after_the_subcommand() {
    let dir = tempfile::tempdir().unwrap();
    for args in
        [["--set", "vqvae.steps=0", "train-vqvae"], ["train-vqvae", "--set", "vqvae.steps=0"]]
    {
        vqgen(&dir, &args).assert().code(1).stderr(contains("vqvae.steps is 0"));
    }
}

#[test]
fn a_new_run_without_a_recipe_gets_one_that_fits_its_images() {
    let shop = Workshop::new();
    let recipe = |run: &str| {
        let text = std::fs::read_to_string(shop.path(&format!("{run}/recipe.json"))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let begin = "train-vqvae --data pictures --steps 1 --set vqvae.width=8";
    // 40 images that are 24 pixels high and 20 to 39 wide.
    shop.vqgen(&format!("{begin} --run fitted")).assert().success().stderr(contains(
        "recipe quickstart, data.image_size=24, data.validation=0.1, data.test=0.1: for 40 images of about 24 pixels",
    ));
    let fitted = recipe("fitted");
    assert_eq!(fitted["data"]["image_size"], 24);
    assert_eq!(fitted["vqvae"]["preset"], "wide");
    // What is named counts.
    shop.vqgen(&format!("{begin} --run sized --set data.image_size=16 --set data.test=0.2"))
        .assert()
        .success();
    let sized = recipe("sized");
    assert_eq!((&sized["data"]["image_size"], &sized["data"]["test"]), (&16.into(), &0.2.into()));
    shop.vqgen(&format!("{begin} --run named --config quickstart")).assert().success();
    assert_eq!(recipe("named")["data"]["image_size"], 32);
    // The run goes on with its own.
    shop.vqgen("train-vqvae --data pictures --run fitted --steps 2 --resume")
        .assert()
        .success()
        .stderr(contains("recipe fitted/recipe.json"));
    assert_eq!(recipe("fitted")["data"], fitted["data"]);
}

#[test]
fn a_run_keeps_its_precision_on_a_processor_that_lacks_it_unless_a_flag_insists() {
    let shop = Workshop::new();
    // As on a processor without bf16.
    let vqgen = |line: &str| {
        let mut command = shop.tiny(line);
        command.env("VQGEN_INSTRUCTIONS", "plain");
        command
    };
    vqgen("train-vqvae --set precision=bf16 --steps 4").assert().success().stderr(contains(
        "the precision of this run is bf16, which this CPU has no instructions for: going on with f32",
    ));
    let kept = || {
        let recipe = std::fs::read_to_string(shop.path("checkpoints/tiny/recipe.json")).unwrap();
        serde_json::from_str::<Value>(&recipe).unwrap()["precision"].clone()
    };
    assert_eq!(kept(), "bf16");
    vqgen("train-vqvae --resume --precision bf16 --steps 8")
        .assert()
        .code(1)
        .stderr(contains("bf16 is not available on this CPU"));
    vqgen("train-vqvae --resume --steps 6").assert().success().stderr(contains("precision f32"));
    assert_eq!(kept(), "bf16");
    vqgen("train-vqvae --resume --precision f32 --steps 8").assert().success();
    assert_eq!(kept(), "f32");
}
