#!/usr/bin/env python3
"""Tokenizers of other projects on weights made by a rule: imported.safetensors, with the names and shapes of their tensors,
images, and the codes and pictures that the original classes make of them.

    pip install torch numpy safetensors diffusers
    python imported.py

diffusers' `VQModel` is the original; taming-transformers and LlamaGen are on no package index, so their classes are written
anew here, layer by layer under their names, as their papers and published weights have them.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import VQModel
from drawn import Drawn
from fixture import write

SIZE, WIDTH = 16, 32


def range_of(name, shape):
    if "embedding" in name:
        return 0.0, 1.0
    if len(shape) > 1:
        return 0.0, float(2.0 / np.prod(shape[1:])) ** 0.5
    return (1.0, 0.3) if "norm" in name and name.endswith("weight") else (0.0, 0.2)


def draw(model):
    """`model` with drawn weights, and what they are."""
    drawn = Drawn(model.state_dict(), range_of)
    model.double().load_state_dict(drawn.values)
    return model.eval(), drawn


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        if c_in != c_out:
            self.nin_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class AttnBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (part(h).flatten(2) for part in (self.q, self.k, self.v))
        weights = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(2)
        return x + self.proj_out((v @ weights.transpose(1, 2)).view_as(x))


class Downsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """`blocks` is the name of the list of residual blocks: taming-transformers has `block`, LlamaGen `res`."""

    def __init__(self, blocks, c_in, c_out, count, attends):
        super().__init__()
        self.blocks = blocks
        setattr(self, blocks, nn.ModuleList(ResnetBlock(c_in if i == 0 else c_out, c_out) for i in range(count)))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(count if attends else 0))

    def forward(self, x):
        for i, block in enumerate(getattr(self, self.blocks)):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        for change in ("downsample", "upsample"):
            x = getattr(self, change)(x) if hasattr(self, change) else x
        return x


def middle(is_taming, c):
    parts = [ResnetBlock(c, c), AttnBlock(c), ResnetBlock(c, c)]
    return nn.ModuleDict(zip(("block_1", "attn_1", "block_2"), parts)) if is_taming else nn.ModuleList(parts)


def through(parts, x):
    for part in parts.values() if isinstance(parts, nn.ModuleDict) else parts:
        x = part(x)
    return x


class Encoder(nn.Module):
    def __init__(self, is_taming, multipliers, count, z, attends):
        super().__init__()
        self.levels = "down" if is_taming else "conv_blocks"
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1)
        widths = [WIDTH, *(WIDTH * m for m in multipliers)]
        levels = []
        for i in range(len(multipliers)):
            level = Level("block" if is_taming else "res", widths[i], widths[i + 1], count, i in attends)
            if i + 1 < len(multipliers):
                level.downsample = Downsample(widths[i + 1])
            levels.append(level)
        setattr(self, self.levels, nn.ModuleList(levels))
        self.mid = middle(is_taming, widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), nn.Conv2d(widths[-1], z, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in getattr(self, self.levels):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(through(self.mid, x))))


class Decoder(nn.Module):
    def __init__(self, is_taming, multipliers, count, z, attends):
        super().__init__()
        self.is_taming = is_taming
        widths = [WIDTH * m for m in multipliers]
        self.conv_in = nn.Conv2d(z, widths[-1], 3, padding=1)
        self.mid = middle(is_taming, widths[-1])
        levels, c = [], widths[-1]
        for i in reversed(range(len(multipliers))):
            level = Level("block" if is_taming else "res", c, widths[i], count + 1, i in attends)
            c = widths[i]
            if i > 0:
                level.upsample = Upsample(c)
            levels.append(level)
        # taming-transformers counts from the finest, LlamaGen from the coarsest.
        setattr(self, "up" if is_taming else "conv_blocks", nn.ModuleList(levels[::-1] if is_taming else levels))
        self.norm_out, self.conv_out = norm(c), nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, x):
        x = through(self.mid, self.conv_in(x))
        for level in reversed(self.up) if self.is_taming else self.conv_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Quantize(nn.Module):
    def __init__(self, codes, dim):
        super().__init__()
        self.embedding = nn.Embedding(codes, dim)


class Vq(nn.Module):
    def __init__(self, is_taming, multipliers, count, z, codes, dim, attends):
        super().__init__()
        self.encoder = Encoder(is_taming, multipliers, count, z, attends)
        self.decoder = Decoder(is_taming, multipliers, count, z, attends)
        self.quantize = Quantize(codes, dim)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(z, dim, 1), nn.Conv2d(dim, z, 1)
        self.is_normalised = not is_taming

    def pass_through(self, x):
        return of_parts(x, self.encoder, self.quant_conv, self.quantize.embedding.weight, self.post_quant_conv,
                        self.decoder, self.is_normalised)


def of_parts(x, encoder, quant_conv, book, post_quant_conv, decoder, is_normalised=False):
    """The codes [batch, h, w], and the picture made of them."""
    z = quant_conv(encoder(x)).permute(0, 2, 3, 1)
    if is_normalised:
        z, book = F.normalize(z, dim=-1), F.normalize(book, dim=-1)
    distances = torch.cdist(z.flatten(0, 2), book)
    nearest = distances.topk(2, dim=1, largest=False)
    margin = (nearest.values[:, 1] - nearest.values[:, 0]).min().item()
    codes = nearest.indices[:, 0].view(z.shape[:3])
    return codes, decoder(post_quant_conv(book[codes].permute(0, 3, 1, 2))), margin


def main():
    torch.set_grad_enabled(False)
    taming = draw(Vq(True, [1, 2, 2], 1, 24, 40, 12, attends={2}))
    llamagen = draw(Vq(False, [1, 1], 2, 16, 50, 8, attends={1}))
    diffusers = draw(VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(32, 32, 64),
        layers_per_block=1, latent_channels=3, num_vq_embeddings=30, vq_embed_dim=5, norm_num_groups=32, sample_size=SIZE))
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32)).double()
    tensors, files, margins = {"input.images": (x / 2).permute(0, 2, 3, 1)}, {}, []
    for name, (model, drawn) in ("taming", taming), ("llamagen", llamagen), ("diffusers", diffusers):
        if name == "diffusers":
            found = of_parts(x, model.encoder, model.quant_conv, model.quantize.embedding.weight, model.post_quant_conv,
                             model.decoder)
            decoded = model(x).sample
            assert torch.allclose(decoded, found[1], atol=1e-9), "the parts are not those of VQModel"
        else:
            found = model.pass_through(x)
        codes, pictures, margin = found
        margins.append(margin)
        tensors |= {f"expected.{name}.codes": codes, f"expected.{name}.pictures": pictures.permute(0, 2, 3, 1) / 2,
                    f"expected.{name}.drawn": drawn.last_values()}
        files[name] = drawn.file
        print(name, "codes", codes.unique().numel(), "margin", margin, "spread", pictures.std().item())
    write("imported", tensors, **files, margin=min(margins), source="tests/reference/imported.py")


if __name__ == "__main__":
    main()
