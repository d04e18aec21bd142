//! Cached decoding gives the logits of the full forward pass.

use super::*;
use crate::prior::{DeviceDecoder, HostDecoder};

#[test]
fn cached_logits_are_those_of_the_full_forward_pass() {
    let device = Device::flex();
    for layers in 1..=3 {
        for config in configs(layers) {
            let model = gpt(&config, &device);
            let (conditions, codes) = sequences(3, &config);
            let full = logits_of(&model, 3, None).reshape([3, 6, 11]);
            let mut decoder = DeviceDecoder::new(&model);
            for given in [0, 3, 5] {
                let first: Vec<usize> =
                    codes.chunks(6).flat_map(|codes| &codes[..given]).copied().collect();
                let mut logits = vec![decoder.start(&conditions, &first)];
                for position in given..5 {
                    let column: Vec<i32> =
                        codes.chunks(6).map(|codes| codes[position] as i32).collect();
                    logits.push(decoder.next(Tensor::from_ints(column.as_slice(), &device)));
                }
                let cached = Tensor::stack::<3>(logits, 1);
                let expected = full.clone().slice([0..3, given..6]);
                cached
                    .into_data()
                    .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
            }
        }
    }
}

#[test]
fn the_decoder_of_the_cpu_gives_the_logits_of_the_full_forward_pass() {
    let device = Device::flex();
    for layers in 1..=3 {
        for config in configs(layers) {
            let model = gpt(&config, &device);
            let (conditions, codes) = sequences(3, &config);
            let full = logits_of(&model, 3, None).into_data();
            let full: Vec<f32> = full.try_into_vec().unwrap(); // [3, 6, 11]
            let check = |logits: &[f32], position: usize| {
                for (row, logits) in logits.chunks(11).enumerate() {
                    let wanted = &full[(row * 6 + position) * 11..][..11];
                    for (logit, wanted) in logits.iter().zip(wanted) {
                        assert!((logit - wanted).abs() < 1e-4, "{logit}, not {wanted}");
                    }
                }
            };
            let mut decoder = HostDecoder::new(&model);
            for given in [0, 3, 5] {
                let first: Vec<usize> =
                    codes.chunks(6).flat_map(|codes| &codes[..given]).copied().collect();
                let logits = decoder.start(&conditions, &first);
                check(&logits, given);
                // A sequence alone gets the same logits, to the last bit.
                let alone = &first[given..2 * given];
                let alone = HostDecoder::new(&model).start(&conditions[1..2], alone);
                assert_eq!(alone, logits[11..22]);
                for position in given..5 {
                    let column: Vec<usize> = codes.chunks(6).map(|codes| codes[position]).collect();
                    check(&decoder.next(&column), position + 1);
                }
            }
        }
    }
}

#[test]
fn sequences_split_among_threads_get_the_same_logits() {
    for config in configs(1) {
        let model = gpt(&config, &Device::flex());
        let (conditions, _) = sequences(25, &config);
        let codes: Vec<usize> = (0..25).map(|row| row % 11).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut decoder = HostDecoder::new(&model);
                let mut logits = decoder.start(&conditions, &[]);
                logits.extend((0..2).flat_map(|_| decoder.next(&codes)));
                logits
            })
        };
        let together = on(1);
        // Groups of 13 and 12, of 9 and 7, and all at once.
        for threads in [2, 3, 7] {
            assert_eq!(on(threads), together, "{threads} threads");
        }
    }
}

#[test]
fn a_model_taken_out_of_training_decodes_too() {
    for positions in [Positions::Learned, Positions::Rotary] {
        let config = config(1, positions, false);
        let model = gpt(&config, &Device::flex().autodiff()).valid();
        let (conditions, _) = sequences(2, &config);
        let mut decoder = DeviceDecoder::new(&model);
        decoder.start(&conditions, &[3, 4]);
        let logits = decoder.next(Tensor::from_ints([1, 2], &model.device()));
        assert!(!logits.is_require_grad() && logits.dims() == [2, 11]);
    }
}
