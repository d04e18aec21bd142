//! A prior as sampling sees it: the one place where the two meet, since neither may know the other.

use burn::tensor::{Device, Int, Tensor};

use crate::error::Result;
use crate::prior::{Condition, Decoder, DeviceDecoder, HostDecoder, Prior};
use crate::sampling::{DeviceSteps, HostSteps, NextCode, Steps};

/// A trained prior and the sequences that it continues.
#[derive(Debug)]
pub struct PriorCodes<'a> {
    prior: &'a Prior,
    decoder: Decoder<'a>,
}

impl<'a> PriorCodes<'a> {
    /// The prior must not track gradients (`.valid()`).
    pub fn new(prior: &'a Prior) -> Self {
        Self { prior, decoder: prior.decoder() }
    }
}

impl NextCode for PriorCodes<'_> {
    type Condition = Condition;

    fn codebook_size(&self) -> usize {
        self.prior.config().codebook_size
    }

    fn n_codes(&self) -> usize {
        self.prior.config().n_codes()
    }

    fn check(&self, condition: &Condition) -> Result<()> {
        condition.check(self.prior.config())
    }

    fn without(&self, condition: &Condition) -> Option<Condition> {
        let nothing = Condition::default();
        (*condition != nothing).then_some(nothing)
    }

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
    use crate::prior::{Conditions, Gpt, Positions, PriorConfig};
    use crate::sampling::{Request, SamplingConfig, generate};

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
            Request { index, condition: Condition::of_class(class), prompt: prompt.to_vec() }
        };
        indices.into_iter().map(request).collect()
    }

    fn sample(
        prior: &Prior,
        requests: &[Request<Condition>],
        config: &SamplingConfig,
    ) -> Vec<Vec<u16>> {
        generate(&mut PriorCodes::new(prior), requests, config, 7, &mut |_, _| ()).unwrap()
    }

    #[test]
    fn an_image_does_not_depend_on_what_is_sampled_with_it() {
        for positions in [Positions::Learned, Positions::Rotary] {
            let prior = prior(positions);
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
                request.prompt = codes[..given].to_vec();
            }
            assert_eq!(sample(&prior, &parts, &config), whole, "{given} codes given");
        }
    }

    #[test]
    fn cached_sampling_takes_the_codes_the_full_forward_pass_finds_most_probable() {
        let gpt = gpt(Positions::Rotary);
        let prior = Prior::Autoregressive(gpt.clone());
        let config = SamplingConfig { temperature: 0.0, ..Default::default() };
        let condition = Condition::of_class(Some(1));
        let request = Request { index: 0, condition: condition.clone(), prompt: Vec::new() };
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
