#!/usr/bin/env python3
"""Writes the numbers that vqgen's tests compare with: `*.safetensors` beside this script, see README.md.

    python -m venv venv && venv/bin/pip install torch torchvision numpy scikit-image scipy lpips==0.1.4 pytorch-fid==0.3.0 focal-frequency-loss==0.3.0
    venv/bin/python make_reference.py

Weights and inputs come from numpy's PCG64 with fixed seeds (large nets: from a hash, see drawn.py),
expected values from PyTorch in float64.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from skimage.metrics import structural_similarity

import discriminator
import efficientnet
import foreign_nets
import gpt
import plain
import resnet
import resnet34
import sets
from fixture import channels_last, fill, gradients, normal, write

BETA, VARIANCE, EMA_EPSILON = 0.25, 0.06, 1e-5
SOURCE = f"tests/reference/make_reference.py, torch {torch.__version__}"


class Tokenizer(nn.Module):
    def __init__(self, config):
        super().__init__()
        preset = {"plain": plain, "wide": plain, "resnet": resnet, "resnet34": resnet34}[config["preset"]]
        self.encoder, self.decoder = preset.Encoder(config), preset.Decoder(config)
        self.codebook = nn.Embedding(config["codebook_size"], config["code_dim"])
        self.normalize = config["normalize_codes"]

    def forward(self, x):
        z = self.encoder(x)
        rows = channels_last(z).reshape(-1, z.shape[1])
        book = self.codebook.weight
        if self.normalize:
            rows, book = F.normalize(rows, dim=1), F.normalize(book, dim=1)
        codes, margin = nearest(rows.detach(), book.detach())
        quantized = book[codes]
        b, _, h, w = z.shape
        straight = (rows + (quantized - rows).detach()).view(b, h, w, -1).permute(0, 3, 1, 2)
        reconstruction = self.decoder(straight)
        losses = {
            "reconstruction": F.mse_loss(reconstruction, x) / VARIANCE,
            "codebook": F.mse_loss(quantized, rows.detach()),
            "commitment": F.mse_loss(rows, quantized.detach()),
        }
        losses["total"] = losses["reconstruction"] + losses["codebook"] + BETA * losses["commitment"]
        return {
            "latents": channels_last(z),
            "codes": codes.view(b, h, w),
            "quantized": quantized.view(b, h, w, -1),
            "reconstruction": channels_last(reconstruction),
        }, losses, margin


def nearest(rows, book):
    """Ids of the nearest codes, and how much nearer the nearest is than the second nearest (squared, the least)."""
    distances = torch.cdist(rows, book, compute_mode="donot_use_mm_for_euclid_dist").square()
    two = distances.topk(2, dim=1, largest=False).values
    return distances.argmin(1), (two[:, 1] - two[:, 0]).min().item()


def perplexity(codes, size):
    share = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
    return torch.special.entr(share).sum().exp()


def tokenizer_case(name, all_gradients=False, backbone=None, **changes):
    config = {
        "image_size": 16, "channels": 3, "preset": "plain", "width": 16, "channel_multipliers": [], "residual_blocks": 2,
        "residual_width": 4, "halvings": 2, "attention": False, "codebook_size": 24, "code_dim": 6, "normalize_codes": False,
    } | changes
    # The first seed whose choices of code are too clear for rounding to change one.
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        model = fill(Tokenizer(config), rng)
        if backbone is not None:
            backbone.fill(model.encoder)
        x = (normal(rng, 2, config["channels"], config["image_size"], config["image_size"], scale=0.2)).clamp(-0.5, 0.5)
        with torch.no_grad():
            z = model.encoder(x)
            spread = z.std(dim=(0, 2, 3)) * normal(rng, config["codebook_size"], config["code_dim"]) + z.mean(dim=(0, 2, 3))
            model.codebook.weight.data = spread.float().double()
        outputs, losses, margin = model(x)
        if margin > 5e-3:
            break
    losses["total"].backward()
    few = ("encoder.down.0.weight", "encoder.stem.weight", "encoder.to_codes.weight", "codebook.weight", "decoder.from_codes.weight",
           "attention.qkv.weight", "middle.0.norm1.weight", "shortcut.weight", "to_image.weight", "levels.0.up.weight", "levels.0.down.weight")
    kept = {key: value for key, value in gradients(model).items() if all_gradients or key.endswith(few)}
    expected = outputs | {f"loss.{key}": value for key, value in losses.items()}
    expected["perplexity"] = perplexity(outputs["codes"], config["codebook_size"])
    tensors, metadata = dict(model.named_parameters()), {"source": SOURCE}
    if backbone is not None:
        expected["features"], expected["drawn"] = channels_last(backbone.features(x)), backbone.last_values()
        assert torch.equal(expected["features"], channels_last(model.encoder.features(x)))
        kept |= {key: value for key, value in gradients(model).items() if resnet34.keeps_gradient(key, value)}
        tensors = {key: value for key, value in tensors.items() if not resnet34.is_drawn(key)}
        kept = {resnet34.stored_name(key): value for key, value in kept.items()}
        metadata = {"source": f"{SOURCE}, torchvision {torchvision.__version__}", "backbone": backbone.file}
    tensors |= {"input.images": channels_last(x)} | kept
    write(name, tensors | {f"expected.{key}": value for key, value in expected.items()},
          config=config, settings={"commitment": BETA, "variance": VARIANCE, "margin": margin, "seed": seed}, **metadata)


def nearest_case():
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        rows, book = normal(rng, 150, 5), normal(rng, 20, 5)
        codes, margin = nearest(rows, book)
        by_direction, margin_of_directions = nearest(F.normalize(rows, dim=1), F.normalize(book, dim=1))
        if min(margin, margin_of_directions) > 1e-3:
            break
    write("nearest", {
        "input.latents": rows, "input.codebook": book, "expected.codes": codes, "expected.codes_normalized": by_direction,
        "expected.squared_distances": (rows - book[codes]).square().sum(1),
        "expected.perplexity": perplexity(codes, 20),
    }, settings={"margin": margin, "margin_normalized": margin_of_directions, "seed": seed}, source=SOURCE)


def ema_case(name, n_codes, n_latents, every_code_used):
    """sonnet's VectorQuantizerEMA: codes are chosen with the codebook of before the step."""
    decay, steps = 0.9, 3
    for seed in range(10_000):
        rng = np.random.default_rng(seed)
        first = book = normal(rng, n_codes, 4)
        latents = [normal(rng, n_latents, 4) for _ in range(steps)]
        counts, sums, tensors, used, margins = torch.zeros(n_codes).double(), torch.zeros(n_codes, 4).double(), {}, [], []
        for step, rows in enumerate(latents):
            codes, margin = nearest(rows, book)
            one_hot = F.one_hot(codes, n_codes).double()
            counts = counts - (counts - one_hot.sum(0)) * (1 - decay)
            sums = sums - (sums - one_hot.t() @ rows) * (1 - decay)
            correction = 1 - decay ** (step + 1)
            average = counts / correction
            total = average.sum()
            smoothed = (average + EMA_EPSILON) / (total + n_codes * EMA_EPSILON) * total
            book = sums / correction / smoothed[:, None]
            values = {"codes": codes, "hidden_counts": counts, "hidden_sums": sums, "smoothed_counts": smoothed, "codebook": book}
            tensors |= {f"expected.{step}.{key}": value for key, value in values.items()}
            used.append(one_hot.sum(0) > 0)
            margins.append(margin)
        always, never = torch.stack(used).all(), (~torch.stack(used)).all(0).any()
        if min(margins) > 1e-3 and (always if every_code_used else never and not always):
            break
    tensors |= {"input.codebook": first} | {f"input.{step}.latents": rows for step, rows in enumerate(latents)}
    write(name, tensors, settings={"decay": decay, "epsilon": EMA_EPSILON, "steps": steps, "seed": seed, "margin": min(margins)}, source=SOURCE)


def gpt_case(name, **changes):
    config = {
        "codebook_size": 20, "n_classes": 3, "grid_height": 3, "grid_width": 4, "layers": 2, "heads": 2, "width": 16,
        "dropout": 0.0, "positions": "learned", "tie_weights": False,
    } | changes
    rng = np.random.default_rng(11)
    model = fill(gpt.Gpt(config), rng)
    batch, n_codes = 3, config["grid_height"] * config["grid_width"]
    codes = torch.from_numpy(rng.integers(0, config["codebook_size"], (batch, n_codes)))
    classes = torch.tensor([config["codebook_size"] + i for i in (0, 2, config["n_classes"])])  # the last: unconditional
    captions, inputs = None, {}
    if "caption_length" in config:
        # One is longer than what counts, one shorter, one empty; after the end comes the last token of the table.
        given = [[4, 0, 3, 1], [2], []]
        end, length = config["caption_tokens"], config["caption_length"]
        captions = torch.tensor([(tokens + length * [end])[:length] for tokens in given])
        inputs["input.captions"] = torch.tensor([tokens + (4 - len(tokens)) * [-1] for tokens in given])
    if config.get("kind") == "masked":
        unknown = torch.from_numpy(rng.random((batch, n_codes)) < 0.6)
        seen = torch.where(unknown, config["codebook_size"] + config["n_classes"] + 1, codes)
        inputs["input.seen"] = seen
        tokens = torch.cat([classes[:, None], seen], dim=1)
        logits = model(tokens, captions)[:, 1:]
    else:
        order = None
        if config.get("target_positions"):
            order = torch.from_numpy(np.stack([rng.permutation(n_codes) for _ in range(batch)]))
            inputs["input.order"], codes = order, codes.gather(1, order)
        tokens = torch.cat([classes[:, None], codes[:, :-1]], dim=1)
        logits = model(tokens, captions, order)
    losses = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(batch, n_codes)
    if "input.seen" in inputs:
        losses = losses[unknown]
    losses.mean().backward()
    write(name, dict(model.named_parameters()) | gradients(model) | inputs | {
        "input.tokens": tokens, "input.codes": codes, "input.classes": classes,
        "expected.logits": logits, "expected.losses": losses, "expected.loss": losses.mean(),
    }, config=config, source=SOURCE)


def adamw_case():
    rng = np.random.default_rng(3)
    settings = {"learning_rate": 3e-4, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "steps": 5,
                "weight_decay": {"matrix": 0.1, "bias": 0.0}}
    parameters = {"matrix": nn.Parameter(normal(rng, 4, 3)), "bias": nn.Parameter(normal(rng, 5))}
    tensors = {f"input.{key}": p.detach().clone() for key, p in parameters.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [p], "weight_decay": settings["weight_decay"][key]} for key, p in parameters.items()],
        lr=settings["learning_rate"], betas=(0.9, 0.95), eps=settings["epsilon"])
    for step in range(settings["steps"]):
        for key, p in parameters.items():
            p.grad = normal(rng, *p.shape, scale=10.0 ** (step - 3))  # from 0.001 to 10
            tensors[f"input.{step}.gradient.{key}"] = p.grad.clone()
        optimizer.step()
        tensors |= {f"expected.{step}.{key}": p.detach().clone() for key, p in parameters.items()}
    for key, p in parameters.items():
        tensors[f"expected.moment1.{key}"] = optimizer.state[p]["exp_avg"]
        tensors[f"expected.moment2.{key}"] = optimizer.state[p]["exp_avg_sq"]
    write("adamw", tensors, settings=settings, source=SOURCE)


def newton_schulz(gradient, coefficients, steps, epsilon):
    """That of PyTorch's Muon, which rounds to bfloat16, in float64."""
    a, b, c = coefficients
    x = gradient.T if gradient.size(0) > gradient.size(1) else gradient
    x = x / x.norm().clamp(min=epsilon)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if gradient.size(0) > gradient.size(1) else x


def muon_case():
    rng = np.random.default_rng(6)
    settings = {"learning_rate": 3e-3, "weight_decay": 0.1, "steps": 5}
    matrix = nn.Parameter(normal(rng, 6, 4))
    tensors = {"input.matrix": matrix.detach().clone()}
    rounded = torch.optim._muon._zeropower_via_newtonschulz
    torch.optim._muon._zeropower_via_newtonschulz = newton_schulz
    optimizer = torch.optim.Muon([matrix], lr=settings["learning_rate"], weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(settings["steps"]):
        matrix.grad = normal(rng, *matrix.shape, scale=10.0 ** (step - 3))
        exact = newton_schulz(matrix.grad, (3.4445, -4.775, 2.0315), 5, 1e-7)
        assert (rounded(matrix.grad, (3.4445, -4.775, 2.0315), 5, 1e-7) - exact).abs().max() < 0.05
        tensors[f"input.{step}.gradient.matrix"] = matrix.grad.clone()
        optimizer.step()
        tensors[f"expected.{step}.matrix"] = matrix.detach().clone()
    tensors["expected.momentum.matrix"] = optimizer.state[matrix]["momentum_buffer"]
    torch.optim._muon._zeropower_via_newtonschulz = rounded
    write("muon", tensors, settings=settings, source=SOURCE)


def clip_case():
    rng = np.random.default_rng(4)
    tensors, names, max_norm = {}, ("matrix", "bias"), 1.0
    for case, scale in (("large", 3.0), ("small", 0.05)):
        parameters = [nn.Parameter(torch.zeros(4, 3).double()), nn.Parameter(torch.zeros(5).double())]
        for key, p in zip(names, parameters):
            p.grad = normal(rng, *p.shape, scale=scale)
            tensors[f"input.{case}.{key}"] = p.grad.clone()
        tensors[f"expected.{case}.norm"] = nn.utils.clip_grad_norm_(parameters, max_norm)
        tensors |= {f"expected.{case}.{key}": p.grad for key, p in zip(names, parameters)}
    write("clip", tensors, settings={"max_norm": max_norm}, source=SOURCE)


def similarity_case():
    """Images in [0, 1], channels last. SSIM of Wang et al. 2004: Gaussian of deviation 1.5, 11x11, no padding."""
    rng = np.random.default_rng(5)
    tensors = {}
    for case, channels, height, width in (("grey", 1, 24, 20), ("rgb", 3, 32, 32)):
        rows, columns = np.mgrid[0:height, 0:width]
        waves = [0.5 + 0.4 * np.sin(rows / (2 + c) + i) * np.cos(columns / (3 + c)) for i in range(2) for c in range(channels)]
        a = np.stack(waves).reshape(2, channels, height, width).transpose(0, 2, 3, 1)
        b = a + rng.standard_normal(a.shape) * np.array([0.02, 0.2]).reshape(2, 1, 1, 1)
        a, b = (np.round(x.clip(0, 1) * 255).astype(np.uint8).astype(np.float32) / np.float32(255) for x in (a, b))
        left, right = a.astype(np.float64), b.astype(np.float64)
        ssim = [structural_similarity(p, q, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=-1)
                for p, q in zip(left, right)]
        mse = ((left - right) ** 2).mean(axis=(1, 2, 3))
        tensors |= {f"input.{case}.a": a, f"input.{case}.b": b, f"expected.{case}.ssim": np.array(ssim),
                    f"expected.{case}.mse": mse, f"expected.{case}.psnr_db": -10 * np.log10(mse)}
    write("similarity", tensors, settings={"data_range": 1.0, "sigma": 1.5, "window": 11}, source=SOURCE)


def main():
    torch.set_num_threads(1)
    tokenizer_case("plain", all_gradients=True)
    tokenizer_case("plain_one_halving", all_gradients=True, halvings=1, width=8, image_size=8, residual_blocks=1, codebook_size=16)
    tokenizer_case("plain_normalized", all_gradients=True, halvings=3, channels=1, width=8, image_size=32, residual_blocks=1,
                   code_dim=4, normalize_codes=True)
    tokenizer_case("wide", all_gradients=True, preset="wide", halvings=3, width=8, image_size=32, residual_blocks=1, codebook_size=16)
    resnet_shape = {"preset": "resnet", "residual_width": 0, "code_dim": 4}
    tokenizer_case("resnet_attention", **resnet_shape, width=6, channel_multipliers=[1, 2, 2], residual_blocks=1, attention=True)
    tokenizer_case("resnet", **resnet_shape, width=8, channel_multipliers=[2, 1], halvings=1, channels=1, image_size=8, residual_blocks=2)
    tokenizer_case("resnet_normalized", **resnet_shape, width=4, channel_multipliers=[1, 1, 2], residual_blocks=1, normalize_codes=True)
    tokenizer_case("resnet_folded", **resnet_shape, width=8, channel_multipliers=[1, 2], folds=1, residual_blocks=1)
    tokenizer_case("resnet34", backbone=resnet34.Backbone(), preset="resnet34", halvings=3, image_size=32,
                   residual_blocks=1, residual_width=0)
    nearest_case()
    ema_case("ema", n_codes=6, n_latents=60, every_code_used=True)
    ema_case("ema_unused", n_codes=8, n_latents=12, every_code_used=False)
    gpt_case("gpt_learned")
    gpt_case("gpt_rotary", positions="rotary")
    gpt_case("gpt_tied", tie_weights=True)
    captions = {"caption_tokens": 5, "caption_length": 3}
    gpt_case("gpt_captions", **captions)
    gpt_case("gpt_captions_rotary", **captions, positions="rotary")
    blocks = {"norm": "rms", "activation": "squared-relu", "qk_norm": True}
    gpt_case("gpt_blocks", **blocks)
    gpt_case("gpt_blocks_rotary", **captions, **blocks, positions="rotary")
    gpt_case("gpt_order", **captions, target_positions=True)
    gpt_case("masked", **captions, kind="masked")
    gpt_case("masked_rotary", kind="masked", positions="rotary")
    adamw_case()
    muon_case()
    clip_case()
    similarity_case()
    efficientnet.case(SOURCE)
    foreign_nets.lpips_case(SOURCE)
    foreign_nets.inception_case(SOURCE)
    sets.sets_case(SOURCE)
    discriminator.cases(SOURCE)


if __name__ == "__main__":
    main()
