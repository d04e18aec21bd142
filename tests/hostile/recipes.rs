//! Recipes: JSON written by people, so that a flipped bit may well give another valid recipe.

use serde_json::Value;
use vqgen::recipe::{BUILT_IN, Override, Recipe, keys};

use super::damage::{cuts, flips};

#[test]
fn a_recipe_cut_anywhere_is_an_error_that_names_it() {
    for (_, text) in BUILT_IN {
        let text = text.trim_end();
        for cut in cuts(text.as_bytes()) {
            let cut = String::from_utf8(cut).unwrap();
            let error = Recipe::parse(&cut, "a.json", &[]).unwrap_err().to_string();
            assert!(error.contains("a.json is not a recipe"), "{error}");
        }
    }
}

#[test]
fn a_flipped_bit_is_another_valid_recipe_or_an_error_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    // The shortest text that has every kind of value.
    let text = r#"{"name": "é", "seed": 3, "data": {"background": [0, 9, 255]}, "vqvae": {"preset": "resnet",
        "channel_multipliers": [1, 2, 2], "attention": true}, "prior": {"dropout": 1.5e-1}}"#;
    Recipe::parse(text, "a.json", &[]).unwrap();
    for bytes in flips(text.as_bytes()) {
        std::fs::write(&path, bytes).unwrap();
        match Recipe::load(path.to_str().unwrap(), &[]) {
            Ok(recipe) => recipe.validate().unwrap(),
            Err(error) => {
                let error = error.to_string();
                assert!(!error.contains('\n') && error.len() < 1_000, "{error}");
            }
        }
    }
}

#[test]
fn numbers_beyond_all_measure_are_errors_that_name_the_key() {
    let numbers = ["18446744073709551615", "18446744073709551616", "-1", "1e308", "0", "1e-320"];
    for key in keys() {
        for number in numbers {
            let (value, preset) = match (key.default)() {
                Value::Array(_) => (format!("[1,2,{number}]"), "resnet"),
                Value::Number(_) => (number.to_owned(), "plain"),
                _ => continue,
            };
            let overrides = [format!("vqvae.preset={preset}"), format!("{}={value}", key.path)];
            let overrides = overrides.map(|one| one.parse::<Override>().unwrap());
            match Recipe::parse("{}", "a.json", &overrides) {
                Ok(recipe) => recipe.validate().unwrap(),
                Err(error) => {
                    let error = error.to_string();
                    let named = error.contains(key.name()) || error.contains("multiplier");
                    assert!(named, "{} {value}: {error}", key.path);
                }
            }
        }
    }
}

#[test]
fn a_number_just_outside_of_its_documented_range_is_refused_by_name() {
    let mut tried = 0;
    for key in keys() {
        let allowed = (key.allowed)();
        let ends = allowed.split_once(" to ").and_then(|(least, most)| {
            Some((least.parse::<f64>().ok()?, most.parse::<f64>().ok()?))
        });
        let Some((least, most)) = ends else { continue };
        let whole = (key.default)().is_u64();
        let gap = if whole { 1.0 } else { 1e-7 };
        for value in [least - gap, most + gap] {
            let one = format!("{}={value}", key.path).parse::<Override>().unwrap();
            let error = Recipe::parse("{}", "a.json", &[one]).unwrap_err().to_string();
            assert!(error.starts_with(key.path), "{} {value}: {error}", key.path);
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn names_that_lead_out_of_their_folder_are_refused() {
    for name in ["..", "../evil", "a/../../evil", "/etc", "C:\\x", "a\0b", ".", "x\n", "~/../..x/"]
    {
        let text = serde_json::json!({ "name": name }).to_string();
        let error = Recipe::parse(&text, "a.json", &[]).unwrap_err().to_string();
        assert!(error.contains("name is"), "{name:?}: {error}");
    }
}

#[test]
fn a_million_letters_of_anything_are_refused_at_once_and_briefly() {
    let long = "x".repeat(1_000_000);
    let deep = "[".repeat(500_000);
    let texts = [
        format!("{{\"{long}\": 1}}"),
        format!("{{\"vqvae\": {{\"{long}\": 1}}}}"),
        format!("{{\"name\": \"{long}\"}}"),
        format!("{{\"vqvae\": {{\"preset\": \"{long}\"}}}}"),
        format!("{{\"vqvae\": \"{long}\"}}"),
        format!("{{\"seed\": {deep}"),
        format!("{{\"vqvae\": {{\"channel_multipliers\": [{}1]}}}}", "1,".repeat(400_000)),
        long,
    ];
    for text in texts {
        let begun = std::time::Instant::now();
        let error = Recipe::parse(&text, "a.json", &[]).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{} bytes: {}", error.len(), &error[..200]);
        assert!(begun.elapsed().as_secs() < 5, "{error}");
    }
}
