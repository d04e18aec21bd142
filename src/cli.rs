//! The command line: arguments, help, and dispatch to a command. It computes nothing.

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    Context, GlobalArgs, Session, bench, completions, data, devices, eval, extract_codes, import,
    inspect, pack, reconstruct, run, sample, train_prior, train_vqvae,
};

const RECIPES_HELP: &str = "\
One experiment is one recipe, one run is one folder. Start with:
  vqgen run                                      the built-in recipe quickstart, all stages
  vqgen run --data my-pictures --run checkpoints/mine
  vqgen sample --run checkpoints/mine -n 16

Results go to stdout, everything else to stderr.
Exit codes: 0 done, 1 failed, 2 usage error, 130, 143 or 129 stopped by Ctrl-C, a
polite kill or a closed terminal.";

/// `vqgen`: its flags and its subcommand.
#[derive(Debug, Parser)]
#[command(
    name = "vqgen",
    version,
    about = "Learns to draw: trains a VQ-VAE and a GPT on a folder of images, then samples new ones",
    after_help = RECIPES_HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All stages of a recipe, one after the other: skips what is finished, resumes what is not
    #[command(after_help = "Examples:
  vqgen run
  vqgen run --config fashion-mnist --data data/fashion-mnist
  vqgen run --data my-pictures --run checkpoints/mine --set data.image_size=64
  vqgen run --run checkpoints/mine --set vqvae.steps=5000 --discard")]
    Run(run::Args),

    /// Stage 1: train encoder, codebook and decoder
    #[command(after_help = "Examples:
  vqgen train-vqvae --config cifar10
  vqgen train-vqvae --run checkpoints/mine --resume --steps 5000
  vqgen train-vqvae --set vqvae.codebook_size=1024 --set vqvae.preset=resnet
  vqgen train-vqvae --data my-pictures --run checkpoints/mine --from checkpoints/quickstart")]
    TrainVqvae(train_vqvae::Args),

    /// Every image becomes a grid of code ids, all in one file
    #[command(after_help = "Examples:
  vqgen extract-codes --run checkpoints/mine
  vqgen extract-codes --run checkpoints/mine --views flip")]
    ExtractCodes(extract_codes::Args),

    /// Stage 2: train a GPT to predict the next code
    #[command(after_help = "Examples:
  vqgen train-prior --run checkpoints/mine
  vqgen train-prior --run checkpoints/mine --set prior.preset=medium --set prior.dropout=0.2
  vqgen train-prior --run checkpoints/mine --from checkpoints/quickstart")]
    TrainPrior(train_prior::Args),

    /// Codes from the GPT, decoded to images, in one grid
    #[command(after_help = "Examples:
  vqgen sample --run checkpoints/mine -n 16 --seed 7
  vqgen sample --class Flags --temperature 0.9 --top-p 0.95 -o flags.png
  vqgen sample --model emoji-64 --prompt \"red heart\" --prompt \"green apple\"
  vqgen sample --complete face.png --keep-rows 4 -n 8 --separate
  vqgen sample --run checkpoints/masked --complete face.png --mask what-to-draw.png
  vqgen sample --like flags.png -o the-same.png

Image i of a seed is the same however many are sampled with it.")]
    Sample(Box<sample::Args>),

    /// Any images through the tokenizer and back, originals beside reconstructions
    #[command(after_help = "Examples:
  vqgen reconstruct --run checkpoints/mine
  vqgen reconstruct my-pictures one-more.jpg -n 16 -o compare.png")]
    Reconstruct(reconstruct::Args),

    /// Metrics of a run: PSNR, SSIM, code usage, nats per code, bits per pixel
    #[command(after_help = "Examples:
  vqgen eval --run checkpoints/mine
  vqgen eval --run checkpoints/mine --split validation --json")]
    Eval(eval::Args),

    /// What is in a folder of images before one trains on it, and the recipe that it would get
    #[command(after_help = "Examples:
  vqgen data my-pictures
  vqgen data my-pictures -o sheet.png
  vqgen data --json my-pictures | jq .copies")]
    Data(data::Args),

    /// What a file says of itself: what made a picture, what is in a model, how a training went
    #[command(after_help = "Examples:
  vqgen inspect generations/quickstart/samples-seed-0.png
  vqgen inspect checkpoints/quickstart/prior.safetensors
  vqgen inspect checkpoints/quickstart/metrics.jsonl
  vqgen sample --like generations/quickstart/samples-seed-0.png")]
    Inspect(inspect::Args),

    /// The models of a run alone, with 16-bit weights: half the size, to share and to draw with
    #[command(after_help = "Examples:
  vqgen pack --run checkpoints/mine -o models/mine
  vqgen sample --model models/mine")]
    Pack(pack::Args),

    /// A tokenizer that another project trained becomes that of a run
    #[command(after_help = "Examples:
  vqgen import vqgan-imagenet-f16.ckpt --run checkpoints/vqgan
  vqgen import vq_ds16_c2i.pt --run checkpoints/llamagen
  vqgen extract-codes --run checkpoints/vqgan --data my-pictures
  vqgen train-prior --run checkpoints/vqgan")]
    Import(import::Args),

    /// Devices that this build can use here, and the choice of --device auto
    Devices,

    /// The speed of this machine on named shapes, as JSON lines
    #[command(after_help = "Examples:
  vqgen bench
  vqgen bench --case gpt --repeats 5 --threads 2")]
    Bench(bench::Args),

    /// What a shell needs to complete commands and flags on Tab
    #[command(after_help = "Examples:
  vqgen completions bash > ~/.local/share/bash-completion/completions/vqgen
  vqgen completions zsh > ~/.zfunc/_vqgen
  vqgen completions fish > ~/.config/fish/completions/vqgen.fish")]
    Completions(completions::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Errors of the command; [`crate::commands::exit_code`] maps them to exit codes.
    pub fn run(&self) -> anyhow::Result<()> {
        let session = self.global.session();
        session.catch_interrupts()?;
        session.compute_with(self.global.threads, || self.dispatch(session.clone()))
    }

    fn dispatch(&self, session: Session) -> anyhow::Result<()> {
        let global = &self.global;
        match &self.command {
            Command::Run(args) => run::run(args, &Context::new(global, &[], session)?),
            Command::TrainVqvae(args) => {
                train_vqvae::run(args, &Context::new(global, &args.overrides(), session)?)
            }
            Command::ExtractCodes(args) => {
                extract_codes::run(args, &Context::new(global, &args.overrides(), session)?)
            }
            Command::TrainPrior(args) => {
                train_prior::run(args, &Context::new(global, &args.overrides(), session)?)
            }
            Command::Sample(args) => {
                let (args, global) = args.resolved(global)?;
                let overrides = args.overrides();
                let context = Context::of_model(args.model.name(), &global, &overrides, session)?;
                sample::run(&args, &context)
            }
            Command::Reconstruct(args) => {
                let context = Context::of_model(args.model.name(), global, &[], session)?;
                reconstruct::run(args, &context)
            }
            Command::Eval(args) => {
                eval::run(args, &Context::of_model(args.model.name(), global, &[], session)?)
            }
            Command::Data(args) => data::run(args, global, session),
            Command::Inspect(args) => inspect::run(args, &session),
            Command::Pack(args) => pack::run(args, &Context::new(global, &[], session)?),
            Command::Import(args) => import::run(args, global, session),
            Command::Devices => devices::run(&session),
            Command::Bench(args) => bench::run(args, &session),
            Command::Completions(args) => completions::run(args, Self::command(), &session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
