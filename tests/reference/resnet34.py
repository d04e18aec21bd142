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


def bits(index):
    """32 random bits for each number: lowbias32 by C. Wellons, https://nullprogram.com/blog/2018/07/31/"""
    x = index.astype(np.uint32)
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def range_of(name, shape):
    """Middle and half width of the values of a tensor: activations stay small, and no batch norm is the identity."""
    if len(shape) == 4:
        return 0.0, float(6 / np.prod(shape[1:])) ** 0.5
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("weight"):
        return (0.5 if "bn2" in name else 1.0), 0.2
    return 0.0, 0.2


class Backbone:
    """A whole ResNet-34 of torchvision with the stages drawn, and what a file with its weights holds.

    `file` names the tensors in the order of torchvision's `state_dict`; `fc.bias` stands for all that is beyond the
    stages. Number i of the file, counted from 0 through all its floats, is middle + half_width * (2 u - 1) with
    u = (bits(i) >> 8) / 2^24, in float64, then rounded to float32. Counters of batches are int64 and 0.
    """

    def __init__(self):
        self.whole, self.file, self.drawn, first = resnet34().double().eval(), [], {}, 0
        for name, value in self.whole.state_dict().items():
            if not name.startswith(STAGES) and name != "fc.bias":
                continue
            if value.dtype == torch.int64:
                self.file.append({"name": name, "shape": [], "range": None})
                continue
            middle, half_width = range_of(name, value.shape)
            unit = (bits(np.arange(first, first + value.numel())) >> 8).astype(np.float64) / 2**24
            numbers = (middle + half_width * (2 * unit - 1)).astype(np.float32)
            first += value.numel()
            self.drawn[name] = torch.from_numpy(numbers).double().view(value.shape)
            self.file.append({"name": name, "shape": list(value.shape), "range": [middle, half_width]})
        self.whole.load_state_dict(self.drawn, strict=False)

    def fill(self, encoder):
        stages = {name: value for name, value in self.drawn.items() if name != "fc.bias"}
        assert not encoder.load_state_dict(stages, strict=False).unexpected_keys

    def features(self, x):
        """What torchvision's own forward pass has after the second stage."""
        seen = []
        handle = self.whole.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            self.whole(as_torchvision(x))
        handle.remove()
        return seen[0]

    def last_values(self):
        return torch.stack([value.flatten()[-1] for value in self.drawn.values()])
