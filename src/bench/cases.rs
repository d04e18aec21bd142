//! The cases by name: those of `benches/peers/pytorch_peer.py`, so that the two can be compared line by line, and some
//! without a counterpart there.

use burn::tensor::Device;

use super::files::Files;
use super::quickstart::Quickstart;
use super::shapes::{Images, Sequences, Work};
use crate::error::Result;

/// Prepares the work of a case on a device.
type Setup = Box<dyn Fn(&Device) -> Result<Work>>;

/// A named shape.
pub(crate) struct Case {
    /// The operation: `vqvae-train`, `gpt-sample`.
    pub name: &'static str,
    /// The shape or batch size.
    pub variant: &'static str,
    /// Images or codes per run.
    pub units: usize,
    /// The unit of the rate: `images/s`, `tokens/s`.
    pub unit: &'static str,
    setup: Setup,
}

impl Case {
    /// The work, with everything prepared.
    ///
    /// # Errors
    /// Out of memory, or another failure of the device.
    pub(crate) fn work(&self, device: &Device) -> Result<Box<dyn FnMut() -> Result<()>>> {
        (self.setup)(device)
    }
}

/// The variant of a case with a fixed shape: only the precision varies.
pub(crate) const PRECISION: &str = "precision";

/// The network of van den Oord et al. for CIFAR-10: 128 channels, two residual blocks of 32, 512 codes of dimension 64.
const CIFAR: Images = Images { batch: 64, channels: 3, size: 32, keys: &["preset=plain"] };
/// The same with a perceptual term, and with a discriminator as well.
const PERCEPTUAL: Images = Images { keys: &["preset=plain", "perceptual.net=builtin"], ..CIFAR };
const ADVERSARIAL: Images = Images {
    keys: &[
        "preset=plain",
        "perceptual.net=builtin",
        "adversarial.loss=hinge",
        "adversarial.start_step=0",
        "adversarial.augment=false",
    ],
    ..CIFAR
};
const FASHION: Images = Images { batch: 96, channels: 1, size: 28, keys: &["preset=plain"] };
const RESNET: Images = Images { batch: 16, channels: 3, size: 64, keys: &["preset=resnet"] };

/// 6 layers of width 256 with 8 heads on 64 codes.
const GPT: Sequences =
    Sequences { batch: 32, grid: [8, 8], layers: 6, width: 256, heads: 8, ..Sequences::PLAIN };

/// Small enough that decoding takes as long as encoding: it has no counterpart in the PyTorch program.
const FILES: Files = Files {
    count: 512,
    size: 256,
    in_memory: true,
    images: Images { batch: 64, channels: 3, size: 64, keys: &["preset=plain"] },
};

/// The step of stage 1 with each kind of quantizer and codebook, to compare with `vq` of as many codes.
const QUANTIZERS: [(&str, &[&str]); 12] = [
    ("vq", &[]),
    ("vq, l2-normalised", &["normalize_codes=true"]),
    ("vq, rotation", &["gradient_estimator=rotation"]),
    ("vq, by gradient", &["codebook=gradient"]),
    ("vq, simvq", &["codebook=simvq"]),
    ("fsq", &["quantizer=fsq"]),
    ("residual of depth 4", &["quantizer=residual", "depth=4"]),
    ("vq of dimension 8", &["code_dim=8"]),
    ("16384 codes", &["code_dim=8", "codebook_size=16384"]),
    ("16384 codes, l2-normalised", &["code_dim=8", "codebook_size=16384", "normalize_codes=true"]),
    ("16384 codes, simvq", &["code_dim=8", "codebook_size=16384", "codebook=simvq"]),
    ("16384 codes, by gradient", &["code_dim=8", "codebook_size=16384", "codebook=gradient"]),
];

/// Every case, in the order of the pipeline.
///
/// # Errors
/// Only if the built-in recipe is broken.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let mut all = vec![
        images("vqvae-train", PRECISION, CIFAR, Images::train),
        images("vqvae-perceptual", PRECISION, PERCEPTUAL, Images::train),
        images("vqvae-adversarial", PRECISION, ADVERSARIAL, Images::train),
        images("vqvae-encode", PRECISION, CIFAR, Images::encode),
        images("vqvae-decode", PRECISION, CIFAR, Images::decode),
        sequences("gpt-train", PRECISION, GPT, Sequences::train),
    ];
    for (variant, batch) in [("batch 1", 1), ("batch 16", 16), ("batch 64", 64)] {
        let shape = Sequences { batch, ..GPT };
        all.push(sequences("gpt-sample", variant, shape, Sequences::sample));
    }
    let shape = Sequences { batch: 16, other_blocks: true, ..GPT };
    all.push(sequences("gpt-sample", "other blocks, batch 16", shape, Sequences::sample));
    for (variant, shape) in [("96x1x28x28", FASHION), ("resnet 16x3x64x64", RESNET)] {
        all.push(images("vqvae-train-other", variant, shape, Images::train));
    }
    let gpt = |batch, grid, layers, width, heads| Sequences {
        batch,
        grid,
        layers,
        width,
        heads,
        ..Sequences::PLAIN
    };
    for (variant, shape) in [
        ("4x128 on 49", gpt(64, [7, 7], 4, 128, 4)),
        ("8x384 on 256", gpt(8, [16, 16], 8, 384, 6)),
        ("head size 24", gpt(32, [8, 8], 6, 192, 8)),
        ("head size 40", gpt(32, [8, 8], 6, 320, 8)),
        ("6x256 on 784", gpt(2, [28, 28], 6, 256, 8)),
        ("6x256 on 1024", gpt(2, [32, 32], 6, 256, 8)),
        ("other blocks", Sequences { other_blocks: true, ..GPT }),
        ("muon", Sequences { optimizer: "muon", ..GPT }),
    ] {
        all.push(sequences("gpt-train-other", variant, shape, Sequences::train));
    }
    for (variant, in_memory) in [("512 JPEG of 256x256", true), ("the same, not kept", false)] {
        let files = Files { in_memory, ..FILES };
        let setup = Box::new(move |device: &Device| files.extract(device));
        all.push(Case { name: "extract", variant, units: files.count, unit: "images/s", setup });
    }
    let mut quickstart = |variant, unit, units: fn(&Quickstart) -> usize, work: OnQuickstart| {
        let shape = Quickstart::new()?;
        let units = units(&shape);
        let setup = Box::new(move |device: &Device| work(&shape, device));
        all.push(Case { name: "quickstart", variant, units, unit, setup });
        Ok(())
    };
    quickstart("stage 1 step", "images/s", Quickstart::images, Quickstart::train_vqvae)?;
    quickstart("stage 2 step", "tokens/s", Quickstart::codes, Quickstart::train_prior)?;
    quickstart("samples", "tokens/s", Quickstart::sampled_codes, Quickstart::sample)?;
    for (variant, keys) in QUANTIZERS {
        let shape = Quickstart::of_defaults(keys)?;
        let units = shape.images();
        let setup = Box::new(move |device: &Device| shape.train_vqvae(device));
        all.push(Case { name: "quantizer", variant, units, unit: "images/s", setup });
    }
    Ok(all)
}

type OnQuickstart = fn(&Quickstart, &Device) -> Result<Work>;
type OnImages = fn(&Images, &Device) -> Result<Work>;
type OnSequences = fn(&Sequences, &Device) -> Result<Work>;

fn images(name: &'static str, variant: &'static str, shape: Images, work: OnImages) -> Case {
    let setup = Box::new(move |device: &Device| work(&shape, device));
    Case { name, variant, units: shape.batch, unit: "images/s", setup }
}

fn sequences(
    name: &'static str,
    variant: &'static str,
    shape: Sequences,
    work: OnSequences,
) -> Case {
    let setup = Box::new(move |device: &Device| work(&shape, device));
    Case { name, variant, units: shape.batch * shape.length(), unit: "tokens/s", setup }
}
