"""The prior: a GPT over codes in raster order, with learned or two-dimensional rotary positions."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Rotary:
    """The first half of a head's dimensions turns with the row, the second half with the column.

    Within a half of m dimensions, i and i + m/2 are a pair that turns by position * 100^(-i / (m/2)). A query stands
    at the cell it predicts, a key at the cell it holds; the class token holds none and stands at row and column -1.
    """

    def __init__(self, grid_height, grid_width, head_dim):
        cells = [(t // grid_width, t % grid_width) for t in range(grid_height * grid_width)]
        self.query = self.tables(cells, head_dim)
        self.key = self.tables([(-1, -1)] + cells[:-1], head_dim)

    @staticmethod
    def tables(cells, head_dim):
        pairs = head_dim // 4
        frequencies = 100.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        angles = torch.tensor(cells, dtype=torch.float64)[:, :, None] * frequencies  # [sequence, 2, pairs]
        return angles.cos(), angles.sin()

    @staticmethod
    def turn(x, tables):
        """x: [batch, heads, sequence, head_dim]"""
        cos, sin = tables
        b, heads, t, head_dim = x.shape
        first, second = x.view(b, heads, t, 2, 2, head_dim // 4).unbind(4)
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=4)
        return turned.reshape(b, heads, t, head_dim)


class Attention(nn.Module):
    def __init__(self, config, rotary):
        super().__init__()
        self.heads, self.rotary = config["heads"], rotary
        self.qkv = nn.Linear(config["width"], 3 * config["width"])
        self.out = nn.Linear(config["width"], config["width"])

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            q, k = self.rotary.turn(q, self.rotary.query), self.rotary.turn(k, self.rotary.key)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, config, rotary):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config["width"]), nn.LayerNorm(config["width"])
        self.attention = Attention(config, rotary)
        self.mlp = Mlp(config["width"])

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.codebook_size, width = config["codebook_size"], config["width"]
        self.token = nn.Embedding(config["codebook_size"] + config["n_classes"] + 1, width)
        rotary = None
        if config["positions"] == "learned":
            self.position = nn.Parameter(torch.empty(config["grid_height"] * config["grid_width"], width))
        else:
            rotary = Rotary(config["grid_height"], config["grid_width"], width // config["heads"])
        self.blocks = nn.ModuleList([Block(config, rotary) for _ in range(config["layers"])])
        self.norm = nn.LayerNorm(width)
        if not config["tie_weights"]:
            self.head = nn.Linear(width, config["codebook_size"], bias=False)

    def forward(self, tokens):
        x = self.token(tokens)
        if hasattr(self, "position"):
            x = x + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        head = self.head.weight if hasattr(self, "head") else self.token.weight[: self.codebook_size]
        return self.norm(x) @ head.t()
