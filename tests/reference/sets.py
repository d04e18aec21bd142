"""Distances between sets of images or of their features: as pytorch-fid, torchmetrics and Karras et al. compute them."""

import numpy as np
import scipy
import scipy.ndimage
from pytorch_fid.fid_score import calculate_frechet_distance

from fixture import write

PATCHES, DIRECTIONS = 20, 21  # purposes of vqgen's streams


def words(seed, purpose, step, item, n):
    """The first n 32-bit words of vqgen's stream: ChaCha with 8 rounds, key (seed, purpose, step, item), counter from 0."""
    key = np.frombuffer(np.array([seed, purpose, step, item], dtype="<u8").tobytes(), dtype="<u4")
    blocks = -(-n // 16)
    start = np.zeros((16, blocks), dtype=np.uint32)
    start[:4] = np.frombuffer(b"expand 32-byte k", dtype="<u4")[:, None]
    start[4:12], start[12] = key[:, None], np.arange(blocks)
    x = start.copy()
    rotate = lambda v, by: (v << np.uint32(by)) | (v >> np.uint32(32 - by))

    def quarter(a, b, c, d):
        for to, add, xor, by in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
            x[to] += x[add]
            x[xor] = rotate(x[xor] ^ x[to], by)

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return (x + start).T.reshape(-1)[:n]


def places(level, image, extents):
    """A whole number below each of `extents`: the upper half of a 64-bit word times it (no word is rejected here)."""
    drawn = words(0, PATCHES, level, image, 2 * len(extents)).astype(object)
    longs = drawn[::2] + (drawn[1::2] << 32)
    assert all(long * n % 2**64 >= 2**64 % n for long, n in zip(longs, extents))
    return np.array([long * n >> 64 for long, n in zip(longs, extents)], dtype=int)


def direction(index):
    unit = ((words(0, DIRECTIONS, 0, index, 2 * 147) >> np.uint32(8)).astype(np.float32) / np.float32(2**24)).astype(np.float64)
    values = np.sqrt(-2 * np.log(1 - unit[::2])) * np.cos(2 * np.pi * unit[1::2])
    return values / np.linalg.norm(values)


# From here on as in `metrics/sliced_wasserstein.py` of github.com/tkarras/progressive_growing_of_gans, restated, in float64.

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256.0


def down(x):
    return scipy.ndimage.convolve(x, FILTER, mode="mirror")[:, :, ::2, ::2]


def up(x):
    spread = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    spread[:, :, ::2, ::2] = x
    return scipy.ndimage.convolve(spread, 4 * FILTER, mode="mirror")


def pyramid(x, n_levels):
    levels = [x]
    for _ in range(1, n_levels):
        levels.append(down(levels[-1]))
        levels[-2] = levels[-2] - up(levels[-1])
    return levels


def descriptors(level, images):
    """Patches `[128 * n, 3, 7, 7]`, each channel normalised over all of them, then flattened."""
    patches = []
    for index, image in enumerate(images):
        height, width = image.shape[1:]
        at = places(level, index, [width - 6, height - 6] * 128).reshape(128, 2)
        patches += [image[:, top:top + 7, left:left + 7] for left, top in at]
    patches = np.stack(patches)
    patches = (patches - patches.mean((0, 2, 3), keepdims=True)) / patches.std((0, 2, 3), keepdims=True)
    return patches.reshape(len(patches), -1)


def sliced_wasserstein(a, b, n_levels):
    directions = np.stack([direction(i) for i in range(512)], 1)
    levels = []
    for level, (x, y) in enumerate(zip(pyramid(a, n_levels), pyramid(b, n_levels))):
        x, y = descriptors(level, x) @ directions, descriptors(level, y) @ directions
        levels.append(1e3 * np.mean([scipy.stats.wasserstein_distance(x[:, i], y[:, i]) for i in range(512)]))
    return levels


def kernel_distance(x, y):
    """torchmetrics' `poly_mmd` of `KernelInceptionDistance`: degree 3, gamma 1 / features, coef 1, unbiased."""
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    within = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).mean()


def frechet_distance(x, y):
    """By the eigenvalues of the product, which are those that the root of a singular matrix has too."""
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * roots


def sets_case(source):
    rng = np.random.default_rng(73)
    tensors = {}
    for case, n, m, d in [("many", 60, 50, 8), ("few", 9, 14, 32)]:
        mix = rng.standard_normal((d, d))
        x, y = (rng.standard_normal((n, d)) @ mix).astype(np.float32), (rng.standard_normal((m, d)) @ mix + 0.3).astype(np.float32)
        a, b = x.astype(np.float64), y.astype(np.float64)
        distance = frechet_distance(a, b)
        if case == "many":
            package = calculate_frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
            assert abs(package - distance) < 1e-6 * distance
        tensors |= {f"input.{case}.a": x, f"input.{case}.b": y, f"expected.{case}.frechet": distance,
                    f"expected.{case}.kernel": kernel_distance(a, b)}
    for case, n, m, size, channels, n_levels in [("rgb", 5, 5, 32, 3, 2), ("grey", 4, 3, 28, 1, 1)]:
        x = rng.integers(0, 256, (n, size, size, channels))
        y = (rng.integers(0, 256, (m, size, size, channels)) + np.roll(rng.integers(0, 256, (m, size, size, channels)), 1, 2)) // 2
        planar = lambda v: v.transpose(0, 3, 1, 2).astype(np.float64).repeat(3 // channels, 1)
        tensors |= {f"input.{case}.a": x, f"input.{case}.b": y,
                    f"expected.{case}.sliced": np.array(sliced_wasserstein(planar(x), planar(y), n_levels))}
    write("sets", tensors, source=f"{source}, scipy {scipy.__version__}, pytorch-fid 0.3.0")
