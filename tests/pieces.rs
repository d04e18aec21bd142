//! The pieces of a run belong together: held-out images stay held out whatever is combined, and nothing is written that
//! would invalidate a later piece.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use std::collections::BTreeMap;
use std::path::PathBuf;

use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Codes, Kind, ModelFile};
use workshop::{Workshop, bytes};

/// Every file of the run with its content, but for the lock.
fn files(shop: &Workshop) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["checkpoints/tiny", "checkpoints/tiny/resume"] {
        for entry in std::fs::read_dir(shop.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with(".lock") {
                files.insert(path.clone(), bytes(path));
            }
        }
    }
    files
}

#[test]
fn images_that_were_trained_on_are_never_reported_as_held_out() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let eval = |flags: &str| shop.vqgen(&format!("eval --run checkpoints/tiny --json {flags}"));
    let line = |flags: &str| -> Value {
        let output = eval(flags).assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    };
    let before = line("");

    // A larger test split holds images of today's training split.
    eval("--set data.test=0.6").assert().code(1).stderr(contains(
        "cannot evaluate the tokenizer on the test split: checkpoints/tiny/vqvae.safetensors may have been trained on \
         some of these images: it was trained with data.validation 0.2 and data.test 0.2",
    ));
    eval("--set data.test=0.6 --split train").assert().success();
    shop.vqgen("reconstruct --run checkpoints/tiny --set data.test=0.6")
        .assert()
        .code(1)
        .stderr(contains("cannot show held-out images on the test split"));

    // Codes of another split do not change what is reported.
    shop.vqgen("extract-codes --run checkpoints/tiny --set data.test=0.6")
        .assert()
        .code(1)
        .stderr(contains("cannot extract the codes again: checkpoints/tiny/prior.safetensors"));
    let path = shop.path("checkpoints/tiny/codes.safetensors");
    let codes = Codes::load(&path).unwrap();
    let mut moved = codes.clone();
    moved.splits.fill(vqgen::data::Split::Test);
    moved.save(&path).unwrap();
    assert_eq!(line(""), before);
    codes.save(&path).unwrap();

    // Images keep their split when others are added, so evaluation is allowed.
    std::fs::copy(shop.path("pictures/red/03.png"), shop.path("pictures/blue/copy.png")).unwrap();
    assert!(line("")["nats_per_code"].is_number());
    std::fs::rename(shop.path("pictures/blue"), shop.path("pictures/cyan")).unwrap();
    eval("").assert().code(1).stderr(contains("the first difference is blue and cyan"));
}

#[test]
fn codes_say_which_image_each_row_is() {
    let shop = Workshop::new();
    shop.tiny("train-vqvae").assert().success();
    shop.tiny("extract-codes").assert().success();
    let codes = Codes::load(shop.path("checkpoints/tiny/codes.safetensors")).unwrap();
    assert_eq!(codes.names.len(), 80);
    for (name, label) in codes.names.iter().zip(&codes.labels) {
        assert!(shop.path("pictures").join(name).is_file(), "{name}");
        assert!(name.starts_with(&codes.classes[usize::from(*label)]), "{name}");
    }
    let of = |view| codes.names.iter().zip(&codes.views).filter(move |(_, v)| **v == view);
    let mut plain: Vec<_> = of(vqgen::data::View::AS_IS).map(|(name, _)| name).collect();
    plain.dedup();
    assert_eq!(plain.len(), 40);
    let provenance = codes.data.unwrap();
    let tokenizer =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    assert_eq!(tokenizer.optional_json("data").unwrap(), Some(provenance));
}

#[test]
fn a_change_that_would_orphan_a_later_piece_is_refused_before_anything_is_written() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let before = files(&shop);
    for (line, message) in [
        (
            "run --set vqvae.steps=12",
            "cannot train the tokenizer from step 8 to vqvae.steps 12: checkpoints/tiny/codes.safetensors and what",
        ),
        ("train-vqvae --resume --steps 12", "cannot train the tokenizer from step 8"),
        ("run --set prior.views=none", "cannot extract the codes again"),
        ("extract-codes --views none", "cannot extract the codes again"),
        ("extract-codes --set data.test=0.3", "cannot extract the codes again"),
        ("run --set prior.width=16", "prior.width was 8 and is now 16"),
        ("run --set vqvae.width=16", "vqvae.width was 8 and is now 16"),
        ("run --set data.test=0.3", "was trained on data"),
        ("train-prior", "already holds a prior stage: resume with --resume"),
        ("train-vqvae", "already holds a vqvae stage: resume with --resume"),
    ] {
        shop.vqgen(&format!("{line} --run checkpoints/tiny"))
            .assert()
            .code(1)
            .stderr(contains(message));
        assert!(files(&shop) == before, "{line} has written something");
    }
}

#[test]
fn what_a_refusal_advises_can_be_done() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let tokenizer = || bytes(shop.path("checkpoints/tiny/vqvae.safetensors"));
    let prior = || bytes(shop.path("checkpoints/tiny/prior.safetensors"));
    let (first_tokenizer, first_prior) = (tokenizer(), prior());
    let vqgen = |line: &str| shop.vqgen(&format!("{line} --run checkpoints/tiny"));

    // Extracting the same codes again leaves the prior alone.
    vqgen("extract-codes").assert().success();
    assert!(prior() == first_prior);

    vqgen("run --set vqvae.steps=12 --discard")
        .assert()
        .success()
        .stderr(contains("removed checkpoints/tiny/prior.safetensors"));
    assert!(tokenizer() != first_tokenizer && prior() != first_prior);
    vqgen("run").assert().success();
    vqgen("eval").assert().success();

    vqgen("run --set prior.width=16 --discard").assert().success();
    vqgen("extract-codes --views none --discard").assert().success();
    assert!(!shop.path("checkpoints/tiny/prior.safetensors").exists());
    vqgen("train-prior --set prior.views=none").assert().success();
    let second_prior = prior();
    vqgen("train-prior --discard --seed 9").assert().success();
    assert!(prior() != second_prior);
    vqgen("train-vqvae --discard").assert().success();
    assert!(!shop.path("checkpoints/tiny/codes.safetensors").exists());
    assert!(!shop.path("checkpoints/tiny/prior.safetensors").exists());
    vqgen("run").assert().success();
}

#[cfg(unix)]
#[test]
fn a_file_that_the_system_refuses_to_read_is_not_taken_for_one_that_may_go() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let before = files(&shop);
    // A link to itself is refused to any user, root included.
    for name in ["resume/vqvae", "resume/prior", "codes", "vqvae"] {
        let path = shop.path(&format!("checkpoints/tiny/{name}.safetensors"));
        let whole = bytes(&path);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        shop.vqgen("run --run checkpoints/tiny --discard")
            .assert()
            .code(1)
            .stderr(contains(format!("cannot read checkpoints/tiny/{name}.safetensors")));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, whole).unwrap();
        assert!(files(&shop) == before, "{name} was not readable, and something is gone");
    }
}

#[test]
fn captions_are_kept_with_the_codes_and_other_captions_need_other_codes() {
    let shop = Workshop::new();
    let say = |text: &str| std::fs::write(shop.path("pictures/red/07.txt"), text).unwrap();
    say("stripes\r\nred on white");
    let rows = "{\"file_name\": \"blue/00.png\", \"text\": \"blue stripes\"}\n{\"file_name\": \"green/1.png\"}\n";
    std::fs::write(shop.path("pictures/metadata.jsonl"), rows).unwrap();
    shop.tiny("run")
        .assert()
        .success()
        .stderr(contains("note: 3 captions of 2 images, 38 have none"))
        .stderr(contains("note: 1 row of metadata on images that are not there: green/1.png"));
    let captions = |of: &str| {
        let codes = Codes::load(shop.path("checkpoints/tiny/codes.safetensors")).unwrap();
        let rows = codes.names.iter().zip(codes.captions);
        rows.filter(|(name, _)| *name == of).map(|(_, captions)| captions).collect::<Vec<_>>()
    };
    // In both views.
    assert_eq!(captions("red/07.png"), vec![vec!["stripes", "red on white"]; 2]);
    assert_eq!(captions("blue/00.png"), vec![vec!["blue stripes"]; 2]);
    assert_eq!(captions("red/08.png"), vec![Vec::<String>::new(); 2]);

    let before = files(&shop);
    shop.tiny("run").assert().success();
    assert_eq!(files(&shop), before);
    say("dots");
    shop.tiny("run").assert().code(1).stderr(contains("cannot extract the codes again"));
    assert_eq!(files(&shop), before);
    shop.tiny("run --discard").assert().success();
    assert_eq!(captions("red/07.png"), vec![vec!["dots"]; 2]);
}
