//! The captions of a code file as the prior reads them: the vocabulary, how many tokens count, and what a training step
//! leaves out of them.

use crate::checkpoint::Codes;
use crate::error::Result;
use crate::prior::PriorConfig;
use crate::recipe::PriorSection;
use crate::rng::Stream;
use crate::vocabulary::Vocabulary;

/// The share of training captions that must fit, in hundredths: a few long ones must not make every sequence longer.
const MUST_FIT: usize = 99;

/// The captions of a code file and their tokens.
#[derive(Debug)]
pub(super) struct Captions<'a> {
    codes: &'a Codes,
    /// `None` where captions are not read.
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    vocabulary: Vocabulary,
    /// Tokens that count.
    length: usize,
    /// Training captions with more.
    n_cut: usize,
}

impl<'a> Captions<'a> {
    /// Trains a vocabulary on the captions of `images`, unless they have none or `section` ignores them.
    pub(super) fn new(codes: &'a Codes, images: &[usize], section: &PriorSection) -> Result<Self> {
        let of_images = || images.iter().filter_map(|image| codes.captions.get(*image)).flatten();
        if section.caption_length == 0 || of_images().next().is_none() {
            return Ok(Self { codes, read: None });
        }
        let vocabulary = Vocabulary::train(of_images().map(String::as_str))?;
        let mut lengths = of_images()
            .map(|caption| Ok(vocabulary.tokens(caption)?.len()))
            .collect::<Result<Vec<usize>>>()?;
        lengths.sort_unstable();
        let fitting = lengths[(lengths.len() * MUST_FIT).div_ceil(100) - 1];
        let length = fitting.clamp(1, section.caption_length);
        let n_cut = lengths.len() - lengths.partition_point(|n| *n <= length);
        Ok(Self { codes, read: Some(Read { vocabulary, length, n_cut }) })
    }

    /// The vocabulary; `None` where captions are not read.
    pub(super) fn vocabulary(&self) -> Option<&Vocabulary> {
        self.read.as_ref().map(|read| &read.vocabulary)
    }

    /// `config` of a prior that reads them.
    pub(super) fn shaped(&self, config: PriorConfig) -> PriorConfig {
        match &self.read {
            None => config,
            Some(Read { vocabulary, length, .. }) => PriorConfig {
                caption_tokens: vocabulary.n_tokens(),
                caption_length: *length,
                ..config
            },
        }
    }

    /// What is read, for the log; `None` where nothing is.
    pub(super) fn note(&self) -> Option<String> {
        let Read { vocabulary, length, n_cut } = self.read.as_ref()?;
        let cut = match n_cut {
            0 => String::new(),
            n => format!(", {n} of the training captions are cut"),
        };
        Some(format!(
            "captions: the first {length} tokens count, of a vocabulary of {}{cut}",
            vocabulary.n_tokens()
        ))
    }

    /// The tokens of an image's first caption; none of an image without.
    pub(super) fn first(&self, image: usize) -> Result<Vec<u32>> {
        let caption = self.of_image(image).first();
        caption.map_or_else(|| Ok(Vec::new()), |caption| self.tokens(caption))
    }

    /// The tokens of one of an image's captions, without the words that `word_dropout` leaves out; none of an image
    /// without captions.
    pub(super) fn drawn(
        &self,
        image: usize,
        word_dropout: f64,
        rng: &mut Stream,
    ) -> Result<Vec<u32>> {
        let captions = self.of_image(image);
        if captions.is_empty() {
            return Ok(Vec::new());
        }
        let caption = &captions[rng.below(captions.len())];
        if word_dropout == 0.0 {
            return self.tokens(caption);
        }
        let words = caption.split_whitespace();
        let kept: Vec<&str> = words.filter(|_| f64::from(rng.uniform()) >= word_dropout).collect();
        self.tokens(&kept.join(" "))
    }

    fn of_image(&self, image: usize) -> &[String] {
        match (&self.read, self.codes.captions.get(image)) {
            (Some(_), Some(captions)) => captions,
            _ => &[],
        }
    }

    fn tokens(&self, caption: &str) -> Result<Vec<u32>> {
        let Some(Read { vocabulary, length, .. }) = &self.read else { return Ok(Vec::new()) };
        let mut tokens = vocabulary.tokens(caption)?;
        tokens.truncate(*length);
        Ok(tokens)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::{Split, View};
    use crate::rng::{Purpose, stream};

    /// Images of one code, the last of the validation split.
    fn codes(captions: &[&[&str]]) -> Codes {
        let n = captions.len();
        let mut splits = vec![Split::Train; n];
        splits[n - 1] = Split::Validation;
        Codes {
            height: 1,
            width: 1,
            depth: 1,
            codebook_size: 2,
            codes: vec![0; n],
            labels: vec![0; n],
            splits,
            views: vec![View::AS_IS; n],
            names: Vec::new(),
            captions: captions
                .iter()
                .map(|of| of.iter().map(|caption| (*caption).to_owned()).collect())
                .collect(),
            classes: Vec::new(),
            tokenizer: String::new(),
            data: None,
            image_size: 4,
            channels: 1,
        }
    }

    fn read<'a>(codes: &'a Codes, section: &PriorSection) -> Captions<'a> {
        Captions::new(codes, &codes.images_of(Split::Train, &[View::AS_IS]), section).unwrap()
    }

    #[test]
    fn captions_are_read_where_there_are_any_and_a_key_ignores_them() {
        let section = PriorSection::default();
        let with = codes(&[&["red red"], &[], &["red"]]);
        assert!(read(&with, &section).vocabulary().is_some());
        let ignored = PriorSection { caption_length: 0, ..section.clone() };
        let config = PriorConfig::default();
        // Only the validation split has captions; none has; they are ignored.
        for (codes, section) in [
            (codes(&[&[], &["red"]]), &section),
            (Codes { captions: Vec::new(), ..codes(&[&[], &[]]) }, &section),
            (with, &ignored),
        ] {
            let captions = read(&codes, section);
            assert!(captions.vocabulary().is_none() && captions.note().is_none());
            assert_eq!(captions.shaped(config.clone()), config);
            assert!(captions.first(0).unwrap().is_empty());
        }
    }

    #[test]
    fn one_caption_in_a_hundred_may_be_cut_and_says_nothing_of_how_long_the_rest_are() {
        let section = PriorSection::default();
        let long = "red ".repeat(30);
        let mut captions: Vec<&[&str]> = vec![&["red green"]; 99];
        let of_long = [long.as_str()];
        captions.extend([&of_long[..], &["red"]]);
        let all = codes(&captions);
        let all = read(&all, &section);
        let config = all.shaped(PriorConfig::default());
        assert_eq!(config.caption_length, 2);
        assert_eq!(config.caption_tokens, all.vocabulary().unwrap().n_tokens());
        assert!(all.note().unwrap().contains("first 2 tokens count"), "{:?}", all.note());
        assert!(all.note().unwrap().ends_with("1 of the training captions are cut"));
        assert_eq!(all.first(99).unwrap().len(), 2);
        assert_eq!(all.first(100).unwrap().len(), 1);
        // One in four may not.
        let quarter = codes(&[&["red"], &["red"], &["red"], &of_long, &["red"]]);
        let longest = |caption_length| {
            let section = PriorSection { caption_length, ..section.clone() };
            read(&quarter, &section).shaped(PriorConfig::default()).caption_length
        };
        assert_eq!((longest(32), longest(5)), (30, 5));
    }

    #[test]
    fn one_of_several_captions_is_drawn_and_words_are_left_out_by_chance() {
        let codes = codes(&[&["red green", "blue"], &["red green blue red green blue"], &[]]);
        let captions = read(&codes, &PriorSection::default());
        let tokens = |text| captions.tokens(text).unwrap();
        let mut rng = stream(0, Purpose::ClassDropout, 0, 0);
        let mut drawn = |image, dropout| captions.drawn(image, dropout, &mut rng).unwrap();
        let many: Vec<_> = (0..40).map(|_| drawn(0, 0.0)).collect();
        let blue = many.iter().filter(|caption| **caption == tokens("blue")).count();
        let other = many.iter().filter(|caption| **caption == tokens("red green")).count();
        assert!(blue + other == 40 && blue > 8 && other > 8, "{blue} and {other}");
        let n: usize = (0..200).map(|_| drawn(1, 0.25).len()).sum();
        assert!((n as f64 / 1_200.0 - 0.75).abs() < 0.05, "{n}");
        assert!(drawn(2, 0.25).is_empty());
    }
}
