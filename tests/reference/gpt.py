"""The prior: a transformer over codes in raster order, with learned or two-dimensional rotary positions. The tokens of a
caption come first and see each other; the masked kind sees all positions from each."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Rotary:
    """The first half of a head's dimensions turns with the row, the second half with the column.

    Within a half of m dimensions, i and i + m/2 are a pair that turns by position * 100^(-i / (m/2)). A query stands
    at the cell it predicts, a key at the cell it holds; what comes before the codes stands at row and column -1.
    """

    def __init__(self, config, head_dim):
        height, width = config["grid_height"], config["grid_width"]
        cells = [(t // width, t % width) for t in range(height * width)]
        before = [(-1, -1)] * (config.get("caption_length", 0) + 1)
        if config.get("kind") == "masked":
            self.query = self.key = self.tables(before + cells, head_dim)
        else:
            self.query = self.tables(before[1:] + cells, head_dim)
            self.key = self.tables(before + cells[:-1], head_dim)

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
        self.heads, self.rotary, self.qk_norm = config["heads"], rotary, config.get("qk_norm", False)
        self.is_masked, self.prefix = config.get("kind") == "masked", config.get("caption_length", 0)
        self.qkv = nn.Linear(config["width"], 3 * config["width"])
        self.out = nn.Linear(config["width"], config["width"])

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        if self.qk_norm:
            q, k = (F.rms_norm(x, x.shape[-1:], eps=1e-6) for x in (q, k))
        if self.rotary is not None:
            q, k = self.rotary.turn(q, self.rotary.query), self.rotary.turn(k, self.rotary.key)
        position = torch.arange(t)
        allowed = (position[None, :] <= position[:, None]) | (position[None, :] < self.prefix) | self.is_masked
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).reshape(b, t, c))


def norm(config):
    kind = nn.RMSNorm if config.get("norm") == "rms" else nn.LayerNorm
    return kind(config["width"], eps=1e-5)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["width"]
        self.activation = config.get("activation", "gelu")
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        hidden = self.up(x)
        return self.down(F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden).square())


class Block(nn.Module):
    def __init__(self, config, rotary):
        super().__init__()
        self.norm1, self.norm2 = norm(config), norm(config)
        self.attention = Attention(config, rotary)
        self.mlp = Mlp(config)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Caption(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.token = nn.Embedding(config["caption_tokens"] + 1, config["width"])
        self.position = nn.Parameter(torch.empty(config["caption_length"], config["width"]))

    def forward(self, tokens):
        return self.token(tokens) + self.position


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.codebook_size, width = config["codebook_size"], config["width"]
        is_masked = config.get("kind") == "masked"
        self.token = nn.Embedding(config["codebook_size"] + config["n_classes"] + 1 + is_masked, width)
        rotary = None
        if config["positions"] == "learned":
            n_codes = config["grid_height"] * config["grid_width"]
            has_targets = config.get("target_positions", False)
            # In raster order the last code is never an input.
            self.position = nn.Parameter(torch.empty(n_codes + (is_masked or has_targets), width))
            if has_targets:
                self.target_position = nn.Parameter(torch.empty(n_codes, width))
        else:
            rotary = Rotary(config, width // config["heads"])
        if "caption_length" in config:
            self.caption = Caption(config)
        self.blocks = nn.ModuleList([Block(config, rotary) for _ in range(config["layers"])])
        self.norm = norm(config)
        if not config["tie_weights"]:
            self.head = nn.Linear(width, config["codebook_size"], bias=False)

    def forward(self, tokens, captions=None, order=None):
        """tokens: the class and the codes, in raster order or in `order`. Gives the logits at their positions."""
        x = self.token(tokens)
        if order is not None:
            # What stands at a position is the class or the code of the place before in the order; what comes next is the code
            # at its own place.
            held = torch.cat([torch.zeros_like(order[:, :1]), order[:, :-1] + 1], dim=1)
            x = x + self.position[held] + self.target_position[order]
        elif hasattr(self, "position"):
            x = x + self.position[: tokens.shape[1]]
        if captions is not None:
            x = torch.cat([self.caption(captions), x], dim=1)
        for block in self.blocks:
            x = block(x)
        head = self.head.weight if hasattr(self, "head") else self.token.weight[: self.codebook_size]
        return self.norm(x[:, -tokens.shape[1]:]) @ head.t()
