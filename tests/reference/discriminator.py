"""The discriminator of patches with drawn weights, and the losses of adversarial training, in PyTorch; and the focal
frequency loss of its authors' package."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from focal_frequency_loss import FocalFrequencyLoss

from drawn import Drawn
from fixture import channels_last, normal, write

MEANS, LECAM, MATCHING = (0.4, -0.2), 0.3, 2.0


def blurred(x):
    """Half the height and width, rounded up, after the filter 1 3 3 1."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    kernel = (row[:, None] * row[None]).expand(x.shape[1], 1, 4, 4)
    x = F.pad(x, (1, 1 + x.shape[3] % 2, 1, 1 + x.shape[2] % 2))
    return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


class Level(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(32, 2 * width, eps=1e-6)


class Discriminator(nn.Module):
    def __init__(self, channels, halvings):
        super().__init__()
        self.stem = nn.Conv2d(channels, 64, 3, padding=1)
        self.levels = nn.ModuleList([Level(64 * 2**level) for level in range(halvings)])
        self.to_logits = nn.Conv2d(64 * 2**halvings, 1, 3, padding=1)

    def forward(self, x):
        h, features = F.silu(self.stem(x)), []
        for level in self.levels:
            h = F.silu(level.norm(level.conv(blurred(h))))
            features.append(h)
        return self.to_logits(h), features


def range_of(name, shape):
    """Activations stay near 1, logits on both sides of the margins, and no norm is the identity."""
    if len(shape) > 1:
        return 0.0, float(6 / np.prod(shape[1:])) ** 0.5
    return (1.0, 0.2) if name.endswith("norm.weight") else (0.0, 0.2)


def lecam(real, fake):
    of_real, of_fake = MEANS
    return F.relu(real - of_fake).square().mean() + F.relu(of_real - fake).square().mean()


LOSSES = {
    "hinge": (lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()),
    "cross_entropy": (
        lambda real, fake: F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)),
        lambda fake: F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake)),
    ),
}


def discriminator_case(name, channels, image_size, size, seed, source):
    rng = np.random.default_rng(seed)
    model = Discriminator(channels, 2 if image_size <= 64 else 3).double()
    drawn = Drawn(model.state_dict(), range_of)
    model.load_state_dict(drawn.values)
    real, fake = normal(rng, 2, channels, *size, scale=0.2), normal(rng, 2, channels, *size, scale=0.2).requires_grad_()
    tensors = {"input.real": channels_last(real), "input.fake": channels_last(fake), "expected.drawn": drawn.last_values()}
    for loss, (of_discriminator, of_decoder) in LOSSES.items():
        model.zero_grad()
        (of_real, features), (of_fake, _) = model(real), model(fake.detach())
        value, penalty = of_discriminator(of_real, of_fake), lecam(of_real, of_fake)
        (value + LECAM * penalty).backward()
        few = {key: p.grad.clone() for key, p in model.named_parameters() if p.numel() < 2500}
        model.requires_grad_(False)
        logits, of_reconstruction = model(fake)
        matching = sum(F.l1_loss(f, r.detach()) for f, r in zip(of_reconstruction, features)) / len(features)
        told = of_decoder(logits)
        (gradient,) = torch.autograd.grad(told + MATCHING * matching, fake)
        model.requires_grad_(True)
        tensors |= {f"expected.{loss}.{key}": value for key, value in {
            "discriminator": value, "lecam": penalty, "decoder": told, "matching": matching, "gradient": channels_last(gradient),
        }.items()} | {f"expected.{loss}.gradient.{key}": grad for key, grad in few.items()}
    tensors |= {"expected.logits": channels_last(of_real)} | {f"expected.feature.{i}": channels_last(f) for i, f in enumerate(features)}
    write(name, tensors, weights=drawn.file, image_size=image_size, channels=channels, source=source,
          settings={"means": MEANS, "lecam": LECAM, "matching": MATCHING})


def focal_frequency_case(source):
    rng, tensors = np.random.default_rng(82), {}
    for case, shape in {"odd": (2, 3, 9, 6), "grey": (1, 1, 4, 7)}.items():
        x, y = normal(rng, *shape, scale=0.2).requires_grad_(), normal(rng, *shape, scale=0.2)
        loss = FocalFrequencyLoss()(x, y)
        loss.backward()
        tensors |= {f"input.{case}.x": channels_last(x), f"input.{case}.y": channels_last(y), f"expected.{case}": loss,
                    f"expected.{case}.gradient": channels_last(x.grad)}
    write("focal_frequency", tensors, source=f"{source}, focal-frequency-loss 0.3.0")


def cases(source):
    discriminator_case("discriminator", 3, 64, (12, 11), 81, source)
    discriminator_case("discriminator_large", 1, 65, (10, 9), 84, source)
    focal_frequency_case(source)
