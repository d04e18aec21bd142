//! A prior as sampling sees it: the one place where the two meet, since neither may know the other.

use burn::tensor::{Device, Int, Tensor};

use crate::prior::{Decoder, Gpt, KvCache};
use crate::sampling::{DeviceSteps, HostSteps, NextCode, Steps};

/// A trained network and the keys and values of the sequences it is continuing.
#[derive(Debug)]
pub struct PriorCodes<'a> {
    gpt: &'a Gpt,
    decoding: Decoding<'a>,
}

/// How the network is asked for the next code.
#[derive(Debug)]
enum Decoding<'a> {
    /// On the CPU device.
    Host(Box<Decoder>),
    /// On any other.
    Device(Cached<'a>),
}

#[derive(Debug)]
struct Cached<'a> {
    gpt: &'a Gpt,
    /// `None` before the first sequence.
    cache: Option<KvCache>,
}

impl<'a> PriorCodes<'a> {
    /// The network must not be tracking gradients (`.valid()`).
    pub fn new(gpt: &'a Gpt) -> Self {
        let decoding = match gpt.is_on_host() {
            true => Decoding::Host(Box::new(Decoder::new(gpt))),
            false => Decoding::Device(Cached { gpt, cache: None }),
        };
        Self { gpt, decoding }
    }
}

impl NextCode for PriorCodes<'_> {
    fn codebook_size(&self) -> usize {
        self.gpt.config().codebook_size
    }

    fn n_codes(&self) -> usize {
        self.gpt.config().n_codes()
    }

    fn n_classes(&self) -> usize {
        self.gpt.config().n_classes
    }

    fn class_token(&self, class: Option<usize>) -> usize {
        self.gpt.config().class_token(class)
    }

    fn has_independent_rows(&self) -> bool {
        matches!(self.decoding, Decoding::Host(_))
    }

    fn steps(&mut self) -> Steps<'_> {
        match &mut self.decoding {
            Decoding::Host(decoder) => Steps::Host(decoder.as_mut()),
            Decoding::Device(cached) => Steps::Device(cached),
        }
    }
}

impl HostSteps for Decoder {
    fn start(&mut self, tokens: &[usize], batch: usize) -> Vec<f32> {
        Decoder::start(self, batch);
        let length = tokens.len() / batch.max(1);
        let mut logits = Vec::new();
        for position in 0..length {
            let column: Vec<usize> =
                tokens.iter().skip(position).step_by(length).copied().collect();
            logits = self.step(&column);
        }
        logits
    }

    fn next(&mut self, codes: &[usize]) -> Vec<f32> {
        self.step(codes)
    }
}

impl DeviceSteps for Cached<'_> {
    fn device(&self) -> Device {
        self.gpt.device()
    }

    fn start(&mut self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, _] = tokens.dims();
        let mut cache = self.gpt.cache(batch);
        let logits = self.gpt.prefill(tokens, &mut cache);
        self.cache = Some(cache);
        logits
    }

    fn next(&mut self, codes: Tensor<1, Int>) -> Tensor<2> {
        match &mut self.cache {
            Some(cache) => self.gpt.step(codes, cache),
            None => self.start(codes.unsqueeze_dim(1)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::prior::{Positions, PriorConfig};
    use crate::sampling::{Request, SamplingConfig, generate};

    fn gpt(positions: Positions) -> Gpt {
        let config = PriorConfig {
            codebook_size: 64,
            n_classes: 3,
            grid_height: 4,
            grid_width: 4,
            depth: 1,
            layers: 2,
            heads: 4,
            width: 64,
            dropout: 0.0,
            positions,
            tie_weights: false,
        };
        Gpt::new(&config, 1, &Device::flex())
    }

    fn requests(indices: impl IntoIterator<Item = u64>, prompt: &[u16]) -> Vec<Request> {
        let request = |index| {
            let class = Some(index as usize % 4).filter(|&class| class < 3);
            Request { index, class, prompt: prompt.to_vec() }
        };
        indices.into_iter().map(request).collect()
    }

    fn sample(gpt: &Gpt, requests: &[Request], config: &SamplingConfig) -> Vec<Vec<u16>> {
        generate(&mut PriorCodes::new(gpt), requests, config, 7, &mut |_, _| ()).unwrap()
    }

    #[test]
    fn an_image_does_not_depend_on_what_is_sampled_with_it() {
        for positions in [Positions::Learned, Positions::Rotary] {
            let gpt = gpt(positions);
            for guidance in [1.0, 2.5] {
                let config = SamplingConfig { guidance, top_k: Some(20), ..Default::default() };
                let many = sample(&gpt, &requests(0..40, &[]), &config);
                let few = sample(&gpt, &requests(0..4, &[]), &config);
                assert_eq!(few, many[..4]);
                let others = sample(&gpt, &requests([33, 2], &[]), &config);
                assert_eq!(others, [many[33].clone(), many[2].clone()]);
                assert_ne!(many[0], many[4], "two images of one class are the same");
            }
        }
    }

    #[test]
    fn given_codes_stay_and_the_rest_continues_them() {
        let gpt = gpt(Positions::Learned);
        let config = SamplingConfig::default();
        let whole = sample(&gpt, &requests(0..3, &[]), &config);
        for given in [1, 8, 15, 16] {
            // Each image completed from its own beginning is the image, for its random numbers are the same.
            let mut parts = requests(0..3, &[]);
            for (request, codes) in parts.iter_mut().zip(&whole) {
                request.prompt = codes[..given].to_vec();
            }
            assert_eq!(sample(&gpt, &parts, &config), whole, "{given} codes given");
        }
    }

    #[test]
    fn cached_sampling_takes_the_codes_the_full_forward_pass_finds_most_probable() {
        let gpt = gpt(Positions::Rotary);
        let config = SamplingConfig { temperature: 0.0, ..Default::default() };
        let request = Request { index: 0, class: Some(1), prompt: Vec::new() };
        let codes = sample(&gpt, &[request], &config).remove(0);
        let mut tokens = vec![gpt.config().class_token(Some(1)) as i32];
        tokens.extend(codes[..15].iter().map(|&code| i32::from(code)));
        let tokens = Tensor::<1, Int>::from_ints(tokens.as_slice(), &gpt.device());
        let best = gpt.forward(tokens.unsqueeze(), None).argmax(1);
        let best: Vec<i32> = best.into_data().try_into_vec().unwrap();
        assert_eq!(best, codes.iter().map(|&code| i32::from(code)).collect::<Vec<_>>());
    }
}
