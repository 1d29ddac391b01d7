#!/usr/bin/env python3
"""Holds dsv3's reading of tiktoken.model equal to the package tiktoken on random texts.

    python3 tests/differential/tiktoken_differential.py --tokenize build/release/bin/dsv3 tokenize \\
        [--strings 100000] [--seed 1] [--folder FOLDER]

Needs the packages tiktoken and tokenizers, the latter only to train vocabularies. The pattern and
the special tokens are those of tokenization_kimi.py.
"""

import argparse
import base64
import json
import os
import random
import sys
import tempfile

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import tokenizer_differential as common


def train(r, folder):
    """Writes a model folder; returns tiktoken's encoding of it and the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=r.choice((500, 1500, 3000)), show_progress=False,
                                  limit_alphabet=1000, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(common.corpus(r, 4000), trainer)
    byte_of, following = {}, 256
    for byte in range(256):
        plain = 0x20 < byte < 0x7F or 0xA0 < byte != 0xAD
        byte_of[chr(byte) if plain else chr(following)] = byte
        following += not plain
    tokens = [bytes(byte_of[c] for c in token)
              for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    special = {f"<|reserved_token_{len(ranks) + i}|>": len(ranks) + i for i in range(258)}
    names = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 257: "[PAD]"}
    for i, name in names.items():
        del special[f"<|reserved_token_{len(ranks) + i}|>"]
        special[name] = len(ranks) + i
    with open(os.path.join(folder, "tiktoken.model"), "wb") as out:
        for token, rank in ranks.items():
            out.write(base64.b64encode(token) + f" {rank}\n".encode())
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as out:
        json.dump({"added_tokens_decoder": {
            str(len(ranks) + i): {"content": name, "special": True, "lstrip": False,
                                  "rstrip": False, "normalized": False, "single_word": False}
            for i, name in names.items()}, "bos_token": "[BOS]", "eos_token": "[EOS]"}, out)
    return tiktoken.Encoding(name="test", pat_str=common.KIMI, mergeable_ranks=ranks,
                             special_tokens=special), list(special)


def chunks(text):
    """As tokenization_kimi.py cuts: after 400,000 characters, and inside of 25,000 of one kind."""
    for begin in range(0, len(text), 400_000):
        part, start, row = text[begin:begin + 400_000], 0, 0
        for i, c in enumerate(part):
            row = row + 1 if i and part[i - 1].isspace() == c.isspace() else 1
            if row > 25_000:
                yield part[start:i]
                start, row = i, 1
        yield part[start:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenize", nargs="+", default=["build/release/bin/dsv3", "tokenize"])
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder")
    options = parser.parse_args()
    r = random.Random(options.seed)
    differences = strings = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = options.folder or folder
        while strings < options.strings:
            encoding, special = train(r, folder)
            texts = [common.random_text(r, special[-5:] + special[:1]) for _ in range(5000)]
            texts += ["x" * 60_000 + " y" * 30_000 + "中" * 400_000, " " * 70_001 + "\x1c" * 9 + "a"]
            found, error = common.run(options.tokenize, folder, [{"text": t} for t in texts])
            if error:
                sys.exit(error)
            for text, one in zip(texts, found):
                expected = [i for part in chunks(text)
                            for i in encoding.encode(part, allowed_special="all")]
                if one.get("ids") != expected:
                    differences += 1
                    if differences <= 10:
                        print(f"{json.dumps(text)[:300]}: expected {expected[:40]}, "
                              f"found {str(one)[:300]}")
            strings += len(texts)
    print(f"{strings} strings, {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
