//! Geometry of a convolution, and the copies between an image and its patch matrix (im2col and col2im).

use std::ops::Range;

use super::precision::Precision;
use super::product::{self, Matrix, Right};
use super::scratch::with_scratch;

/// Size, stride and padding of a square convolution kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride, in pixels.
    pub stride: usize,
    /// Zero padding on each side of the image.
    pub padding: usize,
}

impl Window {
    /// Number of patches along an axis of `size` pixels.
    pub(super) fn patches(&self, size: usize) -> usize {
        let padded = size + 2 * self.padding;
        assert!(padded >= self.kernel, "a kernel of {} on {padded} padded pixels", self.kernel);
        (padded - self.kernel) / self.stride + 1
    }

    /// Pixels along an axis that `patches` patches cover, minus the padding: the output size of a transposed
    /// convolution.
    pub(super) fn pixels(&self, patches: usize) -> usize {
        (patches - 1) * self.stride + self.kernel - 2 * self.padding
    }

    /// Whether the patches are exactly the pixels: a 1x1 kernel of stride 1 without padding.
    fn is_pixelwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}

/// An image, `[height, width, channels]`, and the patches of a window over it, `[rows, columns]` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) window: Window,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Geometry {
    pub(super) fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    pub(super) fn patch_len(&self) -> usize {
        self.window.kernel * self.window.kernel * self.channels
    }

    pub(super) fn n_patches(&self) -> usize {
        self.rows * self.columns
    }

    /// Ranges of rows of patches to process at a time, so that their matrix stays in the L2 cache.
    pub(super) fn row_blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        const PATCHES: usize = 256;
        let rows = self.rows;
        let at_once = (PATCHES / self.columns).clamp(1, rows);
        (0..rows).step_by(at_once).map(move |first| first..rows.min(first + at_once))
    }

    /// Whether the patch matrix is the image itself, so that no copy is needed.
    pub(super) fn is_image(&self) -> bool {
        self.window.is_pixelwise()
    }

    /// Calls `each` with the contiguous runs of values that make up the patch at `(row, column)`, in order.
    #[inline(always)] // the two callers share nothing but the traversal
    fn runs(&self, row: usize, column: usize, mut each: impl FnMut(Run)) {
        let Window { kernel, stride, padding } = self.window;
        let channels = self.channels;
        let left = column * stride;
        // Kernel columns that lie inside the image.
        let first = padding.saturating_sub(left).min(kernel);
        let last = (self.width + padding).saturating_sub(left).clamp(first, kernel);
        for kernel_row in 0..kernel {
            let patch = kernel_row * kernel * channels;
            let y = row * stride + kernel_row;
            if y < padding || y >= self.height + padding {
                each(Run { patch, image: None, len: kernel * channels });
                continue;
            }
            if first > 0 {
                each(Run { patch, image: None, len: first * channels });
            }
            if last > first {
                let x = left + first - padding;
                let image = Some(((y - padding) * self.width + x) * channels);
                each(Run {
                    patch: patch + first * channels,
                    image,
                    len: (last - first) * channels,
                });
            }
            if last < kernel {
                let len = (kernel - last) * channels;
                each(Run { patch: patch + last * channels, image: None, len });
            }
        }
    }

    /// Writes the patches of `rows` of `image` to `patches`, `[rows * columns, patch_len]`.
    pub(super) fn gather(&self, image: &[f32], rows: Range<usize>, patches: &mut [f32]) {
        let mut places = patches.chunks_exact_mut(self.patch_len());
        for row in rows {
            for (column, place) in (0..self.columns).zip(&mut places) {
                self.runs(row, column, |Run { patch, image: from, len }| {
                    let to = &mut place[patch..patch + len];
                    match from {
                        Some(from) => to.copy_from_slice(&image[from..from + len]),
                        None => to.fill(0.0),
                    }
                });
            }
        }
    }

    /// The same matrix, packed as a right operand.
    pub(super) fn gather_right(
        &self,
        image: &[f32],
        rows: Range<usize>,
        precision: Precision,
    ) -> Right {
        let n = rows.len() * self.columns;
        if self.is_image() {
            let from = rows.start * self.columns * self.channels;
            return Right::new(Matrix::new(&image[from..], n, self.channels), precision);
        }
        let patch_len = self.patch_len();
        let places =
            rows.clone().flat_map(|row| (0..self.columns).map(move |column| (row, column)));
        let packed = Right::from_runs([n, patch_len], precision, |set| {
            for (index, (row, column)) in places.enumerate() {
                self.runs(row, column, |Run { patch, image: from, len }| {
                    let run = match from {
                        Some(from) => product::Run::Values(&image[from..from + len]),
                        None => product::Run::Zeros(len),
                    };
                    set(index, patch, run);
                });
            }
        });
        packed.unwrap_or_else(|| {
            with_scratch(n * patch_len, |patches| {
                self.gather(image, rows, patches);
                Right::new(Matrix::new(patches, n, patch_len), precision)
            })
        })
    }

    /// Adds `patches` of `rows`, in the layout of [`Self::gather`], to `image`.
    pub(super) fn scatter(&self, patches: &[f32], rows: Range<usize>, image: &mut [f32]) {
        let mut places = patches.chunks_exact(self.patch_len());
        for row in rows {
            for (column, place) in (0..self.columns).zip(&mut places) {
                self.runs(row, column, |Run { patch, image: to, len }| {
                    let Some(to) = to else { return };
                    let values = &place[patch..patch + len];
                    for (sum, value) in image[to..to + len].iter_mut().zip(values) {
                        *sum += value;
                    }
                });
            }
        }
    }
}

/// Consecutive values of a patch that are contiguous in the image too, or all lie in the padding.
struct Run {
    /// Offset in the patch.
    patch: usize,
    /// Offset in the image; `None` in the padding.
    image: Option<usize>,
    len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(window: Window) -> Geometry {
        let (height, width) = (3, 4);
        let (rows, columns) = (window.patches(height), window.patches(width));
        Geometry { window, height, width, channels: 2, rows, columns }
    }

    #[test]
    fn patches_hold_the_pixels_under_the_kernel_and_zeros_in_the_padding() {
        let geometry = geometry(Window { kernel: 3, stride: 1, padding: 1 });
        let image: Vec<f32> = (1..=24).map(|v| v as f32).collect();
        let mut patches = vec![9.0; geometry.n_patches() * geometry.patch_len()];
        geometry.gather(&image, 0..3, &mut patches);
        let first = [0., 0., 0., 0., 0., 0., 0., 0., 1., 2., 3., 4., 0., 0., 9., 10., 11., 12.];
        assert_eq!(&patches[..18], first);
    }

    #[test]
    fn scattering_is_the_transpose_of_gathering() {
        for (kernel, stride, padding) in [(3, 1, 1), (4, 2, 1), (1, 1, 0), (2, 2, 0), (3, 2, 2)] {
            let geometry = geometry(Window { kernel, stride, padding });
            let image: Vec<f32> = (0..24).map(|v| (v * 7 % 11) as f32).collect();
            let n = geometry.n_patches() * geometry.patch_len();
            let patches: Vec<f32> = (0..n).map(|v| (v * 5 % 13) as f32).collect();
            let mut gathered = vec![0.0; n];
            geometry.gather(&image, 0..geometry.rows, &mut gathered);
            let mut scattered = vec![0.0; image.len()];
            geometry.scatter(&patches, 0..geometry.rows, &mut scattered);
            let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
            assert_eq!(dot(&gathered, &patches), dot(&image, &scattered));
        }
    }
}
