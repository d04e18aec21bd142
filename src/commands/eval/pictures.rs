//! How alike images are to feature nets: reconstructions and samples against the split.

use std::time::Instant;

use serde_json::{Map, Value};

use super::{Args, Context};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Dataset, Split, View};
use crate::device::Device;
use crate::evaluation::{FeatureDistances, ImageSet, ImageShape, Judges, PairSums, SetDistances};
use crate::features::Lpips;
use crate::perceptual::{builtin_net, load_inception, load_lpips};
use crate::training::Event;

/// The nets that the flags ask for, loaded before the long work.
pub(super) fn judges(args: &Args, dataset: &Dataset, device: &Device) -> anyhow::Result<Judges> {
    let (size, channels) = (dataset.image_size(), dataset.channels());
    let lpips = match args.lpips.as_slice() {
        [vgg, linear] => {
            anyhow::ensure!(
                size >= Lpips::SMALLEST,
                "--lpips compares images of at least {0}x{0} pixels, these have {size}x{size} (leave it out)",
                Lpips::SMALLEST
            );
            Some(load_lpips(vgg, linear, device)?)
        }
        [] => None,
        _ => anyhow::bail!("--lpips is given more than once, allowed is once"),
    };
    let inception = args.fid.as_ref().map(|path| load_inception(path, device)).transpose()?;
    Ok(Judges {
        builtin: builtin_net(device)?,
        lpips,
        inception,
        device: device.clone(),
        shape: ImageShape { height: size, width: size, channels },
    })
}

/// The images of the split and their reconstructions, as the nets see them.
pub(super) struct Seen {
    pub originals: ImageSet,
    reconstructions: ImageSet,
    pairs: PairSums,
    n_images: usize,
}

/// Passes the images of the split and the reconstructions of their codes through the nets.
pub(super) fn see_split(
    judges: &Judges,
    codec: Codec<'_>,
    codes: &[u16],
    dataset: &Dataset,
    split: Split,
    context: &Context,
) -> anyhow::Result<Seen> {
    let n_images = dataset.len(split);
    let mut seen = Seen {
        originals: judges.set(n_images),
        reconstructions: judges.set(n_images),
        pairs: PairSums::default(),
        n_images,
    };
    let indices: Vec<usize> = (0..n_images).collect();
    let n_codes = codec.config().n_codes();
    let parts = indices.chunks(IMAGES_PER_PASS).zip(codes.chunks(IMAGES_PER_PASS * n_codes));
    with_progress(context, "features", n_images, |done| {
        for (part, codes) in parts {
            let originals = dataset.pixels(split, part, View::AS_IS)?;
            let decoded = codec.decode(codes);
            judges.see(&originals, &mut seen.originals);
            judges.see(&decoded, &mut seen.reconstructions);
            let PairSums { builtin, lpips } = judges.compare(&originals, &decoded);
            seen.pairs.builtin += builtin;
            seen.pairs.lpips += lpips;
            done(part.len());
        }
        Ok(())
    })?;
    Ok(seen)
}

impl Seen {
    /// The metrics of the reconstructions.
    pub(super) fn line(&self, judges: &Judges) -> Map<String, Value> {
        let Self { originals, reconstructions, pairs, n_images } = self;
        let mut line = Map::new();
        let mean = |sum: f64| Value::from(sum / *n_images as f64);
        line.insert("perceptual".to_owned(), mean(pairs.builtin));
        if judges.lpips.is_some() {
            line.insert("lpips".to_owned(), mean(pairs.lpips));
        }
        line.extend(set_line("", *n_images, reconstructions.distances(originals)));
        line
    }
}

/// The distances of a set of `n` images from the split, with `prefix` before their names. Those that depend on the number
/// of images have it in their names.
pub(super) fn set_line(prefix: &str, n: usize, distances: SetDistances) -> Map<String, Value> {
    let SetDistances { builtin, inception, sliced } = distances;
    let mut line = Map::new();
    let mut of_net = |frechet: &str, kernel: &str, distances: FeatureDistances| {
        line.insert(format!("{prefix}{frechet}_{n}"), distances.frechet.into());
        line.insert(format!("{prefix}{kernel}"), distances.kernel.into());
    };
    of_net("fd", "kd", builtin);
    if let Some(inception) = inception {
        of_net("fid", "kid", inception);
    }
    line.insert(format!("{prefix}swd"), sliced.into());
    line
}

/// Shows the progress of `work`, which tells how many more of `steps` are done.
pub(super) fn with_progress<T>(
    context: &Context,
    stage: &'static str,
    steps: usize,
    work: impl FnOnce(&mut dyn FnMut(usize)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut progress = context.session.progress();
    let name = context.run.name.clone();
    progress.handle(&Event::Started { stage, name, step: 0, steps, training: None });
    let (begun, mut step) = (Instant::now(), 0);
    let result = work(&mut |more| {
        step += more;
        progress.handle(&Event::Stepped { step });
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.handle(&Event::Finished { step: steps, seconds });
    Ok(result)
}
