"""The built-in feature net in PyTorch, with TensorFlow's `SAME` padding and the 3x3 stem as published."""

import json
import struct

import numpy as np
import torch
import torch.nn.functional as F

from fixture import HERE, channels_last, write

# Blocks, kernel size and stride of the first five stages.
STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1)]
WEIGHTS = HERE.parents[1] / "data/efficientnet-lite0/weights.safetensors"
MEAN, DEVIATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def weights():
    """The 16-bit weights of the file, in float64."""
    data = WEIGHTS.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    header.pop("__metadata__")
    read = lambda info: np.frombuffer(body[slice(*info["data_offsets"])], dtype="<f2").reshape(info["shape"])
    return {name: torch.from_numpy(read(info).astype(np.float64)) for name, info in header.items()}


def convolve(x, w, name, stride=1, groups=1):
    weight = w[f"{name}.weight"]
    if name == "stem":
        assert not weight[:, :, 0].any() and not weight[:, :, :, 0].any()
        weight = weight[:, :, 1:, 1:]
    (height, width), kernel = x.shape[2:], weight.shape[-1]
    pad = lambda size: max((-(-size // stride) - 1) * stride + kernel - size, 0)
    rows, columns = pad(height), pad(width)
    x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
    return F.conv2d(x, weight, w[f"{name}.bias"], stride, groups=groups)


def stages(x, w):
    """The output of each stage for images `[batch, 3, height, width]`, normalised."""
    h, outputs, block = F.relu6(convolve(x, w, "stem", 2)), [], 0
    for n_blocks, _, first_stride in STAGES:
        for index in range(n_blocks):
            name, stride, before = f"blocks.{block}", first_stride if index == 0 else 1, h
            if f"{name}.expand.weight" in w:
                h = F.relu6(convolve(h, w, f"{name}.expand"))
            h = F.relu6(convolve(h, w, f"{name}.depthwise", stride, groups=h.shape[1]))
            h = convolve(h, w, f"{name}.project")
            h = h + before if stride == 1 and h.shape == before.shape else h
            block += 1
        outputs.append(h)
    return outputs


def prepared(images):
    """Images `[batch, height, width, channels]` in [-0.5, 0.5] as the net takes them."""
    x = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1) + 0.5
    x = (x - torch.tensor(MEAN, dtype=x.dtype).reshape(3, 1, 1)) / torch.tensor(DEVIATION, dtype=x.dtype).reshape(3, 1, 1)
    factor = max(1, -(-64 // min(x.shape[2:])))
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def distance(x, y, w):
    unit = lambda f: f / (f.square().sum(1, keepdim=True) + 1e-10).sqrt()
    pairs = list(zip(stages(prepared(x), w), stages(prepared(y), w)))[:4]
    return sum((unit(a) - unit(b)).square().sum(1).mean() for a, b in pairs) / len(pairs)


def picture(rng, *shape):
    """Smooth shapes with edges and a little noise, in [-0.5, 0.5]; float32 holds it exactly."""
    batch, height, width, channels = shape
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / rng.uniform(1, 6) + columns / rng.uniform(1, 6)) > rng.uniform(-0.5, 0.5) for _ in range(batch * channels)]
    image = np.stack(waves).reshape(batch, channels, height, width).transpose(0, 2, 3, 1) * 0.8 - 0.4
    image = (image + rng.standard_normal(image.shape) * 0.05).clip(-0.5, 0.5)
    return torch.from_numpy(image.astype(np.float32)).double()


def case(source):
    rng, w = np.random.default_rng(11), weights()
    x = picture(rng, 1, 32, 32, 3).requires_grad_()
    y = (x.detach() * 0.7 + picture(rng, 1, 32, 32, 3) * 0.3).float().double()
    grey = picture(rng, 2, 72, 66, 1)
    value = distance(x, y, w)
    value.backward()
    outputs = stages(prepared(x.detach()), w)
    tensors = {"input.x": x, "input.y": y, "input.grey": grey, "expected.distance": value, "expected.gradient_of_x": x.grad,
               "expected.pooled": outputs[-1].mean((2, 3)),
               "expected.grey.pooled": stages(prepared(grey), w)[-1].mean((2, 3))}
    for index, output in enumerate(outputs):
        tensors[f"expected.stage.{index}"] = channels_last(output)[:, ::3, ::2]
    write("efficientnet", tensors, settings={"rows": 3, "columns": 2}, source=source)
