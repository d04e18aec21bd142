//! `vqgen import`: a tokenizer that another project trained becomes that of a run.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Context, GlobalArgs, Session};
use crate::checkpoint::Stage;
use crate::import::{Imported, import_tokenizer};
use crate::recipe::Override;

/// The flags of `import`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// A VQ tokenizer of taming-transformers, LlamaGen or diffusers: safetensors, or what torch.save wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The size of images in pixels, for which nothing in the file speaks
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    pub image_size: usize,
}

/// Writes the run of the tokenizer.
pub fn run(args: &Args, global: &GlobalArgs, session: Session) -> anyhow::Result<()> {
    let device = session.open_device()?;
    let Imported { file, project, config, ignored } =
        import_tokenizer(&args.file, args.image_size, &device)?;
    let multipliers: Vec<String> =
        config.channel_multipliers.iter().map(ToString::to_string).collect();
    let of_file = [
        ("data.image_size", config.image_size.to_string()),
        ("data.channels", config.channels.to_string()),
        ("vqvae.preset", "resnet".to_owned()),
        ("vqvae.width", config.width.to_string()),
        ("vqvae.channel_multipliers", format!("[{}]", multipliers.join(","))),
        ("vqvae.residual_blocks", config.residual_blocks.to_string()),
        ("vqvae.halvings", config.halvings.to_string()),
        ("vqvae.attention", config.attention.to_string()),
        ("vqvae.latent_channels", config.latent_channels.to_string()),
        ("vqvae.attention_levels", config.attention_levels.to_string()),
        ("vqvae.quantizer", "vq".to_owned()),
        ("vqvae.codebook", "ema".to_owned()),
        ("vqvae.codebook_size", config.codebook_size.to_string()),
        ("vqvae.code_dim", config.code_dim.to_string()),
        ("vqvae.normalize_codes", config.normalize_codes.to_string()),
    ];
    let overrides: Vec<Override> =
        of_file.iter().map(|(key, value)| Override::of_flag("import", key, value)).collect();
    let context = Context::new(global, &overrides, session)?;
    let dir = &context.run.dir;
    anyhow::ensure!(
        !dir.has_stage(Stage::Vqvae),
        "{} holds a tokenizer already (name another run with --run)",
        dir.path().display()
    );
    let _lock = context.lock("import")?;
    dir.save_recipe(&context.recipe)?;
    let path = dir.model_path(Stage::Vqvae);
    file.save(&path)?;
    let grid = config.grid_size();
    context.session.note(format_args!(
        "a tokenizer of {}: {grid}x{grid} codes of {} for images of {} pixels",
        project.name(),
        config.codebook_size,
        config.image_size
    ));
    if let [first, more @ ..] = ignored.as_slice() {
        let more =
            if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        context.session.note(format_args!("left out, as no part of it: {first}{more}"));
    }
    context.session.result(path.display())
}
