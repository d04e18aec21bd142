//! Captions from the files beside the images to samples of a prompt.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Codes, Kind, ModelFile};
use vqgen::prior::PriorConfig;
use workshop::{Workshop, bytes};

/// A workshop in which every image has a caption, and some several.
fn captioned() -> Workshop {
    let shop = Workshop::new();
    for class in ["red", "blue"] {
        for n in 0..20 {
            let size = if n < 10 { "narrow" } else { "wide" };
            let more = if n % 4 == 0 { format!("\nstripes in {class}") } else { String::new() };
            let text = format!("{size} {class} stripes{more}");
            std::fs::write(shop.path(&format!("pictures/{class}/{n:02}.txt")), text).unwrap();
        }
    }
    shop
}

fn prior(shop: &Workshop) -> ModelFile {
    ModelFile::load(shop.path("checkpoints/tiny/prior.safetensors"), Kind::Prior).unwrap()
}

#[test]
fn a_prompt_is_sampled_whatever_else_is() {
    let shop = captioned();
    shop.tiny("run --set prior.word_dropout=0.2")
        .assert()
        .success()
        .stderr(contains("captions: the first 3 tokens count, of a vocabulary of "));
    let config: PriorConfig = prior(&shop).config().unwrap();
    assert_eq!(config.caption_length, 3);
    let merges: Vec<String> = prior(&shop).json("merges").unwrap();
    assert_eq!(config.caption_tokens, 256 + merges.len());

    let sample = |flags: &[&str], to: &str| {
        let mut command = shop.vqgen("sample --run checkpoints/tiny --separate");
        command.args(["-o", to]).args(flags).assert().success().stdout(contains(to));
    };
    std::fs::write(shop.path("prompts.txt"), "\u{feff}Wide blue stripes\r\n\r\nstripes").unwrap();
    sample(&["--prompt", "narrow red stripes", "--prompt-file", "prompts.txt"], "all.png");
    // A row of two images each.
    assert!(shop.path("all-0005.png").exists() && !shop.path("all-0006.png").exists());
    let note: Value = serde_json::from_slice(&bytes(shop.path("all.json"))).unwrap();
    let expected = ["narrow red stripes", "Wide blue stripes", "stripes"];
    let rows: Vec<&str> = expected.iter().flat_map(|prompt| [*prompt; 2]).collect();
    assert_eq!(note["prompts"], Value::from(rows));
    assert_eq!(note["classes"], Value::from(vec![Value::Null; 6]));
    assert_eq!(note["guidance"], 2.0);

    sample(&["--prompt", "narrow RED stripes", "-n", "1"], "one.png");
    assert_eq!(bytes(shop.path("one-0000.png")), bytes(shop.path("all-0000.png")));
    // Each prompt of each class.
    sample(&["--prompt", "a", "--prompt", "b", "--class", "red", "--class", "blue"], "both.png");
    let note: Value = serde_json::from_slice(&bytes(shop.path("both.json"))).unwrap();
    let classes = ["red", "red", "blue", "blue"].repeat(2);
    assert_eq!(note["classes"], Value::from(classes));

    shop.vqgen("sample --run checkpoints/tiny -n 2 --prompt-file prompts.txt --seed 7")
        .assert()
        .success()
        .stdout(contains("samples-Wide blue stripes-stripes-seed-7.png"));
    shop.vqgen("sample --run checkpoints/tiny -n 1 -o long.png")
        .args(["--prompt", "one two three four"])
        .assert()
        .success()
        .stderr(contains("of the prompt `one two three four` only the first 3 tokens count"));
    // Without a prompt every class has its rows, as before.
    shop.vqgen("sample --run checkpoints/tiny -n 4 -o classes.png").assert().success();
    let note: Value = serde_json::from_slice(&bytes(shop.path("classes.json"))).unwrap();
    assert_eq!((&note["classes"][0], &note["prompts"]), (&Value::from("blue"), &Value::Null));

    let eval = shop.vqgen("eval --run checkpoints/tiny --json").assert().success();
    let line: Value = serde_json::from_slice(&eval.get_output().stdout).unwrap();
    for key in ["nats_per_code", "nats_per_code_other_caption", "nats_per_code_no_caption"] {
        assert!(line[key].as_f64().unwrap() > 0.0, "{key}: {line}");
    }
}

#[test]
fn prompts_that_cannot_be_drawn_are_refused() {
    let shop = captioned();
    shop.tiny("run --set prior.caption_length=0").assert().success();
    let sample = |flags: &[&str]| {
        let mut command = shop.vqgen("sample --run checkpoints/tiny");
        command.args(flags).assert().code(1)
    };
    sample(&["--prompt", "red"])
        .stderr(contains("cannot sample a prompt: this prior was trained without captions"));
    sample(&["--prompt", " \t"]).stderr(contains("--prompt is empty"));
    sample(&["--prompt-file", "gone.txt"]).stderr(contains("gone.txt: cannot be read"));
    for (content, message) in [
        (&b"\n \r\n"[..], "none.txt holds no prompt (write one a line)"),
        (b"caf\xe9", "none.txt: is not UTF-8 from byte 3 on"),
    ] {
        std::fs::write(shop.path("none.txt"), content).unwrap();
        sample(&["--prompt-file", "none.txt"]).stderr(contains(message));
    }
    let config: PriorConfig = prior(&shop).config().unwrap();
    assert!(!config.has_captions());
    let eval = shop.vqgen("eval --run checkpoints/tiny --json").assert().success();
    let line: Value = serde_json::from_slice(&eval.get_output().stdout).unwrap();
    assert!(line.get("nats_per_code_no_caption").is_none(), "{line}");
}

#[test]
fn a_vocabulary_that_is_not_that_of_the_prior_is_refused() {
    let shop = captioned();
    shop.tiny("run").assert().success();
    let path = shop.path("checkpoints/tiny/prior.safetensors");
    let whole = bytes(&path);
    let codes = Codes::load(shop.path("checkpoints/tiny/codes.safetensors")).unwrap();
    assert_eq!(codes.captions.len(), codes.n_images());
    let merges: Vec<String> = prior(&shop).json("merges").unwrap();
    let with = |merges: &[String]| {
        let file = ModelFile::load(&path, Kind::Prior).unwrap();
        file.with_json("merges", &merges).unwrap().save(&path).unwrap();
        let refused = shop.vqgen("sample --run checkpoints/tiny").assert().code(1);
        std::fs::write(&path, &whole).unwrap();
        refused
    };
    let n = 256 + merges.len();
    with(&merges[..merges.len() - 1])
        .stderr(contains(format!("{} tokens, the model was trained on {n}", n - 1)));
    with(&["q".to_owned()]).stderr(contains("the merge `q` is not of two known tokens"));
}
