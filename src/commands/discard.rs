//! Dependencies between the pieces of a run: codes depend on one tokenizer, a prior on one code file. A change that
//! invalidates later pieces is refused before anything is written, unless the user discards these.

use std::path::PathBuf;

use super::Context;
use crate::checkpoint::{Codes, IMPORTED, Kind, ModelFile, RunDir, Stage, atomic};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::training::{prior, vqvae};

/// A piece of a run, in order of dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Tokenizer,
    Codes,
    Prior,
}

impl Piece {
    const ALL: [Self; 3] = [Self::Tokenizer, Self::Codes, Self::Prior];

    fn files(self, dir: &RunDir) -> Vec<PathBuf> {
        match self {
            Self::Tokenizer => dir.files_of(Stage::Vqvae).to_vec(),
            Self::Codes => vec![dir.codes_path()],
            Self::Prior => dir.files_of(Stage::Prior).to_vec(),
        }
    }
}

/// The state of a run's code file relative to its tokenizer, data set and recipe.
pub(super) enum CodesState {
    /// Extracting the codes again would give the same.
    Current(Box<Codes>),
    /// There is none, or it does not record its data set.
    Unknown,
    /// The codes would differ.
    Stale,
}

/// Turns the error of a damaged or mismatched file into `None`, if it may be `let_go`. After an I/O error the file may
/// be intact: that stays an error.
fn none_if<T>(let_go: bool, error: Error) -> Result<Option<T>> {
    if let_go && !error.is_refusal() { Ok(None) } else { Err(error) }
}

impl Context {
    /// Prepares for `action`, "train the tokenizer", which invalidates `first` and every later piece: with `discard`
    /// they are removed, otherwise the action is refused if any exist. The run must be locked.
    pub(super) fn make_way(&self, first: Piece, action: &str, discard: bool) -> anyhow::Result<()> {
        match self.files_from(first).first() {
            Some(file) if !discard => anyhow::bail!(
                "cannot {action}: {} and what was made from it would no longer fit (add --discard to remove them and \
                 rebuild them, or name another run with --run to keep them)",
                file.display()
            ),
            _ => self.remove_from(first),
        }
    }

    /// Prepares for all stages of the recipe, as `run` does: discards or refuses whatever does not fit the recipe and
    /// the data set, or will not after the remaining training. The run must be locked.
    pub(super) fn make_way_for_all(&self, dataset: &Dataset, discard: bool) -> anyhow::Result<()> {
        let (recipe, dir) = (&self.recipe, &self.run.dir);
        let steps = recipe.vqvae.steps;
        let tokenizer = match self.has_imported_tokenizer()? {
            true => Ok(Some(steps as u64)),
            false => vqvae::steps_made(recipe, dataset, dir),
        };
        match tokenizer.or_else(|error| none_if(discard, error))? {
            Some(made) if made as usize >= steps => {}
            Some(made) => {
                let action = format!("train the tokenizer from step {made} to vqvae.steps {steps}");
                return self.make_way(Piece::Codes, &action, discard);
            }
            None if discard => return self.remove_from(Piece::Tokenizer),
            None => return self.make_way(Piece::Codes, "train the tokenizer", discard),
        }
        let codes = match self.codes_state(dataset)? {
            CodesState::Current(codes) => codes,
            CodesState::Unknown => return Ok(()),
            CodesState::Stale => {
                return self.make_way(Piece::Prior, "extract the codes again", discard);
            }
        };
        let prior = prior::steps_made(recipe, &codes, dir);
        match prior.or_else(|error| none_if(discard, error))? {
            None if discard => self.remove_from(Piece::Prior),
            _ => Ok(()),
        }
    }

    /// Whether the tokenizer of the run was imported: it is finished, and was trained elsewhere.
    ///
    /// # Errors
    /// Those of [`ModelFile::load`].
    pub(super) fn has_imported_tokenizer(&self) -> Result<bool> {
        let path = self.run.dir.model_path(Stage::Vqvae);
        if self.run.dir.has_checkpoint(Stage::Vqvae) || !path.exists() {
            return Ok(false);
        }
        Ok(ModelFile::load(path, Kind::Tokenizer)?.metadata(IMPORTED).is_ok())
    }

    /// The state of the run's code file.
    ///
    /// # Errors
    /// I/O errors on reading it or the tokenizer.
    pub(super) fn codes_state(&self, dataset: &Dataset) -> Result<CodesState> {
        let dir = &self.run.dir;
        let codes = Codes::load(dir.codes_path()).map(Some).or_else(|e| none_if(true, e))?;
        let tokenizer = ModelFile::load(dir.model_path(Stage::Vqvae), Kind::Tokenizer);
        let tokenizer = tokenizer.map(Some).or_else(|e| none_if(true, e))?;
        let (Some(codes), Some(tokenizer)) = (codes, tokenizer) else {
            return Ok(CodesState::Unknown);
        };
        let has_views = codes.views_of(Split::Train) == self.recipe.prior.all_views();
        if codes.tokenizer != tokenizer.fingerprint() || !has_views {
            return Ok(CodesState::Stale);
        }
        Ok(match &codes.data {
            Some(data) if data == dataset.provenance() && has_captions_of(&codes, dataset) => {
                CodesState::Current(Box::new(codes))
            }
            Some(_) => CodesState::Stale,
            None => CodesState::Unknown,
        })
    }

    /// The fingerprint of the codes that the run's prior was trained on; `None` without a prior or with a damaged one.
    ///
    /// # Errors
    /// I/O errors on reading its checkpoint.
    pub(super) fn codes_of_prior(&self) -> Result<Option<String>> {
        prior::trained_on(&self.run.dir).or_else(|error| none_if(true, error))
    }

    fn remove_from(&self, first: Piece) -> anyhow::Result<()> {
        // The last first, so that a crash in between leaves no piece without the one it depends on.
        for file in self.files_from(first).iter().rev() {
            atomic::remove_file(file)?;
            self.session.note(format_args!("removed {}", file.display()));
        }
        Ok(())
    }

    fn files_from(&self, first: Piece) -> Vec<PathBuf> {
        let pieces = Piece::ALL.into_iter().filter(|piece| *piece >= first);
        let files = pieces.flat_map(|piece| piece.files(&self.run.dir));
        files.filter(|file| file.exists()).collect()
    }
}

/// Whether the codes of this very data set have its captions, which its fingerprint does not cover.
fn has_captions_of(codes: &Codes, dataset: &Dataset) -> bool {
    let rows = Split::ALL
        .into_iter()
        .flat_map(|split| (0..dataset.len(split)).map(move |index| dataset.captions(split, index)));
    // Without captions there are no rows of them; the first view of all images comes first.
    match codes.captions.is_empty() {
        true => !dataset.is_captioned(),
        false => rows.zip(&codes.captions).all(|(captions, kept)| captions == kept),
    }
}
