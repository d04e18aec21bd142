"""The cases of `vqgen bench` in PyTorch, for ratios from one run on one machine.

    python -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python pytorch_peer.py [--threads N] [--repeats N] [--case NAME]

A JSON object a line, with vqgen's names: `case`, `variant`, `median_ms`, `rate`, `unit`. A training step is forward,
backward, AdamW and the read-back of the loss, on random inputs; images are channels_last. `compare.py` runs both.
"""

import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import losses

CODES = 512
TOP_K = 100


class PlainBlock(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.conv3 = nn.Conv2d(width, hidden, 3, 1, 1, bias=False)
        self.conv1 = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x):
        return x + self.conv1(F.relu(self.conv3(F.relu(x))))


class PlainEncoder(nn.Module):
    """van den Oord et al. 2017: two halvings, no normalisation."""

    def __init__(self, channels, width=128, hidden=32, dim=64):
        super().__init__()
        self.down1 = nn.Conv2d(channels, width // 2, 4, 2, 1)
        self.down2 = nn.Conv2d(width // 2, width, 4, 2, 1)
        self.mix = nn.Conv2d(width, width, 3, 1, 1)
        self.blocks = nn.Sequential(*[PlainBlock(width, hidden) for _ in range(2)])
        self.to_codes = nn.Conv2d(width, dim, 1)

    def forward(self, x):
        h = F.relu(self.down2(F.relu(self.down1(x))))
        return self.to_codes(F.relu(self.blocks(self.mix(h))))


class PlainDecoder(nn.Module):
    def __init__(self, channels, width=128, hidden=32, dim=64):
        super().__init__()
        self.from_codes = nn.Conv2d(dim, width, 3, 1, 1)
        self.blocks = nn.Sequential(*[PlainBlock(width, hidden) for _ in range(2)])
        self.up1 = nn.ConvTranspose2d(width, width // 2, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(width // 2, channels, 4, 2, 1)

    def forward(self, q):
        return self.up2(F.relu(self.up1(F.relu(self.blocks(self.from_codes(q))))))


class ResnetBlock(nn.Module):
    def __init__(self, c_in, c_out, groups=32):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in), nn.Conv2d(c_in, c_out, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, c_out), nn.Conv2d(c_out, c_out, 3, 1, 1)
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return self.shortcut(x) + h


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


WIDTHS = (64, 128, 128)


class ResnetEncoder(nn.Sequential):
    """vqgen's preset `resnet`: VQGAN's blocks, two a level, two in the middle."""

    def __init__(self, channels, dim=8):
        layers, width = [nn.Conv2d(channels, WIDTHS[0], 3, 1, 1)], WIDTHS[0]
        for level, c_out in enumerate(WIDTHS):
            layers += [ResnetBlock(width, c_out), ResnetBlock(c_out, c_out)]
            width = c_out
            if level + 1 < len(WIDTHS):
                layers.append(nn.Conv2d(width, width, 3, 2, 1))
        layers += [ResnetBlock(width, width), ResnetBlock(width, width)]
        layers += [nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, dim, 1)]
        super().__init__(*layers)


class ResnetDecoder(nn.Sequential):
    def __init__(self, channels, dim=8):
        width = WIDTHS[-1]
        layers = [nn.Conv2d(dim, width, 3, 1, 1), ResnetBlock(width, width), ResnetBlock(width, width)]
        for level, c_out in enumerate(reversed(WIDTHS)):
            layers += [ResnetBlock(width, c_out), ResnetBlock(c_out, c_out)]
            width = c_out
            if level + 1 < len(WIDTHS):
                layers.append(Upsample(width))
        layers += [nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, channels, 3, 1, 1)]
        super().__init__(*layers)


class VqVae(nn.Module):
    def __init__(self, encoder, decoder, dim):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.codebook = nn.Parameter(torch.empty(CODES, dim).uniform_(-1 / CODES, 1 / CODES))

    def nearest(self, z):
        flat = z.detach().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        book = self.codebook.detach()
        return (book.square().sum(1) - 2 * flat @ book.t()).argmin(1)

    def lookup(self, ids, b, h, w):
        return self.codebook[ids].view(b, h, w, -1).permute(0, 3, 1, 2)

    def forward(self, x):
        return self.reconstruct(x)[0]

    def reconstruct(self, x):
        """The loss without further terms, and the reconstruction."""
        z = self.encoder(x)
        b, _, h, w = z.shape
        q = self.lookup(self.nearest(z), b, h, w)
        commitment = F.mse_loss(z, q.detach())
        codebook = F.mse_loss(q, z.detach())
        reconstruction = self.decoder(z + (q - z).detach())
        return F.mse_loss(reconstruction, x) + codebook + 0.25 * commitment, reconstruction


def plain(channels):
    return VqVae(PlainEncoder(channels), PlainDecoder(channels), 64).to(memory_format=torch.channels_last)


def resnet(channels):
    return VqVae(ResnetEncoder(channels), ResnetDecoder(channels), 8).to(memory_format=torch.channels_last)


class Rotary(nn.Module):
    """Rotary embeddings of row and column, half of each head's dimensions each."""

    def __init__(self, context, head_dim):
        super().__init__()
        side, pairs = int(context ** 0.5), head_dim // 4
        cells = torch.arange(context)
        angles = torch.stack([cells // side, cells % side], 1)[:, :, None] * 100.0 ** (-torch.arange(pairs) / pairs)
        self.register_buffer("cos", angles.cos().repeat(1, 1, 2).flatten(1))
        self.register_buffer("sin", torch.cat([-angles.sin(), angles.sin()], 2).flatten(1))

    def forward(self, x, first=0):
        at = slice(first, first + x.shape[-2])
        swapped = x.unflatten(-1, (2, 2, -1)).flip(-2).flatten(-3)
        return x * self.cos[at] + swapped * self.sin[at]


class Block(nn.Module):
    def __init__(self, width, heads, rotary=None):
        super().__init__()
        self.heads, self.rotary = heads, rotary
        norm = nn.RMSNorm if rotary else nn.LayerNorm
        self.norm1, self.norm2 = norm(width), norm(width)
        self.activation = (lambda x: F.relu(x).square()) if rotary else F.gelu
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k = self.mapped(q), self.mapped(k)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.out(a)
        return x + self.down(self.activation(self.up(self.norm2(x))))

    def mapped(self, x, first=0):
        """Queries or keys [batch, heads, sequence, head_dim] as attention takes them."""
        return self.rotary(F.rms_norm(x, x.shape[-1:]), first) if self.rotary else x

    def step(self, x, position, keys, values):
        b, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, 3, self.heads, c // self.heads).unbind(1)
        q, k = (self.mapped(part.unsqueeze(2), position).squeeze(2) for part in (q, k))
        keys[:, :, position], values[:, :, position] = k, v
        end = position + 1
        a = F.scaled_dot_product_attention(q.unsqueeze(2), keys[:, :, :end], values[:, :, :end]).reshape(b, c)
        x = x + self.out(a)
        return x + self.down(self.activation(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, context, layers, width, heads, other_blocks=False):
        super().__init__()
        rotary = Rotary(context, width // heads) if other_blocks else None
        self.context, self.head_dim, self.heads = context, width // heads, heads
        self.token = nn.Embedding(CODES + 1, width)
        self.position = 0 if other_blocks else nn.Parameter(torch.randn(context, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, rotary) for _ in range(layers)])
        self.norm = (nn.RMSNorm if other_blocks else nn.LayerNorm)(width)
        self.head = nn.Linear(width, CODES, bias=False)

    def loss(self, codes):
        first = torch.full_like(codes[:, :1], CODES)
        x = self.token(torch.cat([first, codes[:, :-1]], 1)) + self.position
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).reshape(-1, CODES), codes.reshape(-1))

    @torch.no_grad()
    def sample(self, batch):
        shape = (batch, self.heads, self.context, self.head_dim)
        cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in self.blocks]
        token = torch.full((batch,), CODES)
        codes = []
        for t in range(self.context):
            x = self.token(token) + (0 if isinstance(self.position, int) else self.position[t])
            for block, (keys, values) in zip(self.blocks, cache):
                x = block.step(x, t, keys, values)
            logits = self.head(self.norm(x))
            floor = logits.topk(TOP_K).values[:, -1:]
            probabilities = F.softmax(logits.masked_fill(logits < floor, float("-inf")), -1)
            token = torch.multinomial(probabilities, 1)[:, 0]
            codes.append(token)
        return torch.stack(codes, 1)


def images(batch, channels, size):
    return (torch.rand(batch, channels, size, size) - 0.5).contiguous(memory_format=torch.channels_last)


def optimizers_of(model, muon):
    """AdamW, or Muon for the matrices of a GPT's blocks and AdamW for the rest."""
    if not muon:
        return [torch.optim.AdamW(model.parameters(), 3e-4)]
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    return [torch.optim.AdamW(others, 3e-4), torch.optim.Muon(matrices, 3e-4, adjust_lr_fn="match_rms_adamw")]


def training(model, loss_of, batch, autocast, muon=False):
    optimizers = optimizers_of(model, muon)

    def run():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = loss_of(batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        loss.item()

    return run


def training_with_losses(adversarial, variant, batch):
    """As `training`, with the perceptual and, if wanted, the adversarial terms."""
    wrap = torch.compile if "compiled" in variant else (lambda function: function)
    channels_last = {"memory_format": torch.channels_last}
    model, perceptual = plain(3), losses.Perceptual().to(**channels_last)
    discriminator = losses.Discriminator(3).to(**channels_last)
    optimizers = [torch.optim.AdamW(part.parameters(), 3e-4) for part in (model, discriminator)]
    reconstruct, distance = wrap(model.reconstruct), wrap(perceptual)
    judge, told = wrap(discriminator.loss), wrap(discriminator.told)

    def run():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in variant):
            loss, reconstruction = reconstruct(batch)
            loss = loss + 0.3 * distance(reconstruction, batch)
            if adversarial:
                of_discriminator, of_images = judge(batch, reconstruction)
                loss = loss + told(reconstruction, of_images)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        if adversarial:
            of_discriminator.backward()
        for optimizer in optimizers[:1 + adversarial]:
            optimizer.step()
        loss.item()

    return run


def train_cases(case, model_of, loss_name, batch, units, unit, variants):
    for name, variant in variants:
        def setup(variant=variant):
            model = model_of()
            loss_of = getattr(model, loss_name)
            loss_of = torch.compile(loss_of) if "compiled" in variant else loss_of
            return training(model, loss_of, batch, "bfloat16" in variant, "muon" in variant)

        yield case, name, setup, units, unit


def cases():
    """(case, variant, function that sets up and gives the work, units a run, unit)"""
    precisions = [(name, name) for name in ("eager", "compiled", "bfloat16", "bfloat16 compiled")]
    cifar = images(64, 3, 32)
    yield from train_cases("vqvae-train", lambda: plain(3), "forward", cifar, 64, "images/s", precisions)

    for case, adversarial in (("vqvae-perceptual", False), ("vqvae-adversarial", True)):
        for variant in ("eager", "compiled", "bfloat16"):
            setup = lambda adversarial=adversarial, variant=variant: training_with_losses(adversarial, variant, cifar)
            yield case, variant, setup, 64, "images/s"

    def encode():
        model = plain(3)

        def run():
            with torch.no_grad():
                model.nearest(model.encoder(cifar))

        return run

    def decode():
        model = plain(3)
        ids = torch.randint(0, CODES, (64 * 8 * 8,))

        def run():
            with torch.no_grad():
                model.decoder(model.lookup(ids, 64, 8, 8))

        return run

    yield "vqvae-encode", "eager", encode, 64, "images/s"
    yield "vqvae-decode", "eager", decode, 64, "images/s"

    codes = torch.randint(0, CODES, (32, 64))
    gpt = lambda: Gpt(64, 6, 256, 8)
    yield from train_cases("gpt-train", gpt, "loss", codes, 32 * 64, "tokens/s", precisions[:3])
    for batch in (1, 16, 64):
        def sample(batch=batch):
            model = gpt()
            return lambda: model.sample(batch)

        yield "gpt-sample", f"batch {batch}", sample, batch * 64, "tokens/s"
    sample_other = lambda: (lambda model: lambda: model.sample(16))(Gpt(64, 6, 256, 8, True))
    yield "gpt-sample", "other blocks, batch 16", sample_other, 16 * 64, "tokens/s"

    for name, model_of, batch in (
        ("96x1x28x28", lambda: plain(1), images(96, 1, 28)),
        ("resnet 16x3x64x64", lambda: resnet(3), images(16, 3, 64)),
    ):
        variants = [(name, "eager")]
        yield from train_cases("vqvae-train-other", model_of, "forward", batch, len(batch), "images/s", variants)
    for name, batch, context, shape in (
        ("4x128 on 49", 64, 49, (4, 128, 4)),
        ("8x384 on 256", 8, 256, (8, 384, 6)),
        ("head size 24", 32, 64, (6, 192, 8)),
        ("head size 40", 32, 64, (6, 320, 8)),
        ("6x256 on 784", 2, 784, (6, 256, 8)),
        ("6x256 on 1024", 2, 1024, (6, 256, 8)),
        ("other blocks", 32, 64, (6, 256, 8, True)),
        ("muon", 32, 64, (6, 256, 8)),
    ):
        codes = torch.randint(0, CODES, (batch, context))
        model_of = lambda context=context, shape=shape: Gpt(context, *shape)
        variants = [(name, "eager")]
        yield from train_cases("gpt-train-other", model_of, "loss", codes, batch * context, "tokens/s", variants)


def median_seconds(run, repeats, warm_up=3):
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--case", default="", help="only cases whose name begins with this")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    for case, variant, setup, units, unit in cases():
        if not case.startswith(args.case):
            continue
        seconds = median_seconds(setup(), args.repeats)
        line = {"case": case, "variant": variant, "median_ms": round(seconds * 1e3, 2),
                "rate": round(units / seconds, 1), "unit": unit}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
