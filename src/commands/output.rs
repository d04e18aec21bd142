//! Output destinations of pictures. The destination is checked before the long work: a file is replaced atomically, a
//! pipe or a device is written to in place, and anything else is refused.

use std::ffi::OsStr;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::checkpoint::atomic;
use crate::data::{Picture, PictureFormat, is_description};

/// A temporary file not written to for this long was left by a killed process.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// A destination that has been checked.
#[derive(Debug)]
pub(super) struct Output {
    place: Place,
    format: PictureFormat,
}

#[derive(Debug)]
enum Place {
    /// A regular file, existing or not; replaced atomically.
    File(PathBuf),
    /// A pipe or a character device; written to in place.
    Stream(PathBuf),
    /// `-`.
    Stdout,
}

impl Output {
    /// Checks that `path` can take a picture: creates its folder and verifies that it is writable. `-` is stdout, a
    /// folder gets `default_name`, and the extension determines the format (PNG without one). `inputs` are files that
    /// must not be replaced, and folders of data sets whose files must not.
    pub(super) fn prepare(
        path: &Path,
        default_name: &str,
        inputs: &[PathBuf],
    ) -> anyhow::Result<Self> {
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            anyhow::ensure!(
                !io::stdout().is_terminal(),
                "-o is stdout, which is a terminal: redirect it to a file or a pipe, or name a file"
            );
            return Ok(Self { place: Place::Stdout, format: PictureFormat::Png });
        }
        let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let path = match ends_as_folder || path.is_dir() {
            true => path.join(default_name),
            false => path.to_path_buf(),
        };
        let place = place_of(&path)?;
        let format = match &place {
            Place::File(_) => format_of(&path)?,
            _ => PictureFormat::Png,
        };
        let output = Self { place, format };
        if let Place::File(file) = &output.place {
            check_is_no_input(file, inputs)?;
            prepare_folder(file)?;
        }
        Ok(output)
    }

    /// The path of the JSON description: beside a file, with the extension `.json`; `None` for a stream.
    ///
    /// # Errors
    /// Such a file exists and was not written by vqgen.
    pub(super) fn note_path(&self) -> anyhow::Result<Option<PathBuf>> {
        let Place::File(file) = &self.place else { return Ok(None) };
        let path = file.with_extension("json");
        anyhow::ensure!(
            !path.exists() || is_description(&path),
            "-o is {}, and what made the picture would replace {}, which vqgen did not write: name another file",
            file.display(),
            path.display()
        );
        Ok(Some(path))
    }

    /// The paths of `n` single pictures, with `-0007` before the extension.
    ///
    /// # Errors
    /// A stream, which holds a single picture, or a path among `inputs`.
    pub(super) fn separate(&self, n: usize, inputs: &[PathBuf]) -> anyhow::Result<Separate<'_>> {
        let Place::File(file) = &self.place else {
            anyhow::bail!("--separate writes a file for each image: name a file with -o");
        };
        let separate = Separate { file, format: self.format };
        for input in inputs {
            // Only names of this form can collide, and there may be very many outputs.
            let collides = |index: usize| index < n && same_file(&separate.path(index), input);
            anyhow::ensure!(
                !number_in(file, input).is_some_and(collides),
                "--separate would replace {}, which is an input: name another file with -o",
                input.display()
            );
        }
        Ok(separate)
    }

    /// Writes the picture; a PNG also holds `text`.
    pub(super) fn write(&self, picture: &Picture, text: Option<&str>) -> anyhow::Result<()> {
        let bytes = picture.encode_with(self.format, text)?;
        match &self.place {
            Place::File(path) => Ok(atomic::write(path, &bytes)?),
            Place::Stream(path) => {
                let written = open_stream(path).and_then(|mut file| file.write_all(&bytes));
                written.with_context(|| format!("cannot write {}", path.display()))
            }
            Place::Stdout => match io::stdout().write_all(&bytes) {
                // A closed pipe is not an error: the reader has seen enough.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).context("cannot write to stdout")
                }
                _ => Ok(()),
            },
        }
    }

    /// The path to report as the result; `None` where the picture itself goes to stdout.
    pub(super) fn shown(&self) -> Option<std::path::Display<'_>> {
        match &self.place {
            Place::File(path) | Place::Stream(path) => Some(path.display()),
            Place::Stdout => None,
        }
    }
}

/// A file for each of several pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Separate<'a> {
    file: &'a Path,
    format: PictureFormat,
}

impl Separate<'_> {
    /// The path of picture `index`.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        let mut name = self.file.file_stem().unwrap_or(OsStr::new("image")).to_owned();
        name.push(format!("-{index:04}"));
        if let Some(extension) = self.file.extension() {
            name.push(".");
            name.push(extension);
        }
        self.file.with_file_name(name)
    }

    /// Writes picture `index`; a PNG also holds `text`.
    pub(super) fn write(
        &self,
        index: usize,
        picture: &Picture,
        text: Option<&str>,
    ) -> anyhow::Result<()> {
        Ok(atomic::write(self.path(index), &picture.encode_with(self.format, text)?)?)
    }
}

/// Creates the folder of `path`, removes leftover temporary files of killed processes, and verifies that a file can be
/// created in it.
pub(super) fn prepare_folder(path: &Path) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    atomic::create_dir(folder)?;
    // What cannot be removed, such as another user's file, does no harm.
    let _ = atomic::remove_leftovers(folder, LEFT_OVER_AFTER);
    Ok(atomic::probe(folder)?)
}

/// What exists at `path`.
fn place_of(path: &Path) -> anyhow::Result<Place> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            anyhow::ensure!(
                !path.is_symlink(),
                "-o is {}, a broken link whose target does not exist: name the file itself",
                path.display()
            );
            return Ok(Place::File(path.to_path_buf()));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
    };
    if is_descriptor(path) || is_stream(metadata.file_type()) {
        return Ok(Place::Stream(path.to_path_buf()));
    }
    anyhow::ensure!(
        metadata.is_file(),
        "-o is {}, which is not a regular file, pipe or character device: name another one",
        path.display()
    );
    anyhow::ensure!(
        !metadata.permissions().readonly(),
        "-o is {}, which is read-only: name another file, or make it writable",
        path.display()
    );
    // A link stays a link; its target is replaced.
    let file = if path.is_symlink() { path.canonicalize()? } else { path.to_path_buf() };
    Ok(Place::File(file))
}

/// Whether `path` names an open file descriptor of a process, which no rename can replace.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/fd", "/dev/stderr", "/proc"].iter().any(|folder| path.starts_with(folder))
}

#[cfg(unix)]
fn is_stream(file_type: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file_type.is_fifo() || file_type.is_char_device()
}

#[cfg(not(unix))]
fn is_stream(_: FileType) -> bool {
    false
}

fn open_stream(path: &Path) -> io::Result<File> {
    // Truncating has no effect on a pipe or a device; a regular file behind a descriptor needs it.
    let file = OpenOptions::new().write(true).truncate(true).open(path)?;
    if file.is_terminal() {
        return Err(io::Error::other("it is a terminal"));
    }
    Ok(file)
}

/// The format for the extension of `path`.
fn format_of(path: &Path) -> anyhow::Result<PictureFormat> {
    let Some(extension) = path.extension() else { return Ok(PictureFormat::Png) };
    let known = extension.to_str().and_then(PictureFormat::of_extension);
    known.with_context(|| {
        format!(
            "-o is {}, and pictures are not written as .{}: name a file that ends in one of {}",
            path.display(),
            extension.to_string_lossy(),
            PictureFormat::EXTENSIONS
        )
    })
}

fn check_is_no_input(file: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    match inputs.iter().find(|input| same_file(file, input) || is_of_data_set(file, input)) {
        None => Ok(()),
        Some(_) => anyhow::bail!(
            "-o is {}, which is an input and would be replaced: name another file",
            file.display()
        ),
    }
}

/// Whether `file` exists in the folder `input` of a data set and is none that vqgen drew there.
fn is_of_data_set(file: &Path, input: &Path) -> bool {
    let (Ok(file), Ok(input)) = (file.canonicalize(), input.canonicalize()) else { return false };
    input.is_dir() && file.starts_with(&input) && !is_description(&file.with_extension("json"))
}

/// Whether both paths lead to the same existing file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The number 7 where `path` is `file` with `-0007` before its extension.
fn number_in(file: &Path, path: &Path) -> Option<usize> {
    let (stem, name) = (file.file_stem()?.to_str()?, path.file_stem()?.to_str()?);
    name.strip_prefix(stem)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture { pixels: vec![7; 12], height: 2, width: 2, channels: 3 }
    }

    fn refusal(path: &Path, inputs: &[PathBuf]) -> String {
        Output::prepare(path, "default.png", inputs).unwrap_err().to_string()
    }

    #[test]
    fn the_extension_says_the_format_and_a_folder_takes_the_default_name() {
        let dir = tempfile::tempdir().unwrap();
        for (name, written, format) in [
            ("x.jpg", "x.jpg", image::ImageFormat::Jpeg),
            ("y.WEBP", "y.WEBP", image::ImageFormat::WebP),
            ("plain", "plain", image::ImageFormat::Png),
            ("new/", "new/default.png", image::ImageFormat::Png),
            ("", "default.png", image::ImageFormat::Png),
        ] {
            let output = Output::prepare(&dir.path().join(name), "default.png", &[]).unwrap();
            output.write(&picture(), None).unwrap();
            let bytes = std::fs::read(dir.path().join(written)).unwrap();
            assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
        }
        let message = refusal(&dir.path().join("x.json"), &[]);
        assert!(message.contains("not written as .json: name a file that ends in"), "{message}");
    }

    #[test]
    fn inputs_read_only_files_and_strangers_notes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["a.png", "a-0002.png", "sheet.json"] {
            std::fs::write(path(name), "{}").unwrap();
        }
        let inputs = [path("a.png"), path("a-0002.png")];
        let roundabout = path("a.png").parent().unwrap().join("./a.png");
        assert!(refusal(&roundabout, &inputs).contains("which is an input"));
        let output = Output::prepare(&path("a.png"), "", &[]).unwrap();
        assert!(output.separate(2, &inputs).is_ok());
        let message = output.separate(3, &inputs).unwrap_err().to_string();
        assert!(message.contains("a-0002.png, which is an input"), "{message}");

        let sheet = Output::prepare(&path("sheet.png"), "", &[]).unwrap();
        assert!(sheet.note_path().unwrap_err().to_string().contains("which vqgen did not write"));
        std::fs::write(path("sheet.json"), r#"{"vqgen": "0.1.0"}"#).unwrap();
        assert_eq!(sheet.note_path().unwrap(), Some(path("sheet.json")));

        let mut permissions = std::fs::metadata(path("a.png")).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(path("a.png"), permissions).unwrap();
        assert!(refusal(&path("a.png"), &[]).contains("which is read-only"));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_links_stay_what_they_are() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pipe = path("pipe.jpg");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let output = Output::prepare(&pipe, "", &[]).unwrap();
        assert_eq!(output.note_path().unwrap(), None);
        assert!(output.separate(1, &[]).is_err());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        output.write(&picture(), None).unwrap();
        let bytes = reader.join().unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), image::ImageFormat::Png);
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());

        Output::prepare(Path::new("/dev/null"), "", &[]).unwrap().write(&picture(), None).unwrap();
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());

        std::fs::write(path("real.png"), "old").unwrap();
        symlink(path("real.png"), path("link.png")).unwrap();
        Output::prepare(&path("link.png"), "", &[]).unwrap().write(&picture(), None).unwrap();
        assert!(path("link.png").is_symlink());
        assert!(std::fs::read(path("real.png")).unwrap().len() > 3);
        symlink(path("nothing"), path("dangling.png")).unwrap();
        assert!(refusal(&path("dangling.png"), &[]).contains("does not exist"));
        let _listener = std::os::unix::net::UnixListener::bind(path("socket.png")).unwrap();
        assert!(refusal(&path("socket.png"), &[]).contains("not a regular file"));
    }
}
