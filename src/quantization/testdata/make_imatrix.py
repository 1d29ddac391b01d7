#!/usr/bin/env python3
"""Makes a tiny random model, tiny.gguf, and what llama-imatrix says of it: tiny_imatrix.gguf and tiny_imatrix.dat.

usage: make_imatrix.py FOLDER

Needs gguf and llama.cpp's llama-imatrix (its build 11669 made them). Weights are float32, and so is the cache, so that
llama.cpp rounds as little as we do. A token is a letter of TEXT; ids go by the order of VOCABULARY. The chunk is 16
tokens, of which the first becomes BOS. The router's bias keeps all tokens from expert 3.
"""
import os
import subprocess
import sys

import gguf
import numpy as np

TEXT = "the little owl sat in the old tree and sang to the moon all night long while the dog slept"
VOCABULARY = ["<bos>", "<eos>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
CHUNK = 16

hidden, intermediate, expert_intermediate, layers, heads = 32, 24, 16, 2, 2
q_rank, kv_rank, nope, rope, v_dim, experts = 12, 16, 8, 4, 8, 4


def write_model(path):
    w = gguf.GGUFWriter(path, "deepseek2")
    w.add_block_count(layers)
    w.add_context_length(64)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(intermediate)
    w.add_head_count(heads)
    w.add_head_count_kv(1)
    w.add_key_length(kv_rank + rope)
    w.add_value_length(kv_rank)
    w.add_key_length_mla(nope + rope)
    w.add_value_length_mla(v_dim)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(rope)
    w.add_q_lora_rank(q_rank)
    w.add_kv_lora_rank(kv_rank)
    w.add_vocab_size(len(VOCABULARY))
    w.add_leading_dense_block_count(1)
    w.add_expert_feed_forward_length(expert_intermediate)
    w.add_expert_count(experts)
    w.add_expert_used_count(2)
    w.add_expert_shared_count(1)
    w.add_expert_group_count(1)
    w.add_expert_group_used_count(1)
    w.add_expert_weights_scale(2.5)
    w.add_expert_weights_norm(True)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-v3")
    w.add_token_list(VOCABULARY)
    w.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(VOCABULARY) - 2))
    w.add_token_merges(["a b"])  # never met: "ab" is no token
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_add_bos_token(True)

    rng = np.random.default_rng(3)
    matrix = lambda name, *shape: w.add_tensor(
        name, (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))
    norm = lambda name, n: w.add_tensor(name, (1 + 0.1 * rng.standard_normal(n)).astype(np.float32))
    matrix("token_embd.weight", len(VOCABULARY), hidden)
    for layer in range(layers):
        b = f"blk.{layer}."
        norm(b + "attn_norm.weight", hidden)
        matrix(b + "attn_q_a.weight", q_rank, hidden)
        norm(b + "attn_q_a_norm.weight", q_rank)
        matrix(b + "attn_q_b.weight", heads * (nope + rope), q_rank)
        matrix(b + "attn_kv_a_mqa.weight", kv_rank + rope, hidden)
        norm(b + "attn_kv_a_norm.weight", kv_rank)
        matrix(b + "attn_k_b.weight", heads, kv_rank, nope)
        matrix(b + "attn_v_b.weight", heads, v_dim, kv_rank)
        matrix(b + "attn_output.weight", hidden, heads * v_dim)
        norm(b + "ffn_norm.weight", hidden)
        if layer == 0:
            for kind, shape in ("gate", (intermediate, hidden)), ("up", (intermediate, hidden)), (
                    "down", (hidden, intermediate)):
                matrix(b + f"ffn_{kind}.weight", *shape)
            continue
        matrix(b + "ffn_gate_inp.weight", experts, hidden)
        w.add_tensor(b + "exp_probs_b.bias", np.array([0, 0, 0, -10], np.float32))
        for kind, shape in ("gate", (expert_intermediate, hidden)), ("up", (expert_intermediate, hidden)), (
                "down", (hidden, expert_intermediate)):
            matrix(b + f"ffn_{kind}_exps.weight", experts, *shape)
            matrix(b + f"ffn_{kind}_shexp.weight", *shape)
    norm("output_norm.weight", hidden)
    matrix("output.weight", len(VOCABULARY), hidden)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main(folder):
    os.chdir(folder)
    write_model("tiny.gguf")
    with open("tiny.txt", "w") as f:
        f.write(TEXT)
    for kind in "gguf", "dat":
        subprocess.run(["llama-imatrix", "-m", "tiny.gguf", "-f", "tiny.txt", "-o", f"tiny_imatrix.{kind}",
                        "--output-format", kind, "-c", str(CHUNK), "-b", str(CHUNK), "--process-output",
                        "-ctk", "f32", "-ctv", "f32", "-fa", "off"], check=True)
    os.remove("tiny.txt")


main(sys.argv[1])
