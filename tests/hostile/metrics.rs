//! The metrics log, which a crash may truncate and an editor may break.

use vqgen::checkpoint::{MetricsLog, Stage};

use super::damage::{cuts, flips};

const LOG: &str = concat!(
    "{\"stage\":\"vqvae\",\"step\":1,\"split\":\"train\",\"loss\":0.5,\"x\":null}\n",
    "{\"stage\":\"prior\",\"step\":2,\"split\":\"train\",\"loss\":-1e-3}\n",
);

#[test]
fn a_log_cut_anywhere_keeps_its_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let first_line = LOG.find('\n').unwrap() + 1;
    for cut in cuts(LOG.as_bytes()) {
        std::fs::write(&path, &cut).unwrap();
        let lines = MetricsLog::read(&path).unwrap().len();
        assert_eq!(lines, usize::from(cut.len() >= first_line), "{} bytes", cut.len());
        MetricsLog::open(&path, Stage::Prior, Some(9)).unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap().len(), lines);
    }
}

#[test]
fn a_flipped_bit_is_another_value_or_an_error_that_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for bytes in flips(LOG.as_bytes()) {
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = MetricsLog::read(&path) {
            assert!(error.to_string().contains("metrics.jsonl: line "), "{error}");
            assert!(MetricsLog::open(&path, Stage::Prior, None).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "a log that is refused was changed");
        }
    }
}
