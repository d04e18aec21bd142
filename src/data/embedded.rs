//! The data set inside the binary: Noto Emoji (Apache-2.0, notice beside them), in folders by category. The same rules
//! as for a folder on disk apply to it.

use include_dir::{Dir, DirEntry, include_dir};

static NOTO_EMOJI: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/data/noto-emoji");

/// A file: its path relative to the set, `/` between folders, and its content.
pub(super) type EmbeddedFile = (String, &'static [u8]);

/// The embedded files whose path `is_wanted`, sorted by path.
pub(super) fn noto_emoji(is_wanted: impl Fn(&str) -> bool) -> Vec<EmbeddedFile> {
    let mut files = Vec::new();
    collect(&NOTO_EMOJI, &is_wanted, &mut files);
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn collect(
    folder: &'static Dir<'static>,
    is_wanted: &impl Fn(&str) -> bool,
    files: &mut Vec<EmbeddedFile>,
) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, is_wanted, files),
            DirEntry::File(file) => {
                let name = file.path().to_string_lossy().replace('\\', "/");
                if is_wanted(&name) {
                    files.push((name, file.contents()));
                }
            }
        }
    }
}
