//! Any text is a recipe that is valid and survives being saved, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vqgen::recipe::Recipe;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Recipe::parse(text, "a.json", &[]) {
        Ok(recipe) => {
            recipe.validate().expect("an accepted recipe is valid");
            let again = Recipe::parse(&recipe.to_json(), "saved", &[]).expect("it can be saved");
            assert_eq!(again, recipe);
        }
        Err(error) => assert!(error.to_string().len() < 2_000, "{error}"),
    }
});
