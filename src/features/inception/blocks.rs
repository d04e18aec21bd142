//! The blocks of Inception: several branches over one input, whose outputs are concatenated. A is for 35x35 places, C for
//! 17x17 and E for 8x8; B and D halve.

use burn::module::Module;
use burn::tensor::Tensor;

use super::layers::{BasicConv2d, average_pool};
use crate::ops::init::WeightInit;
use crate::ops::resample::max_pool;

fn concatenated<const N: usize>(branches: [Tensor<4>; N]) -> Tensor<4> {
    Tensor::cat(branches.to_vec(), 3)
}

/// Applies layers one after another.
fn chain<const N: usize>(x: &Tensor<4>, layers: [&BasicConv2d; N]) -> Tensor<4> {
    layers.into_iter().fold(x.clone(), |h, layer| layer.forward(h))
}

#[derive(Module, Debug)]
pub(super) struct BlockA {
    branch1x1: BasicConv2d,
    branch5x5_1: BasicConv2d,
    branch5x5_2: BasicConv2d,
    branch3x3dbl_1: BasicConv2d,
    branch3x3dbl_2: BasicConv2d,
    branch3x3dbl_3: BasicConv2d,
    branch_pool: BasicConv2d,
}

impl BlockA {
    pub(super) fn new(c_in: usize, pooled: usize, init: &mut WeightInit) -> Self {
        Self {
            branch1x1: BasicConv2d::new(c_in, 64, [1, 1], init),
            branch5x5_1: BasicConv2d::new(c_in, 48, [1, 1], init),
            branch5x5_2: BasicConv2d::new(48, 64, [5, 5], init),
            branch3x3dbl_1: BasicConv2d::new(c_in, 64, [1, 1], init),
            branch3x3dbl_2: BasicConv2d::new(64, 96, [3, 3], init),
            branch3x3dbl_3: BasicConv2d::new(96, 96, [3, 3], init),
            branch_pool: BasicConv2d::new(c_in, pooled, [1, 1], init),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        concatenated([
            chain(&x, [&self.branch1x1]),
            chain(&x, [&self.branch5x5_1, &self.branch5x5_2]),
            chain(&x, [&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3]),
            chain(&average_pool(x), [&self.branch_pool]),
        ])
    }
}

#[derive(Module, Debug)]
pub(super) struct BlockB {
    branch3x3: BasicConv2d,
    branch3x3dbl_1: BasicConv2d,
    branch3x3dbl_2: BasicConv2d,
    branch3x3dbl_3: BasicConv2d,
}

impl BlockB {
    pub(super) fn new(c_in: usize, init: &mut WeightInit) -> Self {
        Self {
            branch3x3: BasicConv2d::new(c_in, 384, [3, 3], init).strided(2).unpadded(),
            branch3x3dbl_1: BasicConv2d::new(c_in, 64, [1, 1], init),
            branch3x3dbl_2: BasicConv2d::new(64, 96, [3, 3], init),
            branch3x3dbl_3: BasicConv2d::new(96, 96, [3, 3], init).strided(2).unpadded(),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        concatenated([
            chain(&x, [&self.branch3x3]),
            chain(&x, [&self.branch3x3dbl_1, &self.branch3x3dbl_2, &self.branch3x3dbl_3]),
            max_pool(x, 3, 2, 0),
        ])
    }
}

#[derive(Module, Debug)]
pub(super) struct BlockC {
    branch1x1: BasicConv2d,
    branch7x7_1: BasicConv2d,
    branch7x7_2: BasicConv2d,
    branch7x7_3: BasicConv2d,
    branch7x7dbl_1: BasicConv2d,
    branch7x7dbl_2: BasicConv2d,
    branch7x7dbl_3: BasicConv2d,
    branch7x7dbl_4: BasicConv2d,
    branch7x7dbl_5: BasicConv2d,
    branch_pool: BasicConv2d,
}

impl BlockC {
    pub(super) fn new(c_in: usize, inner: usize, init: &mut WeightInit) -> Self {
        Self {
            branch1x1: BasicConv2d::new(c_in, 192, [1, 1], init),
            branch7x7_1: BasicConv2d::new(c_in, inner, [1, 1], init),
            branch7x7_2: BasicConv2d::new(inner, inner, [1, 7], init),
            branch7x7_3: BasicConv2d::new(inner, 192, [7, 1], init),
            branch7x7dbl_1: BasicConv2d::new(c_in, inner, [1, 1], init),
            branch7x7dbl_2: BasicConv2d::new(inner, inner, [7, 1], init),
            branch7x7dbl_3: BasicConv2d::new(inner, inner, [1, 7], init),
            branch7x7dbl_4: BasicConv2d::new(inner, inner, [7, 1], init),
            branch7x7dbl_5: BasicConv2d::new(inner, 192, [1, 7], init),
            branch_pool: BasicConv2d::new(c_in, 192, [1, 1], init),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let twice = [
            &self.branch7x7dbl_1,
            &self.branch7x7dbl_2,
            &self.branch7x7dbl_3,
            &self.branch7x7dbl_4,
            &self.branch7x7dbl_5,
        ];
        concatenated([
            chain(&x, [&self.branch1x1]),
            chain(&x, [&self.branch7x7_1, &self.branch7x7_2, &self.branch7x7_3]),
            chain(&x, twice),
            chain(&average_pool(x), [&self.branch_pool]),
        ])
    }
}

#[derive(Module, Debug)]
pub(super) struct BlockD {
    branch3x3_1: BasicConv2d,
    branch3x3_2: BasicConv2d,
    branch7x7x3_1: BasicConv2d,
    branch7x7x3_2: BasicConv2d,
    branch7x7x3_3: BasicConv2d,
    branch7x7x3_4: BasicConv2d,
}

impl BlockD {
    pub(super) fn new(c_in: usize, init: &mut WeightInit) -> Self {
        Self {
            branch3x3_1: BasicConv2d::new(c_in, 192, [1, 1], init),
            branch3x3_2: BasicConv2d::new(192, 320, [3, 3], init).strided(2).unpadded(),
            branch7x7x3_1: BasicConv2d::new(c_in, 192, [1, 1], init),
            branch7x7x3_2: BasicConv2d::new(192, 192, [1, 7], init),
            branch7x7x3_3: BasicConv2d::new(192, 192, [7, 1], init),
            branch7x7x3_4: BasicConv2d::new(192, 192, [3, 3], init).strided(2).unpadded(),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let seven =
            [&self.branch7x7x3_1, &self.branch7x7x3_2, &self.branch7x7x3_3, &self.branch7x7x3_4];
        concatenated([
            chain(&x, [&self.branch3x3_1, &self.branch3x3_2]),
            chain(&x, seven),
            max_pool(x, 3, 2, 0),
        ])
    }
}

/// The pool of a [`BlockE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Average,
    Maximum,
}

#[derive(Module, Debug)]
pub(super) struct BlockE {
    branch1x1: BasicConv2d,
    branch3x3_1: BasicConv2d,
    branch3x3_2a: BasicConv2d,
    branch3x3_2b: BasicConv2d,
    branch3x3dbl_1: BasicConv2d,
    branch3x3dbl_2: BasicConv2d,
    branch3x3dbl_3a: BasicConv2d,
    branch3x3dbl_3b: BasicConv2d,
    branch_pool: BasicConv2d,
    #[module(skip)]
    pool: Pool,
}

impl BlockE {
    pub(super) fn new(c_in: usize, pool: Pool, init: &mut WeightInit) -> Self {
        Self {
            branch1x1: BasicConv2d::new(c_in, 320, [1, 1], init),
            branch3x3_1: BasicConv2d::new(c_in, 384, [1, 1], init),
            branch3x3_2a: BasicConv2d::new(384, 384, [1, 3], init),
            branch3x3_2b: BasicConv2d::new(384, 384, [3, 1], init),
            branch3x3dbl_1: BasicConv2d::new(c_in, 448, [1, 1], init),
            branch3x3dbl_2: BasicConv2d::new(448, 384, [3, 3], init),
            branch3x3dbl_3a: BasicConv2d::new(384, 384, [1, 3], init),
            branch3x3dbl_3b: BasicConv2d::new(384, 384, [3, 1], init),
            branch_pool: BasicConv2d::new(c_in, 192, [1, 1], init),
            pool,
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let once = self.branch3x3_1.forward(x.clone());
        let twice = chain(&x, [&self.branch3x3dbl_1, &self.branch3x3dbl_2]);
        let first = self.branch1x1.forward(x.clone());
        let pooled = match self.pool {
            Pool::Average => average_pool(x),
            Pool::Maximum => max_pool(x, 3, 1, 1),
        };
        concatenated([
            first,
            self.branch3x3_2a.forward(once.clone()),
            self.branch3x3_2b.forward(once),
            self.branch3x3dbl_3a.forward(twice.clone()),
            self.branch3x3dbl_3b.forward(twice),
            self.branch_pool.forward(pooled),
        ])
    }
}
