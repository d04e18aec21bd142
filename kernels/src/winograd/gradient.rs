//! Gradients of a convolution. The weight gradient of each position is a GEMM over all tiles of a batch. Where the
//! transformed tiles of the batch take little memory they are kept, and the positions are multiplied in parallel.
//! Otherwise parts of the batch are summed in parallel, each with kernel gradients of its own.

use rayon::prelude::*;

use super::kernel::kernel_gradients;
use super::{Places, Side, TileRows, Winograd};
use crate::conv::{Input, PARTS, Sums, in_parts, sum_rows};
use crate::fresh::in_blocks_with;
use crate::gradients::{MapGradients, Wanted};
use crate::product::{Buffer, Left, Matrix, Right, add_product, multiply};
use crate::scratch::with_scratch;
use crate::sums::sum_of;

/// The operands of a backward pass.
#[derive(Debug, Clone, Copy)]
struct Operands<'a> {
    x: Input<'a>,
    /// With respect to the output.
    gradient: &'a [f32],
    batch: usize,
    wanted: Wanted,
}

/// The transformed tiles of a block on either side.
struct Transformed {
    sides: [Buffer; 2],
    tiles: usize,
}

impl Winograd {
    /// Gradients of [`Self::forward`], given `gradient` w.r.t. its output, which is also that w.r.t. the residual.
    pub(in super::super) fn gradients(
        &self,
        x: Input,
        weight: &[f32],
        gradient: &[f32],
        wanted: Wanted,
    ) -> MapGradients {
        let weights = if wanted.input { self.weights(weight, true) } else { Vec::new() };
        let [x_side, _] = self.sides();
        let batch = x.values.len() / self.len(x_side);
        let operands = Operands { x, gradient, batch, wanted };
        if self.is_small(batch) {
            self.gradients_together(operands, &weights)
        } else {
            self.gradients_in_parts(operands, &weights)
        }
    }

    /// Whether the transformed tiles of a batch take less memory than the kernel gradients of its parts.
    fn is_small(&self, batch: usize) -> bool {
        let [rows, columns] = self.tiles();
        let [x, y] = self.matrix();
        batch * rows * columns * (x + y) <= PARTS * x * y
    }

    /// All tiles are transformed before the positions are multiplied.
    fn gradients_together(&self, operands: Operands, weights: &[Right]) -> MapGradients {
        let Operands { x, gradient, batch, wanted } = operands;
        let [x_len, y_len] = self.sides().map(|side| self.len(side));
        let images = self.images_at_once(batch);
        let task = |index: usize, mut by_x: Option<&mut [f32]>| {
            let range = index * images..batch.min((index + 1) * images);
            let x = x.of_images(range.clone(), x_len);
            let gradient = Input { values: gradient, relu: false }.of_images(range.clone(), y_len);
            let blocks = self.blocks(range.len());
            let blocks: Vec<_> = blocks
                .map(|rows| self.block(x, gradient, &rows, weights, wanted, by_x.as_deref_mut()))
                .collect();
            if let Some(by_x) = by_x {
                x.to_image_gradient(by_x);
            }
            (blocks, self.bias_sums(gradient, wanted))
        };
        let (input, tasks) = if wanted.input {
            let work = |index: usize, by_x: &mut [f32]| task(index, Some(by_x));
            let (input, tasks) = in_blocks_with(batch * x_len, images * x_len, work);
            (Some(input), tasks)
        } else {
            let tasks = 0..batch.div_ceil(images);
            (None, tasks.into_par_iter().map(|index| task(index, None)).collect())
        };
        let (blocks, biases): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let blocks: Vec<_> = blocks.into_iter().flatten().collect();
        let by_kernels = |place: usize| {
            let mut by_kernel = Vec::new();
            for block in &blocks {
                let [of_x, of_y] = self.of_place(block, place);
                let of_x = Left::new(of_x.transposed(), self.precision);
                add_product(&mut by_kernel, &of_x, &Right::new(of_y, self.precision));
            }
            by_kernel
        };
        let weight = wanted.weight.then(|| {
            let places = (0..self.places()).into_par_iter();
            kernel_gradients(&places.map(by_kernels).collect::<Vec<_>>(), self)
        });
        let [_, y_side] = self.sides();
        let bias = wanted.bias.then(|| sum_of(biases, self.channels(y_side)));
        MapGradients { input, weight, bias }
    }

    /// Transforms the tiles of `rows`, and adds to the input gradient `by_x` if it is wanted.
    fn block(
        &self,
        x: Input,
        gradient: Input,
        rows: &TileRows,
        weights: &[Right],
        wanted: Wanted,
        by_x: Option<&mut [f32]>,
    ) -> Transformed {
        let [x_side, y_side] = self.sides();
        let of = |side: Side, is_needed: bool| {
            Buffer::new(if is_needed { self.places_len(side, rows) } else { 0 })
        };
        let (mut of_x, mut of_y) = (of(x_side, wanted.weight), of(y_side, true));
        if wanted.weight {
            self.set_places(x_side, &mut self.places_in(&mut of_x, x_side, rows), x, rows);
        }
        let places = &mut self.places_in(&mut of_y, y_side, rows);
        self.set_places(y_side, places, gradient, rows);
        if let Some(by_x) = by_x {
            with_scratch(self.places_len(x_side, rows), |buffer| {
                let by_places = &mut self.places_in(buffer, x_side, rows);
                self.multiply_back(places, weights, by_places);
                self.add_places(x_side, by_places, by_x, rows);
            });
        }
        let tiles = places.tiles;
        Transformed { sides: [of_x, of_y], tiles }
    }

    /// Transformed gradients of the input from those of the output.
    fn multiply_back(&self, by_y: &Places, weights: &[Right], by_x: &mut Places) {
        for (place, weight) in weights.iter().enumerate() {
            let by_y = Left::new(by_y.of(place), self.precision);
            multiply(by_x.to(place), &by_y, weight, false);
        }
    }

    /// The matrices of a position on either side.
    fn of_place<'a>(&self, block: &'a Transformed, place: usize) -> [Matrix<'a>; 2] {
        let [x_side, y_side] = self.sides();
        [(x_side, &block.sides[0]), (y_side, &block.sides[1])].map(|(side, values)| {
            let stride = values.len() / self.places();
            Matrix::new(&values[place * stride..], block.tiles, self.place_channels(side))
        })
    }

    fn bias_sums(&self, gradient: Input, wanted: Wanted) -> Vec<f32> {
        let [_, y_side] = self.sides();
        let mut sums = Vec::new();
        if wanted.bias {
            sum_rows(gradient.values, &mut sums, self.channels(y_side));
        }
        sums
    }

    /// Parts of the batch are summed by themselves.
    fn gradients_in_parts(&self, operands: Operands, weights: &[Right]) -> MapGradients {
        let Operands { x, gradient, batch, wanted } = operands;
        let [x_side, y_side] = self.sides();
        let [x_len, y_len] = self.sides().map(|side| self.len(side));
        in_parts(batch, x_len, wanted, |images, sums: &mut Sums, mut by_x| {
            let x = x.of_images(images.clone(), x_len);
            let gradient = Input { values: gradient, relu: false }.of_images(images.clone(), y_len);
            sums.bias = self.bias_sums(gradient, wanted);
            if !(wanted.weight || wanted.input) {
                return;
            }
            let mut by_kernels = vec![Vec::new(); if wanted.weight { self.places() } else { 0 }];
            for rows in self.blocks(images.len()) {
                self.with_places(&rows, |[of_x, of_y]| {
                    self.set_places(y_side, of_y, gradient, &rows);
                    if wanted.weight {
                        self.set_places(x_side, of_x, x, &rows);
                    }
                    for (place, by_kernel) in by_kernels.iter_mut().enumerate() {
                        let of_x = Left::new(of_x.of(place).transposed(), self.precision);
                        add_product(by_kernel, &of_x, &Right::new(of_y.of(place), self.precision));
                    }
                    if let Some(by_x) = by_x.as_deref_mut() {
                        // Reuses the buffer of the transformed input, which is no longer needed.
                        self.multiply_back(of_y, weights, of_x);
                        self.add_places(x_side, of_x, by_x, &rows);
                    }
                });
            }
            if wanted.weight {
                sums.weight = kernel_gradients(&by_kernels, self);
            }
            if let Some(by_x) = by_x {
                x.to_image_gradient(by_x);
            }
        })
    }
}
