//! The data set inside the binary: Noto Emoji (Apache-2.0, notice beside them), in folders by category. The same rules
//! as for a folder on disk apply to it.

use include_dir::{Dir, DirEntry, include_dir};

use super::names::is_image_path;

static NOTO_EMOJI: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/data/noto-emoji");

/// Every embedded image, with its path relative to the set, `/` between folders, sorted by path.
pub(super) fn noto_emoji() -> Vec<(String, &'static [u8])> {
    let mut images = Vec::new();
    collect(&NOTO_EMOJI, &mut images);
    images.sort_by(|a, b| a.0.cmp(&b.0));
    images
}

fn collect(folder: &'static Dir<'static>, images: &mut Vec<(String, &'static [u8])>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, images),
            DirEntry::File(file) if is_image_path(file.path()) => {
                let name = file.path().to_string_lossy().replace('\\', "/");
                images.push((name, file.contents()));
            }
            DirEntry::File(_) => {}
        }
    }
}
