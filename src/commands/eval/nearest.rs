//! Which training image each sample is most like, as a sheet, and how many samples are nearer to one than training
//! images are to each other.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::output::Output;
use super::super::stages::{PAIR_COLUMNS, pairs};
use super::pictures::with_progress;
use super::samples::Samples;
use super::{Args, Context};
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Dataset, Layout, Split, View};
use crate::evaluation::{FeatureViews, ImageSet, Judges, Neighbour, share_nearer};

/// Most training images that are searched: evenly spaced over a larger set.
const MOST_SEARCHED: usize = 100_000;
/// Most of them whose own nearest image is sought, which is compared with all others.
const MOST_QUERIES: usize = 5_000;
/// Most samples on the sheet.
const MOST_SHOWN: usize = 64;

/// The destination of the sheet, checked before the long work; `None` without the flag.
pub(super) fn prepare(
    args: &Args,
    context: &Context,
    dataset: &Dataset,
) -> anyhow::Result<Option<Output>> {
    let (Some(path), Some(n)) = (&args.nearest, args.samples) else { return Ok(None) };
    anyhow::ensure!(
        !dataset.is_empty(Split::Train),
        "--nearest searches the train split, which holds no image (leave it out)"
    );
    anyhow::ensure!(
        path.as_deref() != Some(Path::new("-")),
        "--nearest is stdout, where the metrics are written: name a file"
    );
    let name = format!("nearest-seed-{}.png", context.recipe.seed);
    let default_path: PathBuf = context.run.generations.join(&name);
    let mut inputs: Vec<PathBuf> = args.lpips.iter().chain(&args.fid).cloned().collect();
    // The default folder is vqgen's own, even in the folder of a data set.
    inputs.extend(path.is_some().then(|| PathBuf::from(&context.recipe.data.path)));
    let path = path.as_ref().unwrap_or(&default_path);
    let output = Output::prepare(path, &name, &inputs)?;
    anyhow::ensure!(
        output.shown().is_some(),
        "--nearest is {}, where the metrics are written: name a file",
        path.display()
    );
    let shown = n.min(MOST_SHOWN);
    let rows = shown.next_multiple_of(PAIR_COLUMNS) * 2;
    let scale = context.recipe.sample.scale;
    Layout { columns: PAIR_COLUMNS.min(shown), scale, ..Layout::default() }
        .size(rows, [dataset.image_size(); 2])?;
    Ok(Some(output))
}

/// Finds the neighbours, writes the sheet, and returns the shares. `split` is what `originals` are of.
pub(super) fn search(
    output: &Output,
    samples: &Samples,
    (originals, split): (&ImageSet, Split),
    (codec, judges): (Codec<'_>, &Judges),
    dataset: &Dataset,
    context: &Context,
) -> anyhow::Result<Map<String, Value>> {
    let training = Training::read(judges, dataset, context)?;
    let set = training.views();
    let found = set.nearest(&samples.features);
    let usual = set.distances_within(&spaced(training.images.len(), MOST_QUERIES));
    let share = |found: &[Neighbour]| {
        let distances: Vec<f64> = found.iter().map(|neighbour| neighbour.distance).collect();
        share_nearer(&distances, &usual)
    };
    let mut line = Map::new();
    line.insert("sample_nearer".to_owned(), share(&found).into());
    if split != Split::Train {
        let held_out = set.nearest(originals.builtin.kept());
        line.insert("split_nearer".to_owned(), share(&held_out).into());
    }

    // The most suspicious first.
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| found[*a].distance.total_cmp(&found[*b].distance));
    order.truncate(MOST_SHOWN);
    let (mut drawn, mut nearest) = (Vec::new(), Vec::new());
    for sample in order {
        drawn.extend(codec.decode(&samples.codes[sample]));
        let (image, view) = training.image(found[sample].index);
        nearest.extend(dataset.pixels(Split::Train, &[image], view)?);
    }
    let (size, channels) = (dataset.image_size(), dataset.channels());
    output.write(&pairs(&drawn, &nearest, size, channels, context.recipe.sample.scale)?, None)?;
    Ok(line)
}

/// The features of training images, as the prior was trained on them.
struct Training {
    images: Vec<usize>,
    views: Vec<View>,
    features: Vec<f32>,
    n_features: usize,
}

impl Training {
    fn read(judges: &Judges, dataset: &Dataset, context: &Context) -> anyhow::Result<Self> {
        let images = spaced(dataset.len(Split::Train), MOST_SEARCHED);
        let views = context.recipe.prior.views.of_images();
        let mut features = Vec::new();
        with_progress(context, "training images", images.len() * views.len(), |done| {
            for view in &views {
                for part in images.chunks(IMAGES_PER_PASS) {
                    let pixels = dataset.pixels(Split::Train, part, *view)?;
                    features.extend(judges.features(&pixels));
                    done(part.len());
                }
            }
            Ok(())
        })?;
        Ok(Self { images, views, features, n_features: judges.n_features() })
    }

    fn views(&self) -> FeatureViews<'_> {
        FeatureViews {
            vectors: &self.features,
            n_images: self.images.len(),
            n_features: self.n_features,
        }
    }

    /// Index and view of a vector.
    fn image(&self, index: usize) -> (usize, View) {
        (self.images[index % self.images.len()], self.views[index / self.images.len()])
    }
}

/// Of `0..n`, at most `most`, evenly spaced.
fn spaced(n: usize, most: usize) -> Vec<usize> {
    (0..n).step_by(n.div_ceil(most).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_evenly_spaced_up_to_a_bound() {
        assert_eq!(spaced(5, 5), [0, 1, 2, 3, 4]);
        assert_eq!(spaced(5, 3), [0, 2, 4]);
        assert_eq!(spaced(7, 3), [0, 3, 6]);
        assert!(spaced(0, 3).is_empty());
    }
}
