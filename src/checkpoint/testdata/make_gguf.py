#!/usr/bin/env python3
"""Makes tiny.gguf and tokenizer.gguf, what the tests hold our reader and writer against, and what
fuzzing begins with. Needs gguf (0.19 made them).

usage: make_gguf.py FOLDER
"""
import sys

import gguf
import numpy as np


def every_type(path):
    w = gguf.GGUFWriter(path, "deepseek2")
    w.add_uint8("u8", 200)
    w.add_int8("i8", -100)
    w.add_uint16("u16", 60000)
    w.add_int16("i16", -30000)
    w.add_uint32("u32", 4000000000)
    w.add_int32("i32", -2000000000)
    w.add_float32("f32", 0.1)
    w.add_bool("yes", True)
    w.add_string("text", "für 深度")
    w.add_uint64("u64", 2**63 + 5)
    w.add_int64("i64", -(2**62))
    w.add_float64("f64", 0.1)
    w.add_array("list.i32", [1, -2, 3])
    w.add_array("list.f32", [0.5, -1.5])
    w.add_array("list.bool", [True, False, True])
    w.add_array("list.text", ["", "a", "Ġthe"])
    w.add_key_value("list.u8", b"\x01\x02\xff", gguf.GGUFValueType.ARRAY)
    w.add_tensor("f32", np.arange(6, dtype=np.float32).reshape(2, 3))
    w.add_tensor("f16", np.arange(5, dtype=np.float16))
    q8 = np.zeros((2, 34), np.uint8)
    q8[:, 2:] = np.arange(64).reshape(2, 32)
    w.add_tensor("q8_0", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    w.add_tensor("i32", np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def letters():
    """GPT-2's letters for the bytes 0 to 255."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def tokenizer(path):
    T = gguf.TokenType
    words = ["th", "the", "\u0120the", "ow", "owl", "'s"]
    added = [("<|begin|>", T.CONTROL), ("<|end|>", T.CONTROL), ("<think>", T.USER_DEFINED), ("[PAD265]", T.UNUSED)]
    w = gguf.GGUFWriter(path, "deepseek2")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-v3")
    w.add_token_list(letters() + words + [text for text, _ in added])
    w.add_token_types([T.NORMAL] * (256 + len(words)) + [kind for _, kind in added])
    w.add_token_merges(["t h", "th e", "\u0120 the", "o w", "ow l", "' s"])
    w.add_bos_token_id(262)
    w.add_eos_token_id(263)
    w.add_pad_token_id(263)
    w.add_add_bos_token(True)
    w.add_chat_template([{"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
                         {"name": "tool_use", "template": "{{ tools | tojson }}"}])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.close()


every_type(sys.argv[1] + "/tiny.gguf")
tokenizer(sys.argv[1] + "/tokenizer.gguf")
