"""Files of a case: a safetensors file whose bytes depend on the case alone."""

import json
from pathlib import Path

import numpy as np
import torch

DTYPES = {np.dtype("float32"): "F32", np.dtype("int32"): "I32"}
HERE = Path(__file__).resolve().parent


def write(name, tensors, **metadata):
    """Writes `<name>.safetensors`. The format's own library orders metadata at random, so this is done by hand."""
    arrays = {key: stored(value) for key, value in tensors.items()}
    header, offset = {"__metadata__": {key: json.dumps(value) for key, value in sorted(metadata.items())}}, 0
    for key, array in sorted(arrays.items()):
        header[key] = {"dtype": DTYPES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(array.tobytes() for _, array in sorted(arrays.items()))
    path = HERE / f"{name}.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)
    print(f"{path.name}: {len(arrays)} tensors, {path.stat().st_size} bytes")


def stored(value):
    """Everything is computed in float64 and stored rounded to float32; whole numbers as int32."""
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    kind = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
    array = array.astype(kind)
    assert kind is np.int32 or np.isfinite(array).all()
    return np.ascontiguousarray(array).reshape(array.shape)


def channels_last(x):
    return x.permute(0, 2, 3, 1)


def normal(rng, *shape, scale=1.0):
    """Normal numbers in float64 that float32 holds exactly, so that the stored inputs are the ones computed with."""
    return torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32)).double()


def fill(model, rng):
    """Weights of a size that keeps activations near 1, biases and gains that are not 0 and 1; in float64."""
    model.double()
    for name, parameter in model.named_parameters():
        shape = parameter.shape
        if len(shape) == 1:
            value = normal(rng, *shape, scale=0.1) + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif ".up." in name and len(shape) == 4 and shape[-1] == 4:
            value = normal(rng, *shape, scale=(2 / (shape[0] * 4)) ** 0.5)  # transposed 4x4, stride 2: 4 taps a pixel
        elif name.startswith(("token", "position", "target_position")):
            value = normal(rng, *shape, scale=0.5)
        else:
            value = normal(rng, *shape, scale=(1.5 / np.prod(shape[1:])) ** 0.5)
        parameter.data = value.float().double()
    return model


def gradients(model):
    return {f"expected.gradient.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
