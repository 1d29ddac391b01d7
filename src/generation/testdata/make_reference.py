"""Makes reference.json: what transformers 5.12.1 (torch, CPU, float32) computes for src/generation's tests.

    python3 make_reference.py > reference.json

The model is a hash of the token history, so that no weights are needed; fake_lm.h is the same in C++.
-inf is written as null.
"""

import json
import math

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

transformers.logging.set_verbosity_error()
MASK = (1 << 64) - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def hash_logits(history, vocab_size):
    h = 0
    for token in history:
        h = mix((h + (token + 1) * 0x9E3779B97F4A7C15) & MASK)
    return [(mix((h + v * 0xD1B54A32D192ED03) & MASK) >> 40) * 2.0**-21 - 4.0 for v in range(vocab_size)]


class HashConfig(PretrainedConfig):
    model_type = "hash_lm"

    def __init__(self, vocab_size=24, **kwargs):
        self.vocab_size = vocab_size
        self.max_position_embeddings = 1000
        super().__init__(**kwargs)


class HashLm(PreTrainedModel, GenerationMixin):
    config_class = HashConfig

    def __init__(self, config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask=None, **kwargs):
        rows = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist()):
            history = [t for t, m in zip(ids, mask) if m]
            rows.append([hash_logits(history, self.config.vocab_size)])
        return CausalLMOutputWithPast(logits=torch.tensor(rows, dtype=torch.float32))


def plain(x):
    return [plain(v) for v in x] if isinstance(x, list) else (None if math.isinf(x) else x)


def processor_cases():
    model = HashLm(HashConfig(24))
    history = [5, 3, 5, 3, 9, 3, 5]
    sample = {"do_sample": True, "top_k": 0}
    cases = [
        ({"repetition_penalty": 1.3}, 4),
        ({"encoder_repetition_penalty": 1.5}, 4),
        ({"no_repeat_ngram_size": 2}, 4),
        ({"no_repeat_ngram_size": 1}, 4),
        ({"no_repeat_ngram_size": 9}, 4),
        ({"encoder_no_repeat_ngram_size": 3}, 4),
        ({"bad_words_ids": [[1], [7], [3, 5, 2], [4, 5, 6], [5, 3, 5, 3, 9, 3, 5, 8]], "eos_token_id": [7]}, 4),
        ({"sequence_bias": [[[2], 1.25], [[3, 5, 2], 0.75], [[4, 5, 6], 3.0], [[2], -2.5]]}, 4),
        ({"min_length": 8, "eos_token_id": [4, 6]}, 4),
        ({"min_length": 7, "eos_token_id": [4, 6]}, 4),
        ({"min_new_tokens": 4, "eos_token_id": [4, 6]}, 4),
        ({"min_new_tokens": 3, "eos_token_id": [4, 6]}, 4),
        ({"forced_eos_token_id": 11, "max_length": 8}, 4),
        ({"forced_eos_token_id": [11, 12], "max_length": 9}, 4),
        ({"exponential_decay_length_penalty": [1, 1.7], "eos_token_id": [4, 8]}, 4),
        ({"exponential_decay_length_penalty": [3, 1.7], "eos_token_id": [4, 8]}, 4),
        ({"suppress_tokens": [0, 5, 23, 99]}, 4),
        ({"begin_suppress_tokens": [0, 5]}, 7),
        ({"begin_suppress_tokens": [0, 5]}, 6),
        ({"renormalize_logits": True}, 4),
        ({"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "suppress_tokens": [10], "min_length": 20,
          "eos_token_id": [1], "sequence_bias": [[[3], 2.0]], "temperature": 0.5}, 4),
        ({**sample, "temperature": 0.7}, 4),
        ({**sample, "top_k": 5}, 4),
        ({**sample, "top_k": 100}, 4),
        ({**sample, "top_p": 0.9}, 4),
        ({**sample, "top_p": 0.3}, 4),
        ({**sample, "top_p": 0.001}, 4),
        ({**sample, "min_p": 0.2}, 4),
        ({**sample, "top_h": 0.4}, 4),
        ({**sample, "top_h": 0.8}, 4),
        ({**sample, "typical_p": 0.4}, 4),
        ({**sample, "typical_p": 0.95}, 4),
        ({**sample, "epsilon_cutoff": 0.05}, 4),
        ({**sample, "epsilon_cutoff": 0.9}, 4),
        ({**sample, "eta_cutoff": 0.2}, 4),
        ({**sample, "eta_cutoff": 0.9}, 4),
        ({"do_sample": True, "temperature": 0.8, "top_k": 12, "top_p": 0.85, "min_p": 0.05, "typical_p": 0.9,
          "epsilon_cutoff": 0.03, "eta_cutoff": 0.05, "renormalize_logits": True, "repetition_penalty": 1.2}, 4),
        ({"do_sample": True, "top_k": 1, "num_beams": 2, "eos_token_id": [1, 2]}, 4),
        ({**sample, "top_p": 0.01, "num_beams": 2, "eos_token_id": [1, 2]}, 4),
        ({**sample, "min_p": 0.99, "num_beams": 2}, 4),
        ({**sample, "typical_p": 0.01, "num_beams": 2}, 4),
        ({**sample, "epsilon_cutoff": 0.9, "num_beams": 2}, 4),
        ({**sample, "eta_cutoff": 0.9, "num_beams": 2}, 4),
    ]
    for kwargs, width in cases:
        logits = [hash_logits(history[: len(history) - i], 24) for i in (0, 1)]
        # The second row has banned tokens. Neither has ties, whose order torch leaves open.
        logits[1] = [float("-inf") if i % 7 == 6 else v * 0.75 for i, v in enumerate(logits[1])]
        for row in logits:
            config = GenerationConfig(**kwargs)
            config.update(**model.generation_config._get_default_generation_params(), defaults_only=True)
            config.update(**kwargs)
            model._prepare_special_tokens(config, True, device="cpu")
            processors = model._get_logits_processor(config, input_ids_seq_length=width,
                                                     encoder_input_ids=torch.tensor([history[:width]]))
            scores = processors(torch.tensor([history]), torch.tensor([row], dtype=torch.float32))
            yield {"kwargs": kwargs, "history": history, "prompt_width": width, "logits": plain(row),
                   "scores": plain(scores[0].tolist())}


def generate_cases():
    ragged = ([[2, 2, 7, 8], [5, 6, 7, 8], [2, 9, 4, 10]], [[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    one = ([[5, 6, 7]], [[1, 1, 1]])
    beams = {"num_beams": 3, "max_new_tokens": 8, "pad_token_id": 2}
    many_eos = [1, 3, 11, 12, 13, 17]
    cases = [({"max_new_tokens": 12, "eos_token_id": many_eos, "pad_token_id": 2}, ragged),
             ({"max_length": 9, "eos_token_id": [1], "pad_token_id": 2}, ragged),
             ({"eos_token_id": None}, one),
             ({"max_new_tokens": 10, "min_new_tokens": 7, "eos_token_id": many_eos, "pad_token_id": 2}, ragged),
             ({"max_new_tokens": 10, "min_length": 9, "eos_token_id": many_eos, "pad_token_id": 2}, ragged),
             ({"max_new_tokens": 10, "eos_token_id": many_eos}, ragged),
             ({"max_new_tokens": 12, "repetition_penalty": 3.0, "no_repeat_ngram_size": 2, "eos_token_id": 1,
               "pad_token_id": 2, "forced_eos_token_id": 1}, ragged)]
    for early in (False, True, "never"):
        for penalty in (1.0, 2.0, 0.0, -1.5):
            for eos in (None, 1, many_eos):
                cases.append(({**beams, "early_stopping": early, "length_penalty": penalty, "eos_token_id": eos},
                              ragged))
    cases += [
        ({**beams, "num_return_sequences": 3, "eos_token_id": many_eos}, ragged),
        ({**beams, "num_return_sequences": 2, "eos_token_id": many_eos, "early_stopping": True}, one),
        ({**beams, "num_beams": 7, "num_return_sequences": 7, "eos_token_id": [1, 3]}, ragged),
        ({**beams, "min_new_tokens": 5, "eos_token_id": many_eos}, ragged),
        ({**beams, "repetition_penalty": 2.0, "no_repeat_ngram_size": 2, "eos_token_id": 1,
          "max_new_tokens": 12}, ragged),
        ({**beams, "suppress_tokens": [5, 6, 7], "renormalize_logits": True, "eos_token_id": [1, 3]}, ragged),
        ({**beams, "num_return_sequences": 3, "pad_token_id": 0, "eos_token_id": many_eos}, one),
        ({**beams, "max_new_tokens": 1, "eos_token_id": many_eos}, ragged),
        ({"num_beams": 2, "max_length": 10, "eos_token_id": many_eos, "pad_token_id": 2,
          "early_stopping": "never", "length_penalty": 0.5}, ragged),
    ]
    for vocab in (24, 200):
        model = HashLm(HashConfig(vocab, eos_token_id=None, bos_token_id=None, pad_token_id=None))
        for kwargs, (ids, mask) in cases:
            if vocab == 200 and kwargs.get("num_beams", 1) == 1:
                continue
            out = model.generate(torch.tensor(ids), attention_mask=torch.tensor(mask), use_cache=False,
                                 return_dict_in_generate=True, output_scores=True, **kwargs)
            case = {"vocab_size": vocab, "kwargs": kwargs, "input_ids": ids, "attention_mask": mask,
                    "sequences": out.sequences.tolist()}
            if "num_beams" in kwargs:
                case["sequences_scores"] = out.sequences_scores.tolist()
            yield case


def dump(cases):
    return "[\n" + ",\n".join(json.dumps(c, allow_nan=False) for c in cases) + "\n]"


print('{"transformers": %s,\n"processors": %s,\n"generate": %s}'
      % (json.dumps(transformers.__version__), dump(processor_cases()), dump(generate_cases())))
