//! Whether a data set, a tokenizer, a code file and a prior belong together. Each carries the fingerprint of what it
//! was made from: without it, mismatched pieces would silently decode to noise, or report training images as held out.

use std::path::Path;

use super::codes_file::Codes;
use super::model_file::ModelFile;
use crate::data::{Provenance, Split};
use crate::error::{Error, Result};
use crate::prior::PriorConfig;
use crate::tokenizer::TokenizerConfig;

/// Metadata key of a prior: the fingerprint of its tokenizer.
const TOKENIZER: &str = "tokenizer";
/// Metadata key of a prior: the names of its classes.
const CLASSES: &str = "classes";
/// Metadata key of a tokenizer and of a prior: the data set it was trained on, a [`Provenance`].
pub const DATA: &str = "data";
/// Metadata key of a tokenizer: the project that trained it, if it was another.
pub const IMPORTED: &str = "imported";
/// Metadata key of a prior: the merges of the vocabulary of its captions, where it reads any.
pub const MERGES: &str = "merges";

/// Refuses codes of another tokenizer. `action` is what the user asked for: "train the prior".
///
/// # Errors
/// Fingerprints or shapes that differ; the message names both files.
pub(crate) fn check_codes(
    action: &str,
    codes: &Codes,
    codes_path: &Path,
    tokenizer: &ModelFile,
) -> Result<()> {
    if codes.tokenizer == tokenizer.fingerprint() {
        return check_shape_of_codes(action, codes, codes_path, tokenizer);
    }
    Err(Error::invalid(format!(
        "cannot {action}: {} holds codes of tokenizer {}, {} is {} (run extract-codes again)",
        codes_path.display(),
        codes.tokenizer,
        tokenizer.source().display(),
        tokenizer.fingerprint()
    )))
}

/// Refuses codes whose fingerprint matches this tokenizer but whose shape does not.
fn check_shape_of_codes(
    action: &str,
    codes: &Codes,
    codes_path: &Path,
    tokenizer: &ModelFile,
) -> Result<()> {
    let config: TokenizerConfig = tokenizer.checked_config()?;
    let grid = config.grid_size();
    for (what, seen, wanted) in [
        ("rows", codes.height, grid),
        ("columns", codes.width, grid),
        ("codes per position", codes.depth, config.depth),
        ("codes in the codebook", codes.codebook_size, config.codebook_size),
        ("pixels per side", codes.image_size, config.image_size),
        ("channels", codes.channels, config.channels),
    ] {
        if seen != wanted {
            return Err(Error::invalid(format!(
                "cannot {action}: {} has {seen} {what}, {} has {wanted} (run extract-codes again)",
                codes_path.display(),
                tokenizer.source().display()
            )));
        }
    }
    Ok(())
}

/// Refuses a prior that was trained on codes of another tokenizer. `action` is what the user asked for: "sample".
///
/// # Errors
/// Fingerprints or shapes that differ; the message names both files.
pub(crate) fn check_prior(action: &str, prior: &ModelFile, tokenizer: &ModelFile) -> Result<()> {
    let trained_on = prior.metadata(TOKENIZER)?;
    if trained_on == tokenizer.fingerprint() {
        return check_shape_of_prior(action, prior, tokenizer);
    }
    Err(Error::invalid(format!(
        "cannot {action}: {} was trained on codes of tokenizer {trained_on}, {} is {} \
         (run extract-codes and train-prior again)",
        prior.source().display(),
        tokenizer.source().display(),
        tokenizer.fingerprint()
    )))
}

/// `prior` as one of `tokenizer`, which is the tokenizer of its codes in another form.
pub(crate) fn bound_to(prior: ModelFile, tokenizer: &ModelFile) -> ModelFile {
    prior.with(TOKENIZER, tokenizer.fingerprint())
}

/// Refuses a prior whose fingerprint matches this tokenizer but whose shape does not.
fn check_shape_of_prior(action: &str, prior: &ModelFile, tokenizer: &ModelFile) -> Result<()> {
    let model: PriorConfig = prior.checked_config()?;
    let config: TokenizerConfig = tokenizer.checked_config()?;
    let grid = config.grid_size();
    for (what, seen, wanted) in [
        ("rows of codes", model.grid_height, grid),
        ("columns of codes", model.grid_width, grid),
        ("codes per position", model.depth, config.depth),
        ("codes in the codebook", model.codebook_size, config.codebook_size),
    ] {
        if seen != wanted {
            return Err(Error::invalid(format!(
                "cannot {action}: {} has {seen} {what}, {} has {wanted} (run train-prior again)",
                prior.source().display(),
                tokenizer.source().display()
            )));
        }
    }
    Ok(())
}

/// Refuses a prior trained on classes other than those of the data set, whose labels it would misread. `action` is what
/// the user asked for: "evaluate the prior".
///
/// # Errors
/// Different class names; the message gives the first difference.
pub(crate) fn check_classes(action: &str, prior: &ModelFile, classes: &[String]) -> Result<()> {
    let known: Vec<String> = prior.json(CLASSES)?;
    if known == classes {
        return Ok(());
    }
    let first = known.iter().zip(classes).find(|(known, class)| known != class);
    let differ = match first {
        Some((known, class)) => format!("; the first difference is {known} and {class}"),
        None => String::new(),
    };
    Err(Error::invalid(format!(
        "cannot {action}: {} was trained on {} classes and the data set has {}{differ} (name the data set it was \
         trained on with --data, or train another prior)",
        prior.source().display(),
        known.len(),
        classes.len(),
    )))
}

/// Refuses to treat the images of `split` as held out when `model` may have been trained on some of them. `action` is
/// what the user asked for: "evaluate the tokenizer".
///
/// # Errors
/// The model was trained with another data set or other fractions, unless these rule an overlap out. A model of an
/// older vqgen does not record what it was trained on.
pub(crate) fn check_held_out(
    action: &str,
    model: &ModelFile,
    now: &Provenance,
    split: Split,
) -> Result<()> {
    // Of an imported tokenizer nobody knows; the images of a user are rarely among those of other projects.
    if split == Split::Train || model.metadata(IMPORTED).is_ok() {
        return Ok(());
    }
    let source = model.source().display();
    let Some(then) = model.optional_json::<Provenance>(DATA)? else {
        return Err(Error::invalid(format!(
            "cannot {action} on the {split} split: {source} was written by an older vqgen and does not record which images \
             it was trained on (`vqgen run` on this run adds that, without retraining finished stages)"
        )));
    };
    if then.holds_out_those_of(now) {
        return Ok(());
    }
    let (before, after) = ([then.validation, then.test], [now.validation, now.test]);
    let what = if before == after {
        "it was trained on another data set, and the splits of the two are not determined by image content alone".to_owned()
    } else {
        let [validation, test] = before;
        let [validation_now, test_now] = after;
        format!(
            "it was trained with data.validation {validation} and data.test {test}, which are now {validation_now} and \
             {test_now}"
        )
    };
    Err(Error::invalid(format!(
        "cannot {action} on the {split} split: {source} may have been trained on some of these images: {what} (set \
         them back with --set and --data, or train another run)"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{Kind, NamedTensor};
    use crate::data::View;

    fn tokenizer(value: f32) -> ModelFile {
        let tensors = vec![NamedTensor::new("a", vec![1], vec![value]).unwrap()];
        let config = json!({
            "image_size": 4, "channels": 1, "preset": "plain", "width": 2, "channel_multipliers": [],
            "residual_blocks": 0, "residual_width": 1, "halvings": 2, "attention": false,
            "codebook_size": 2, "code_dim": 1, "normalize_codes": false,
        });
        ModelFile::new(Kind::Tokenizer, &config, tensors).unwrap()
    }

    fn prior(of: &ModelFile, codebook_size: usize) -> ModelFile {
        let config = json!({
            "codebook_size": codebook_size, "n_classes": 0, "grid_height": 1, "grid_width": 1,
            "layers": 1, "heads": 1, "width": 1, "dropout": 0.0, "positions": "learned",
            "tie_weights": false,
        });
        let file = ModelFile::new(Kind::Prior, &config, Vec::new()).unwrap();
        file.with("tokenizer", of.fingerprint()).with("classes", "[]")
    }

    fn codes(of: &ModelFile) -> Codes {
        Codes {
            height: 1,
            width: 1,
            depth: 1,
            codebook_size: 2,
            codes: vec![0],
            labels: vec![0],
            splits: vec![Split::Train],
            views: vec![View::AS_IS],
            names: Vec::new(),
            captions: Vec::new(),
            classes: Vec::new(),
            tokenizer: of.fingerprint().to_owned(),
            data: None,
            image_size: 4,
            channels: 1,
        }
    }

    #[test]
    fn pieces_of_one_run_belong_together() {
        let tokenizer = tokenizer(1.0);
        let codes = codes(&tokenizer);
        let prior = prior(&tokenizer, 2).with("codes", codes.fingerprint());
        let path = Path::new("codes.safetensors");
        check_codes("train the prior", &codes, path, &tokenizer).unwrap();
        check_prior("sample", &prior, &tokenizer).unwrap();
        check_classes("evaluate", &prior, &codes.classes).unwrap();
    }

    #[test]
    fn codes_and_a_prior_of_another_shape_than_the_tokenizer_they_name_are_refused() {
        let tokenizer = tokenizer(1.0);
        let path = Path::new("codes.safetensors");
        type Change = fn(&mut Codes);
        let changes: [(Change, &str); 4] = [
            (|c| c.height = 2, "has 2 rows, new tokenizer has 1"),
            (|c| c.codebook_size = 3, "has 3 codes in the codebook"),
            (|c| c.image_size = 8, "has 8 pixels per side"),
            (|c| c.channels = 3, "has 3 channels"),
        ];
        for (change, expected) in changes {
            let mut codes = codes(&tokenizer);
            change(&mut codes);
            let error = check_codes("train a prior", &codes, path, &tokenizer).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = check_prior("sample", &prior(&tokenizer, 3), &tokenizer).unwrap_err();
        assert!(error.to_string().contains("new prior has 3 codes in the codebook"), "{error}");
    }

    #[test]
    fn a_prior_of_other_classes_than_the_data_set_is_refused() {
        let prior = prior(&tokenizer(1.0), 2).with("classes", r#"["cats","dogs"]"#);
        check_classes("evaluate", &prior, &["cats", "dogs"].map(str::to_owned)).unwrap();
        let classes = ["cats", "owls", "yaks"].map(str::to_owned);
        let error = check_classes("evaluate", &prior, &classes).unwrap_err().to_string();
        assert!(error.contains("on 2 classes and the data set has 3"), "{error}");
        assert!(error.contains("the first difference is dogs and owls"), "{error}");
    }

    #[test]
    fn images_that_a_model_may_have_been_trained_on_are_not_held_out() {
        let of = |fingerprint: &str, test, by_content| Provenance {
            fingerprint: fingerprint.to_owned(),
            validation: 0.05,
            test,
            by_content,
        };
        let model = tokenizer(1.0).with_json(DATA, &of("a", 0.05, true)).unwrap();
        let check = |now: &Provenance, split| check_held_out("evaluate", &model, now, split);
        check(&of("a", 0.05, true), Split::Test).unwrap();
        check(&of("b", 0.05, true), Split::Validation).unwrap();
        check(&of("b", 0.5, true), Split::Train).unwrap();
        let error = check(&of("b", 0.5, true), Split::Test).unwrap_err().to_string();
        assert!(error.contains("on the test split: new tokenizer may have"), "{error}");
        assert!(error.contains("data.test 0.05, which are now 0.05 and 0.5"), "{error}");
        let error = check(&of("b", 0.05, false), Split::Test).unwrap_err().to_string();
        assert!(error.contains("trained on another data set"), "{error}");
        let older = check_held_out("evaluate", &tokenizer(1.0), &of("a", 0.05, true), Split::Test);
        assert!(older.unwrap_err().to_string().contains("older vqgen"));
    }

    #[test]
    fn strangers_are_refused_with_both_fingerprints_and_what_to_do() {
        let (old, new) = (tokenizer(1.0), tokenizer(2.0));
        let (a, b) = (old.fingerprint(), new.fingerprint());
        let path = Path::new("codes.safetensors");
        let error = check_codes("train the prior", &codes(&old), path, &new).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot train the prior: codes.safetensors holds codes of tokenizer {a}, \
                 new tokenizer is {b} (run extract-codes again)"
            )
        );
        let prior =
            ModelFile::new(Kind::Prior, &json!({}), Vec::new()).unwrap().with("tokenizer", a);
        let error = check_prior("sample", &prior, &new).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot sample: new prior was trained on codes of tokenizer {a}, \
                 new tokenizer is {b} (run extract-codes and train-prior again)"
            )
        );
    }

    #[test]
    fn a_prior_that_names_no_tokenizer_is_refused() {
        let prior = ModelFile::new(Kind::Prior, &json!({}), Vec::new()).unwrap();
        assert!(check_prior("sample", &prior, &tokenizer(1.0)).is_err());
    }
}
