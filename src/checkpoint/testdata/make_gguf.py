#!/usr/bin/env python3
"""Makes tiny.gguf, what the tests hold our reader and writer against. Needs gguf (0.19 made it).

usage: make_gguf.py OUT.gguf
"""
import sys

import gguf
import numpy as np

w = gguf.GGUFWriter(sys.argv[1], "deepseek2")
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
