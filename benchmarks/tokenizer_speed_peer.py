"""Hugging Face's side of benchmarks/tokenizer-speed: the same measurements as tokenizer_speed.cc.

Everything comes on standard input, so that it also runs where our files cannot be seen: first the
sizes of the tokenizer's file and of the text on a line, then both, then lines as tokenizer_speed.cc
reads them; and `encode_batch BYTES`.
"""

import os
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer, __version__  # noqa: E402: reads the variables


def parts(text, size):
    begin = 0
    while begin < len(text):
        end = min(len(text), begin + size)
        while end < len(text) and text[end] & 0xC0 == 0x80:
            end += 1
        yield text[begin:end].decode()
        begin = end


def measure(call):
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    return time.process_time() - processor, time.perf_counter() - clock, result


def main():
    tokenizer_size, text_size = map(int, sys.stdin.buffer.readline().split())
    with tempfile.NamedTemporaryFile(suffix=".json", delete=False) as file:
        file.write(sys.stdin.buffer.read(tokenizer_size))
    text = sys.stdin.buffer.read(text_size)
    print(f"Hugging Face tokenizers {__version__}", flush=True)
    try:
        for line in sys.stdin.buffer:
            what, *size = line.decode().split()
            if what == "load":
                processor, clock, _ = measure(lambda: Tokenizer.from_file(file.name))
                print(processor, clock, 0, 0, flush=True)
                continue
            cut = list(parts(text, int(size[0])))
            tokenizer = Tokenizer.from_file(file.name)
            calls = {"encode": lambda: [tokenizer.encode(part, add_special_tokens=False) for part in cut],
                     "encode_batch": lambda: tokenizer.encode_batch_fast(cut, add_special_tokens=False)}
            processor, clock, encodings = measure(calls.get(what, calls["encode"]))
            ids = [encoding.ids for encoding in encodings]
            if what == "decode":
                processor, clock, _ = measure(
                    lambda: [tokenizer.decode(part, skip_special_tokens=False) for part in ids])
            value = 0
            for part in ids:
                for one in part:
                    value = (value * 31 + one) & 0xFFFFFFFF
            print(processor, clock, sum(map(len, ids)), value, flush=True)
    finally:
        os.unlink(file.name)


main()
