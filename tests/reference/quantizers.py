#!/usr/bin/env python3
"""Writes `quantizers.safetensors`: what the quantizers of lucidrains' vector-quantize-pytorch do, see README.md.

    venv/bin/pip install vector-quantize-pytorch==1.32.0
    venv/bin/python quantizers.py

The package computes distances and codes in float32, so expected values have its precision.
"""

import copy
import importlib.metadata

import numpy as np
import torch
from vector_quantize_pytorch import FSQ, ResidualVQ, SimVQ, VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from fixture import normal, write

VERSION = importlib.metadata.version("vector-quantize-pytorch")
assert VERSION == "1.32.0", VERSION
N, DIM, CODES, DECAY, BETA = 48, 6, 12, 0.8, 0.25
PLAIN = {"dim": DIM, "codebook_size": CODES, "rotation_trick": False, "threshold_ema_dead_code": 0}


def margin(rows, book):
    """How much nearer the nearest code is than the second nearest, the least of all rows."""
    two = torch.cdist(rows, book).topk(2, dim=1, largest=False).values
    return (two[:, 1] - two[:, 0]).min().item()


def draw(check):
    """Latents and factors of the first seed for which `check(rng, latents)` finds codes unambiguous."""
    for seed in range(10_000):
        rng = np.random.default_rng(seed)
        latents, factors = normal(rng, N, DIM).float(), normal(rng, N, DIM).float()
        made = check(rng, latents)
        if made is not None:
            return seed, latents, factors, made


def run(module, latents, factors, names=("rotation", "straight_through")):
    """Outputs, losses and the gradients of `(output * factors).sum()` and of the loss, by the estimator of each name."""
    found = {}
    for name in names:
        one = copy.deepcopy(module)
        one.rotation_trick = name == "rotation"
        z = latents.clone().requires_grad_()
        out, ids, loss = one(z[None])
        (by_decoder,) = torch.autograd.grad((out[0] * factors).sum(), z, retain_graph=True)
        found |= {"codes": ids[0], "output": out[0], "loss": loss.squeeze(), f"gradient.{name}": by_decoder}
        loss.sum().backward()
        found["gradient.loss"] = z.grad
    return found, one


def book(rng, *shape):
    return normal(rng, *shape).float()


def vq(cosine=False, learnable=False):
    def check(rng, latents):
        module = VectorQuantize(**PLAIN, decay=DECAY, use_cosine_sim=cosine, learnable_codebook=learnable, ema_update=not learnable)
        weight = book(rng, CODES, DIM)
        weight = torch.nn.functional.normalize(weight, dim=1) if cosine else weight
        module._codebook.embed.data.copy_(weight[None])
        module._codebook.embed_avg.data.copy_(weight[None])
        rows = torch.nn.functional.normalize(latents, dim=1) if cosine else latents
        return (module, weight) if margin(rows, weight) > 2e-3 else None

    seed, latents, factors, (module, weight) = draw(check)
    found, after = run(module, latents, factors)
    if learnable:
        found["gradient.codebook"] = after._codebook.embed.grad[0]
    else:
        found["next_codebook"] = after._codebook.embed[0].clone()
        found["next_counts"], found["next_sums"] = after._codebook.cluster_size[0].clone(), after._codebook.embed_avg[0].clone()
        after(torch.flip(latents, dims=[1])[None])
        found["codebook_after_two"] = after._codebook.embed[0]
    return {"latents": latents, "factors": factors, "codebook": weight} | found, {"seed": seed}


def simvq():
    def check(rng, latents):
        module = SimVQ(dim=DIM, codebook_size=CODES, input_to_quantize_commit_loss_weight=BETA)
        module.frozen_codebook.copy_(book(rng, CODES, DIM) * DIM ** -0.5)
        module.code_transform.weight.data.copy_(book(rng, DIM, DIM))
        return module if margin(latents, module.codebook) > 2e-3 else None

    seed, latents, factors, module = draw(check)
    found, after = run(module, latents, factors)
    # The package has a linear layer, [out, in]; ours multiplies rows by the map from the right.
    found |= {"map": module.code_transform.weight.T, "gradient.map": after.code_transform.weight.grad.T}
    return {"latents": latents, "factors": factors, "codebook": module.frozen_codebook, "vectors": module.codebook} | found, {"seed": seed}


def fsq(levels):
    module = FSQ(levels)

    def check(rng, latents):
        z = 1.5 * latents[:, : len(levels)]
        # The package's bound before it rounds.
        half = (module._levels - 1) * 1.001 / 2
        offset = torch.where(module._levels % 2 == 0, 0.5, 0.0)
        bounded = (z + (offset / half).atanh()).tanh() * half - offset
        assert torch.equal(bounded.round() / (module._levels // 2), module.bound(z))
        return z if (bounded - bounded.floor() - 0.5).abs().min() > 1e-3 else None

    seed, _, factors, latents = draw(check)
    factors = factors[:, : len(levels)]
    z = latents.clone().requires_grad_()
    out, ids = module(z[None])
    (out[0] * factors).sum().backward()
    return {"latents": latents, "factors": factors, "codes": ids[0], "output": out[0], "gradient.straight_through": z.grad,
            "all": module.implicit_codebook}, {"seed": seed, "levels": levels}


def residual(depth=3):
    def check(rng, latents):
        module = ResidualVQ(**PLAIN, num_quantizers=depth, decay=DECAY, quant_grad_frac=0.0)
        rest, books = latents, []
        for level, layer in enumerate(module.layers):
            weight = book(rng, CODES, DIM) * 0.6 ** level
            layer._codebook.embed.data.copy_(weight[None])
            layer._codebook.embed_avg.data.copy_(weight[None])
            if margin(rest, weight) < 1e-3:
                return None
            rest = rest - weight[torch.cdist(rest, weight).argmin(1)]
            books.append(weight)
        return module, torch.stack(books)

    seed, latents, factors, (module, books) = draw(check)
    # Of each loss the whole gradient reaches the latents, as in SoundStream's successors.
    one, z = copy.deepcopy(module), latents.clone().requires_grad_()
    out, ids, losses = one(z[None])
    (by_losses,) = torch.autograd.grad(losses.mean(), z)
    nexts = torch.stack([layer._codebook.embed[0] for layer in one.layers])
    # The package's default adds the decoder's gradient up once a level. With the fraction 1 it passes once.
    once, z = copy.deepcopy(module), latents.clone().requires_grad_()
    once.quant_grad_frac = 1.0
    ((once(z[None])[0][0] * factors).sum()).backward()
    turned = latents.clone().requires_grad_()
    (rotate_to(turned, out[0].detach()) * factors).sum().backward()
    return {"latents": latents, "factors": factors, "codebooks": books, "codes": ids[0], "output": out[0], "losses": losses.flatten(),
            "gradient.loss": by_losses, "gradient.straight_through": z.grad, "gradient.rotation": turned.grad,
            "from_codes": module.get_output_from_indices(ids)[0], "next_codebooks": nexts}, {"seed": seed, "depth": depth}


def main():
    torch.set_num_threads(1)
    cases = {"gradient": vq(learnable=True), "ema": vq(), "cosine": vq(cosine=True), "simvq": simvq(), "fsq": fsq([8, 5, 5, 5]),
             "fsq_odd": fsq([7, 4, 3]), "residual": residual()}
    tensors = {f"{case}.{name}": value for case, (values, _) in cases.items() for name, value in values.items()}
    settings = {case: settings for case, (_, settings) in cases.items()}
    source = f"tests/reference/quantizers.py, vector-quantize-pytorch {VERSION}, torch {torch.__version__}"
    write("quantizers", tensors, settings=settings | {"decay": DECAY, "commitment": BETA}, source=source)


if __name__ == "__main__":
    main()
