//! Codes in other orders than the raster's.

use super::*;

fn with_targets() -> Gpt {
    let config = PriorConfig { target_positions: true, ..config(2, Positions::Learned, false) };
    gpt(&config, &Device::flex())
}

fn ids(values: &[i32], model: &Gpt) -> Tensor<2, Int> {
    let n = model.config().n_codes();
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / n, n]), &model.device())
}

#[test]
fn the_order_of_the_raster_is_that_of_no_order() {
    let model = with_targets();
    let (conditions, codes) = batch(2, model.config(), &model.device());
    let wanted = model.code_losses(&conditions, codes.clone(), None);
    let order = ids(&[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5], &model);
    let same = model.losses_of(&conditions, CodeBatch::of(codes).in_order(order), None);
    same.into_data().assert_approx_eq::<f32>(&wanted.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn a_code_depends_on_those_before_it_in_its_order_and_on_no_other() {
    let model = with_targets();
    let (conditions, codes) = batch(1, model.config(), &model.device());
    let order = ids(&[4, 0, 5, 2, 1, 3], &model);
    let losses = |codes: Tensor<2, Int>| -> Vec<f32> {
        let batch = CodeBatch::of(codes).in_order(order.clone());
        model.losses_of(&conditions, batch, None).into_data().try_into_vec().unwrap()
    };
    let before = losses(codes.clone());
    // Place 5 is the third of the order.
    let other = codes.clone().slice([0..1, 5..6]).add_scalar(1).remainder_scalar(11);
    let after = losses(codes.slice_assign([0..1, 5..6], other));
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!((before - after).abs() > 1e-6, at >= 2, "{at}: {before}, {after}");
    }
}

#[test]
fn codes_come_with_their_places_and_those_of_the_next() {
    let model = with_targets();
    let (conditions, codes) = batch(1, model.config(), &model.device());
    let order = [4, 0, 5, 2, 1, 3];
    let batch = CodeBatch::of(codes.clone()).in_order(ids(&order, &model));
    let permuted: Vec<i32> = batch.targets.clone().into_data().iter::<i32>().collect();
    let plain: Vec<i32> = codes.into_data().iter::<i32>().collect();
    assert_eq!(permuted, order.map(|place| plain[place as usize]));

    // The input by hand: embeddings of class and codes, their own positions, and those of the next codes.
    let width = 16;
    let table = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().try_into_vec().unwrap() };
    let token = table(model.token.weight.val());
    let own = table(model.position.as_ref().unwrap().val());
    let next = table(model.target_position.as_ref().unwrap().val());
    let row = |table: &[f32], at: usize| table[at * width..][..width].to_vec();
    let class = model.config().class_token(Some(0));
    let mut expected = Vec::new();
    for (at, place) in order.into_iter().enumerate() {
        let (token_id, position) = match at {
            0 => (class, 0),
            _ => (permuted[at - 1] as usize, order[at - 1] as usize + 1),
        };
        let parts = [row(&token, token_id), row(&own, position), row(&next, place as usize)];
        expected.extend((0..width).map(|i| parts.iter().map(|part| part[i]).sum::<f32>()));
    }
    let known = batch.seen.slice([0..1, 0..5]);
    let x = model.embed(&conditions, Some(known), Some(ids(&order, &model))).into_data();
    let expected = TensorData::new(expected, [1, 6, width]);
    x.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
}

#[test]
fn other_orders_are_for_autoregressive_priors_with_learned_positions() {
    let config = PriorConfig { target_positions: true, ..PriorConfig::default() };
    config.validate().unwrap();
    for wrong in [
        PriorConfig { positions: Positions::Rotary, width: 32, ..config.clone() },
        PriorConfig { kind: PriorKind::Masked, ..config.clone() },
    ] {
        let message = wrong.validate().unwrap_err().to_string();
        assert!(message.contains("set prior.order to \"raster\""), "{message}");
    }
}
