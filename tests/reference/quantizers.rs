//! The quantizers against vector-quantize-pytorch: ids, outputs, losses, gradients and the next codebook.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor};
use vqgen::tokenizer::{
    Codebook, EmaCodebook, FiniteScalars, GradientEstimator, Quantized, Quantizer,
};

use super::support::{Reference, values};

const ESTIMATORS: [(&str, GradientEstimator); 2] = [
    ("gradient.straight_through", GradientEstimator::StraightThrough),
    ("gradient.rotation", GradientEstimator::Rotation),
];

/// One case of the file.
struct Case {
    reference: Reference,
    name: &'static str,
    device: Device,
}

impl Case {
    fn read(name: &'static str) -> Self {
        let reference = Reference::read("quantizers.safetensors");
        Self { reference, name, device: Device::flex().autodiff() }
    }

    fn named(&self, value: &str) -> String {
        format!("{}.{value}", self.name)
    }

    fn floats<const D: usize>(&self, value: &str) -> Tensor<D> {
        self.reference.floats(&self.named(value), &self.device)
    }

    fn compare<const D: usize>(&self, value: &str, actual: Tensor<D>) {
        self.reference.compare(&self.named(value), &values(actual));
    }

    fn compare_codes<const D: usize>(&self, actual: Tensor<D, Int>) {
        let actual: Vec<f32> = actual.into_data().iter::<i64>().map(|id| id as f32).collect();
        assert_eq!(actual, self.reference.values(&self.named("codes")), "{}", self.name);
    }

    fn codebook(&self, trained: bool) -> Codebook {
        let weight = Param::from_tensor(self.floats("codebook")).set_require_grad(trained);
        Codebook::of_vectors(weight, self.name == "cosine")
    }

    /// Ids, output, lookup, and the gradient of the weighted output by every estimator the file has.
    fn compare_output(&self, quantizer: &Quantizer) {
        let latents = self.floats::<2>("latents");
        self.compare_codes(quantizer.assign(latents.clone()));
        self.compare("output", quantizer.lookup(quantizer.assign(latents.clone())));
        for (name, estimator) in ESTIMATORS {
            if !self.reference.has(&self.named(name)) {
                continue;
            }
            let latents = latents.clone().require_grad();
            let Quantized { levels, straight_through, .. } =
                quantizer.quantize(latents.clone(), estimator);
            let codes = levels.into_iter().map(|level| level.codes).collect();
            self.compare_codes(Tensor::stack::<2>(codes, 1));
            self.compare("output", straight_through.clone());
            let gradients = (straight_through * self.floats("factors")).sum().backward();
            self.compare(name, latents.grad(&gradients).unwrap());
        }
    }

    /// The codebook and commitment terms of the latents, and the latents.
    fn terms(&self, quantizer: &Quantizer) -> ([Tensor<1>; 2], Tensor<2>) {
        let latents = self.floats::<2>("latents").require_grad();
        let quantized = quantizer.quantize(latents.clone(), GradientEstimator::StraightThrough);
        let terms: Vec<_> = quantized.terms.into_iter().map(|term| term.value).collect();
        (terms.try_into().unwrap(), latents)
    }
}

#[test]
fn a_codebook_that_learns_by_gradient_agrees() {
    let case = Case::read("gradient");
    let quantizer = Quantizer::Vq(case.codebook(true));
    case.compare_output(&quantizer);
    let ([codebook, commitment], latents) = case.terms(&quantizer);
    case.compare("loss", codebook.clone());
    case.compare("loss", commitment.clone());
    // The package's loss is one term with a gradient to both sides.
    let gradients = (codebook + commitment).backward();
    case.compare("gradient.loss", latents.grad(&gradients).unwrap());
    let weight = quantizer.codebooks()[0].weight.val();
    case.compare("gradient.codebook", weight.grad(&gradients).unwrap());
}

#[test]
fn moving_averages_agree_also_on_the_sphere() {
    for name in ["ema", "cosine"] {
        let case = Case::read(name);
        let mut codebook = case.codebook(false);
        let quantizer = Quantizer::Vq(codebook.clone());
        case.compare_output(&quantizer);
        let ([of_codebook, commitment], latents) = case.terms(&quantizer);
        case.compare("loss", of_codebook);
        case.compare("loss", commitment.clone());
        case.compare("gradient.loss", latents.grad(&commitment.backward()).unwrap());

        // The package has no bias correction: after so many updates there is none.
        let first = codebook.weight.val().inner();
        let [n_codes, _] = first.dims();
        let ones = Tensor::ones([n_codes], &Device::flex());
        let mut ema = EmaCodebook::restored(ones, first, 1_000_000, 0.8);
        let latents = case.floats::<2>("latents").inner();
        for (latents, value) in
            [(latents.clone(), "next_codebook"), (latents.flip([1]), "codebook_after_two")]
        {
            let latents = codebook.prepared(latents);
            let codes = codebook.assign(Tensor::from_inner(latents.clone())).inner();
            let (vectors, _) = ema.update(latents, codes, codebook.weight.val().inner());
            codebook.weight = Param::from_tensor(Tensor::from_inner(vectors));
            case.compare(value, codebook.vectors());
            if value == "next_codebook" {
                case.compare("next_counts", ema.counts.clone());
                case.compare("next_sums", ema.sums.clone());
            }
        }
    }
}

#[test]
fn a_mapped_codebook_agrees() {
    let case = Case::read("simvq");
    let mut codebook = case.codebook(false);
    codebook.map = Some(Param::from_tensor(case.floats("map")).set_require_grad(true));
    case.compare("vectors", codebook.vectors());
    let quantizer = Quantizer::Vq(codebook);
    case.compare_output(&quantizer);
    let ([codebook, commitment], latents) = case.terms(&quantizer);
    let loss = codebook + commitment.mul_scalar(0.25);
    case.compare("loss", loss.clone());
    let gradients = loss.backward();
    case.compare("gradient.loss", latents.grad(&gradients).unwrap());
    let Quantizer::Vq(codebook) = &quantizer else { panic!("{quantizer:?}") };
    let map = codebook.map.as_ref().unwrap().val();
    case.compare("gradient.map", map.grad(&gradients).unwrap());
    assert!(codebook.weight.val().grad(&gradients).is_none());
}

#[test]
fn finite_scalars_agree() {
    for (name, levels) in [("fsq", vec![8, 5, 5, 5]), ("fsq_odd", vec![7, 4, 3])] {
        let case = Case::read(name);
        let n_codes = levels.iter().product::<usize>() as i64;
        let quantizer = Quantizer::Fsq(FiniteScalars { levels });
        case.compare_output(&quantizer);
        let all = Tensor::<1, Int>::arange(0..n_codes, &case.device);
        case.compare("all", quantizer.lookup(all.unsqueeze_dim(1)));
    }
}

#[test]
fn a_residual_quantizer_agrees_level_by_level() {
    let case = Case::read("residual");
    let books = case.floats::<3>("codebooks");
    let [depth, codes, dim] = books.dims();
    let of_level =
        |level| books.clone().slice([level..level + 1, 0..codes, 0..dim]).reshape([codes, dim]);
    let codebooks: Vec<Codebook> = (0..depth)
        .map(|level| Param::from_tensor(of_level(level)).set_require_grad(false))
        .map(|weight| Codebook::of_vectors(weight, false))
        .collect();
    let quantizer = Quantizer::Residual(codebooks.clone());
    case.compare_output(&quantizer);
    case.compare(
        "from_codes",
        quantizer.lookup(case.reference.integers("residual.codes", &case.device)),
    );
    let ([of_codebooks, commitment], latents) = case.terms(&quantizer);
    let losses = case.floats::<1>("losses");
    let mean = values(losses.mean())[0];
    for term in [of_codebooks, commitment.clone()] {
        assert!((values(term)[0] - mean).abs() < 1e-6 * mean);
    }
    case.compare("gradient.loss", latents.grad(&commitment.backward()).unwrap());

    let estimator = GradientEstimator::StraightThrough;
    let levels = quantizer.quantize(case.floats("latents"), estimator).levels;
    let nexts = levels.into_iter().zip(&codebooks).map(|(level, codebook)| {
        let ones = Tensor::ones([codes], &Device::flex());
        let first = codebook.weight.val().inner();
        let mut ema = EmaCodebook::restored(ones, first.clone(), 1_000_000, 0.8);
        ema.update(level.latents.inner(), level.codes.inner(), first).0
    });
    case.compare("next_codebooks", Tensor::stack::<3>(nexts.collect(), 0));
}

#[test]
fn a_residual_quantizer_whose_codes_learn_moves_each_level_towards_its_residuals() {
    let device = Device::flex().autodiff();
    let book = |value: f32| {
        let weight = Tensor::<2>::from_floats([[value, 0.0], [0.0, value]], &device);
        Codebook::of_vectors(Param::from_tensor(weight), false)
    };
    let quantizer = Quantizer::Residual(vec![book(2.0), book(1.0)]);
    let latents = Tensor::<2>::from_floats([[2.5, 0.75]], &device);
    let quantized = quantizer.quantize(latents, GradientEstimator::StraightThrough);
    // First (2, 0), leaving (.5, .75), then (0, 1), leaving (.5, -.25).
    assert_eq!(values(quantized.straight_through), [2.0, 1.0]);
    let gradients = quantized.terms[0].value.clone().backward();
    // Of the mean over 2 levels and 2 dimensions, (vector - residual) / 2.
    let wanted = [[-0.25, -0.375, 0.0, 0.0], [0.0, 0.0, -0.25, 0.125]];
    for (codebook, wanted) in quantizer.codebooks().iter().zip(wanted) {
        assert_eq!(values(codebook.weight.val().grad(&gradients).unwrap()), wanted);
    }
}
