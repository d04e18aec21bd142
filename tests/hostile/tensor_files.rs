//! Models, codes and training state: every damaged file is refused, whichever bit it is.

use vqgen::checkpoint::{Codes, Kind, ModelFile, ResumeState, Stage};
use vqgen::error::Result;

use super::damage::damaged;
use super::samples;

/// Reads every damaged version of `whole` and expects an error each time.
fn refuses_all_damage<T>(whole: &[u8], name: &str, read: impl Fn(Vec<u8>) -> Result<T>) {
    assert!(read(whole.to_vec()).is_ok(), "{name} is not valid to begin with");
    for (case, bytes) in damaged(whole).enumerate() {
        match read(bytes) {
            Ok(_) => panic!("{name}: damage {case} was accepted"),
            Err(error) => assert!(error.to_string().starts_with(name), "{error}"),
        }
    }
}

#[test]
fn every_damaged_code_file_is_refused() {
    let name = "codes.safetensors";
    refuses_all_damage(&samples::codes_bytes(), name, |bytes| Codes::from_bytes(name, bytes));
}

#[test]
fn every_damaged_tokenizer_is_refused() {
    let (name, kind) = ("vqvae.safetensors", Kind::Tokenizer);
    let read = |bytes| ModelFile::from_bytes(name, bytes, kind);
    refuses_all_damage(&samples::tokenizer_bytes(), name, read);
}

#[test]
fn every_damaged_prior_is_refused() {
    let (name, kind) = ("prior.safetensors", Kind::Prior);
    let read = |bytes| ModelFile::from_bytes(name, bytes, kind);
    refuses_all_damage(&samples::prior_bytes(), name, read);
}

#[test]
fn every_damaged_training_state_is_refused() {
    let name = "resume/prior.safetensors";
    let read = |bytes| ResumeState::from_bytes(name, bytes, Stage::Prior);
    refuses_all_damage(&samples::resume_bytes(), name, read);
}

#[test]
fn a_file_on_disk_is_read_as_its_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes.safetensors");
    let whole = samples::codes_bytes();
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(Codes::load(&path).unwrap(), samples::codes());
    for length in (0..whole.len()).step_by(29) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Codes::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn damage_to_a_foreign_file_is_an_error_or_another_file() {
    // A foreign file has no checksum that could reveal a flipped bit of a weight; its header still has to be
    // consistent.
    let whole = samples::tokenizer_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backbone.safetensors");
    for (case, bytes) in damaged(&whole).enumerate().step_by(3) {
        std::fs::write(&path, &bytes).unwrap();
        match vqgen::checkpoint::read_foreign(&path) {
            Ok(_) => assert_eq!(bytes.len(), whole.len(), "cut {case} was accepted"),
            Err(error) => assert!(error.to_string().contains("backbone.safetensors"), "{error}"),
        }
    }
}
