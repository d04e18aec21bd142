//! Names, shapes and layouts of the parameters of small modules.

use burn::module::ParamId;
use burn::tensor::Device;

use super::*;

/// Id and name of every float parameter, in Burn's visiting order.
fn names<M: Module>(module: &M) -> Vec<(ParamId, String)> {
    struct Names(Place, Vec<(ParamId, String)>);
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((param.id, self.0.name()));
        }
    }
    let mut visitor = Names(Place::default(), Vec::new());
    module.visit(&mut visitor);
    visitor.1
}

#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
struct Conv2d {
    weight: Param<Tensor<4>>,
}

#[derive(Module, Debug)]
enum Body {
    Convolution(Conv2d),
    Dense(Linear),
}

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
    body: Body,
    codebook: Param<Tensor<2>>,
    width: usize,
}

fn net(device: &Device) -> Net {
    let dense = |bias: Option<[f32; 3]>| Linear {
        weight: Param::from_data([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], device),
        bias: bias.map(|values| Param::from_data(values, device)),
    };
    Net {
        layers: vec![dense(Some([7.0, 8.0, 9.0])), dense(None)],
        body: Body::Convolution(Conv2d {
            weight: Param::from_tensor(
                Tensor::<1, Int>::arange(0..12, device).float().reshape([1, 2, 2, 3]),
            ),
        }),
        codebook: Param::from_data([[0.5, 0.25]], device).set_require_grad(false),
        width: 3,
    }
}

fn zeros(module: Net) -> Net {
    struct Zero;
    impl ModuleMapper for Zero {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.zeros_like())
        }
    }
    module.map(&mut Zero)
}

fn error(tensors: Vec<NamedTensor>) -> String {
    let result = load(net(&Device::flex()), tensors, Path::new("m.safetensors"));
    result.unwrap_err().to_string()
}

#[test]
fn names_are_dotted_paths_and_weights_are_in_file_layout() {
    let tensors = named(&net(&Device::flex())).unwrap();
    let shapes: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    assert_eq!(
        shapes,
        [
            ("body.weight", &[3, 2, 1, 2][..]),
            ("codebook", &[1, 2]),
            ("layers.0.bias", &[3]),
            ("layers.0.weight", &[3, 2]),
            ("layers.1.weight", &[3, 2]),
        ]
    );
    assert_eq!(tensors[3].data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(tensors[1].data, [0.5, 0.25]);
}

#[test]
fn ids_and_names_come_in_the_same_order_as_burn_visits() {
    let module = net(&Device::flex());
    let names = names(&module);
    assert_eq!(names[0], (module.layers[0].weight.id, "layers.0.weight".to_owned()));
    assert_eq!(names[4], (module.codebook.id, "codebook".to_owned()));
}

#[test]
fn loading_restores_values_and_keeps_ids_and_gradient_flags() {
    let device = Device::flex().autodiff();
    let module = net(&device);
    let tensors = named(&module).unwrap();
    let ids = names(&module);
    let loaded = load(zeros(module), tensors.clone(), Path::new("m.safetensors")).unwrap();
    assert_eq!(named(&loaded).unwrap(), tensors);
    assert_eq!(names(&loaded), ids);
    assert!(loaded.layers[0].weight.val().is_require_grad());
    assert!(!loaded.codebook.val().is_require_grad());
    assert_eq!(loaded.codebook.val().device(), device);
    assert_eq!(loaded.width, 3);
}

#[test]
fn a_model_loaded_without_autodiff_can_be_switched_to_training() {
    let module = net(&Device::flex());
    let tensors = named(&module).unwrap();
    let loaded = load(module, tensors, Path::new("m.safetensors")).unwrap().train();
    assert!(loaded.layers[0].weight.val().is_require_grad());
    assert!(!loaded.codebook.val().is_require_grad());
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = named(&net(&Device::flex())).unwrap();
    tensors.remove(1);
    assert_eq!(error(tensors), "m.safetensors: tensor codebook is missing");
}

#[test]
fn an_extra_tensor_is_named() {
    let mut tensors = named(&net(&Device::flex())).unwrap();
    tensors.push(NamedTensor::new("layers.2.weight", vec![1], vec![0.0]).unwrap());
    let message = "m.safetensors: tensor layers.2.weight is not a parameter of this model";
    assert_eq!(error(tensors), message);
}

#[test]
fn a_wrong_shape_is_named_with_the_one_wanted() {
    let mut tensors = named(&net(&Device::flex())).unwrap();
    tensors[3].shape = vec![2, 3];
    let message = "m.safetensors: tensor layers.0.weight has shape [2, 3], the model needs [3, 2]";
    assert_eq!(error(tensors), message);
}

#[test]
fn a_value_that_is_not_finite_is_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut tensors = named(&net(&Device::flex())).unwrap();
        tensors[1].data[1] = value;
        let message = error(tensors);
        assert!(message.contains("tensor codebook holds"), "{message}");
    }
}

#[test]
fn several_problems_are_counted() {
    let message = error(Vec::new());
    assert!(message.contains("is missing (and 4 more such problems)"), "{message}");
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let mut tensors = named(&net(&Device::flex())).unwrap();
    tensors.push(tensors[0].clone());
    assert_eq!(error(tensors), "m.safetensors: tensor body.weight appears twice");
}

#[test]
fn a_layer_with_the_wrong_number_of_axes_is_an_error_not_a_wrong_file() {
    #[derive(Module, Debug)]
    struct ConvTranspose2d {
        weight: Param<Tensor<2>>,
    }
    let module = ConvTranspose2d { weight: Param::from_data([[1.0f32, 2.0]], &Device::flex()) };
    let message = named(&module).unwrap_err().to_string();
    assert!(message.contains("of a ConvTranspose2d has 2 axes, expected 4"), "{message}");
}

#[test]
fn integer_parameters_are_refused_rather_than_dropped() {
    #[derive(Module, Debug)]
    struct Counted {
        counts: Param<Tensor<1, Int>>,
    }
    let counts = Tensor::<1, Int>::from_data([1, 2], &Device::flex());
    let module = Counted { counts: Param::initialized(ParamId::new(), counts) };
    let message = named(&module).unwrap_err().to_string();
    assert!(message.contains("parameter counts holds integers"), "{message}");
}

#[test]
fn another_variant_of_an_enum_has_other_tensors() {
    let device = Device::flex();
    let mut module = net(&device);
    let tensors = named(&module).unwrap();
    module.body = Body::Dense(Linear { weight: Param::from_data([[1.0f32]], &device), bias: None });
    let result = load(module, tensors, Path::new("m.safetensors"));
    let message = result.unwrap_err().to_string();
    assert!(message.contains("body.weight has shape [3, 2, 1, 2]"), "{message}");
}
