//! Feature nets against PyTorch.

use burn::tensor::{Device, Tensor};
use vqgen::features::BuiltinNet;
use vqgen::perceptual::builtin_net;

use super::support::{Reference, values};

fn net(device: &Device) -> (Reference, BuiltinNet) {
    (Reference::read("efficientnet.safetensors"), builtin_net(device).unwrap())
}

#[test]
fn the_built_in_net_agrees_with_pytorch_in_its_distance_and_gradient() {
    let device = Device::flex().autodiff();
    let (reference, net) = net(&device);
    let x: Tensor<4> = reference.floats("input.x", &device).require_grad();
    let y: Tensor<4> = reference.floats("input.y", &device);
    let distance = net.distance(x.clone(), y.clone());
    reference.compare("expected.distance", &values(distance.clone().inner()));
    let gradients = distance.backward();
    reference.compare("expected.gradient_of_x", &values(x.grad(&gradients).unwrap()));
    let none: f32 = net.distance(y.clone(), y).into_scalar();
    assert_eq!(none, 0.0);
}

#[test]
fn the_built_in_net_agrees_with_pytorch_in_its_features() {
    let device = Device::flex();
    let (reference, net) = net(&device);
    let x: Tensor<4> = reference.floats("input.x", &device);
    for (index, stage) in net.stages(x.clone()).into_iter().enumerate() {
        // The file has every third row and every second column.
        let [_, height, width, _] = stage.dims();
        let every = |size: usize, step: usize| {
            let ids: Vec<i64> = (0..size as i64).step_by(step).collect();
            Tensor::from_data(ids.as_slice(), &device)
        };
        let stage = stage.select(1, every(height, 3)).select(2, every(width, 2));
        reference.compare(&format!("expected.stage.{index}"), &values(stage));
    }
    reference.compare("expected.pooled", &values(net.pooled(x)));
    let grey: Tensor<4> = reference.floats("input.grey", &device);
    reference.compare("expected.grey.pooled", &values(net.pooled(grey)));
}
