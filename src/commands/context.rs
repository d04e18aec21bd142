//! From the global flags to what a command works with: one resolved recipe and the folders of one run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::bundled::Bundled;
use super::stages::missing;
use super::{RunDirs, Session, precision};
use crate::checkpoint::{Kind, ModelFile, Stage};
use crate::data::{EMBEDDED_NOTO_EMOJI, Survey};
use crate::device::{DeviceSpec, MOST_THREADS};
use crate::error::{Error, Result};
use crate::ops::Precision;
use crate::recipe::{Fitted, Override, PrecisionChoice, Recipe};

/// The recipe when neither `--config` nor the run names one.
const DEFAULT_RECIPE: &str = "quickstart";

/// The flags of every subcommand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every subcommand")]
pub struct GlobalArgs {
    /// The recipe: a JSON file, or one of the built-in quickstart, emoji-64, photos-64, fashion-mnist, cifar10, birds
    /// [default: the recipe saved with the run, or else what fits the images]
    #[arg(long, global = true, value_name = "RECIPE")]
    pub config: Option<String>,

    /// Set a key of the recipe, as in --set vqvae.codebook_size=1024; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<Override>,

    /// The folder of the run; its last part is the name [default: checkpoints/<name of the recipe>]
    #[arg(long, global = true, value_name = "DIR")]
    pub run: Option<PathBuf>,

    /// The images: a folder (sub-folders are classes), a folder of IDX or CIFAR files, archives (tar, zip) or tables
    /// (Parquet), a text file that lists images, or embedded:noto-emoji [default: the recipe's data.path]
    #[arg(long, global = true, value_name = "PATH")]
    pub data: Option<String>,

    /// Where to compute: auto, cpu, gpu, gpu:N, cuda:N, vulkan:N or metal:N, numbered as `vqgen devices` lists
    /// them; auto is the first hardware GPU, or else the CPU
    #[arg(
        long,
        global = true,
        value_name = "DEVICE",
        default_value = "auto",
        hide_default_value = true
    )]
    pub device: DeviceSpec,

    /// The seed of all randomness [default: the recipe's seed]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Number of compute threads on the CPU [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = thread_count)]
    pub threads: Option<usize>,

    /// Precision of GEMM operands on the CPU: f32, bf16, for processors with AVX512-BF16 or AMX, or auto, which is the
    /// faster of the two; sums and weights are f32 in any case
    /// [default: that of the run, and auto for a new one]
    #[arg(long, global = true, value_name = "PRECISION")]
    pub precision: Option<PrecisionChoice>,

    /// Show warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Fail on the first image that cannot be decoded, instead of skipping it
    #[arg(long, global = true)]
    pub strict: bool,
}

/// The flag of the commands that use models and train none.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// Use a trained model instead of a run: a folder that `vqgen pack` wrote, or emoji-64, which comes with vqgen
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

impl ModelArgs {
    /// The model that was asked for.
    pub fn name(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

fn thread_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=MOST_THREADS).contains(&threads) => Ok(threads),
        _ => Err(format!("allowed are 1 to {MOST_THREADS}")),
    }
}

impl GlobalArgs {
    /// The process-wide settings.
    pub fn session(&self) -> Session {
        Session {
            device: self.device,
            precision: self.precision.map_or_else(Precision::fastest, precision::on_this_processor),
            insists: self.precision.is_some(),
            quiet: self.quiet,
            strict: self.strict,
            ..Session::default()
        }
    }

    /// The overrides from flags for single keys, after those of `--set`.
    fn overrides(&self) -> Vec<Override> {
        let data = self.data.iter().map(|path| Override::of_flag("--data", "data.path", path));
        let seed = self.seed.iter().map(|seed| Override::of_flag("--seed", "seed", seed));
        let precision = self.precision.iter();
        let precision = precision.map(|one| Override::of_flag("--precision", "precision", one));
        self.set.iter().cloned().chain(data).chain(seed).chain(precision).collect()
    }
}

/// What a command works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The recipe with every value filled in and checked; its name is that of the run.
    pub recipe: Recipe,
    /// The folders of the run.
    pub run: RunDirs,
    /// The process.
    pub session: Session,
    /// The model inside the binary that is used instead of those of the run.
    pub(super) bundled: Option<&'static Bundled>,
}

impl Context {
    /// Resolves the recipe and the run. `of_command` are the overrides from the subcommand's own flags; they come last.
    ///
    /// Without `--config`, an existing run uses its own recipe: `sample` after `train-prior --set …` needs no
    /// repetition of the overrides.
    ///
    /// # Errors
    /// A recipe that cannot be read or has a wrong key or value, or a run folder without a name.
    pub fn new(args: &GlobalArgs, of_command: &[Override], session: Session) -> Result<Self> {
        let mut overrides = args.overrides();
        overrides.extend_from_slice(of_command);
        let (recipe, run) = match (&args.config, &args.run) {
            (Some(config), run) => {
                let recipe = Recipe::load(config, &overrides)?;
                let run = match run {
                    Some(dir) => RunDirs::at(dir)?,
                    None => RunDirs::named(&recipe.name),
                };
                (recipe, run)
            }
            (None, run) => {
                let run = match run {
                    Some(dir) => RunDirs::at(dir)?,
                    // The overrides may set the run's name, so the built-in recipe is resolved to obtain it.
                    None => RunDirs::named(&Recipe::load(DEFAULT_RECIPE, &overrides)?.name),
                };
                let saved = run.dir.recipe_path();
                let recipe = match saved.to_str() {
                    Some(path) if saved.is_file() => {
                        session.note(format_args!("recipe {path}"));
                        Recipe::load(path, &overrides)?
                    }
                    _ => unnamed(&overrides, &session)?.0,
                };
                (recipe, run)
            }
        };
        let mut recipe = Recipe { name: run.name.clone(), ..recipe };
        recipe.validate()?;
        if recipe.precision == PrecisionChoice::Auto {
            let kept = args.precision.is_none().then(|| precision::kept(&run)).flatten();
            recipe.precision = kept.unwrap_or_else(precision::fastest);
        }
        let precision = precision::on_this_processor(recipe.precision);
        Ok(Self { recipe, run, session: Session { precision, ..session }, bundled: None })
    }

    /// As [`Context::new`] for a run that does not exist yet, whatever is in the folder of the same name; and in words
    /// which recipe it takes.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub(super) fn for_new_run(
        args: &GlobalArgs,
        of_command: &[Override],
        session: Session,
    ) -> Result<(Self, String)> {
        let mut overrides = args.overrides();
        overrides.extend_from_slice(of_command);
        let (recipe, named) = match &args.config {
            Some(config) => (Recipe::load(config, &overrides)?, config.clone()),
            None => unnamed(&overrides, &session)?,
        };
        let run = RunDirs::named(&recipe.name);
        Ok((Self { recipe, run, session, bundled: None }, named))
    }

    /// As [`Context::new`] for what only uses models: those called `model`, inside the binary or in a folder, or
    /// without a name those of the run.
    ///
    /// # Errors
    /// As [`Context::new`]; a name that is neither, or `--run` beside it.
    pub fn of_model(
        model: Option<&str>,
        args: &GlobalArgs,
        of_command: &[Override],
        session: Session,
    ) -> Result<Self> {
        let Some(name) = model else { return Self::new(args, of_command, session) };
        if let Some(run) = &args.run {
            return Err(Error::invalid(format!(
                "--model {name} and --run {} both name models: leave one of them out",
                run.display()
            )));
        }
        let folder = Path::new(name);
        if folder.is_dir() {
            let args = GlobalArgs { run: Some(folder.to_path_buf()), ..args.clone() };
            return Self::new(&args, of_command, session);
        }
        let Some(bundled) = Bundled::find(name) else {
            return Err(Error::invalid(format!(
                "--model is {name}: there is no such folder, and the models inside vqgen are {}",
                Bundled::names()
            )));
        };
        // Stands for none: its own images are not here.
        let mut overrides = vec![Override::of_flag("--model", "data.path", EMBEDDED_NOTO_EMOJI)];
        overrides.extend(args.overrides());
        overrides.extend_from_slice(of_command);
        let origin = format!("the recipe of the model {name}");
        let mut recipe = match &args.config {
            Some(config) => Recipe::load(config, &overrides)?,
            None => Recipe::parse(bundled.recipe, &origin, &overrides)?,
        };
        bundled.name.clone_into(&mut recipe.name);
        if recipe.precision == PrecisionChoice::Auto {
            recipe.precision = precision::fastest();
        }
        let precision = precision::on_this_processor(recipe.precision);
        Ok(Self {
            recipe,
            run: RunDirs::of_bundled(bundled.name),
            session: Session { precision, ..session },
            bundled: Some(bundled),
        })
    }

    /// Whether there is a prior.
    pub(super) fn has_prior(&self) -> bool {
        self.bundled.is_some() || self.run.dir.model_path(Stage::Prior).exists()
    }

    /// Refuses to draw without both models, and says how to draw all the same.
    pub(super) fn require_models(&self) -> anyhow::Result<()> {
        let files = [Stage::Vqvae, Stage::Prior].map(|stage| self.run.dir.model_path(stage));
        match files.iter().find(|path| self.bundled.is_none() && !path.exists()) {
            None => Ok(()),
            Some(file) => {
                anyhow::bail!("{}; --model {} draws without a run", missing(file), Bundled::names())
            }
        }
    }

    /// The model file of a stage.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another kind.
    pub(super) fn model_file(&self, stage: Stage) -> anyhow::Result<ModelFile> {
        if let Some(bundled) = self.bundled {
            return Ok(bundled.load(stage)?);
        }
        let path = self.run.dir.model_path(stage);
        ModelFile::load(&path, Kind::of(stage)).with_context(|| missing(&path))
    }
}

/// The recipe of a new run for which none is named, and what it is in words: the default one for the embedded images, and
/// what fits them for others.
fn unnamed(overrides: &[Override], session: &Session) -> Result<(Recipe, String)> {
    let default = Recipe::load(DEFAULT_RECIPE, overrides)?;
    let survey = match default.data.path == EMBEDDED_NOTO_EMOJI {
        true => None,
        false => Survey::of(&default.data),
    };
    let Some(survey) = survey else { return Ok((default, DEFAULT_RECIPE.to_owned())) };
    let is_asked = overrides.iter().any(|one| one.key() == "data.image_size");
    let Fitted { base, mut changes } =
        Fitted::to(survey, is_asked.then_some(default.data.image_size));
    let Survey { images, side, .. } = survey;
    let changed: String = changes.iter().map(|one| format!(", {one}")).collect();
    let named = format!("{base}{changed}");
    session.note(format_args!(
        "recipe {named}: for {images} images of about {side} pixels (--config names another)"
    ));
    changes.extend_from_slice(overrides);
    Ok((Recipe::load(base, &changes)?, named))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn quiet(args: &GlobalArgs, of_command: &[Override]) -> Result<Context> {
        Context::new(args, of_command, Session { quiet: true, ..Session::default() })
    }

    #[test]
    fn a_run_folder_names_the_run_and_its_recipe_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("kites");
        let args = GlobalArgs {
            run: Some(run.clone()),
            set: vec!["vqvae.codebook_size=64".parse().unwrap()],
            ..GlobalArgs::default()
        };
        let first = quiet(&args, &[]).unwrap();
        assert_eq!((first.recipe.name.as_str(), first.recipe.vqvae.codebook_size), ("kites", 64));

        std::fs::create_dir(&run).unwrap();
        std::fs::write(first.run.dir.recipe_path(), first.recipe.to_json()).unwrap();
        let again = GlobalArgs { run: Some(run), seed: Some(7), ..GlobalArgs::default() };
        let again = quiet(&again, &[]).unwrap();
        assert_eq!(again.recipe, Recipe { seed: 7, ..first.recipe });
    }

    #[test]
    fn a_run_keeps_its_precision_unless_a_flag_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("kites");
        std::fs::create_dir(&run).unwrap();
        let precision = |saved: &str, config: Option<&str>, flag: Option<PrecisionChoice>| {
            std::fs::write(run.join("recipe.json"), saved).unwrap();
            let config = config.map(str::to_owned);
            let args = GlobalArgs {
                config,
                run: Some(run.clone()),
                precision: flag,
                ..Default::default()
            };
            quiet(&args, &[]).unwrap().recipe.precision
        };
        let fastest = precision::fastest();
        let bf16 = r#"{"precision": "bf16"}"#;
        for config in [None, Some("birds")] {
            assert_eq!(precision(bf16, config, None), PrecisionChoice::Bf16);
            // Before there was a choice.
            assert_eq!(precision("{}", config, None), PrecisionChoice::F32);
            assert_eq!(precision(bf16, config, Some(PrecisionChoice::F32)), PrecisionChoice::F32);
            assert_eq!(precision(bf16, config, Some(PrecisionChoice::Auto)), fastest);
        }
        std::fs::remove_dir_all(&run).unwrap();
        let fresh = GlobalArgs { run: Some(run), ..GlobalArgs::default() };
        assert_eq!(quiet(&fresh, &[]).unwrap().recipe.precision, fastest);
    }

    #[test]
    fn the_flags_of_a_command_win_over_set_and_errors_name_the_flag() {
        let args = GlobalArgs {
            config: Some("birds".to_owned()),
            set: vec!["vqvae.steps=5".parse().unwrap()],
            data: Some("my pictures".to_owned()),
            ..GlobalArgs::default()
        };
        let context = quiet(&args, &[Override::of_flag("--steps", "vqvae.steps", 9)]).unwrap();
        assert_eq!(context.recipe.vqvae.steps, 9);
        assert_eq!(context.recipe.data.path, "my pictures");
        assert!(context.run.dir.path().ends_with("checkpoints/birds"));

        let wrong = Override::of_flag("--top-p", "sample.top_p", f64::NAN);
        let message = quiet(&args, &[wrong]).unwrap_err().to_string();
        assert_eq!(message, r#"sample.top_p in --top-p is "NaN", expected a number"#);
    }
}
