//! The discriminator, the losses of adversarial training and the focal frequency loss against PyTorch.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use vqgen::checkpoint::parameters;
use vqgen::discriminator::{AdversarialLoss, Discriminator, Judgement, feature_matching, lecam};
use vqgen::ops::frequency::focal_frequency_loss;
use vqgen::ops::init::WeightInit;

use super::drawn::drawn_weights;
use super::support::{Reference, values};

#[derive(Deserialize)]
struct Settings {
    means: [f32; 2],
    lecam: f64,
    matching: f64,
}

fn check(name: &str) {
    let reference = Reference::read(name);
    let device = Device::flex().autodiff();
    let (channels, image_size) = (reference.metadata("channels"), reference.metadata("image_size"));
    let Settings { means, lecam: of_lecam, matching: of_matching } = reference.metadata("settings");
    let net = Discriminator::new(channels, 64, image_size, &mut WeightInit::new(0, &device));
    let weights = drawn_weights(&reference, "weights", "expected.drawn");
    let net = parameters::load(net, weights, Path::new(name)).unwrap();
    let real: Tensor<4> = reference.floats("input.real", &device);
    let fake: Tensor<4> = reference.floats("input.fake", &device).require_grad();

    let of_images = net.judge(real.clone());
    reference.compare("expected.logits", &values(of_images.logits.clone()));
    for (level, features) in of_images.features.iter().enumerate() {
        reference.compare(&format!("expected.feature.{level}"), &values(features.clone()));
    }
    for (loss, kind) in
        [("hinge", AdversarialLoss::Hinge), ("cross_entropy", AdversarialLoss::NonSaturating)]
    {
        let compare = |value: &str, found: &Tensor<1>| {
            reference.compare(&format!("expected.{loss}.{value}"), &values(found.clone()));
        };
        // A backward pass consumes the graph.
        let of_images = net.judge(real.clone());
        let of_fakes = net.judge(fake.clone().detach());
        let value = kind.of_discriminator(of_images.logits.clone(), of_fakes.logits.clone());
        compare("discriminator", &value);
        let means = Tensor::from_floats(means, &device);
        let penalty = lecam(of_images.logits.clone(), of_fakes.logits, means);
        compare("lecam", &penalty);
        let gradients = (value + penalty.mul_scalar(of_lecam)).backward();
        reference.compare_gradients_of(&format!("expected.{loss}.gradient."), &net, &gradients);

        let Judgement { logits, features } = net.clone().no_grad().judge(fake.clone());
        let real = of_images.features.iter().map(|features| features.clone().detach()).collect();
        let matching = feature_matching(real, features);
        compare("matching", &matching);
        let told = kind.of_decoder(logits);
        compare("decoder", &told);
        let gradients = (told + matching.mul_scalar(of_matching)).backward();
        let gradient = values(fake.grad(&gradients).unwrap());
        reference.compare(&format!("expected.{loss}.gradient"), &gradient);
    }
}

#[test]
fn the_discriminator_and_its_losses_agree_with_pytorch() {
    check("discriminator.safetensors");
}

#[test]
fn that_of_large_grey_images_does_too() {
    check("discriminator_large.safetensors");
}

#[test]
fn the_focal_frequency_loss_agrees_with_the_package() {
    let reference = Reference::read("focal_frequency.safetensors");
    let device = Device::flex().autodiff();
    for case in ["odd", "grey"] {
        let x: Tensor<4> = reference.floats(&format!("input.{case}.x"), &device).require_grad();
        let y: Tensor<4> = reference.floats(&format!("input.{case}.y"), &device);
        let loss = focal_frequency_loss(x.clone(), y);
        reference.compare(&format!("expected.{case}"), &values(loss.clone()));
        let gradient = values(x.grad(&loss.backward()).unwrap());
        reference.compare(&format!("expected.{case}.gradient"), &gradient);
    }
}
