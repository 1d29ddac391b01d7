#!/usr/bin/env python3
"""Speed of Hugging Face transformers on a checkpoint, to be set beside `dsv3 generate --stats`.

    benchmarks/transformers_speed.py MODEL [--prompt 256] [--new 128] [--threads 2] [--dtype float32] [--runs 3]

Prints the median tokens per second of reading a prompt of random tokens and of decoding greedily after it.
"""
import argparse
import statistics
import time

import torch
from transformers import DeepseekV3ForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--prompt", type=int, default=256)
parser.add_argument("--new", type=int, default=128)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--dtype", default="float32")
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()

torch.set_num_threads(args.threads)
model = DeepseekV3ForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
ids = torch.randint(5, model.config.vocab_size - 5, (1, args.prompt), generator=torch.Generator().manual_seed(1))
prompt, decode = [], []
with torch.no_grad():
    model(ids[:, :8])
    for _ in range(args.runs):
        begin = time.time()
        out = model(ids, use_cache=True, logits_to_keep=1)
        prompt.append(args.prompt / (time.time() - begin))
        cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        begin = time.time()
        for _ in range(args.new):
            out = model(token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        decode.append(args.new / (time.time() - begin))
print(f"transformers: prompt {statistics.median(prompt):.1f} tokens/s, decode {statistics.median(decode):.1f} tokens/s")
