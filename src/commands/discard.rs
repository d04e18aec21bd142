//! What a change of one piece of a run makes useless: codes are of one tokenizer, and a prior of one code file. Such
//! a change is refused before anything is written, unless the user lets the later pieces go.

use std::path::PathBuf;

use super::Context;
use crate::checkpoint::{Codes, Kind, ModelFile, RunDir, Stage, atomic};
use crate::data::{Dataset, View};
use crate::error::{Error, Result};
use crate::recipe::Views;
use crate::training::{prior, vqvae};

/// A piece of a run, in the order in which they are made.
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

/// The code file of a run beside its tokenizer, its data set and its recipe.
pub(super) enum CodesState {
    /// They are what extracting them again would give.
    Current(Box<Codes>),
    /// There are none, or they do not say of which data set they are.
    Unknown,
    /// They are others.
    Stale,
}

/// `None` in place of a file that is damaged or does not fit, if it may be `let_go`. What the system refuses may be whole:
/// that stays an error.
fn none_if<T>(let_go: bool, error: Error) -> Result<Option<T>> {
    if let_go && !error.is_refusal() { Ok(None) } else { Err(error) }
}

impl Context {
    /// Makes way for `action`, "train the tokenizer", which leaves `first` and every later piece without use: with
    /// `discard` they are removed, otherwise the action is refused if there are any. The run must be locked.
    pub(super) fn make_way(&self, first: Piece, action: &str, discard: bool) -> anyhow::Result<()> {
        match self.files_from(first).first() {
            Some(file) if !discard => anyhow::bail!(
                "cannot {action}: {} and what was made from it would no longer fit (add --discard to remove them and \
                 make them anew, or name another run with --run to keep them)",
                file.display()
            ),
            _ => self.remove_from(first),
        }
    }

    /// Makes way for all stages of the recipe, as `run` goes through them: whatever is there and does not fit the
    /// recipe and the data set, or will not fit after the training that is left. The run must be locked.
    pub(super) fn make_way_for_all(&self, dataset: &Dataset, discard: bool) -> anyhow::Result<()> {
        let (recipe, dir) = (&self.recipe, &self.run.dir);
        let steps = recipe.vqvae.steps;
        let tokenizer = vqvae::steps_made(recipe, dataset, dir);
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

    /// What the code file of the run is worth.
    ///
    /// # Errors
    /// The system refuses to read it or the tokenizer.
    pub(super) fn codes_state(&self, dataset: &Dataset) -> Result<CodesState> {
        let dir = &self.run.dir;
        let codes = Codes::load(dir.codes_path()).map(Some).or_else(|e| none_if(true, e))?;
        let tokenizer = ModelFile::load(dir.model_path(Stage::Vqvae), Kind::Tokenizer);
        let tokenizer = tokenizer.map(Some).or_else(|e| none_if(true, e))?;
        let (Some(codes), Some(tokenizer)) = (codes, tokenizer) else {
            return Ok(CodesState::Unknown);
        };
        let flipped = codes.views.contains(&View::Flipped);
        if codes.tokenizer != tokenizer.fingerprint()
            || flipped != (self.recipe.prior.views == Views::Flip)
        {
            return Ok(CodesState::Stale);
        }
        Ok(match &codes.data {
            Some(data) if data == dataset.provenance() => CodesState::Current(Box::new(codes)),
            Some(_) => CodesState::Stale,
            None => CodesState::Unknown,
        })
    }

    /// The fingerprint of the codes that the prior of the run is trained on; `None` without one or with one that is
    /// damaged.
    ///
    /// # Errors
    /// The system refuses to read its checkpoint.
    pub(super) fn codes_of_prior(&self) -> Result<Option<String>> {
        prior::trained_on(&self.run.dir).or_else(|error| none_if(true, error))
    }

    fn remove_from(&self, first: Piece) -> anyhow::Result<()> {
        // The last first, so that a crash in between leaves no piece without the one that it was made from.
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
