//! The codebook as an exponential moving average of the latents assigned to each code (appendix A.1 of van den Oord et
//! al. 2017), bias-corrected as in sonnet: the averages start at zero and are divided by `1 - decay^t`. Dead codes can
//! be restarted from current latents (Dhariwal et al. 2020, "Jukebox").

use burn::tensor::{Int, Tensor};

use super::quantizer::Codebook;
use crate::ops::moving_average::{AverageStep, Averages, moving_average};
use crate::ops::nearest::{CodeSums, sums_by_code};
use crate::rng::Stream;

/// Laplace smoothing, as in sonnet: keeps the count of an empty code away from 0.
const LAPLACE: f64 = 1e-5;

/// The running statistics of a codebook. They are part of the resume state.
#[derive(Debug, Clone)]
pub struct EmaCodebook {
    /// Moving average of the counts, before bias correction, `[codes]`.
    pub counts: Tensor<1>,
    /// Moving average of the sums, before bias correction, `[codes, code_dim]`.
    pub sums: Tensor<2>,
    /// Updates so far.
    pub updates: u64,
    decay: f64,
}

impl EmaCodebook {
    /// Empty statistics for a codebook of this shape.
    pub fn new(codebook: &Codebook, decay: f64) -> Self {
        let [codes, dim] = codebook.weight.lazy_shape().dims();
        let device = codebook.weight.lazy_device().without_autodiff();
        Self {
            counts: Tensor::zeros([codes], &device),
            sums: Tensor::zeros([codes, dim], &device),
            updates: 0,
            decay,
        }
    }

    /// Statistics restored from a file.
    pub fn restored(counts: Tensor<1>, sums: Tensor<2>, updates: u64, decay: f64) -> Self {
        Self { counts, sums, updates, decay }
    }

    /// Updates the averages with one batch and returns the new code vectors and the batch's counts. A code that was
    /// never assigned has no average, and keeps its vector in `current`: sonnet's formula would set all of these to 0.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`, as compared with the codes, detached
    /// - `codes`: `[n]`
    /// - `current`: `[codes, code_dim]`
    /// - output: `[codes, code_dim]`, `[codes]`
    pub fn update(
        &mut self,
        latents: Tensor<2>,
        codes: Tensor<1, Int>,
        current: Tensor<2>,
    ) -> (Tensor<2>, Tensor<1>) {
        let [n_codes, _] = self.sums.dims();
        let CodeSums { counts, sums } = sums_by_code(latents, codes, n_codes);
        let (old, new) = (self.decay, 1.0 - self.decay);
        self.counts = self.counts.clone().mul_scalar(old) + counts.clone().mul_scalar(new);
        self.updates += 1;
        let step = AverageStep { kept: old, added: new, correction: 1.0 / self.correction() };
        let counts_of = [self.counts.clone(), self.smoothed_counts()];
        let averages = Averages { sums: self.sums.clone(), vectors: current };
        let Averages { sums, vectors } = moving_average(averages, sums, counts_of, step);
        self.sums = sums;
        (vectors, counts)
    }

    /// The code vectors that the statistics imply. As in [`Self::update`], a code without an average, or whose average
    /// has faded to nothing, keeps its vector in `current`.
    ///
    /// # Shapes
    /// - `current`, output: `[codes, code_dim]`
    pub fn vectors(&self, current: Tensor<2>) -> Tensor<2> {
        let [n_codes, dim] = self.sums.dims();
        let of_rows = |column: Tensor<1>| column.reshape([n_codes, 1]).expand([n_codes, dim]);
        let sums = self.sums.clone().mul_scalar(1.0 / self.correction());
        let vectors = sums / of_rows(self.smoothed_counts());
        vectors.mask_where(of_rows(self.counts.clone()).equal_elem(0.0), current)
    }

    /// The averages of the counts, corrected and smoothed, `[codes]`.
    fn smoothed_counts(&self) -> Tensor<1> {
        let [n_codes] = self.counts.dims();
        let correction = 1.0 / self.correction();
        let counts = self.counts.clone().mul_scalar(correction);
        let total = counts.clone().sum(); // [1]
        counts.add_scalar(LAPLACE)
            / (total.clone().add_scalar(n_codes as f64 * LAPLACE)).expand([n_codes])
            * total.expand([n_codes])
    }

    /// Restarts each code of `dead` at a latent of `rows`, with the weight of one latent.
    ///
    /// # Shapes
    /// - `dead`: ids of codes
    /// - `rows`: `[dead.len(), code_dim]`
    pub fn restart(&mut self, dead: &[i64], rows: Tensor<2>) {
        let [n_dead, dim] = rows.dims();
        let ids = Tensor::<1, Int>::from_data(dead, &rows.device());
        let weight = self.correction();
        let ones = Tensor::<1>::ones([n_dead], &rows.device()).mul_scalar(weight);
        self.counts = replace_rows(
            self.counts.clone().unsqueeze_dim::<2>(1),
            &ids,
            ones.reshape([n_dead, 1]),
        )
        .squeeze_dim(1);
        self.sums =
            replace_rows(self.sums.clone(), &ids, rows.reshape([n_dead, dim]).mul_scalar(weight));
    }

    fn correction(&self) -> f64 {
        1.0 - self.decay.powf(self.updates.max(1) as f64)
    }
}

/// `table` with the rows `ids` (distinct) replaced by `rows`.
///
/// # Shapes
/// - `table`: `[n, dim]`
/// - `rows`: `[ids, dim]`
pub(crate) fn replace_rows(table: Tensor<2>, ids: &Tensor<1, Int>, rows: Tensor<2>) -> Tensor<2> {
    let change = rows - table.clone().select(0, ids.clone());
    table.select_assign(0, ids.clone(), change, burn::tensor::IndexingUpdateOp::Add)
}

/// Which codes have not been used for a while, counted on the device so that no step has to synchronise with it.
#[derive(Debug, Clone)]
pub struct IdleCodes {
    /// Steps since each code was last used, `[codes]`.
    pub steps: Tensor<1>,
}

impl IdleCodes {
    /// All codes count as just used.
    pub fn new(codebook: &Codebook) -> Self {
        let [codes, _] = codebook.weight.lazy_shape().dims();
        let device = codebook.weight.lazy_device().without_autodiff();
        Self { steps: Tensor::zeros([codes], &device) }
    }

    /// Updates with the counts of one batch, `[codes]`.
    pub fn update(&mut self, counts: Tensor<1>) {
        let unused = counts.equal_scalar(0.0).float();
        self.steps = (self.steps.clone().add_scalar(1.0)) * unused;
    }

    /// The codes idle for at least `limit` steps; they count as used from now on. Synchronises with the device.
    pub fn take(&mut self, limit: u64) -> Vec<i64> {
        let idle = self.steps.to_data_as::<f32>(); // sync
        let idle: Vec<bool> = idle.iter::<f32>().map(|steps| steps >= limit as f32).collect();
        let keep: Vec<f32> = idle.iter().map(|dead| if *dead { 0.0 } else { 1.0 }).collect();
        self.steps =
            self.steps.clone() * Tensor::from_floats(keep.as_slice(), &self.steps.device());
        (0i64..).zip(idle).filter_map(|(id, dead)| dead.then_some(id)).collect()
    }
}

/// `count` rows of `rows`, drawn with `rng` (without replacement while there are enough).
///
/// # Shapes
/// - `rows`: `[n, dim]`
/// - output: `[count, dim]`
pub(crate) fn draw_rows(rows: Tensor<2>, count: usize, rng: &mut Stream) -> Tensor<2> {
    let [n, _] = rows.dims();
    let mut ids: Vec<i64> = (0..n as i64).collect();
    rng.shuffle(&mut ids);
    let chosen: Vec<i64> = ids.iter().copied().cycle().take(count).collect();
    let device = rows.device();
    rows.select(0, Tensor::<1, Int>::from_data(chosen.as_slice(), &device))
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    fn codebook(device: &Device) -> Codebook {
        Codebook::of_vectors(Param::from_tensor(Tensor::zeros([2, 1], device)), false)
    }

    #[test]
    fn after_one_batch_each_used_code_is_the_mean_of_its_latents() {
        let device = Device::flex();
        let mut ema = EmaCodebook::new(&codebook(&device), 0.99);
        let latents = Tensor::<2>::from_floats([[1.0], [3.0], [10.0]], &device);
        let codes = Tensor::<1, Int>::from_ints([0, 0, 1], &device);
        let (vectors, counts) = ema.update(latents, codes, Tensor::zeros([2, 1], &device));
        counts.into_data().assert_eq(&TensorData::from([2.0f32, 1.0]), true);
        // Bias correction makes the first averages equal to those of the batch; smoothing shifts them by 1e-5.
        let wanted = TensorData::from([[2.0f32], [10.0]]);
        vectors.into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-3));
    }

    #[test]
    fn averages_forget_by_the_decay() {
        let device = Device::flex();
        let mut ema = EmaCodebook::new(&codebook(&device), 0.5);
        let batch = |value: f32| Tensor::<2>::from_floats([[value], [7.0]], &device);
        let codes = Tensor::<1, Int>::from_ints([0, 1], &device);
        ema.update(batch(1.0), codes.clone(), Tensor::zeros([2, 1], &device));
        let (vectors, _) = ema.update(batch(4.0), codes, Tensor::zeros([2, 1], &device));
        // Sums 0.5 (0.5 * 1) + 0.5 * 4 = 2.25 and counts 0.75, over 1 - 0.25: 3 and 1.
        let wanted = TensorData::from([[3.0f32], [7.0]]);
        vectors.into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-3));
    }

    #[test]
    fn a_restarted_code_starts_at_its_latent_and_the_others_stay() {
        let device = Device::flex();
        let mut ema = EmaCodebook::new(&codebook(&device), 0.9);
        let latents = Tensor::<2>::from_floats([[1.0], [3.0]], &device);
        let codes = Tensor::<1, Int>::from_ints([0, 0], &device);
        let current = Tensor::from_floats([[6.0], [7.0]], &device);
        let (vectors, _) = ema.update(latents, codes, current);
        let wanted = TensorData::from([[2.0f32], [7.0]]); // never assigned: as it was
        vectors.clone().into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-3));
        ema.restart(&[1], Tensor::from_floats([[8.0]], &device));
        let wanted = TensorData::from([[2.0f32], [8.0]]);
        let vectors = ema.vectors(vectors);
        vectors.into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-3));
    }

    #[test]
    fn a_code_whose_average_has_faded_keeps_its_vector_when_another_restarts() {
        let device = Device::flex();
        // With a decay of 0 the averages are those of the last batch.
        let mut ema = EmaCodebook::new(&codebook(&device), 0.0);
        let latents = Tensor::<2>::from_floats([[1.0]], &device);
        let codes = Tensor::<1, Int>::from_ints([0], &device);
        ema.update(latents, codes, Tensor::from_floats([[6.0], [7.0]], &device));
        ema.restart(&[0], Tensor::from_floats([[8.0]], &device));
        let vectors = ema.vectors(Tensor::from_floats([[1.0], [7.0]], &device));
        let wanted = TensorData::from([[8.0f32], [7.0]]);
        vectors.into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-3));
    }

    #[test]
    fn codes_are_idle_after_as_many_steps_as_asked_for() {
        let device = Device::flex();
        let mut idle = IdleCodes::new(&codebook(&device));
        idle.update(Tensor::from_floats([1.0, 0.0], &device));
        assert!(idle.take(2).is_empty());
        idle.update(Tensor::from_floats([1.0, 0.0], &device));
        assert_eq!(idle.take(2), [1]);
        assert!(idle.take(2).is_empty());
    }

    #[test]
    fn drawn_rows_repeat_only_when_there_are_too_few() {
        let device = Device::flex();
        let rows = Tensor::<2>::from_floats([[1.0], [2.0], [3.0]], &device);
        let mut rng = stream(0, Purpose::Restart, 0, 0);
        let drawn = draw_rows(rows, 5, &mut rng).into_data();
        let mut first: Vec<f32> = drawn.iter::<f32>().take(3).collect();
        first.sort_by(f32::total_cmp);
        assert_eq!(first, [1.0, 2.0, 3.0]);
    }
}
