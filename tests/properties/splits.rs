//! The three splits of a data set.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vqgen::data::{DataConfig, Dataset, Split};

/// The split of each of `n` images, by name. The content of an image depends on its number and on `seed`.
fn splits(n: u32, seed: u64, validation: f64, test: f64) -> BTreeMap<String, Split> {
    let folder = tempfile::tempdir().unwrap();
    let write = |kind: &str, words: &[u32], body: Vec<u8>| {
        let header = words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        std::fs::write(folder.path().join(format!("train-{kind}")), [header, body].concat())
            .unwrap();
    };
    let image = |i: u32| [seed.to_le_bytes(), u64::from(i).to_le_bytes()].concat();
    write("images-idx3-ubyte", &[0x0803, n, 4, 4], (0..n).flat_map(image).collect());
    write("labels-idx1-ubyte", &[0x0801, n], vec![0; n as usize]);
    let path = folder.path().to_str().unwrap().to_owned();
    let config =
        DataConfig { path, image_size: 4, channels: 1, validation, test, ..DataConfig::default() };
    let dataset = Dataset::open(&config, true).unwrap();
    let of = |split| (0..dataset.len(split)).map(move |i| (split, i));
    let all = Split::ALL.into_iter().flat_map(of);
    all.map(|(split, i)| (dataset.name(split, i).to_owned(), split)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_image_is_in_one_split_and_stays_there_when_others_are_added(
        seed in any::<u64>(),
        n in 80u32..200,
        more in 1u32..100,
        validation in 0.1..0.4f64,
        test in 0.1..0.4f64,
    ) {
        let before = splits(n, seed, validation, test);
        prop_assert_eq!(before.len(), n as usize);
        let after = splits(n + more, seed, validation, test);
        for (name, split) in before {
            prop_assert_eq!(after[&name], split, "{}", name);
        }
    }

    #[test]
    fn splits_have_the_shares_that_were_asked_for(
        seed in any::<u64>(),
        validation in 0.0..0.4f64,
        test in 0.0..0.4f64,
    ) {
        let n = 1_000;
        let splits = splits(n, seed, validation, test);
        for (split, share) in [(Split::Validation, validation), (Split::Test, test)] {
            let count = splits.values().filter(|one| **one == split).count() as f64;
            // Five standard deviations of a binomial distribution, and the one image that fills an empty split.
            let spread = 5.0 * (f64::from(n) * share * (1.0 - share)).sqrt() + 1.0;
            prop_assert!((count - share * f64::from(n)).abs() <= spread, "{count} of {share}");
        }
    }

    #[test]
    fn a_split_of_no_share_is_empty(seed in any::<u64>(), n in 1u32..30) {
        prop_assert!(splits(n, seed, 0.0, 0.0).values().all(|split| *split == Split::Train));
    }
}
