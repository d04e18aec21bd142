//! A run folder with one forged file, through the program: exit code 1, a message that names the file, no panic, and
//! nothing written outside the folders of the run.

#[path = "run_folder/workshop.rs"]
mod workshop;

use serde_json::json;
use vqgen::checkpoint::Stage;

use super::forge::Forged;
use super::samples;
use workshop::Workshop;

#[test]
fn the_run_without_a_lie_works() {
    let shop = Workshop::new();
    shop.vqgen("sample").assert().success();
    shop.vqgen("eval --json").assert().success();
}

#[test]
fn a_prior_that_does_not_fit_its_tokenizer_is_refused() {
    let shop = Workshop::new();
    shop.forge("prior.safetensors", |f| samples::set_json(f, "config", "grid_height", json!(1)));
    // One row of four columns: equally many positions, and so weights of the same shapes.
    shop.forge("prior.safetensors", |f| samples::set_json(f, "config", "grid_width", json!(4)));
    let error = shop.error("sample");
    assert!(error.contains("prior.safetensors has 1 rows of codes"), "{error}");
    assert!(shop.error("eval").contains("prior.safetensors has 1 rows of codes"));
}

#[test]
fn a_prior_with_names_for_other_classes_is_refused() {
    let shop = Workshop::new();
    let names = json!(["cats", "dogs", "birds"]).to_string();
    shop.forge("prior.safetensors", |f| drop(f.metadata.insert("classes".into(), names)));
    let error = shop.error("sample");
    assert!(
        error.contains("classes in the metadata are 3 names, the model was trained on 2"),
        "{error}"
    );
}

#[test]
fn a_prior_of_other_classes_than_the_data_set_is_not_evaluated() {
    let shop = Workshop::new();
    let names = json!(["cats", "eels"]).to_string();
    shop.forge("prior.safetensors", |f| drop(f.metadata.insert("classes".into(), names)));
    let error = shop.error("eval");
    assert!(error.contains("the first difference is eels and "), "{error}");
}

#[test]
fn a_model_that_lies_about_its_data_set_is_not_evaluated() {
    let shop = Workshop::new();
    for (lie, expected) in [
        (json!({}), "data in the metadata: missing field"),
        (
            json!({"fingerprint": "x", "validation": 0.05, "test": 0.0, "by_content": true}),
            "data.test 0",
        ),
        (
            json!({"fingerprint": "x", "validation": 0.05, "test": 0.05, "by_content": false}),
            "another data set",
        ),
    ] {
        shop.forge("vqvae.safetensors", |f| {
            drop(f.metadata.insert("data".into(), lie.to_string()))
        });
        let error = shop.error("eval");
        assert!(error.contains("vqvae.safetensors") && error.contains(expected), "{error}");
    }
}

#[test]
fn codes_of_another_shape_than_the_tokenizer_makes_are_not_trained_on() {
    let shop = Workshop::new();
    shop.forge("codes.safetensors", |f| {
        drop(f.metadata.insert("codebook_size".into(), "65536".into()))
    });
    std::fs::remove_file(shop.path("checkpoints/tiny/prior.safetensors")).unwrap();
    let error = shop.error("train-prior");
    assert!(error.contains("codes.safetensors has 65536 codes in the codebook"), "{error}");
}

#[test]
fn a_model_that_describes_an_enormous_one_is_refused() {
    let shop = Workshop::new();
    shop.forge("prior.safetensors", |f| {
        samples::set_json(f, "config", "width", json!(65_536));
        samples::set_json(f, "config", "layers", json!(256));
    });
    let error = shop.error("sample");
    assert!(error.contains("prior.safetensors: config in the metadata describes"), "{error}");
    let shop = Workshop::new();
    shop.forge("vqvae.safetensors", |f| {
        samples::set_json(f, "config", "image_size", json!(1u64 << 50))
    });
    let error = shop.error("reconstruct digits/classes.txt");
    assert!(
        error.contains("vqvae.safetensors: config in the metadata: data.image_size"),
        "{error}"
    );
}

#[test]
fn damaged_files_of_a_run_are_named() {
    let shop = Workshop::new();
    let cut = |name: &str| {
        let path = shop.path(&format!("checkpoints/tiny/{name}"));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        whole
    };
    let codes = cut("codes.safetensors");
    let prior = cut("prior.safetensors");
    std::fs::remove_file(shop.path("checkpoints/tiny/prior.safetensors")).unwrap();
    assert!(
        shop.error("train-prior").contains("codes.safetensors: is not a complete safetensors file")
    );
    shop.write("checkpoints/tiny/codes.safetensors", &codes);
    shop.write("checkpoints/tiny/prior.safetensors", &prior);
    cut("prior.safetensors");
    assert!(shop.error("sample").contains("prior.safetensors: is not a complete safetensors file"));
    std::fs::remove_file(shop.path("checkpoints/tiny/prior.safetensors")).unwrap();
    let resume = format!("checkpoints/tiny/resume/{}.safetensors", Stage::Prior.name());
    let state = samples::resume_bytes();
    shop.write(&resume, &state[..state.len() - 1]);
    let error = shop.error("train-prior --resume");
    assert!(
        error.contains("resume/prior.safetensors: is not a complete safetensors file"),
        "{error}"
    );
    shop.write(&resume, &state);
    let error = shop.error("train-prior --resume");
    assert!(error.contains("resume/prior.safetensors: state in the metadata"), "{error}");
    std::fs::remove_file(shop.path(&resume)).unwrap();
    shop.write("checkpoints/tiny/metrics.jsonl", b"not a log\n");
    assert!(shop.error("train-prior").contains("metrics.jsonl: line 1"));
}

type Change = fn(&mut Forged);

/// Trains `stage`, and resumes it from its state with each of these forgeries.
fn lies_about_the_state(stage: Stage, lies: &[(Change, &str)]) {
    let shop = Workshop::new();
    let name = stage.name();
    let model = format!("checkpoints/tiny/{name}.safetensors");
    std::fs::remove_file(shop.path(&model)).unwrap();
    shop.vqgen(&format!("train-{name} --discard")).assert().success();
    let state = format!("resume/{name}.safetensors");
    let path = format!("checkpoints/tiny/{state}");
    let whole = std::fs::read(shop.path(&path)).unwrap();
    let model_bytes = std::fs::read(shop.path(&model)).unwrap();
    for (lie, expected) in lies {
        shop.write(&path, &whole);
        shop.forge(&state, lie);
        let error = shop.error(&format!("train-{name} --resume --steps 4"));
        assert!(error.contains(&state) && error.contains(expected), "{error} lacks {expected}");
        assert_eq!(std::fs::read(shop.path(&model)).unwrap(), model_bytes);
    }
    shop.write(&path, &whole);
    shop.vqgen(&format!("train-{name} --resume --steps 4")).assert().success();
}

fn reshape(file: &mut Forged, name: &str) {
    let tensor = samples::tensor(file, name);
    tensor.shape = vec![tensor.bytes.len() / 4, 1];
}

fn lengthen(file: &mut Forged, name: &str) {
    let tensor = samples::tensor(file, name);
    tensor.shape[0] += 1;
    tensor.bytes.extend([0; 4]);
}

#[test]
fn a_state_of_the_prior_that_lies_is_not_resumed() {
    lies_about_the_state(
        Stage::Prior,
        &[
            (|f| drop(f.tensors.remove("adamw.m.head.weight")), "has no adamw.m.head.weight"),
            (|f| drop(f.tensors.remove("adamw.v.position")), "has no adamw.v.position"),
            (|f| reshape(f, "adamw.v.norm.bias"), "norm.bias has shape [4, 1], expected [4]"),
            (|f| lengthen(f, "adamw.m.norm.bias"), "norm.bias has shape [5], expected [4]"),
            (|f| lengthen(f, "loop.interval"), "interval has shape [3], expected [2]"),
            (|f| lengthen(f, "model.norm.bias"), "norm.bias has shape [5], the model needs [4]"),
            (|f| drop(f.tensors.remove("loop.interval")), "has no tensor loop.interval"),
            (|f| lengthen(f, "kept.norm.bias"), "norm.bias has shape [5], the model needs [4]"),
            (|f| samples::set_json(f, "state", "step", json!(1)), "at step 1"),
            (|f| samples::set_json(f, "state", "skipped", json!(u64::MAX)), "at step 2"),
            (|f| samples::set_json(f, "state", "interval_steps", json!(u64::MAX)), "at step 2"),
            (|f| samples::set_json(f, "state", "input", json!("0")), "was trained on codes 0"),
            (|f| samples::set_json(f, "state", "kept_score", json!("0")), "state in the metadata"),
        ],
    );
}

#[test]
fn a_state_of_the_tokenizer_that_lies_is_not_resumed() {
    lies_about_the_state(
        Stage::Vqvae,
        &[
            (|f| lengthen(f, "extra.counts"), "counts has shape [5], expected [4]"),
            (|f| lengthen(f, "extra.idle"), "idle has shape [5], expected [4]"),
            (|f| lengthen(f, "extra.ema_counts"), "ema_counts has shape [5], expected [4]"),
            (|f| reshape(f, "loop.interval"), "interval has shape [4, 1], expected [4]"),
            (|f| drop(f.tensors.remove("extra.ema_sums")), "has no tensor extra.ema_sums"),
            (
                |f| drop(f.tensors.remove("adamw.m.decoder.up.0.bias")),
                "has no adamw.m.decoder.up.0.bias",
            ),
            (|f| samples::set_json(f, "state", "kept_step", json!(7)), "at step 2"),
            (|f| samples::set_json(f, "state", "input", json!("0")), "was trained on data 0"),
        ],
    );
}

#[test]
fn a_backbone_that_is_none_is_refused_by_the_name_of_what_it_lacks() {
    let shop = Workshop::new();
    let line = "train-vqvae --config quickstart --run checkpoints/new --set vqvae.preset=resnet34 \
                --set vqvae.backbone=backbone.safetensors --set data.channels=3 --set data.image_size=8 \
                --set vqvae.batch_size=2 --set vqvae.codebook_size=4 --set vqvae.width=16";
    let run = |bytes: &[u8]| {
        shop.write("backbone.safetensors", bytes);
        let _ = std::fs::remove_dir_all(shop.path("checkpoints/new"));
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
        command.current_dir(shop.0.path()).args(line.split_whitespace());
        command.args(["--device", "cpu", "--threads", "1", "--data", "digits"]);
        let output = command.assert().code(1).get_output().stderr.clone();
        String::from_utf8(output).unwrap()
    };
    let error = run(&samples::prior_bytes());
    assert!(error.contains("backbone.safetensors: has no float tensor conv1.weight"), "{error}");
    let error = run(&samples::prior_bytes()[..100]);
    assert!(error.contains("backbone.safetensors: is not a complete safetensors file"), "{error}");
    assert!(!shop.path("checkpoints/new/vqvae.safetensors").exists());
}

#[test]
fn a_saved_recipe_cannot_name_another_folder() {
    let shop = Workshop::new();
    let before = shop.files();
    for (text, expected) in [
        (r#"{"name": "../../evil"}"#, "name is \"../../evil\""),
        (r#"{"name": "x", "vqvae": {"steps": "#, "recipe.json is not a recipe"),
    ] {
        shop.write("checkpoints/tiny/recipe.json", text.as_bytes());
        let error = shop.error("sample");
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_file(shop.path("checkpoints/tiny/recipe.json")).unwrap();
    assert_eq!(shop.files(), before);
}

#[test]
fn a_class_name_cannot_lead_a_picture_out_of_its_folder() {
    let evil = ["../../evil", "a/../../../b"];
    let shop = Workshop::new();
    let names = json!(evil).to_string();
    shop.forge("prior.safetensors", |f| drop(f.metadata.insert("classes".into(), names)));
    let before = shop.files();
    for class in evil {
        shop.vqgen("sample --separate").args(["--class", class]).assert().success();
    }
    let generations = shop.path("generations/tiny");
    let new: Vec<_> = shop.files().into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(new.len(), 2 * 4, "{new:?}");
    for file in new {
        assert_eq!(file.parent().unwrap(), generations, "{}", file.display());
    }
    assert!(!shop.path("evil").exists());
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let shop = Workshop::new();
    let path = shop.path("checkpoints/tiny/prior.safetensors");
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        return; // no such command here
    }
    let mut command = shop.vqgen("sample");
    let output = command.timeout(std::time::Duration::from_secs(30)).assert().code(1);
    let text = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(text.contains("prior.safetensors: is not a regular file"), "{text}");
}
