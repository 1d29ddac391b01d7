#!/usr/bin/env python3
"""Holds the block formats equal to gguf-py's on random blocks and values.

    python3 tests/differential/block_format_differential.py \\
        --convert build/release/tests/block_format_convert [--blocks 20000] [--seed 1]

Needs the packages gguf and numpy. Every format decodes random bytes, whose float16 scales are then
of all kinds, to the same bits; Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 encode values of many magnitudes to
the same bytes. Exit code 1 and the first differences if there are any.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

ENCODERS = [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]
FORMATS = ENCODERS + [T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS]


def run(convert, what, kind, values, folder):
    values.tofile(folder / "input")
    subprocess.run([convert, what, kind.name, folder / "input", folder / "output"], check=True)
    return np.fromfile(folder / "output", np.float32 if what == "decode" else np.uint8)


def values_to_encode(rng, blocks):
    """Ordinary and heavy-tailed blocks of magnitudes from 1e-9 to 1e3, and small integers, which
    make ties. No -0: which zero is the least of both is up to numpy's vectors."""
    x = np.where(rng.random((blocks, 1)) < 0.5, rng.normal(size=(blocks, 32)),
                 rng.standard_t(3, size=(blocks, 32)).clip(-60, 60))
    x *= 10.0 ** rng.uniform(-9, 3, (blocks, 1))
    whole = rng.random((blocks, 1)) < 0.3
    return np.where(whole, np.round(x * 2) / 2 + 0.0, x).astype(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--convert", required=True)
    parser.add_argument("--blocks", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    wrong = 0
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind in FORMATS:
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = rng.integers(0, 256, args.blocks * 32 // elements * size, dtype=np.uint8)
            expected = gguf.quants.dequantize(blocks, kind)
            found = run(args.convert, "decode", kind, blocks, folder)
            same = (expected.view(np.uint32) == found.view(np.uint32)) | (
                np.isnan(expected) & np.isnan(found))
            print(f"{kind.name}: decoded {found.size} values, {np.count_nonzero(~same)} differ, "
                  f"{np.count_nonzero(~np.isfinite(expected))} not finite")
            for i in np.flatnonzero(~same)[:5]:
                print(f"  element {i}: {found[i]}, expected {expected[i]}")
            wrong += np.count_nonzero(~same)
        for kind in ENCODERS:
            x = values_to_encode(rng, args.blocks).reshape(-1)
            expected = gguf.quants.quantize(x, kind)
            found = run(args.convert, "encode", kind, x, folder)
            different = np.flatnonzero(expected != found)
            print(f"{kind.name}: encoded {x.size} values, {different.size} bytes differ")
            for i in different[:5]:
                size = gguf.GGML_QUANT_SIZES[kind][1]
                block = i // size
                print(f"  byte {i % size} of block {block}: {found[i]}, expected {expected[i]}; "
                      f"values {x[32 * block:32 * block + 32].tolist()}")
            wrong += different.size
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
