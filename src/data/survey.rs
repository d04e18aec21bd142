//! What a data set is like, by its listing and the headers of a few images, before it is read: enough to choose a recipe
//! by.

use super::decode::Header;
use super::source::Source;
use super::{CaptionSource, DataConfig};

/// Images whose headers are read, evenly spaced over the listing.
const LOOKED_AT: usize = 64;

/// The number of images, and what most of them are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Images listed; some may turn out to be unreadable.
    pub images: usize,
    /// The median of the shorter sides, in pixels.
    pub side: usize,
    /// Whether all are stored without colour.
    pub is_grey: bool,
}

impl Survey {
    /// Of the data set that `config` names. `None` where it cannot be listed or no header can be read: opening it says
    /// why.
    pub fn of(config: &DataConfig) -> Option<Self> {
        let config = DataConfig { captions: CaptionSource::None, ..config.clone() };
        let source = Source::load(&config).ok()?;
        let images = source.items.len();
        let step = images.div_ceil(LOOKED_AT).max(1);
        let headers = source.items.iter().step_by(step).filter_map(|item| source.header(item));
        let (mut sides, are_grey): (Vec<_>, Vec<_>) = headers
            .map(|Header { size: [width, height], is_grey }| (width.min(height), is_grey))
            .unzip();
        sides.sort_unstable();
        let side = *sides.get(sides.len() / 2)?;
        Some(Self { images, side, is_grey: !are_grey.contains(&false) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn survey(path: &str) -> Option<Survey> {
        Survey::of(&DataConfig { path: path.to_owned(), ..DataConfig::default() })
    }

    #[test]
    fn the_median_of_the_shorter_sides_counts_and_colour_anywhere_is_colour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(survey(path), None);
        let save = |name: &str, image: image::DynamicImage| {
            image.save(dir.path().join(name)).unwrap();
        };
        for (name, size) in [("a.png", [9, 40]), ("b.png", [50, 20]), ("c.png", [70, 70])] {
            save(name, image::DynamicImage::new_luma8(size[0], size[1]));
        }
        assert_eq!(survey(path), Some(Survey { images: 3, side: 20, is_grey: true }));
        save("d.png", image::DynamicImage::new_rgb8(300, 200));
        std::fs::write(dir.path().join("e.png"), b"no image").unwrap();
        assert_eq!(survey(path), Some(Survey { images: 5, side: 70, is_grey: false }));
    }

    #[test]
    fn the_embedded_set_is_surveyed_as_a_folder() {
        let found = survey(crate::data::EMBEDDED_NOTO_EMOJI);
        assert_eq!(found, Some(Survey { images: 1911, side: 64, is_grey: false }));
    }
}
