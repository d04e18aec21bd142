//! `vqgen pack`: the models of a run alone, with 16-bit weights, to share or to keep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args as ClapArgs;

use super::{Context, RunDirs};
use crate::checkpoint::{Stage, atomic, bound_to, check_prior};
use crate::recipe::PrecisionChoice;

/// The flags of `pack`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The folder to write: recipe.json, vqvae.safetensors and, where the run has one, prior.safetensors
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Replace the models that the folder holds, instead of refusing
    #[arg(long)]
    pub discard: bool,
}

/// Packs the models of the run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let dir = &context.run.dir;
    let tokenizer = context.model_file(Stage::Vqvae)?;
    let prior = context.has_prior().then(|| context.model_file(Stage::Prior)).transpose()?;
    if let Some(prior) = &prior {
        check_prior("pack", prior, &tokenizer)?;
    }
    let packed = RunDirs::at(&args.output)?;
    anyhow::ensure!(
        !is_same(packed.dir.path(), dir.path()),
        "-o is {}, the folder of the run itself: name another",
        args.output.display()
    );
    let [vqvae_path, prior_path] = [Stage::Vqvae, Stage::Prior].map(|of| packed.dir.model_path(of));
    for stage in [Stage::Vqvae, Stage::Prior] {
        anyhow::ensure!(
            !packed.dir.has_checkpoint(stage),
            "{} is the folder of a run that can be resumed: name another folder with -o",
            args.output.display()
        );
    }
    for path in [&vqvae_path, &prior_path, &packed.dir.recipe_path()] {
        anyhow::ensure!(
            args.discard || !path.exists(),
            "{} exists (add --discard to replace it, or name another folder with -o)",
            path.display()
        );
    }

    let tokenizer = tokenizer.halved()?;
    let prior = prior.map(|prior| prior.halved()).transpose()?;
    fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let mut recipe = context.recipe.clone();
    recipe.name.clone_from(&packed.name);
    // The fastest of whatever machine it is used on.
    recipe.precision = PrecisionChoice::Auto;
    tokenizer.save(&vqvae_path)?;
    match &prior {
        Some(prior) => bound_to(prior.clone(), &tokenizer).save(&prior_path)?,
        // One of another tokenizer, which --discard gave up.
        None => atomic::remove_file(&prior_path)?,
    }
    packed.dir.save_recipe(&recipe)?;
    context.session.result(vqvae_path.display())?;
    prior.map_or(Ok(()), |_| context.session.result(prior_path.display()))
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
