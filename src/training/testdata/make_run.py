#!/usr/bin/env python3
"""Makes run/: a training run of transformers' DeepseekV3ForCausalLM in float32 that TrainerTest follows.
usage: make_run.py FOLDER      (transformers 5.12, torch 2.14)

run/ has the initial model, the token ids of every step (int32 [steps, rows, columns]) and what each step
gave: loss before the update, global gradient norm before clipping, learning rate, MaxVio (mean of the MoE
layers). A step: inputs ids[:, :-1], targets ids[:, 1:]; clip to 1; AdamW 0.9 / 0.95, weight decay 0.1 on
matrices; then bias += 1e-3 * sign(mean load - load) in every MoE layer.
"""
import math, os, sys
import numpy as np
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

folder = sys.argv[1]
STEPS, ROWS, COLUMNS = 16, 4, 33
torch.use_deterministic_algorithms(True)
torch.manual_seed(7)
config = DeepseekV3Config(
    vocab_size=96, hidden_size=48, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=3,
    num_attention_heads=3, num_key_value_heads=3, n_routed_experts=8, num_experts_per_tok=2, n_group=4,
    topk_group=2, n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=20, kv_lora_rank=12,
    qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, max_position_embeddings=64,
    routed_scaling_factor=2.5, norm_topk_prob=True, rope_theta=10000.0, pad_token_id=None,
    initializer_range=0.1)
model = DeepseekV3ForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32).train()
os.makedirs(folder, exist_ok=True)
model.save_pretrained(folder)

# Every token follows from the one before it, most of the time: something to learn.
random = np.random.default_rng(3)
follows = random.permutation(96)
ids = np.zeros((STEPS, ROWS, COLUMNS), dtype=np.int32)
ids[:, :, 0] = random.integers(0, 96, (STEPS, ROWS))
for i in range(1, COLUMNS):
    noise = random.random((STEPS, ROWS)) < 0.2
    ids[:, :, i] = np.where(noise, random.integers(0, 96, (STEPS, ROWS)), follows[ids[:, :, i - 1]])
ids.tofile(os.path.join(folder, "batches.bin"))

matrices = [p for p in model.parameters() if p.dim() > 1]
vectors = [p for p in model.parameters() if p.dim() == 1]
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                              lr=0, betas=(0.9, 0.95), eps=1e-8)
chosen = {}
moes = [layer.mlp for layer in model.model.layers if hasattr(layer.mlp, "gate")]
for moe in moes:
    route = moe.route_tokens_to_experts
    def wrapped(*args, moe=moe, route=route):
        indices, weights = route(*args)
        chosen[moe] = torch.bincount(indices.flatten(), minlength=config.n_routed_experts)
        return indices, weights
    moe.route_tokens_to_experts = wrapped

with open(os.path.join(folder, "curve.csv"), "w") as curve:
    curve.write("step,loss,grad_norm,lr,maxvio\n")
    for step in range(STEPS):
        lr = 1e-2 * min(1, (step + 1) / 4) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / STEPS)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = torch.from_numpy(ids[step].astype(np.int64))
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        violation = []
        for moe in moes:
            load = chosen[moe].double()
            violation.append((load.max() / load.mean() - 1).item())
            moe.gate.e_score_correction_bias += 1e-3 * torch.sign(load.mean() - load).float()
        curve.write(f"{step},{loss.item():.7f},{norm.item():.7f},{lr:.9g},{np.mean(violation):.6f}\n")
