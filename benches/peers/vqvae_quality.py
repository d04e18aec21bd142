"""The published small VQ-VAE recipe in PyTorch on Fashion-MNIST: error and perplexity on the test set, by seed.

    venv/bin/python vqvae_quality.py FOLDER [--seed N] [--steps N] [--threads N]

FOLDER holds the four IDX files. 512 codes of 64, decay .99, commitment .25, batches of 32, Adam at 3e-4, PyTorch's
initial weights; the codebook is the moving average of the notebooks that follow van den Oord et al. 2017: no bias
correction, normal initial vectors and averages. The figures are those of `vqgen eval --split test`.
"""

import argparse
import gzip
import json
import pathlib

import numpy
import torch
import torch.nn.functional as F

from pytorch_peer import PlainDecoder, PlainEncoder

CODES, DIM, DECAY, COMMITMENT, EPSILON = 512, 64, 0.99, 0.25, 1e-5
PIXELS_AT = 16


def images(folder, name):
    data = gzip.open(pathlib.Path(folder) / f"{name}-images-idx3-ubyte.gz").read()
    pixels = numpy.frombuffer(data, numpy.uint8, offset=PIXELS_AT).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels.copy()).float() / 255 - 0.5


class Codebook:
    def __init__(self):
        self.vectors = torch.randn(CODES, DIM)
        self.sums, self.counts = torch.randn(CODES, DIM), torch.zeros(CODES)

    def nearest(self, latents):
        return (self.vectors.square().sum(1) - 2 * latents @ self.vectors.t()).argmin(1)

    def update(self, latents, codes):
        one_hot = F.one_hot(codes, CODES).float()
        counts = self.counts * DECAY + (1 - DECAY) * one_hot.sum(0)
        total = counts.sum()
        self.counts = (counts + EPSILON) / (total + CODES * EPSILON) * total
        self.sums = self.sums * DECAY + (1 - DECAY) * one_hot.t() @ latents
        self.vectors = self.sums / self.counts[:, None]


def rows(z):
    return z.permute(0, 2, 3, 1).reshape(-1, DIM)


@torch.no_grad()
def evaluate(encoder, decoder, codebook, test):
    error, usage = 0.0, torch.zeros(CODES)
    for batch in test.split(250):
        batch = batch.contiguous(memory_format=torch.channels_last)
        z = encoder(batch)
        codes = codebook.nearest(rows(z))
        usage += torch.bincount(codes, minlength=CODES)
        b, d, h, w = z.shape
        quantised = codebook.vectors[codes].view(b, h, w, d).permute(0, 3, 1, 2)
        error += (decoder(quantised) - batch).square().sum().item()
    p = usage / usage.sum()
    perplexity = torch.exp(-(p[p > 0] * p[p > 0].log()).sum()).item()
    return error / test.numel() / test.var().item(), perplexity


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, test = images(args.folder, "train"), images(args.folder, "t10k")
    variance = train.var()
    encoder, decoder, codebook = PlainEncoder(1), PlainDecoder(1), Codebook()
    encoder, decoder = (m.to(memory_format=torch.channels_last) for m in (encoder, decoder))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 3e-4)
    order = torch.randperm(len(train))
    at = 0
    for step in range(1, args.steps + 1):
        if at + 32 > len(train):
            order, at = torch.randperm(len(train)), 0
        batch = train[order[at : at + 32]].contiguous(memory_format=torch.channels_last)
        at += 32
        z = encoder(batch)
        latents = rows(z.detach())
        codes = codebook.nearest(latents)
        codebook.update(latents, codes)
        b, d, h, w = z.shape
        quantised = codebook.vectors[codes].view(b, h, w, d).permute(0, 3, 1, 2)
        reconstruction = decoder(z + (quantised - z).detach())
        loss = F.mse_loss(reconstruction, batch) / variance + COMMITMENT * F.mse_loss(z, quantised)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (2000, args.steps):
            error, perplexity = evaluate(encoder, decoder, codebook, test)
            figures = {"seed": args.seed, "step": step, "mse_over_variance": round(error, 4)}
            print(json.dumps(figures | {"perplexity": round(perplexity, 1)}), flush=True)


if __name__ == "__main__":
    main()
