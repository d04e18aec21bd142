"""Numbers for the weights of large nets, drawn by a formula that the tests have too, so that no file has to hold them."""

import numpy as np
import torch


def bits(index):
    """32 random bits for each number: lowbias32 by C. Wellons, https://nullprogram.com/blog/2018/07/31/"""
    x = index.astype(np.uint32)
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Drawn:
    """The tensors of a file with the weights of another project.

    `file` names them in the order of `state`. Number i of the file, counted from 0 through all its floats, is
    middle + half_width * (2 u - 1) with u = (bits(i) >> 8) / 2^24, in float64, then rounded to float32. Counters of
    batches are int64 and 0. `range_of(name, shape)` gives middle and half width.
    """

    def __init__(self, state, range_of):
        self.file, self.values, first = [], {}, 0
        for name, value in state.items():
            if value.dtype == torch.int64:
                self.file.append({"name": name, "shape": [], "range": None})
                continue
            middle, half_width = range_of(name, value.shape)
            unit = (bits(np.arange(first, first + value.numel())) >> 8).astype(np.float64) / 2**24
            numbers = (middle + half_width * (2 * unit - 1)).astype(np.float32)
            first += value.numel()
            self.values[name] = torch.from_numpy(numbers).double().view(value.shape)
            self.file.append({"name": name, "shape": list(value.shape), "range": [middle, half_width]})

    def last_values(self):
        return torch.stack([value.flatten()[-1] for value in self.values.values()])
