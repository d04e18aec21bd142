//! What the name of a file or folder says about it, and its first bytes where the name is inconclusive: a readable
//! image, a picture in an unsupported format, a system file, or something else. Every command that lists a folder uses
//! it.

use std::path::Path;

use image::ImageFormat;

/// Extensions of image files, in lower case; any case matches. Some are aliases of one format: a JPEG is also called
/// jpe, jfif, jif, jfi, pjpeg and pjp, and mpo where it holds a second view; a BMP dib.
pub(super) const IMAGE_EXTENSIONS: &[&str] = &[
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "pjpeg", "pjp", "mpo", "webp",
    "bmp", "dib", "gif", "tif", "tiff",
];

/// Extensions of pictures in unsupported formats, in lower case.
const UNREAD_EXTENSIONS: &[&str] = &[
    // Phones and the web.
    "heic",
    "heif",
    "heics",
    "heifs",
    "hif",
    "avif",
    "avifs",
    "avci",
    "avcs",
    "jxl",
    "jp2",
    "j2k",
    "j2c",
    "jpc",
    "jpf",
    "jpx",
    "jpm",
    "jph",
    "jhc",
    "jxr",
    "wdp",
    "hdp",
    "jng",
    "mng",
    "bpg",
    "flif",
    "qoi",
    "ico",
    "cur",
    "icns",
    // Camera raw files.
    "dng",
    "cr2",
    "cr3",
    "crw",
    "nef",
    "nrw",
    "arw",
    "srf",
    "sr2",
    "raf",
    "rw2",
    "rwl",
    "raw",
    "orf",
    "pef",
    "ptx",
    "srw",
    "x3f",
    "3fr",
    "fff",
    "iiq",
    "mos",
    "mef",
    "mrw",
    "erf",
    "kdc",
    "dcr",
    "k25",
    "gpr",
    "ari",
    // Drawing programs; vector graphics.
    "svg",
    "svgz",
    "eps",
    "ai",
    "wmf",
    "emf",
    "psd",
    "psb",
    "xcf",
    "kra",
    "ora",
    "clip",
    "procreate",
    "cdr",
    "afphoto",
    "afdesign",
    // Renderers, games, scanners and science.
    "tga",
    "dds",
    "ktx",
    "ktx2",
    "exr",
    "hdr",
    "pnm",
    "ppm",
    "pgm",
    "pbm",
    "pam",
    "pfm",
    "pcx",
    "dcx",
    "wbmp",
    "xbm",
    "xpm",
    "sgi",
    "djvu",
    "dcm",
    "fits",
    "fts",
    "svs",
];

/// Files that systems and programs leave in folders, in lower case; names that begin with a dot need no entry.
const SYSTEM_FILES: &[&str] = &[
    "thumbs.db",
    "thumbs.db:encryptable",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "picasa.ini",
    "zbthumbnail.info",
    "icon\r",
];

/// Folders that systems and programs create, in lower case: their contents are not part of the user's collection.
const SYSTEM_FOLDERS: &[&str] = &[
    // Archives, Windows, macOS, file systems, camera cards.
    "__macosx",
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "lost+found",
    "lost.dir",
    "found.000",
    "temporary items",
    "network trash folder",
    ".trash",
    ".trashes",
    ".fseventsd",
    ".spotlight-v100",
    ".documentrevisions-v100",
    ".temporaryitems",
    ".appledouble",
    ".appledb",
    ".appledesktop",
    // Network storage.
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    ".snapshot",
    ".snapshots",
    ".@__thumb",
    // Image viewers, synchronisation, editors, programming.
    ".thumbnails",
    ".thumb",
    ".xvpics",
    ".picasaoriginals",
    ".dtrash",
    ".cache",
    ".stfolder",
    ".stversions",
    ".dropbox.cache",
    ".ipynb_checkpoints",
    "__pycache__",
    "node_modules",
    ".git",
    ".hg",
    ".svn",
    ".idea",
    ".vscode",
    ".venv",
    ".tox",
];

/// The kind of a file, judged by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image in a supported format, whatever its content.
    Image,
    /// A picture in an unsupported format, with its extension.
    Unread(String),
    /// Some other file, with its extension in lower case; empty where it has none.
    Other(String),
    /// A system file.
    System,
    /// A name that begins with a dot.
    Hidden,
}

/// The kind of the file at `path`, judged by its name alone.
pub(super) fn kind_of(path: &Path) -> Kind {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if SYSTEM_FILES.contains(&name.as_str()) || name.starts_with("._") {
        return Kind::System;
    }
    if name.starts_with('.') {
        return Kind::Hidden;
    }
    let extension = extension_of(path);
    if IMAGE_EXTENSIONS.contains(&extension.as_str()) {
        Kind::Image
    } else if UNREAD_EXTENSIONS.contains(&extension.as_str()) {
        Kind::Unread(extension)
    } else {
        Kind::Other(extension)
    }
}

/// Whether `path` has the extension of an image, whatever its content.
pub(super) fn is_image_path(path: &Path) -> bool {
    IMAGE_EXTENSIONS.contains(&extension_of(path).as_str())
}

/// The extension in lower case; empty where there is none. That of `photo 12.30` does not count: it has no letter.
pub(super) fn extension_of(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if extension.chars().any(char::is_alphabetic) { extension } else { String::new() }
}

/// Whether a folder of this name is created by a system or a program.
pub(super) fn is_system_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    // `.Trash-1000` ends in the user's number.
    SYSTEM_FOLDERS.contains(&name.as_str()) || name.starts_with(".trash-")
}

/// Whether the name begins with a dot.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Bytes that [`begins_like_image`] needs.
pub(super) const START: u64 = 18;

/// Whether the name of a file of this kind says nothing on whether it is a readable image: it has no extension, or that of
/// another picture format.
pub(super) fn is_inconclusive(kind: &Kind) -> bool {
    match kind {
        Kind::Other(extension) => extension.is_empty(),
        Kind::Unread(_) => true,
        _ => false,
    }
}

/// Whether a file of this kind, whose name is inconclusive and which begins with `start`, is a readable image. Under the
/// name of another format a TIFF does not count: camera raw files are TIFF files of which only a preview would be seen.
pub(super) fn begins_like_image(start: &[u8], kind: &Kind) -> bool {
    let is_nameless = !matches!(kind, Kind::Unread(_));
    match image::guess_format(start) {
        Ok(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif) => true,
        Ok(ImageFormat::Tiff) => is_nameless,
        // Its magic number is two letters, which a text may begin with; the size of its second header is one of a few.
        Ok(ImageFormat::Bmp) => {
            start.get(6..10) == Some(&[0; 4])
                && matches!(
                    start.get(14..18),
                    Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
                )
        }
        _ => false,
    }
}

/// The text in `bytes`, with `\xe9` for what is not UTF-8.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// A relative name without its extension.
pub(super) fn stem(name: &str) -> &str {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[start..].rfind('.') {
        Some(dot) if dot > 0 => &name[..start + dot],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_names_in_any_case() {
        for (name, kind) in [
            ("a/B.JPeG", Kind::Image),
            ("x.TIF", Kind::Image),
            ("x.jfif", Kind::Image),
            ("x.HEIC", Kind::Unread("heic".into())),
            ("x.CR2", Kind::Unread("cr2".into())),
            ("x.png.txt", Kind::Other("txt".into())),
            ("png", Kind::Other(String::new())),
            ("photo 12.30", Kind::Other(String::new())),
            ("Thumbs.db", Kind::System),
            ("._x.jpg", Kind::System),
            (".x.jpg", Kind::Hidden),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
    }

    #[test]
    fn folders_of_systems_are_known_in_any_case_and_with_a_number() {
        for name in ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", ".Trash-1000", ".git"] {
            assert!(is_system_folder(Path::new(name)), "{name}");
        }
        assert!(!is_system_folder(Path::new("cats")) && !is_system_folder(Path::new(".mine")));
    }

    #[test]
    fn content_counts_where_the_name_says_nothing() {
        let bmp = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0";
        let other = Kind::Other(String::new());
        let raw = Kind::Unread("dng".into());
        for (start, as_other, as_raw) in [
            (&b"\xff\xd8\xff\xe0"[..], true, true),
            (b"II*\0\x08\0\0\0", true, false),
            (b"BM is a text", false, false),
            (bmp, true, true),
            (b"", false, false),
        ] {
            let found = (begins_like_image(start, &other), begins_like_image(start, &raw));
            assert_eq!(found, (as_other, as_raw), "{start:?}");
        }
        assert!(is_inconclusive(&other) && is_inconclusive(&raw));
        assert!(!is_inconclusive(&Kind::Image) && !is_inconclusive(&Kind::Other("txt".into())));
    }
}
