"""Feature nets whose weights come from files, at their full width, as PyPI `lpips` and `pytorch-fid` build them, with drawn weights."""

import numpy as np
import torch
import torchvision
from lpips import LPIPS
from pytorch_fid import inception

from drawn import Drawn
from fixture import channels_last, normal, write


def range_of(name, shape):
    """Middle and half width of the values of a tensor: activations stay near 1, and no batch norm is the identity."""
    if name.startswith("lin"):
        return 0.5, 0.5  # the package's are not negative
    if len(shape) > 1:
        return 0.0, float(6 / np.prod(shape[1:])) ** 0.5
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("weight"):
        return 1.0, 0.2
    return 0.0, 0.2


def pictures(rng, batch, channels, height, width):
    """Images in [-0.5, 0.5] with values that float32 holds exactly."""
    values = rng.random((batch, channels, height, width)) - 0.5
    return torch.from_numpy(values.astype(np.float32)).double()


def lpips_case(source):
    rng = np.random.default_rng(71)
    model = LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).double().eval()
    vgg = torchvision.models.vgg16().features.double()
    wanted = {f"features.{name}": value for name, value in vgg.state_dict().items()}
    # What follows the convolutions is in torchvision's file, and nobody wants it.
    trunk = Drawn(wanted | {"classifier.6.bias": torch.zeros(10)}, range_of)
    vgg.load_state_dict({name.removeprefix("features."): trunk.values[name] for name in wanted})
    for name, module in model.net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.load_state_dict(vgg[int(name.split(".")[1])].state_dict())
    linear = Drawn({name: value for name, value in model.state_dict().items() if name.startswith("lin") and not name.startswith("lins")}, range_of)
    for i in range(5):
        model.lins[i].load_state_dict({"model.1.weight": linear.values[f"lin{i}.model.1.weight"]})
    tensors = {}
    for case, shape in {"rgb": (3, 3, 32, 37), "grey": (2, 1, 16, 16)}.items():
        a, b = pictures(rng, *shape).requires_grad_(), pictures(rng, *shape)
        colour = lambda x: (2 * x).expand(-1, 3, -1, -1)
        distance = model(colour(a), colour(b)).mean()
        distance.backward()
        tensors |= {f"input.{case}.a": channels_last(a), f"input.{case}.b": channels_last(b),
                    f"expected.{case}.distance": distance, f"expected.{case}.gradient": channels_last(a.grad)}
    tensors |= {"expected.trunk": trunk.last_values(), "expected.linear": linear.last_values()}
    write("lpips", tensors, trunk=trunk.file, linear=linear.file, source=f"{source}, torchvision {torchvision.__version__}, lpips 0.1.4")


def inception_case(source):
    rng = np.random.default_rng(72)
    # Without this the package downloads its weights.
    inception.load_state_dict_from_url = lambda *args, **kwargs: drawn.values | counters
    shape = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    drawn = Drawn(shape.state_dict(), range_of)
    counters = {name: value for name, value in shape.state_dict().items() if value.dtype == torch.int64}
    model = inception.InceptionV3([3]).double().eval()
    tensors = {}
    for case, size in {"small": (2, 3, 24, 24), "grey": (1, 1, 40, 40)}.items():
        x = pictures(rng, *size)
        with torch.no_grad():
            features = model((x + 0.5).expand(-1, 3, -1, -1))[0]
        tensors |= {f"input.{case}": channels_last(x), f"expected.{case}": features.flatten(1)}
    tensors |= {"expected.drawn": drawn.last_values()}
    write("inception", tensors, file=drawn.file, source=f"{source}, torchvision {torchvision.__version__}, pytorch-fid 0.3.0")
