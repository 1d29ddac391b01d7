#!/usr/bin/env python3
"""Makes the files of this folder with gguf-py, and with ggml's own encoders where gguf-py has none.

    python3 make_vectors.py [--ggml libggml-base.so.0] [FOLDER]

Needs the packages gguf and numpy, and ggml's library. README.md says what the files are.
"""

import argparse
import ctypes
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

FORMATS = [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K,
           T.IQ4_NL, T.IQ4_XS]
ENCODERS = [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]
# Where each format's float16 numbers are.
HALVES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0],
          T.IQ4_XS: [0]}
# Zeros, subnormals, the smallest normal, one, the largest, infinity, NaN; of both signs.
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8155, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00,
           0xFC00, 0x7E00]


def blocks_to_decode(rng, kind, elements, size):
    """Random bytes with scales of all kinds: ordinary ones, each special one, and all bits set."""
    count = 24 if elements == 32 else 4
    blocks = rng.integers(0, 256, (count + len(SPECIAL) + 1, size), dtype=np.uint8)
    for b, block in enumerate(blocks[:-1]):
        for k, at in enumerate(HALVES[kind]):
            if b < count:
                half = np.float16(rng.normal() * 10.0 ** rng.integers(-6, 2))
            else:
                special = SPECIAL[(b - count + 5 * k) % len(SPECIAL)]
                half = np.array(special, np.uint16).view(np.float16)
            block[at:at + 2] = np.array([half]).view(np.uint8)
    blocks[-1] = 0xFF
    if elements == 256:  # some, to keep the files small
        blocks = blocks[[0, 1, 2, count + 2, count + 3, count + 5, count + 8, count + 10, -1]]
    return blocks


def values_to_encode(rng):
    """Blocks of 32: ordinary weights, and what rounding rules differ on."""
    blocks = [rng.normal(size=(6, 32)) * 0.02, rng.standard_t(3, size=(6, 32)) * 0.02]
    special = np.zeros((14, 32))
    special[1] = 0.5  # all the same
    special[2] = -0.25
    special[3] = np.arange(32) - 16  # codes without rounding, and halves between codes
    special[4] = (np.arange(32) - 16) * 0.5
    special[5] = np.where(np.arange(32) % 2, 1, -1)  # two of the largest magnitude: the first counts
    special[6] = np.where(np.arange(32) % 2, -127, 63.5)
    special[7] = rng.normal(size=32) * 1e-7  # scales that are subnormal in float16
    special[8] = rng.normal(size=32) * 1e-12  # that are zero in float16
    special[9] = rng.normal(size=32) * 1e4
    special[10][5] = 65504
    special[11][31] = -65504
    special[12] = np.abs(rng.normal(size=32)) + 3  # all positive
    special[13] = -np.abs(rng.normal(size=32)) - 3
    return np.concatenate(blocks + [special]).astype(np.float32)


def weighted_error(x, y, weight):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(np.sqrt((weight * (x - y) ** 2).sum() / (weight * x**2).sum()))


def ggml_errors(library, rng):
    """How large the errors of ggml's encoders are on 4096 weights, to be compared with ours."""
    ggml = ctypes.CDLL(library)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    weights = {"normal": rng.normal(size=4096) * 0.02, "student": rng.standard_t(3, size=4096) * 0.02}
    importance = (rng.lognormal(size=4096)**2).astype(np.float32)
    errors = {}
    for name, x in weights.items():
        x = weights[name] = x.astype(np.float32)
        for kind in FORMATS:
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            out = np.zeros(x.size // elements * size, np.uint8)
            for given in [False, True]:
                ggml.ggml_quantize_chunk(
                    ctypes.c_int(kind), x.ctypes.data_as(floats),
                    out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0), ctypes.c_int64(1),
                    ctypes.c_int64(x.size), importance.ctypes.data_as(floats) if given else None)
                y = gguf.quants.dequantize(out, kind)
                key = f"{name}/{kind.name}/" + ("importance" if given else "plain")
                errors[key] = {"error": weighted_error(x, y, 1),
                               "weighted": weighted_error(x, y, importance if given else np.abs(x))}
    return weights, importance, errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml", default="/usr/lib/x86_64-linux-gnu/libggml-base.so.0")
    parser.add_argument("folder", nargs="?", default=pathlib.Path(__file__).parent)
    args = parser.parse_args()
    folder = pathlib.Path(args.folder)
    rng = np.random.default_rng(20250101)
    with np.errstate(all="ignore"):
        x = values_to_encode(rng)
        x.tofile(folder / "encode.f32")
        for kind in FORMATS:
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = blocks_to_decode(rng, kind, elements, size)
            blocks.tofile(folder / f"{kind.name}.blocks")
            gguf.quants.dequantize(blocks.reshape(-1), kind).tofile(folder / f"{kind.name}.f32")
            if kind in ENCODERS:
                gguf.quants.quantize(x.reshape(-1), kind).tofile(folder / f"{kind.name}.encoded")
        weights, importance, errors = ggml_errors(args.ggml, rng)
    for name, values in weights.items():
        values.tofile(folder / f"{name}.f32")
    importance.tofile(folder / "importance.f32")
    (folder / "ggml_errors.json").write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    main()
