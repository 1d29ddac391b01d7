#!/usr/bin/env python3
"""Training steps of transformers and torch's AdamW on a configuration, as training_speed does ours.
usage: training_speed_peer.py CONFIG.json float32|bfloat16 WINDOWS LENGTH STEPS [THREADS]

bfloat16 is autocast with float32 weights. Experts run as grouped_mm, transformers' fastest setting on a CPU.
"""
import json, resource, statistics, sys, time
import torch
import transformers

transformers.logging.set_verbosity_error()
path, dtype, windows, length, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
torch.set_num_threads(int(sys.argv[6]) if len(sys.argv) > 6 else 2)
torch.manual_seed(1)
fields = json.load(open(path))
fields.pop("num_nextn_predict_layers", None)
config = transformers.DeepseekV3Config(**fields)
config.pad_token_id = None
model = transformers.DeepseekV3ForCausalLM._from_config(
    config, attn_implementation="sdpa", experts_implementation="grouped_mm", dtype=torch.float32).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
speeds = []
for step in range(steps + 1):
    ids = torch.randint(0, config.vocab_size, (windows, length + 1))
    begin = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        logits = model(ids[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if step:
        speeds.append(windows * length / (time.perf_counter() - begin))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"tok/s {statistics.median(speeds):.0f} peak_kib_a_token {(peak - before) / (windows * length):.1f}")
