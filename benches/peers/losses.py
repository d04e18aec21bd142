"""The perceptual and adversarial terms of vqgen's stage 1 in PyTorch, for the cases of `pytorch_peer.py`.

The built-in feature net with its weights (EfficientNet-Lite0, four stages, `SAME` padding), and the discriminator of patches
with hinge loss, feature matching and LeCAM. The discriminator sees images and reconstructions in one batch, and is frozen
where the decoder is told, as in vqgen.
"""

import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

WEIGHTS = pathlib.Path(__file__).resolve().parents[2] / "data/efficientnet-lite0/weights.safetensors"
# Blocks, kernel size and stride of the stages that are compared.
STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2)]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST = 64


def weights():
    data = WEIGHTS.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    header.pop("__metadata__")
    read = lambda info: np.frombuffer(body[slice(*info["data_offsets"])], dtype="<f2").reshape(info["shape"])
    return {name: torch.from_numpy(read(info).astype(np.float32)) for name, info in header.items()}


class Convolution(nn.Module):
    """With `SAME` padding; the stem is stored as 4x4 with a row and a column of zeros."""

    def __init__(self, tensors, name, stride=1):
        super().__init__()
        weight = tensors[f"{name}.weight"]
        weight = weight[:, :, 1:, 1:] if name == "stem" else weight
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(tensors[f"{name}.bias"], requires_grad=False)
        self.stride, self.groups = stride, weight.shape[0] if "depthwise" in name else 1

    def forward(self, x):
        kernel, padding = self.weight.shape[-1], self.weight.shape[-1] // 2
        if self.stride > 1:
            before = (kernel - 2) // 2
            x, padding = F.pad(x, (before, kernel - 2 - before, before, kernel - 2 - before)), 0
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


class InvertedResidual(nn.Module):
    def __init__(self, tensors, name, stride):
        super().__init__()
        self.expand = Convolution(tensors, f"{name}.expand") if f"{name}.expand.weight" in tensors else None
        self.depthwise = Convolution(tensors, f"{name}.depthwise", stride)
        self.project = Convolution(tensors, f"{name}.project")

    def forward(self, x):
        h = F.relu6(self.expand(x)) if self.expand else x
        h = self.project(F.relu6(self.depthwise(h)))
        return h + x if h.shape == x.shape else h


class Perceptual(nn.Module):
    def __init__(self):
        super().__init__()
        tensors, block = weights(), 0
        self.stem, self.stages = Convolution(tensors, "stem", 2), nn.ModuleList()
        for n_blocks, _, stride in STAGES:
            blocks = [InvertedResidual(tensors, f"blocks.{block + i}", stride if i == 0 else 1) for i in range(n_blocks)]
            self.stages.append(nn.Sequential(*blocks))
            block += n_blocks
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) - 0.5)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def features(self, images):
        x = (images - self.mean) / self.deviation
        factor = max(1, -(-SMALLEST // x.shape[-1]))
        x = x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        h, outputs = F.relu6(self.stem(x)), []
        for stage in self.stages:
            h = stage(h)
            outputs.append(F.normalize(h.float(), dim=1))
        return outputs

    def forward(self, x, y):
        with torch.no_grad():
            of_y = self.features(y)
        stages = zip(self.features(x), of_y)
        return sum((a - b).square().sum(1).mean() for a, b in stages) / len(STAGES)


class Level(nn.Module):
    def __init__(self, width):
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("blur", (row[:, None] * row[None]).expand(width, 1, 4, 4).contiguous())
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(32, 2 * width, eps=1e-6)

    def forward(self, x):
        blurred = F.conv2d(x, self.blur, stride=2, padding=1, groups=x.shape[1])
        return F.silu(self.norm(self.conv(blurred)))


class Discriminator(nn.Module):
    def __init__(self, channels, halvings=2):
        super().__init__()
        self.stem = nn.Conv2d(channels, 64, 3, padding=1)
        self.levels = nn.ModuleList([Level(64 * 2**level) for level in range(halvings)])
        self.to_logits = nn.Conv2d(64 * 2**halvings, 1, 3, padding=1)
        self.register_buffer("means", torch.zeros(2))

    def judge(self, x):
        h, features = F.silu(self.stem(x)), []
        for level in self.levels:
            h = level(h)
            features.append(h)
        return self.to_logits(h).float(), features

    def loss(self, images, reconstruction):
        """The discriminator's, and the features of the images."""
        logits, features = self.judge(torch.cat([images, reconstruction.detach()]))
        real, fake = logits.chunk(2)
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        lecam = F.relu(real - self.means[1]).square().mean() + F.relu(self.means[0] - fake).square().mean()
        with torch.no_grad():
            self.means.lerp_(torch.stack([real.mean(), fake.mean()]), 0.01)
        return loss + 0.001 * lecam, [f.detach().chunk(2)[0] for f in features]

    def told(self, reconstruction, of_images):
        """What the decoder minimises."""
        self.requires_grad_(False)
        logits, features = self.judge(reconstruction)
        self.requires_grad_(True)
        matching = sum(F.l1_loss(a, b) for a, b in zip(features, of_images)) / len(features)
        return -0.1 * logits.mean() + 0.5 * matching
