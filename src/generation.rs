//! A prior as sampling sees it: the one place where the two meet, since neither may know the other.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::Result;
use crate::prior::{
    Condition, Conditions, Decoder, DeviceDecoder, Gpt, HostDecoder, MaskedDecoder, Prior,
    PriorConfig,
};
use crate::sampling::{
    CodeModel, DeviceSteps, FillCodes, HostSteps, NextCode, Request, SamplingConfig, Steps, fill,
    generate,
};

/// Samples the codes of each request from a prior of either kind, which must not track gradients (`.valid()`).
/// `progress` is called with `(done, total)` codes.
///
/// # Errors
/// What does not fit the prior, or logits that are not finite.
pub fn sample_codes(
    prior: &Prior,
    requests: &[Request<Condition>],
    config: &SamplingConfig,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u16>>> {
    match prior {
        Prior::Autoregressive(gpt) => {
            let mut model = NextCodes { gpt, decoder: Decoder::new(gpt) };
            generate(&mut model, requests, config, seed, progress)
        }
        Prior::Masked(gpt) => {
            fill(&mut UnknownCodes(MaskedDecoder::new(gpt)), requests, config, seed, progress)
        }
    }
}

/// Draws each request `best_of` times and keeps the codes that the prior itself finds most probable. The first draw of an
/// image is that of [`sample_codes`].
///
/// # Errors
/// As [`sample_codes`].
pub fn best_codes(
    prior: &Prior,
    requests: &[Request<Condition>],
    best_of: usize,
    config: &SamplingConfig,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u16>>> {
    if best_of <= 1 {
        return sample_codes(prior, requests, config, seed, progress);
    }
    let draws: Vec<Request<Condition>> = requests
        .iter()
        .flat_map(|request| {
            (0..best_of as u64).map(|draw| Request {
                index: request.index + draw * DRAWS_APART,
                ..request.clone()
            })
        })
        .collect();
    let codes = sample_codes(prior, &draws, config, seed, progress)?;
    let nats = nats(prior, &draws, &codes, config.lanes)?;
    let best = codes.chunks(best_of).zip(nats.chunks(best_of)).map(|(codes, nats)| {
        let least = nats.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        codes[least.map_or(0, |(draw, _)| draw)].clone()
    });
    Ok(best.collect())
}

/// What the index of an image grows by for each further draw of it: no two images come so far.
const DRAWS_APART: u64 = 1 << 32;

/// Nats of the codes of each request, in passes of `lanes` rows, as sampling has them.
fn nats(
    prior: &Prior,
    requests: &[Request<Condition>],
    codes: &[Vec<u16>],
    lanes: usize,
) -> Result<Vec<f64>> {
    let (config, device) = (prior.config(), prior.device());
    let n_codes = config.n_codes();
    let mut nats = Vec::with_capacity(requests.len());
    for (requests, codes) in requests.chunks(lanes).zip(codes.chunks(lanes)) {
        let last = requests.len() - 1;
        let row = |lane: usize| lane.min(last);
        let conditions: Vec<_> =
            (0..lanes).map(|lane| requests[row(lane)].condition.clone()).collect();
        let rows = (0..lanes).flat_map(|lane| &codes[row(lane)]);
        let rows: Vec<i32> = rows.map(|code| i32::from(*code)).collect();
        let conditions = Conditions::new(&conditions, config, &device);
        let rows = Tensor::from_data(TensorData::new(rows, [lanes, n_codes]), &device);
        let losses = prior.score(&conditions, rows).into_data_as::<f32>(); // sync
        let losses: Vec<f64> = losses.iter::<f32>().map(f64::from).collect();
        nats.extend(losses.chunks(n_codes).take(requests.len()).map(|row| row.iter().sum::<f64>()));
    }
    Ok(nats)
}

/// The sequences that an autoregressive prior continues.
struct NextCodes<'a> {
    gpt: &'a Gpt,
    decoder: Decoder<'a>,
}

/// The codes that a masked prior fills in.
struct UnknownCodes<'a>(MaskedDecoder<'a>);

/// A model with the shape of a prior.
trait HasPrior {
    fn config(&self) -> &PriorConfig;
}

impl HasPrior for NextCodes<'_> {
    fn config(&self) -> &PriorConfig {
        self.gpt.config()
    }
}

impl HasPrior for UnknownCodes<'_> {
    fn config(&self) -> &PriorConfig {
        self.0.gpt().config()
    }
}

impl<P: HasPrior> CodeModel for P {
    type Condition = Condition;

    fn codebook_size(&self) -> usize {
        self.config().codebook_size
    }

    fn n_codes(&self) -> usize {
        self.config().n_codes()
    }

    fn check(&self, condition: &Condition) -> Result<()> {
        condition.check(self.config())
    }

    fn without(&self, condition: &Condition) -> Option<Condition> {
        let nothing = Condition::default();
        (*condition != nothing).then_some(nothing)
    }
}

impl FillCodes for UnknownCodes<'_> {
    fn logits(&mut self, conditions: &[Condition], known: &[Option<u16>]) -> Result<Vec<f32>> {
        self.0.logits(conditions, known)
    }
}

impl NextCode for NextCodes<'_> {
    fn has_independent_rows(&self) -> bool {
        matches!(self.decoder, Decoder::Host(_))
    }

    fn steps(&mut self) -> Steps<'_, Condition> {
        match &mut self.decoder {
            Decoder::Host(decoder) => Steps::Host(decoder.as_mut()),
            Decoder::Device(decoder) => Steps::Device(decoder),
        }
    }
}

impl HostSteps<Condition> for HostDecoder<'_> {
    fn start(&mut self, conditions: &[Condition], given: &[usize]) -> Vec<f32> {
        self.start(conditions, given)
    }

    fn next(&mut self, codes: &[usize]) -> Vec<f32> {
        self.next(codes)
    }
}

impl DeviceSteps<Condition> for DeviceDecoder<'_> {
    fn device(&self) -> Device {
        self.device()
    }

    fn start(&mut self, conditions: &[Condition], given: &[usize]) -> Tensor<2> {
        self.start(conditions, given)
    }

    fn next(&mut self, codes: Tensor<1, Int>) -> Tensor<2> {
        self.next(codes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::prior::{Positions, PriorKind};

    fn gpt(positions: Positions) -> Gpt {
        let config = PriorConfig {
            codebook_size: 64,
            n_classes: 3,
            grid_height: 4,
            grid_width: 4,
            layers: 2,
            heads: 4,
            width: 64,
            positions,
            ..PriorConfig::default()
        };
        Gpt::new(&config, 1, &Device::flex())
    }

    fn prior(positions: Positions) -> Prior {
        Prior::Autoregressive(gpt(positions))
    }

    fn requests(indices: impl IntoIterator<Item = u64>, prompt: &[u16]) -> Vec<Request<Condition>> {
        let request = |index| {
            let class = Some(index as usize % 4).filter(|&class| class < 3);
            let given = prompt.iter().copied().map(Some).collect();
            Request { index, condition: Condition::of_class(class), given }
        };
        indices.into_iter().map(request).collect()
    }

    fn sample(
        prior: &Prior,
        requests: &[Request<Condition>],
        config: &SamplingConfig,
    ) -> Vec<Vec<u16>> {
        sample_codes(prior, requests, config, 7, &mut |_, _| ()).unwrap()
    }

    fn masked(positions: Positions) -> Prior {
        let config = PriorConfig { kind: PriorKind::Masked, ..gpt(positions).config().clone() };
        Prior::new(&config, 1, &Device::flex())
    }

    #[test]
    fn an_image_does_not_depend_on_what_is_sampled_with_it() {
        let positions = [Positions::Learned, Positions::Rotary];
        for prior in positions.map(prior).into_iter().chain(positions.map(masked)) {
            for guidance in [1.0, 2.5] {
                let config = SamplingConfig { guidance, top_k: Some(20), ..Default::default() };
                let many = sample(&prior, &requests(0..40, &[]), &config);
                let few = sample(&prior, &requests(0..4, &[]), &config);
                assert_eq!(few, many[..4]);
                let others = sample(&prior, &requests([33, 2], &[]), &config);
                assert_eq!(others, [many[33].clone(), many[2].clone()]);
                assert_ne!(many[0], many[4], "two images of one class are the same");
            }
        }
    }

    #[test]
    fn given_codes_stay_and_the_rest_continues_them() {
        let prior = prior(Positions::Learned);
        let config = SamplingConfig::default();
        let whole = sample(&prior, &requests(0..3, &[]), &config);
        for given in [1, 8, 15, 16] {
            // Each image completed from its own beginning is the image, for its random numbers are the same.
            let mut parts = requests(0..3, &[]);
            for (request, codes) in parts.iter_mut().zip(&whole) {
                request.given = codes[..given].iter().copied().map(Some).collect();
            }
            assert_eq!(sample(&prior, &parts, &config), whole, "{given} codes given");
        }
    }

    #[test]
    fn a_masked_prior_keeps_codes_that_are_given_anywhere_and_another_says_that_it_cannot() {
        let mut request = requests(0..1, &[]).remove(0);
        request.given = (0..16).map(|place| (place % 3 == 1).then_some(place * 3)).collect();
        for passes in [1, 5, 16] {
            let config = SamplingConfig { passes, guidance: 2.0, ..Default::default() };
            let codes = sample(&masked(Positions::Learned), &[request.clone()], &config).remove(0);
            assert_eq!(codes.len(), 16);
            for (code, given) in codes.iter().zip(&request.given) {
                assert!(given.is_none_or(|given| given == *code), "{codes:?}");
            }
        }
        let prior = prior(Positions::Learned);
        let refused =
            sample_codes(&prior, &[request], &SamplingConfig::default(), 7, &mut |_, _| ());
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("this prior continues from the first ones"), "{message}");
    }

    #[test]
    fn the_best_of_several_draws_is_the_most_probable_of_them() {
        for prior in [prior(Positions::Learned), masked(Positions::Learned)] {
            let config = SamplingConfig::default();
            let best = |n, best_of| {
                let requests = requests(0..n, &[]);
                best_codes(&prior, &requests, best_of, &config, 7, &mut |_, _| ()).unwrap()
            };
            assert_eq!(best(3, 1), sample(&prior, &requests(0..3, &[]), &config));
            let four = best(20, 4);
            assert_eq!(four[..3], best(3, 4));
            let score = |codes: &[Vec<u16>]| -> f64 {
                let asked = requests(0..codes.len() as u64, &[]);
                nats(&prior, &asked, codes, 16).unwrap().iter().sum()
            };
            assert!(score(&four) < score(&best(20, 1)) - 1.0);
        }
    }

    #[test]
    fn cached_sampling_takes_the_codes_the_full_forward_pass_finds_most_probable() {
        let gpt = gpt(Positions::Rotary);
        let prior = Prior::Autoregressive(gpt.clone());
        let config = SamplingConfig { temperature: 0.0, ..Default::default() };
        let condition = Condition::of_class(Some(1));
        let request = Request { index: 0, condition: condition.clone(), given: Vec::new() };
        let codes = sample(&prior, &[request], &config).remove(0);
        let known: Vec<i32> = codes[..15].iter().map(|&code| i32::from(code)).collect();
        let device = Device::flex();
        let known = Tensor::<1, Int>::from_ints(known.as_slice(), &device).unsqueeze();
        let conditions = Conditions::new(&[condition], prior.config(), &device);
        let best = gpt.forward(&conditions, Some(known), None).argmax(1);
        let best: Vec<i32> = best.into_data().try_into_vec().unwrap();
        assert_eq!(best, codes.iter().map(|&code| i32::from(code)).collect::<Vec<_>>());
    }
}
