//! Whether a tokenizer, a code file and a prior belong together. Each of them carries the fingerprint of what it
//! was made from; pieces of different origin decode to noise without any other sign of it.

use std::path::Path;

use super::codes_file::Codes;
use super::model_file::ModelFile;
use crate::error::{Error, Result};

/// Metadata key of a prior: the fingerprint of the tokenizer.
const TOKENIZER: &str = "tokenizer";
/// Metadata key of a prior: the fingerprint of the code file.
const CODES: &str = "codes";

/// Refuses codes of another tokenizer. `action` is what the user wanted: "train the prior".
pub fn check_codes(
    action: &str,
    codes: &Codes,
    codes_path: &Path,
    tokenizer: &ModelFile,
) -> Result<()> {
    if codes.tokenizer == tokenizer.fingerprint() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot {action}: {} holds codes of tokenizer {}, {} is {} (run extract-codes again)",
        codes_path.display(),
        codes.tokenizer,
        tokenizer.source().display(),
        tokenizer.fingerprint()
    )))
}

/// Refuses a prior that was trained on codes of another tokenizer. `action` is what the user wanted: "sample".
pub fn check_prior(action: &str, prior: &ModelFile, tokenizer: &ModelFile) -> Result<()> {
    let trained_on = prior.metadata(TOKENIZER)?;
    if trained_on == tokenizer.fingerprint() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot {action}: {} was trained on codes of tokenizer {trained_on}, {} is {} \
         (run extract-codes and train-prior again)",
        prior.source().display(),
        tokenizer.source().display(),
        tokenizer.fingerprint()
    )))
}

/// Refuses a prior that was trained on another code file. `action` is what the user wanted: "evaluate the prior".
pub fn check_prior_codes(
    action: &str,
    prior: &ModelFile,
    codes: &Codes,
    codes_path: &Path,
) -> Result<()> {
    let trained_on = prior.metadata(CODES)?;
    let fingerprint = codes.fingerprint();
    if trained_on == fingerprint {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot {action}: {} was trained on code file {trained_on}, {} is {fingerprint} \
         (run train-prior again)",
        prior.source().display(),
        codes_path.display()
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{Kind, NamedTensor};

    fn tokenizer(value: f32) -> ModelFile {
        let tensors = vec![NamedTensor::new("a", vec![1], vec![value]).unwrap()];
        ModelFile::new(Kind::Tokenizer, &json!({}), tensors).unwrap()
    }

    fn codes(of: &ModelFile) -> Codes {
        Codes {
            height: 1,
            width: 1,
            codebook_size: 2,
            codes: vec![0],
            labels: vec![0],
            splits: vec![0],
            views: vec![0],
            classes: Vec::new(),
            tokenizer: of.fingerprint().to_owned(),
            image_size: 4,
            channels: 1,
        }
    }

    #[test]
    fn pieces_of_one_run_belong_together() {
        let tokenizer = tokenizer(1.0);
        let codes = codes(&tokenizer);
        let prior = ModelFile::new(Kind::Prior, &json!({}), Vec::new())
            .unwrap()
            .with("tokenizer", tokenizer.fingerprint())
            .with("codes", codes.fingerprint());
        let path = Path::new("codes.safetensors");
        check_codes("train the prior", &codes, path, &tokenizer).unwrap();
        check_prior("sample", &prior, &tokenizer).unwrap();
        check_prior_codes("evaluate", &prior, &codes, path).unwrap();
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
        let prior = prior.with("codes", "0000");
        let error = check_prior_codes("evaluate", &prior, &codes(&old), path).unwrap_err();
        assert!(error.to_string().contains("was trained on code file 0000"), "{error}");
    }

    #[test]
    fn a_prior_that_names_no_tokenizer_is_refused() {
        let prior = ModelFile::new(Kind::Prior, &json!({}), Vec::new()).unwrap();
        assert!(check_prior("sample", &prior, &tokenizer(1.0)).is_err());
    }
}
