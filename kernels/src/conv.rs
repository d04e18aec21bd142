//! Convolution and transposed convolution over channels-last images as GEMMs over patches (im2col), a few rows of
//! patches at a time.
//!
//! The two are a pair. A convolution multiplies the patches of the large image by the weights; a transposed one
//! multiplies the small image by the weights and scatters the patches back (col2im). Each is the other's input
//! gradient. Where [`super::winograd`] is faster, it is used instead; what both share is here.

use std::ops::Range;

use rayon::prelude::*;

use super::fresh::{Pieces, in_blocks, in_blocks_with, set_in_blocks};
use super::gradients::{MapGradients, Wanted};
use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, Right, add_product, multiply, product_in};
use super::scratch::with_scratch;
use super::sums::{add, sum_of};
use super::wide::wide;
use super::window::Geometry;

/// Parts that a batch is split into for sums over its images. Constant, so that the order of summation is too; enough
/// for the cores of a workstation.
pub(super) const PARTS: usize = 16;

/// The input images of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) values: &'a [f32],
    /// Whether ReLU is applied to them first.
    pub(super) relu: bool,
}

impl<'a> Input<'a> {
    /// A range of the images.
    pub(super) fn of_images(self, images: Range<usize>, len: usize) -> Self {
        Self { values: &self.values[images.start * len..images.end * len], ..self }
    }

    /// Calls `work` with image `index`.
    fn with_image<R>(&self, index: usize, len: usize, work: impl FnOnce(&[f32]) -> R) -> R {
        let values = self.of_images(index..index + 1, len).values;
        if !self.relu {
            return work(values);
        }
        with_scratch(len, |image| {
            wide!({
                for (to, &value) in image.iter_mut().zip(values) {
                    // Written so that NaN propagates.
                    *to = if value <= 0.0 { 0.0 } else { value };
                }
            });
            work(image)
        })
    }

    /// The input for the backward pass: only the weight gradient reads the values after ReLU, so without it they are
    /// not computed.
    fn for_weights(self, wanted: Wanted) -> Self {
        Self { relu: self.relu && wanted.weight, ..self }
    }

    /// Turns the gradient after ReLU into that w.r.t. these images.
    pub(super) fn to_image_gradient(self, gradient: &mut [f32]) {
        if self.relu {
            wide!({
                for (gradient, &value) in gradient.iter_mut().zip(self.values) {
                    *gradient = if value <= 0.0 { 0.0 } else { *gradient };
                }
            });
        }
    }
}

/// Patches of `large` times `weight` plus `bias`, plus `residual`.
///
/// # Shapes
/// - `large`: `[batch, height, width, channels]` of `geometry`
/// - `weight`: `[patch_len, c_out]`
/// - output, `residual`: `[batch, rows, columns, c_out]`
pub(super) fn gather_product(
    large: Input,
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    c_out: usize,
    geometry: &Geometry,
    precision: Precision,
) -> Vec<f32> {
    let patch_len = geometry.patch_len();
    let weight = Right::shared(Matrix::new(weight, patch_len, c_out), precision);
    let image_len = geometry.image_len();
    let batch = large.values.len() / image_len;
    let out_len = geometry.n_patches() * c_out;
    set_in_blocks(batch * out_len, out_len, |index, out| {
        large.with_image(index, image_len, |image| {
            let mut pieces = Pieces::of(out);
            for rows in geometry.row_blocks() {
                let n = rows.len() * geometry.columns;
                let from = index * out_len + rows.start * geometry.columns * c_out;
                with_patches(geometry, image, rows, |patches| {
                    let patches = Left::new(Matrix::new(patches, n, patch_len), precision);
                    pieces.set_next(n * c_out, |out| {
                        let out = product_in(out, &patches, &weight);
                        if let Some(bias) = bias {
                            add_to_rows(out, bias);
                        }
                        if let Some(residual) = residual {
                            add(out, &residual[from..]);
                        }
                        out
                    });
                });
            }
            pieces.finish()
        })
    })
}

/// Gradients of [`gather_product`], given `gradient` w.r.t. its output, which is also that w.r.t. the residual.
pub(super) fn gather_product_gradients(
    large: Input,
    weight: &[f32],
    gradient: &[f32],
    c_out: usize,
    geometry: &Geometry,
    precision: Precision,
    wanted: Wanted,
) -> MapGradients {
    let patch_len = geometry.patch_len();
    let transposed = || Matrix::new(weight, patch_len, c_out).transposed();
    let transposed = wanted.input.then(|| Right::shared(transposed(), precision));
    let (image_len, out_len) = (geometry.image_len(), geometry.n_patches() * c_out);
    let batch = large.values.len() / image_len;
    let gradients = over_images(batch, image_len, wanted, |index, sums, mut by_image| {
        let gradient = &gradient[index * out_len..(index + 1) * out_len];
        if wanted.bias {
            sum_rows(gradient, &mut sums.bias, c_out);
        }
        large.for_weights(wanted).with_image(index, image_len, |image| {
            for rows in geometry.row_blocks() {
                let (first, n) = (rows.start * geometry.columns, rows.len() * geometry.columns);
                let gradient = Matrix::new(&gradient[first * c_out..], n, c_out);
                if wanted.weight {
                    let patches = geometry.gather_right(image, rows.clone(), precision);
                    let gradient = Left::new(gradient.transposed(), precision);
                    add_product(&mut sums.weight, &gradient, &patches);
                }
                let (Some(by_image), Some(transposed)) = (by_image.as_deref_mut(), &transposed)
                else {
                    continue;
                };
                if geometry.is_image() {
                    let out = &mut by_image[first * patch_len..(first + n) * patch_len];
                    let out = MatrixMut::new(out, n, patch_len);
                    multiply(out, &Left::new(gradient, precision), transposed, false);
                    continue;
                }
                with_scratch(n * patch_len, |patches| {
                    let out = MatrixMut::new(patches, n, patch_len);
                    multiply(out, &Left::new(gradient, precision), transposed, false);
                    geometry.scatter(patches, rows, by_image);
                });
            }
        });
        if let Some(by_image) = by_image {
            large.of_images(index..index + 1, image_len).to_image_gradient(by_image);
        }
    });
    // Summed transposed: the larger operand packs faster as the right one.
    let weight = gradients.weight.map(|weight| transposed_rows(&weight, c_out, patch_len));
    MapGradients { weight, ..gradients }
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed_rows(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const AT_ONCE: usize = 64;
    in_blocks(rows * columns, AT_ONCE * rows, |block, out| {
        let first = block * AT_ONCE;
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let places = out.iter_mut().skip(row).step_by(rows);
            places.zip(&values[first..]).for_each(|(to, value)| *to = *value);
        }
    })
}

/// `small` times `weight`, scattered as overlapping patches, plus `bias`, plus `residual`.
///
/// # Shapes
/// - `small`: `[batch, rows, columns, c_in]`
/// - `weight`: `[c_in, patch_len]`
/// - output, `residual`: `[batch, height, width, channels]` of `geometry`
pub(super) fn scatter_product(
    small: Input,
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    c_in: usize,
    geometry: &Geometry,
    precision: Precision,
) -> Vec<f32> {
    let patch_len = geometry.patch_len();
    let weight = Right::shared(Matrix::new(weight, c_in, patch_len), precision);
    let small_len = geometry.n_patches() * c_in;
    let batch = small.values.len() / small_len;
    let image_len = geometry.image_len();
    in_blocks(batch * image_len, image_len, |index, out| {
        if let Some(residual) = residual {
            out.copy_from_slice(&residual[index * image_len..(index + 1) * image_len]);
        }
        if let Some(bias) = bias {
            add_to_rows(out, bias);
        }
        small.with_image(index, small_len, |image| {
            for rows in geometry.row_blocks() {
                let (first, n) = (rows.start * geometry.columns, rows.len() * geometry.columns);
                with_scratch(n * patch_len, |patches| {
                    let block = Left::new(Matrix::new(&image[first * c_in..], n, c_in), precision);
                    multiply(MatrixMut::new(patches, n, patch_len), &block, &weight, false);
                    geometry.scatter(patches, rows, out);
                });
            }
        });
    })
}

/// Gradients of [`scatter_product`], given `gradient` w.r.t. its output, which is also that w.r.t. the residual.
pub(super) fn scatter_product_gradients(
    small: Input,
    weight: &[f32],
    gradient: &[f32],
    c_in: usize,
    geometry: &Geometry,
    precision: Precision,
    wanted: Wanted,
) -> MapGradients {
    let patch_len = geometry.patch_len();
    let transposed = || Matrix::new(weight, c_in, patch_len).transposed();
    let transposed = wanted.input.then(|| Right::shared(transposed(), precision));
    let (small_len, image_len) = (geometry.n_patches() * c_in, geometry.image_len());
    let batch = small.values.len() / small_len;
    over_images(batch, small_len, wanted, |index, sums, mut by_small| {
        let gradient = &gradient[index * image_len..(index + 1) * image_len];
        if wanted.bias {
            sum_rows(gradient, &mut sums.bias, geometry.channels);
        }
        if !(wanted.weight || wanted.input) {
            return;
        }
        small.for_weights(wanted).with_image(index, small_len, |image| {
            for rows in geometry.row_blocks() {
                let (first, n) = (rows.start * geometry.columns, rows.len() * geometry.columns);
                let block = Matrix::new(&image[first * c_in..], n, c_in);
                with_patches(geometry, gradient, rows, |patches| {
                    let patches = Matrix::new(patches, n, patch_len);
                    if wanted.weight {
                        let block = Left::new(block.transposed(), precision);
                        add_product(&mut sums.weight, &block, &Right::new(patches, precision));
                    }
                    if let (Some(by_small), Some(transposed)) =
                        (by_small.as_deref_mut(), &transposed)
                    {
                        let out = &mut by_small[first * c_in..(first + n) * c_in];
                        let out = MatrixMut::new(out, n, c_in);
                        multiply(out, &Left::new(patches, precision), transposed, false);
                    }
                });
            }
        });
        if let Some(by_small) = by_small {
            small.of_images(index..index + 1, small_len).to_image_gradient(by_small);
        }
    })
}

/// Gradients summed over the images of a part of a batch; empty before the first image, and where not wanted.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Calls `work` for each of `batch` images, to add to the sums of its part and, if wanted, to write the input gradient
/// into `input_len` zeros.
fn over_images(
    batch: usize,
    input_len: usize,
    wanted: Wanted,
    work: impl Fn(usize, &mut Sums, Option<&mut [f32]>) + Sync,
) -> MapGradients {
    in_parts(batch, input_len, wanted, |images, sums, mut input| {
        for (place, index) in images.enumerate() {
            let input = input.as_deref_mut();
            let input = input.map(|input| &mut input[place * input_len..(place + 1) * input_len]);
            work(index, sums, input);
        }
    })
}

/// Calls `work` for each of the [`PARTS`] of a batch, to sum over its images and, if wanted, to write their input
/// gradients into `input_len` zeros each; then adds up the parts in order.
pub(super) fn in_parts(
    batch: usize,
    input_len: usize,
    wanted: Wanted,
    work: impl Fn(Range<usize>, &mut Sums, Option<&mut [f32]>) + Sync,
) -> MapGradients {
    let per_part = batch.div_ceil(PARTS).max(1);
    let images_of = |part: usize| part * per_part..batch.min((part + 1) * per_part);
    let (input, sums): (_, Vec<_>) = if wanted.input {
        let part_len = per_part * input_len;
        let (input, sums) = in_blocks_with(batch * input_len, part_len, |part, input| {
            let mut sums = Sums::default();
            work(images_of(part), &mut sums, Some(input));
            sums
        });
        (Some(input), sums)
    } else {
        let parts = (0..batch.div_ceil(per_part)).into_par_iter().map(|part| {
            let mut sums = Sums::default();
            work(images_of(part), &mut sums, None);
            sums
        });
        (None, parts.collect())
    };
    let (weights, biases): (Vec<_>, Vec<_>) =
        sums.into_iter().map(|Sums { weight, bias }| (weight, bias)).unzip();
    let len = |sums: &[Vec<f32>]| sums.first().map_or(0, Vec::len);
    let (weight_len, bias_len) = (len(&weights), len(&biases));
    MapGradients {
        input,
        weight: wanted.weight.then(|| sum_of(weights, weight_len)),
        bias: wanted.bias.then(|| sum_of(biases, bias_len)),
    }
}

/// The patch matrix of `rows`: the image itself where the two are identical.
fn with_patches(geometry: &Geometry, image: &[f32], rows: Range<usize>, work: impl FnOnce(&[f32])) {
    if geometry.is_image() {
        let row_len = geometry.columns * geometry.channels;
        return work(&image[rows.start * row_len..rows.end * row_len]);
    }
    with_scratch(rows.len() * geometry.columns * geometry.patch_len(), |patches| {
        geometry.gather(image, rows, patches);
        work(patches);
    });
}

/// Adds `bias` to each row.
pub(super) fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
    wide!({
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    });
}

/// Adds every row of `width` to `sums`, which is empty before the first.
pub(super) fn sum_rows(rows: &[f32], sums: &mut Vec<f32>, width: usize) {
    sums.resize(width, 0.0);
    Matrix::new(rows, rows.len() / width, width).sum_rows(sums);
}
