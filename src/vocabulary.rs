//! Captions as tokens: byte-level BPE (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units";
//! on bytes, Radford et al. 2019), trained on the captions of a data set. Every text has tokens, as all bytes are; capital
//! letters and the composition of characters make no difference.

use std::collections::{BTreeSet, HashMap};

use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{
    Model, NormalizedString, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Trainer,
};

use crate::error::{Error, Result};

/// Bytes, the first tokens.
const BYTES: usize = 256;
/// Sizes of a trained vocabulary, by the amount of text: one token for every [`WORDS_PER_TOKEN`] words.
const SIZES: [usize; 2] = [1_024, 4_096];
const WORDS_PER_TOKEN: usize = 16;
/// Pairs of tokens that occur less often are not merged.
const LEAST_OFTEN: u64 = 2;
/// Characters of the longest token that is trained: a text that repeats one word must not become one token.
const LONGEST_TOKEN: usize = 64;
/// Merges of the largest vocabulary that a file may hold, and bytes of its longest token: each merge may double one.
const MOST_MERGES: usize = 65_536 - BYTES;
const MOST_BYTES: usize = 4 * LONGEST_TOKEN;

/// The tokens of captions.
#[derive(Debug)]
pub struct Vocabulary {
    /// Two tokens that become one, `a b`, in the order in which they are applied.
    merges: Vec<String>,
    /// The characters of each token, by its id.
    names: Vec<String>,
    model: BPE,
}

impl Vocabulary {
    /// Trains a vocabulary on captions; the same captions in any order give the same one.
    ///
    /// # Errors
    /// Captions that the trainer refuses.
    pub fn train<'a>(captions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let fail = |error| Error::invalid(format!("cannot train tokens on the captions: {error}"));
        let words: Vec<String> = captions
            .into_iter()
            .map(words)
            .collect::<tokenizers::Result<Vec<_>>>()
            .map_err(fail)?
            .concat();
        let size = (words.len() / WORDS_PER_TOKEN).clamp(SIZES[0], SIZES[1]);
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size)
            .min_frequency(LEAST_OFTEN)
            .max_token_length(Some(LONGEST_TOKEN))
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        trainer.feed(words.iter(), |word| Ok(vec![word.to_owned()])).map_err(fail)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(fail)?;
        // The crate shows its merges only as JSON: a list of pairs.
        let json = serde_json::to_value(&model).map_err(|error| fail(error.into()))?;
        let pairs: Vec<(String, String)> =
            serde_json::from_value(json["merges"].clone()).map_err(|error| fail(error.into()))?;
        let merges = pairs.into_iter().map(|(a, b)| format!("{a} {b}")).collect();
        Self::of_merges(merges).map_err(|reason| fail(reason.into()))
    }

    /// The vocabulary of these [merges](Self::merges), or why there is none.
    pub fn of_merges(merges: Vec<String>) -> std::result::Result<Self, String> {
        if merges.len() > MOST_MERGES {
            return Err(format!("{} merges, at most {MOST_MERGES} are allowed", merges.len()));
        }
        // As the trainer numbers them: bytes by their characters, then what merges make.
        let bytes: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        let mut tokens: Vec<String> = bytes.into_iter().map(String::from).collect();
        let mut known: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in &merges {
            let pair = merge
                .split_once(' ')
                .filter(|(a, b)| known.contains_key(*a) && known.contains_key(*b));
            let Some((a, b)) = pair else {
                return Err(format!("the merge `{merge}` is not of two known tokens"));
            };
            let merged = format!("{a}{b}");
            if merged.len() > MOST_BYTES {
                return Err(format!(
                    "a token of {} bytes, at most {MOST_BYTES} are allowed",
                    merged.len()
                ));
            }
            if !known.contains_key(&merged) {
                known.insert(merged.clone(), tokens.len() as u32);
                tokens.push(merged);
            }
            pairs.push((a.to_owned(), b.to_owned()));
        }
        let builder = BPE::builder().vocab_and_merges(known.into_iter().collect::<Vocab>(), pairs);
        let model = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { merges, names: tokens, model })
    }

    /// What it is made of, for a file: two tokens that become one, `a b`, in the order in which they are applied. Their
    /// bytes are written as GPT-2 does, one visible character each.
    pub fn merges(&self) -> &[String] {
        &self.merges
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.names.len()
    }

    /// What each token stands for, by its id: its bytes, one visible character each.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The tokens of a caption, each below [`Self::n_tokens`]; none of a caption without a visible character.
    ///
    /// # Errors
    /// A caption that the crate refuses; none is known.
    pub fn tokens(&self, caption: &str) -> Result<Vec<u32>> {
        let fail = |error| Error::invalid(format!("cannot read the caption `{caption}`: {error}"));
        let mut tokens = Vec::new();
        for word in words(caption).map_err(fail)? {
            tokens.extend(self.model.tokenize(&word).map_err(fail)?.into_iter().map(|t| t.id));
        }
        Ok(tokens)
    }
}

/// The words of a caption, each with the space before it, as the bytes that tokens are made of.
fn words(caption: &str) -> tokenizers::Result<Vec<String>> {
    let caption = caption.trim();
    if caption.is_empty() {
        return Ok(Vec::new());
    }
    let mut text = NormalizedString::from(caption);
    text.nfc();
    text.lowercase();
    let mut parts = PreTokenizedString::from(text);
    ByteLevel::default().pre_tokenize(&mut parts)?;
    let parts = parts.get_splits(OffsetReferential::Normalized, OffsetType::None);
    Ok(parts.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 6] =
        ["red heart", "red apple", "green apple", "blue heart", "heart with arrow", "green heart"];

    fn vocabulary() -> Vocabulary {
        Vocabulary::train(CAPTIONS).unwrap()
    }

    #[test]
    fn frequent_words_are_one_token_and_rare_ones_several() {
        let vocabulary = vocabulary();
        let n = |text| vocabulary.tokens(text).unwrap().len();
        assert_eq!((n("heart"), n("red heart"), n("green apple")), (1, 2, 2));
        assert!(n("zebra") > 2, "{}", n("zebra"));
        assert_eq!(vocabulary.n_tokens(), BYTES + vocabulary.merges().len());
        assert_ne!(
            vocabulary.tokens("red heart").unwrap(),
            vocabulary.tokens("heart red").unwrap()
        );
    }

    #[test]
    fn case_space_and_composition_make_no_difference_and_every_text_has_tokens() {
        let vocabulary = vocabulary();
        let tokens = |text| vocabulary.tokens(text).unwrap();
        assert_eq!(tokens("Red HEART"), tokens(" red heart "));
        assert_eq!(tokens("caf\u{e9}"), tokens("cafe\u{301}"));
        assert!(tokens("").is_empty() && tokens(" \t\n").is_empty());
        for text in ["猫", "🐱 кот", "\u{0}\u{7f}", "a\u{300}\u{301}", "\u{feff}x", "1,000 £"]
        {
            let tokens = tokens(text);
            assert!(!tokens.is_empty(), "{text}");
            assert!(tokens.iter().all(|token| (*token as usize) < vocabulary.n_tokens()));
        }
        assert_eq!(tokens(&"heart ".repeat(2_000)).len(), 2_000);
    }

    #[test]
    fn the_same_captions_in_any_order_give_the_same_vocabulary_and_merges_bring_it_back() {
        let words = ["sun", "moon", "star", "cloud", "rain", "snow", "wind", "fog"];
        let all: Vec<String> = (0..400)
            .map(|i| format!("{} {} {}", words[i % 8], words[i * 7 / 3 % 8], words[i / 5 % 8]))
            .collect();
        let first = Vocabulary::train(all.iter().map(String::as_str)).unwrap();
        for _ in 0..5 {
            let again = Vocabulary::train(all.iter().rev().map(String::as_str)).unwrap();
            assert_eq!(again.merges(), first.merges());
        }
        let back = Vocabulary::of_merges(first.merges().to_vec()).unwrap();
        assert_eq!(back.n_tokens(), first.n_tokens());
        for text in ["sun moon", "starry rain", "fogg"] {
            assert_eq!(back.tokens(text).unwrap(), first.tokens(text).unwrap());
        }
    }

    #[test]
    fn tokens_are_those_of_the_merges_worked_by_hand() {
        // `Ġ` is the space before a word.
        let merges = ["a b", "Ġ ab", "ab c"].map(str::to_owned).to_vec();
        let vocabulary = Vocabulary::of_merges(merges).unwrap();
        assert_eq!(vocabulary.n_tokens(), 259);
        // ` abc`: ab, then ` ab`, which leaves c; the byte characters in order begin with `!`, so c is 99 - 33.
        assert_eq!(vocabulary.tokens("abc").unwrap(), [257, 66]);
        assert_eq!(vocabulary.tokens("xabc").unwrap().last(), Some(&258));
    }

    #[test]
    fn merges_that_make_no_vocabulary_are_refused() {
        for broken in ["ab c", "ab", "", "a  b", "a b c", "\u{0} a"] {
            let message = Vocabulary::of_merges(vec![broken.to_owned()]).unwrap_err();
            assert!(message.contains(&format!("`{broken}` is not of two known")), "{message}");
        }
        let doubling = (0..64).map(|n| format!("{0} {0}", "a".repeat(1 << n.min(12)))).collect();
        let message = Vocabulary::of_merges(doubling).unwrap_err();
        assert_eq!(message, "a token of 512 bytes, at most 256 are allowed");
        let message = Vocabulary::of_merges(vec!["a b".to_owned(); 65_281]).unwrap_err();
        assert_eq!(message, "65281 merges, at most 65280 are allowed");
        let empty = Vocabulary::of_merges(Vec::new()).unwrap();
        assert_eq!((empty.n_tokens(), empty.tokens("ab").unwrap().len()), (256, 3));
    }
}
