//! Captions from the files beside the images to samples of a prompt.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use serde_json::{Value, json};
use vqgen::checkpoint::{Codes, Kind, ModelFile};
use vqgen::data::{Picture, PictureFormat};
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
    let row = |class: Option<&str>, prompt: &str| json!({ "class": class, "prompt": prompt });
    let rows = ["narrow red stripes", "Wide blue stripes", "stripes"].map(|text| row(None, text));
    assert_eq!((&note["rows"], &note["guidance"]), (&json!(rows), &json!(2.0)));

    sample(&["--prompt", "narrow red stripes", "-n", "1"], "one.png");
    assert!(bytes(shop.path("one-0000.png")) == bytes(shop.path("all-0000.png")));
    // Each prompt of each class.
    sample(&["--prompt", "a", "--prompt", "b", "--class", "red", "--class", "blue"], "both.png");
    let note: Value = serde_json::from_slice(&bytes(shop.path("both.json"))).unwrap();
    let red_and_blue = |prompt| [row(Some("red"), prompt), row(Some("blue"), prompt)];
    assert_eq!(note["rows"], json!([red_and_blue("a"), red_and_blue("b")].concat()));

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
    assert_eq!(note["rows"][0], json!({ "class": "blue", "prompt": null }));

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

#[test]
fn a_picture_says_what_made_it_and_is_drawn_again_to_the_byte() {
    let shop = captioned();
    shop.tiny("run").assert().success();
    let sample = |flags: &[&str]| shop.vqgen("sample").args(flags).assert();
    let tiny = ["--run", "checkpoints/tiny"];
    let with_tiny = |flags: &[&str]| sample(&[&tiny, flags].concat()).success();
    with_tiny(&[
        "--prompt", "wide red", "--class", "red", "--seed", "9", "--top-k", "5", "-o", "a.png",
    ]);
    with_tiny(&[
        "--temperature",
        "0.7",
        "-n",
        "6",
        "--separate",
        "--guidance",
        "1",
        "--min-p",
        "0.1",
        "--best-of",
        "2",
        "-o",
        "b.png",
    ]);
    with_tiny(&["--complete", "pictures/red/01.png", "--keep-rows", "1", "-n", "3", "-o", "c.png"]);
    // Without --run: the picture names the run.
    for name in ["a", "b", "b-0004", "c"] {
        let (from, to) = (format!("{name}.png"), format!("again {name}.png"));
        sample(&["--like", &from, "-o", &to]).success();
        assert!(bytes(shop.path(&from)) == bytes(shop.path(&to)), "{name}");
        assert!(!shop.path(&format!("again {name}-0000.png")).exists());
    }
    // One flag changes one thing.
    sample(&["--like", "a.png", "--seed", "10", "-o", "other.png"]).success();
    let inspect = |name: &str| -> Value {
        let output = shop.vqgen("inspect").arg(name).assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    };
    let (mut a, other) = (inspect("a.png"), inspect("other.png"));
    assert_eq!((&a["seed"], &a["top_k"], &a["run"]), (&json!(9), &json!(5), &json!("tiny")));
    a["seed"] = json!(10);
    assert_eq!(a, other);
    assert_eq!(inspect("b-0004.png")["image"], json!(4));
    assert_eq!(inspect("c.png")["complete"], json!("01.png"));
    // A JPEG has no text; what made it is beside it.
    with_tiny(&["-n", "2", "-o", "d.jpg"]);
    assert_eq!(inspect("d.jpg")["count"], json!(2));
    sample(&["--like", "d.jpg", "-o", "again d.jpg"]).success();
    assert!(bytes(shop.path("d.jpg")) == bytes(shop.path("again d.jpg")));

    // Other models draw something else, and that is said.
    shop.tiny_without(&["prior.width=8"], "run --discard --set prior.width=16").assert().success();
    sample(&["--like", "a.png", "-o", "e.png"]).success().stderr(contains("this run has"));
    sample(&["--like", "a.png", "-o", "a.png"]).code(1).stderr(contains("is an input"));
}

#[test]
fn pictures_that_do_not_say_what_made_them_are_refused() {
    let shop = Workshop::new();
    let refused = |name: &str, message: &str| {
        shop.vqgen("inspect").arg(name).assert().code(1).stderr(contains(message));
        let mut sample = shop.vqgen("sample");
        sample.args(["--like", name]).assert().code(1).stderr(contains(message));
    };
    refused("pictures/red/00.png", "pictures/red/00.png: does not say what made it");
    refused("gone.png", "cannot read gone.png");
    refused("pictures", "pictures: is not a regular file");
    std::fs::write(shop.path("a.png"), "no picture").unwrap();
    refused("a.png", "a.png: cannot be read as PNG");
    // A note that is none, and one that leads out of the folder of runs.
    let picture = |text: &str| {
        let picture = Picture { pixels: vec![0; 12], height: 2, width: 2, channels: 3 };
        let bytes = picture.encode_with(PictureFormat::Png, Some(text)).unwrap();
        std::fs::write(shop.path("b.png"), bytes).unwrap();
        shop.vqgen("sample --like b.png").assert().code(1)
    };
    picture("{\"vqgen\": 1}").stderr(contains("b.png: what made it cannot be repeated"));
    let note = json!({
        "vqgen": "0", "run": "../../etc", "tokenizer": "", "prior": "", "seed": 0, "precision": "f32",
        "count": 1, "columns": 1, "scale": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
        "min_p": 0.0, "best_of": 1, "guidance": 1.0, "guidance_schedule": "constant", "passes": 12, "images_a_pass": 1, "rows": [], "complete": null, "given_codes": [9],
    });
    picture(&note.to_string()).stderr(contains("`../../etc`, which is no name of a folder"));
    let mut huge = note.clone();
    (huge["run"], huge["count"]) = (json!("tiny"), json!(10_000_000));
    picture(&huge.to_string()).stderr(contains("sample.count is 10000000"));
}
