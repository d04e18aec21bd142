"""The tokenizers `plain`, van den Oord et al. 2017 as in DeepMind's sonnet, and `wide`, for any number of halvings."""

import torch.nn as nn
import torch.nn.functional as F


class ResidualBlock(nn.Module):
    def __init__(self, width, residual_width):
        super().__init__()
        self.conv3 = nn.Conv2d(width, residual_width, 3, 1, 1, bias=False)
        self.conv1 = nn.Conv2d(residual_width, width, 1, bias=False)

    def forward(self, x):
        return x + self.conv1(F.relu(self.conv3(F.relu(x))))


def blocks(config):
    return nn.Sequential(*[ResidualBlock(config["width"], config["residual_width"]) for _ in range(config["residual_blocks"])])


def finer_width(config):
    """Channels at the resolutions finer than that of the codes."""
    return config["width"] // (1 if config["preset"] == "wide" else 2)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, halvings = config["width"], config["halvings"]
        channels = [config["channels"]] + [finer_width(config)] * (halvings - 1) + [width]
        self.down = nn.ModuleList([nn.Conv2d(channels[i], channels[i + 1], 4, 2, 1) for i in range(halvings)])
        self.mix = nn.Conv2d(width, width, 3, 1, 1)
        self.blocks = blocks(config)
        self.to_codes = nn.Conv2d(width, config["code_dim"], 1)

    def forward(self, x):
        for down in self.down:
            x = F.relu(down(x))
        return self.to_codes(F.relu(self.blocks(self.mix(x))))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, halvings = config["width"], config["halvings"]
        channels = [width] + [finer_width(config)] * (halvings - 1) + [config["channels"]]
        self.from_codes = nn.Conv2d(config["code_dim"], width, 3, 1, 1)
        self.blocks = blocks(config)
        self.up = nn.ModuleList([nn.ConvTranspose2d(channels[i], channels[i + 1], 4, 2, 1) for i in range(halvings)])
        refined = range(halvings - 1 if config["preset"] == "wide" else 0)
        self.refine = nn.ModuleList([ResidualBlock(width, config["residual_width"]) for _ in refined])

    def forward(self, q):
        x = F.relu(self.blocks(self.from_codes(q)))
        for level, up in enumerate(self.up[:-1]):
            x = up(x)
            if self.refine:
                x = self.refine[level](x)
            x = F.relu(x)
        return self.up[-1](x)
