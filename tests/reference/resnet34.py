"""The `resnet34` tokenizer: torchvision's own ResNet-34 up to its second stage, and the decoder of `resnet`.

Batch norms are in eval mode: stored statistics, trained gains and biases. The backbone is as wide as torchvision
makes it, 1.35 million numbers; they are drawn by a formula that the test has too, and not stored.
"""

import numpy as np
import torch
import torch.nn as nn
from torchvision.models import ResNet34_Weights, resnet34
from torchvision.transforms.functional import normalize

import resnet
from drawn import Drawn

STAGES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")


def as_torchvision(x):
    """Images in [-0.5, 0.5] as torchvision's weights want them."""
    wanted = ResNet34_Weights.IMAGENET1K_V1.transforms()
    return normalize(x + 0.5, wanted.mean, wanted.std)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        whole = resnet34()
        for stage in STAGES:
            setattr(self, stage, getattr(whole, stage))
        self.to_codes = nn.Conv2d(128, config["code_dim"], 1)
        self.eval()

    def features(self, x):
        x = as_torchvision(x)
        for stage in STAGES:
            x = getattr(self, stage)(x)
        return x

    def forward(self, x):
        return self.to_codes(self.features(x))


class Decoder(resnet.Decoder):
    """That of `resnet` with widths of 1/8, 1/4, 1/2 and 1 of `width`, finest first."""

    def __init__(self, config):
        super().__init__(config | {"width": config["width"] // 8, "channel_multipliers": [1, 2, 4, 8]})


def stored_name(name):
    """What vqgen calls a parameter of the tokenizer."""
    return name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.norm.")


def is_drawn(name):
    return name.startswith("encoder.") and not name.startswith("encoder.to_codes.")


def keeps_gradient(name, value):
    """One convolution of each kind, and every gain and bias of the encoder."""
    kinds = ("encoder.conv1.weight", "layer1.0.conv1.weight", "downsample.0.weight")
    return name.endswith(kinds) or (".encoder." in name and value.ndim == 1)


def range_of(name, shape):
    """Middle and half width of the values of a tensor: activations stay small, and no batch norm is the identity."""
    if len(shape) == 4:
        return 0.0, float(6 / np.prod(shape[1:])) ** 0.5
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("weight"):
        return (0.5 if "bn2" in name else 1.0), 0.2
    return 0.0, 0.2


class Backbone(Drawn):
    """A whole ResNet-34 of torchvision with the stages drawn, and what a file with its weights holds: the stages, and
    `fc.bias`, which stands for all that is beyond them."""

    def __init__(self):
        self.whole = resnet34().double().eval()
        wanted = {name: value for name, value in self.whole.state_dict().items() if name.startswith(STAGES) or name == "fc.bias"}
        super().__init__(wanted, range_of)
        self.whole.load_state_dict(self.values, strict=False)

    def fill(self, encoder):
        stages = {name: value for name, value in self.values.items() if name != "fc.bias"}
        assert not encoder.load_state_dict(stages, strict=False).unexpected_keys

    def features(self, x):
        """What torchvision's own forward pass has after the second stage."""
        seen = []
        handle = self.whole.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            self.whole(as_torchvision(x))
        handle.remove()
        return seen[0]
