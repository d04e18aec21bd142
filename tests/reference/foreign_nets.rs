//! Feature nets at their full width against PyPI `lpips` and `pytorch-fid`.

use burn::tensor::Device;
use vqgen::features::PooledNet;
use vqgen::perceptual::{load_inception, load_lpips};

use super::drawn::write_drawn;
use super::support::{Reference, values};

#[test]
fn lpips_and_its_gradient_agree_with_the_package() {
    let reference = Reference::read("lpips.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let (trunk, linear) =
        (folder.path().join("vgg16.safetensors"), folder.path().join("vgg.safetensors"));
    write_drawn(&reference, "trunk", "expected.trunk", &trunk);
    write_drawn(&reference, "linear", "expected.linear", &linear);
    let device = Device::flex().autodiff();
    let lpips = load_lpips(&trunk, &linear, &device).unwrap();
    for case in ["rgb", "grey"] {
        let a = reference.floats::<4>(&format!("input.{case}.a"), &device).require_grad();
        let b = reference.floats::<4>(&format!("input.{case}.b"), &device);
        let distance = lpips.distance(a.clone(), b);
        reference.compare(&format!("expected.{case}.distance"), &values(distance.clone()));
        let gradients = distance.backward();
        let gradient = values(a.grad(&gradients).unwrap());
        reference.compare_within(&format!("expected.{case}.gradient"), &gradient, 1e-4);
    }
}

#[test]
fn inception_features_agree_with_pytorch_fid() {
    let reference = Reference::read("inception.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inception.safetensors");
    write_drawn(&reference, "file", "expected.drawn", &path);
    let device = Device::flex();
    let net = load_inception(&path, &device).unwrap();
    for case in ["small", "grey"] {
        let images = reference.floats::<4>(&format!("input.{case}"), &device);
        let features = net.pooled(images);
        assert_eq!(features.dims()[1], net.n_features());
        reference.compare_within(&format!("expected.{case}"), &values(features), 1e-4);
    }
}

#[test]
fn a_file_of_another_net_is_refused_by_its_first_wrong_tensor() {
    let reference = Reference::read("lpips.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let linear = folder.path().join("vgg.safetensors");
    write_drawn(&reference, "linear", "expected.linear", &linear);
    let device = Device::flex();
    let message = load_lpips(&linear, &linear, &device).unwrap_err().to_string();
    let wanted = "vgg.safetensors: has no float tensor features.0.weight (expected the weights of torchvision's vgg16, \
                  from https://download.pytorch.org/models/vgg16-397923af.pth)";
    assert!(message.ends_with(wanted), "{message}");
    let message = load_inception(&linear, &device).unwrap_err().to_string();
    assert!(message.contains("has no float tensor Conv2d_1a_3x3.conv.weight"), "{message}");
}
