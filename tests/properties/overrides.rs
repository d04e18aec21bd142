//! `--set`.

use proptest::prelude::*;
use vqgen::recipe::{Override, Recipe, keys};

/// Every key of a recipe with the default value, as `--set` takes it.
fn defaults() -> Vec<(String, String)> {
    keys().map(|key| (key.path.to_owned(), (key.default)().to_string())).collect()
}

fn parse(overrides: &[String]) -> Result<Recipe, String> {
    let overrides: Vec<Override> = overrides.iter().map(|one| one.parse().unwrap()).collect();
    Recipe::parse("{}", "a.json", &overrides).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn setting_keys_to_their_defaults_in_any_order_changes_nothing(
        keys in prop::sample::subsequence(defaults(), 0..defaults().len()).prop_shuffle(),
    ) {
        let overrides: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        prop_assert_eq!(parse(&overrides), Ok(Recipe::default()));
    }

    #[test]
    fn the_last_of_several_overrides_counts(
        seeds in prop::collection::vec(any::<u64>(), 1..5),
        steps in prop::collection::vec(1usize..16_777_216, 1..5),
    ) {
        let overrides = seeds.iter().map(|seed| format!("seed={seed}"));
        let overrides = overrides.chain(steps.iter().map(|steps| format!("prior.steps = {steps}")));
        let recipe = parse(&overrides.collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(Some(&recipe.seed), seeds.last());
        prop_assert_eq!(Some(&recipe.prior.steps), steps.last());
    }

    #[test]
    fn a_recipe_that_was_accepted_survives_being_saved(
        learning_rate in 1e-12..10.0f64,
        commitment in 0.0..100.0f64,
        validation in 0.0..0.4f64,
        seed in any::<u64>(),
        name in "[a-z0-9 é_-]{0,8}[a-z]",
    ) {
        let overrides = [
            format!("vqvae.learning_rate={learning_rate}"),
            format!("vqvae.commitment={commitment}"),
            format!("data.validation={validation}"),
            format!("seed={seed}"),
            format!("name={name}"),
        ];
        let recipe = parse(&overrides).unwrap();
        prop_assert_eq!(recipe.vqvae.learning_rate.to_bits(), learning_rate.to_bits());
        let again = Recipe::parse(&recipe.to_json(), "saved", &[]).unwrap();
        prop_assert_eq!(again, recipe);
    }

    #[test]
    fn any_value_of_any_key_is_a_valid_recipe_or_an_error_on_one_line(
        (key, _) in prop::sample::select(defaults()),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            "\\PC{0,20}",
            Just("[1,2]".to_owned()),
            Just("null".to_owned()),
        ],
    ) {
        match parse(&[format!("{key}={value}")]) {
            Ok(recipe) => prop_assert!(recipe.validate().is_ok()),
            Err(error) => prop_assert!(!error.contains('\n') && error.len() < 1_000, "{}", error),
        }
    }

    #[test]
    fn any_text_is_an_override_or_an_error(text in "\\PC{0,30}") {
        if let Ok(one) = text.parse::<Override>() {
            prop_assert!(text.contains('=') && !one.key().is_empty());
            let _ = Recipe::parse("{}", "a.json", &[one]);
        }
    }
}
