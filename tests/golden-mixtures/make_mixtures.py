#!/usr/bin/env python3
"""Writes which type llama-quantize gives to each tensor, for each mixture and several shapes of model.

    python3 make_mixtures.py OUT_FOLDER

Needs gguf-py, numpy, and llama-quantize with --dry-run on the PATH. Made with llama.cpp 0.7.0 (Debian
1:0.7.0). The first line of a table has the shape; the others have the mixture ("+imatrix": with an
importance matrix), the tensor's name without its layer, and its types in the layers that have it, in
runs "TYPE*COUNT". The router and what is no matrix stay F32 and are not listed.
"""

import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

MIXTURES = ("Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
            "IQ4_NL IQ4_XS F16 BF16 Q4_0+imatrix Q5_0+imatrix Q2_K+imatrix Q3_K_M+imatrix Q4_K_M+imatrix "
            "IQ4_NL+imatrix IQ4_XS+imatrix").split()
# layers, dense layers, experts, attn_kv_b split, tied embeddings, q_lora_rank (0: attn_q), hidden size
SHAPES = {
    "v3_split": (61, 3, 16, True, False, 256, 256),
    "v3_whole": (61, 3, 16, False, False, 256, 256),
    "lite_tied": (27, 1, 8, True, True, 0, 256),
    "odd_rows": (6, 1, 16, True, False, 96, 160),
    "tiny": (2, 1, 16, False, False, 96, 256),
}


def layout(layers, dense, experts, split, tied, q_rank, hidden):
    yield "token_embd.weight", (64, hidden)
    if not tied:
        yield "output.weight", (64, hidden)
    for i in range(layers):
        b = f"blk.{i}."
        if q_rank:
            yield b + "attn_q_a.weight", (q_rank, hidden)
            yield b + "attn_q_b.weight", (2 * 48, q_rank)
        else:
            yield b + "attn_q.weight", (2 * 48, hidden)
        yield b + "attn_kv_a_mqa.weight", (256 + 16, hidden)
        if split:
            yield b + "attn_k_b.weight", (2, 256, 32)
            yield b + "attn_v_b.weight", (2, 128, 256)
        else:
            yield b + "attn_kv_b.weight", (2 * 160, 256)
        yield b + "attn_output.weight", (hidden, 256)
        if i < dense:
            yield b + "ffn_gate.weight", (256, hidden)
            yield b + "ffn_up.weight", (256, hidden)
            yield b + "ffn_down.weight", (hidden, 256)
        else:
            yield b + "ffn_gate_exps.weight", (experts, 256, hidden)
            yield b + "ffn_up_exps.weight", (experts, 256, hidden)
            yield b + "ffn_down_exps.weight", (experts, hidden, 256)
            yield b + "ffn_gate_shexp.weight", (256, hidden)
            yield b + "ffn_up_shexp.weight", (256, hidden)
            yield b + "ffn_down_shexp.weight", (hidden, 256)


def write_model(path, shape):
    layers, dense, experts, split, tied, q_rank, hidden = shape
    w = gguf.GGUFWriter(path, "deepseek2")
    w.add_block_count(layers)
    w.add_context_length(128)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(256)
    w.add_head_count(2)
    w.add_head_count_kv(1 if split else 2)
    if split:
        w.add_key_length(272)
        w.add_value_length(256)
        w.add_key_length_mla(48)
        w.add_value_length_mla(128)
    else:
        w.add_key_length(48)
        w.add_value_length(128)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_dimension_count(16)
    if q_rank:
        w.add_q_lora_rank(q_rank)
    w.add_kv_lora_rank(256)
    w.add_vocab_size(64)
    w.add_leading_dense_block_count(dense)
    w.add_expert_feed_forward_length(256)
    w.add_expert_count(experts)
    w.add_expert_used_count(4)
    w.add_expert_shared_count(1)
    w.add_expert_group_count(4)
    w.add_expert_group_used_count(2)
    w.add_expert_weights_scale(2.5)
    w.add_expert_weights_norm(True)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-v3")
    w.add_token_list([f"t{i}" for i in range(64)])
    w.add_token_merges([])
    names = []
    for name, dims in layout(*shape):
        names.append(name)
        w.add_tensor(name, np.zeros(dims, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return names


def write_imatrix(path, names):
    w = gguf.GGUFWriter(path, "")
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["x"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 1)
    for name, dims in names.items():
        experts = dims[0] if len(dims) == 3 else 1
        w.add_tensor(name + ".in_sum2", np.ones((experts, dims[-1]), np.float32))
        w.add_tensor(name + ".counts", np.ones((experts, 1), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def types(path, mixture, imatrix):
    mixture, _, with_imatrix = mixture.partition("+")
    options = ["--imatrix", imatrix] if with_imatrix else []
    run = subprocess.run(["llama-quantize", "--dry-run", *options, path, mixture], capture_output=True, text=True)
    line = re.compile(r"\]\s+(\S+\.weight)\s+- \[.*\], type =\s+(\w+), size = .*?(?:-> .*\((\w+)\))?$", re.M)
    found = {name: (after or before).upper() for name, before, after in line.findall(run.stdout + run.stderr)}
    if not found:
        sys.exit(f"{mixture}: {run.stdout[-1500:]}{run.stderr[-1500:]}")
    return found


def main():
    (out,) = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for shape_name, shape in SHAPES.items():
            path, imatrix = os.path.join(folder, "model.gguf"), os.path.join(folder, "imatrix.gguf")
            names = write_model(path, shape)
            write_imatrix(imatrix, dict(layout(*shape)))
            with open(os.path.join(out, shape_name + ".txt"), "w") as table:
                keys = "layers dense experts split tied q_lora_rank hidden".split()
                table.write(" ".join(f"{k}={int(v)}" for k, v in zip(keys, shape)) + "\n")
                for mixture in MIXTURES:
                    found = types(path, mixture, imatrix)
                    by_stem = {}
                    for name in names:
                        stem = re.sub(r"^blk\.\d+\.", "", name)
                        runs = by_stem.setdefault(stem, [])
                        if runs and runs[-1][0] == found[name]:
                            runs[-1][1] += 1
                        else:
                            runs.append([found[name], 1])
                    for stem, runs in by_stem.items():
                        table.write(f"{mixture} {stem} " + " ".join(f"{k}*{n}" for k, n in runs) + "\n")


if __name__ == "__main__":
    main()
