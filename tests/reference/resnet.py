"""The `resnet` tokenizer: GroupNorm and SiLU residual blocks as in VQGAN (Esser et al. 2021)."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def norm_groups(config):
    """Groups of every GroupNorm: 32 as published, fewer for narrow models."""
    return next((groups for groups in (32, 16, 8, 4, 2) if config["width"] % groups == 0), 1)


class ResidualBlock(nn.Module):
    def __init__(self, c_in, c_out, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 1, 1)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=1e-6)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.shortcut is None else self.shortcut(x)) + h


class Attention(nn.Module):
    """One head over all positions."""

    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        b, c, h, w = x.shape
        rows = self.norm(x).flatten(2).transpose(1, 2)  # [b, h * w, c]
        q, k, v = self.qkv(rows).split(c, dim=2)
        weights = torch.softmax(q @ k.transpose(1, 2) / c**0.5, dim=2)
        return x + self.out(weights @ v).transpose(1, 2).reshape(b, c, h, w)


class Level(nn.Module):
    """The residual blocks of one resolution and the convolution that leaves it, `down`, `up` or none."""

    def __init__(self, c_in, c_out, n_blocks, groups, leave):
        super().__init__()
        self.blocks = nn.Sequential(*[ResidualBlock(c_in if j == 0 else c_out, c_out, groups) for j in range(n_blocks)])
        if leave == "down":
            self.down = nn.Conv2d(c_out, c_out, 3, 2, 1)
        if leave == "up":
            self.up = nn.Conv2d(c_out, c_out, 3, 1, 1)

    def forward(self, x):
        x = self.blocks(x)
        if hasattr(self, "down"):
            return self.down(x)
        if hasattr(self, "up"):
            return self.up(F.interpolate(x, scale_factor=2, mode="nearest"))
        return x


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        groups, self.fold = norm_groups(config), 2 ** config.get("folds", 0)
        halvings = config["halvings"] - config.get("folds", 0)
        channels = [config["width"] * m for m in config["channel_multipliers"]]  # finest first
        top = channels[-1]
        self.stem = nn.Conv2d(config["channels"] * self.fold**2, channels[0], 3, 1, 1)
        self.levels = nn.ModuleList([
            Level(channels[max(i - 1, 0)], channels[i], config["residual_blocks"], groups, "down" if i < halvings else None)
            for i in range(halvings + 1)
        ])
        self.middle = nn.ModuleList([ResidualBlock(top, top, groups) for _ in range(2)])
        self.attention = Attention(top, groups) if config["attention"] else nn.Identity()
        self.norm = nn.GroupNorm(groups, top, eps=1e-6)
        self.to_codes = nn.Conv2d(top, config["code_dim"], 1)

    def forward(self, x):
        x = self.stem(F.pixel_unshuffle(x, self.fold))
        for level in self.levels:
            x = level(x)
        x = self.middle[1](self.attention(self.middle[0](x)))
        return self.to_codes(F.silu(self.norm(x)))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        groups, self.fold = norm_groups(config), 2 ** config.get("folds", 0)
        halvings = config["halvings"] - config.get("folds", 0)
        channels = [config["width"] * m for m in reversed(config["channel_multipliers"])]  # coarsest first
        top, finest = channels[0], channels[-1]
        self.from_codes = nn.Conv2d(config["code_dim"], top, 3, 1, 1)
        self.middle = nn.ModuleList([ResidualBlock(top, top, groups) for _ in range(2)])
        self.attention = Attention(top, groups) if config["attention"] else nn.Identity()
        self.levels = nn.ModuleList([
            Level(channels[max(i - 1, 0)], channels[i], config["residual_blocks"], groups, "up" if i < halvings else None)
            for i in range(halvings + 1)
        ])
        self.norm = nn.GroupNorm(groups, finest, eps=1e-6)
        self.to_image = nn.Conv2d(finest, config["channels"] * self.fold**2, 3, 1, 1)

    def forward(self, q):
        x = self.from_codes(q)
        x = self.middle[1](self.attention(self.middle[0](x)))
        for level in self.levels:
            x = level(x)
        return F.pixel_shuffle(self.to_image(F.silu(self.norm(x))), self.fold)
