#!/usr/bin/env python3
"""Computes expected.json: what transformers makes of this model, in float32 from its bf16 weights.
usage: make_expected.py FOLDER      (transformers 5.12, torch; writes FOLDER/expected.json)

The MTP module, which transformers leaves out, is put together here from transformers' own decoder layer.
"""
import json, os, sys
import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm

folder = sys.argv[1]
PROMPTS = ["Once upon a time, there was a little girl named Lily.", "One day, Tom and his dog went to the park.",
           "The little bird was sad because", 'Mom said, "Do not open the box!" But Tim',
           "Once upon a time, in a big forest, there lived a"]
NEW, CONTEXT, MTP_WINDOWS = 64, 256, 64
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
config, bos = model.config, model.config.bos_token_id


def text_of(ids):
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def mtp_parts():
    """enorm, hnorm, eh_proj, decoder layer and norm of the MTP module (report 2.2)."""
    prefix = f"model.layers.{config.num_hidden_layers}."
    tensors = {k[len(prefix):]: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()
               if k.startswith(prefix)}
    layer = DeepseekV3DecoderLayer(config, config.num_hidden_layers).eval()
    own = {}
    for name, value in tensors.items():
        if name.startswith("mlp.experts."):
            continue
        own[name] = value
    count = config.n_routed_experts
    of = lambda e, part: tensors[f"mlp.experts.{e}.{part}_proj.weight"]
    own["mlp.experts.gate_up_proj"] = torch.stack([torch.cat([of(e, "gate"), of(e, "up")]) for e in range(count)])
    own["mlp.experts.down_proj"] = torch.stack([of(e, "down") for e in range(count)])
    wanted = layer.state_dict().keys()
    layer.load_state_dict({k: own[k] for k in wanted})

    def norm(weight):
        module = DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        module.weight.data = weight
        return module
    return norm(own["enorm.weight"]), norm(own["hnorm.weight"]), own["eh_proj.weight"], layer, \
        norm(own["shared_head.norm.weight"])


enorm, hnorm, eh_proj, mtp_layer, mtp_norm = mtp_parts()


def mtp_logits(ids):
    """Row i: from norm(h_i) and the embedding of ids[i + 1], predicts ids[i + 2]. ids [batch, n]."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
    x = torch.cat([enorm(model.model.embed_tokens(ids[:, 1:])), hnorm(hidden)], -1) @ eh_proj.T
    n = x.shape[1]
    positions = torch.arange(n)[None]
    mask = torch.full((n, n), float("-inf")).triu(1)[None, None]
    out = mtp_layer(x, attention_mask=mask, position_ids=positions, past_key_values=None,
                    position_embeddings=model.model.rotary_emb(x, positions))
    out = out[0] if isinstance(out, tuple) else out
    return model.lm_head(mtp_norm(out))


result = {"dtype": "float32 from the bf16 weights", "transformers": transformers.__version__, "torch": torch.__version__}
with torch.no_grad():
    prompts, mtp_prompts, agrees, compared = [], [], 0, 0
    for text in PROMPTS:
        ids = [bos] + tokenizer.encode(text, add_special_tokens=False)
        sequence = model.generate(torch.tensor([ids]), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)[0]
        logits = model(sequence[None], use_cache=False).logits[0]
        best = logits[len(ids) - 1:-1].topk(2).values
        first = logits[len(ids) - 1].topk(5)
        greedy = sequence[len(ids):].tolist()
        assert logits[len(ids) - 1:-1].argmax(-1).tolist() == greedy
        prompts.append({"text": text, "ids": ids, "greedy_ids": greedy, "greedy_text": text_of(greedy),
                        "min_top1_top2_logit_gap": round((best[:, 0] - best[:, 1]).min().item(), 6),
                        "first_logits_top5": [[i, round(v, 5)] for i, v in zip(first.indices.tolist(), first.values.tolist())]})
        rows = mtp_logits(sequence[None])[0]
        agrees += (rows[:-1].argmax(-1) == logits[1:-1].argmax(-1)).sum().item()
        compared += len(rows) - 1
        mtp_prompts.append({"mtp_argmax": rows.argmax(-1).tolist(),
                            "mtp_max_logit": [round(v, 4) for v in rows.max(-1).values.tolist()]})
    result["prompts"] = prompts

    sampled = []
    for seed, text in enumerate(PROMPTS[:3]):
        torch.manual_seed(seed)
        ids = [bos] + tokenizer.encode(text, add_special_tokens=False)
        out = model.generate(torch.tensor([ids]), max_new_tokens=200, do_sample=True, temperature=0.7, top_p=0.95)[0]
        sampled.append({"text": text, "seed": seed, "temperature": 0.7, "top_p": 0.95,
                        "continuation": text_of(out[len(ids):].tolist())})
    result["sampled"] = sampled

    ids = torch.from_numpy(np.fromfile(os.path.join(folder, "valid_slice.bin"), dtype="<i4").astype(np.int64))
    windows = (len(ids) - 1) // CONTEXT
    loss = mtp_loss = 0.0
    for w in range(windows):
        window = ids[CONTEXT * w:CONTEXT * w + CONTEXT + 1][None]
        logits = model(window[:, :-1], use_cache=False).logits
        loss += torch.nn.functional.cross_entropy(logits[0], window[0, 1:]).double().item() / windows
        if w < MTP_WINDOWS:
            rows = mtp_logits(window)[0, :-1]
            mtp_loss += torch.nn.functional.cross_entropy(rows, window[0, 2:]).double().item() / MTP_WINDOWS
    result["valid"] = {"file": "valid_slice.bin", "windows": windows, "context": CONTEXT, "tokens": windows * CONTEXT,
                       "mean_cross_entropy": round(loss, 6),
                       "definition": "window i = ids[256*i : 256*i+256+1] of valid_slice.bin (int32 little-endian); the "
                                     "first 256 are the input of a fresh sequence, the last 256 the targets; mean over "
                                     "all targets, natural log"}
    result["mtp"] = {"definition": "ids = prompt + greedy ids, all positions at once, plain causal: MTP row i (from "
                                   "norm(h_i) and embedding of ids[i+1]) predicts ids[i+2]",
                     "prompts": mtp_prompts, "valid_windows": MTP_WINDOWS, "mean_cross_entropy": round(mtp_loss, 6),
                     "argmax_agrees_with_main_model": round(agrees / compared, 4)}
with open(os.path.join(folder, "expected.json"), "w") as out:
    json.dump(result, out, indent=1, ensure_ascii=False)
    out.write("\n")
for p in prompts:
    print(p["min_top1_top2_logit_gap"], p["text"], "=>", p["greedy_text"])
print("valid", result["valid"]["mean_cross_entropy"], "mtp", result["mtp"]["mean_cross_entropy"],
      "agrees", result["mtp"]["argmax_agrees_with_main_model"])
