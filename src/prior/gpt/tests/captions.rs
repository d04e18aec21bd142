//! What captions change.

use super::*;

#[test]
fn what_a_caption_says_changes_every_code_and_what_follows_the_prefix_does_not() {
    let device = Device::flex();
    for config in configs(2).into_iter().filter(PriorConfig::has_captions) {
        let model = gpt(&config, &device);
        let logits = |caption: &[u32]| -> Vec<f32> {
            let condition = Condition { class: Some(0), caption: caption.to_vec() };
            let codes = Tensor::<1, Int>::from_ints([1, 2, 3, 4, 5], &device).unsqueeze();
            let conditions = Conditions::new(&[condition], &config, &device);
            model.forward(&conditions, Some(codes), None).into_data().try_into_vec().unwrap()
        };
        let base = logits(&[1, 2, 3]);
        assert_eq!(logits(&[1, 2, 3, 4]), base, "more tokens than count");
        for other in [&[1, 2, 4][..], &[2, 1, 3], &[1, 2], &[]] {
            let other = logits(other);
            for (row, (a, b)) in base.chunks(11).zip(other.chunks(11)).enumerate() {
                let most = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(most > 1e-3, "code {row}: {most}");
            }
        }
    }
}

#[test]
fn each_token_of_a_caption_sees_the_others() {
    let device = Device::flex();
    let config = configs(2).into_iter().find(PriorConfig::has_captions).unwrap();
    let model = gpt(&config, &device);
    // The first token's hidden state after a block, for two captions that differ in the last token.
    let first = |caption: &[u32]| {
        let condition = Condition { class: None, caption: caption.to_vec() };
        let x = model.embed(&Conditions::new(&[condition], &config, &device), None, None);
        let [_, sequence, width] = x.dims();
        let mask = model.mask(sequence);
        let attend = |qkv, _| causal_attention(qkv, model.heads(), &mask, None);
        let x = x.reshape([sequence, width]);
        let x = model.blocks[0].forward(x, &mut Dropouts::none(), attend);
        x.slice([0..1, 0..width]).into_data()
    };
    assert_ne!(first(&[1, 2, 3]), first(&[1, 2, 4]));
}
