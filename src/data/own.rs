//! What vqgen itself left in a folder of images: runs, and pictures that it drew. They are recognised by the files of a
//! run and by the description beside a sample, never by a name alone, as a class may have any name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Whether `folder` holds a run: its recipe and some output of a stage.
fn is_run(folder: &Path) -> bool {
    let holds = |name: &str| folder.join(name).exists();
    holds("recipe.json")
        && ["metrics.jsonl", "vqvae.safetensors", "codes.safetensors", "resume"]
            .into_iter()
            .any(holds)
}

/// Whether vqgen made `folder`: a run, or the pictures of runs.
pub(super) fn is_made(folder: &Path) -> bool {
    is_run(folder) || is_gallery(folder) || is_gallery_of_run(folder)
}

/// Default folders of pictures, beside the folder of runs.
const GALLERIES: [&str; 2] = ["generations", "reconstructions"];
const RUNS: &str = "checkpoints";

/// Whether `folder` is `generations` or `reconstructions` beside a `checkpoints` that holds a run.
fn is_gallery(folder: &Path) -> bool {
    let is_named = folder.file_name().is_some_and(|name| GALLERIES.iter().any(|one| name == *one));
    let runs = || std::fs::read_dir(folder.with_file_name(RUNS)).into_iter().flatten().flatten();
    is_named && runs().any(|entry| is_run(&entry.path()))
}

/// Whether `folder` is `generations/<name>` or `reconstructions/<name>` beside the run `<name>`, or of a run that is
/// elsewhere: then it may hold only reconstructions, under the names that vqgen gives them.
fn is_gallery_of_run(folder: &Path) -> bool {
    let (Some(name), Some(parent)) = (folder.file_name(), folder.parent()) else { return false };
    let kind = parent.file_name().and_then(|kind| kind.to_str()).unwrap_or_default();
    GALLERIES.contains(&kind)
        && (is_run(&parent.with_file_name(name))
            || kind == "reconstructions" && holds_only_reconstructions(folder))
}

/// Whether everything in `folder` has a name that `reconstruct` or training gives.
fn holds_only_reconstructions(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let mut n = 0;
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        let known = match name.to_str().and_then(|name| name.strip_suffix(".png")) {
            Some(stem) => is_reconstruction(stem),
            None => name == "training" && holds_only_previews(&entry.path()),
        };
        if !known {
            return false;
        }
        n += 1;
    }
    n > 0
}

/// Whether `stem` is `test`, `images-12`, or a single image of such a grid, `test-0007`.
fn is_reconstruction(stem: &str) -> bool {
    let grid = grid_of(stem).unwrap_or(stem);
    ["train", "validation", "test"].contains(&grid)
        || stem.strip_prefix("images-").is_some_and(is_number)
        || grid.strip_prefix("images-").is_some_and(is_number)
}

/// Whether everything in `folder` is named like a training preview, `step-000100.png`.
fn holds_only_previews(folder: &Path) -> bool {
    let is_preview = |name: &str| {
        let step = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".png"));
        step.is_some_and(is_number)
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.all(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_preview))
        })
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of the grid that the single image `stem` belongs to, if it is named so: `sheet` of `sheet-0007`.
fn grid_of(stem: &str) -> Option<&str> {
    let (grid, number) = stem.rsplit_once('-')?;
    (number.len() >= 4 && is_number(number)).then_some(grid)
}

/// Possible paths of the description of the picture at `path`, had vqgen drawn it: beside it, or beside its grid.
pub(super) fn descriptions(path: &Path) -> Vec<PathBuf> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let stems = [Some(stem), grid_of(stem)].into_iter().flatten();
    stems.map(|stem| path.with_file_name(format!("{stem}.json"))).collect()
}

/// Whether the JSON file at `path` begins like the description of a sample, with `{"vqgen":`.
pub(crate) fn is_description(path: &Path) -> bool {
    let mut start = Vec::new();
    // The path's metadata first: opening a pipe would block until there is a writer.
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    let mut bytes = start.into_iter().filter(|byte| !byte.is_ascii_whitespace());
    read.is_ok() && br#"{"vqgen":"#.iter().all(|wanted| bytes.next() == Some(*wanted))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_single_images_lead_to_their_grid() {
        assert_eq!(grid_of("sheet-0007"), Some("sheet"));
        assert_eq!((grid_of("sheet-7"), grid_of("sheet")), (None, None));
        assert!(
            ["test", "images-12", "images-12-0007", "test-0001"].into_iter().all(is_reconstruction)
        );
        assert!(!["cat", "images", "images-x", "test-7"].into_iter().any(is_reconstruction));
    }

    #[test]
    fn a_description_is_told_by_its_first_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for (text, is) in [
            ("{\n  \"vqgen\": \"0.1.0\"}", true),
            ("{\"label\": \"vqgen\"}", false),
            ("{", false),
            ("", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(is_description(&path), is, "{text}");
        }
    }
}
