#!/usr/bin/env python3
"""Writes src/text/unicode_table.inc: the general category of every code point, Unicode 16.0.

    python3 scripts/make_unicode_table.py tests/golden-text/oniguruma-classes.txt src/text/unicode_table.inc

The first argument lists the classes L, M, N, P, S and \\s as the regex engine inside Hugging Face
tokenizers answers them. Python's own tables say the two-letter category inside each class; the
script stops where the two disagree, so it needs a Python with Unicode 16.0 (3.14).
"""

import sys
import unicodedata

# The order is that of `enum class Category` in src/text/unicode.h.
NAMES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
         "Cc CcSpace Cf Cs Co").split()
CODE_POINTS = 0x110000


def read_classes(path):
    classes = [None] * CODE_POINTS
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            first, last, name = line.split()
            for code in range(int(first, 16), int(last, 16) + 1):
                classes[code] = name
    return classes


def category(code, expected):
    """The category of a code point; white space that is a control character is set apart, so that
    every class of `expected` is a union of categories."""
    found = unicodedata.category(chr(code))
    if found == "Cc" and expected == "W":
        found = "CcSpace"
    shown = "W" if found[0] == "Z" or found == "CcSpace" else found[0]
    if (shown if shown in "LMNPSW" else None) != expected:
        sys.exit(f"U+{code:04X}: Python says {found}, the list of classes says {expected}")
    return found


def main():
    classes_path, out_path = sys.argv[1:]
    if unicodedata.unidata_version != "16.0.0":
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}, expected 16.0.0")
    classes = read_classes(classes_path)
    runs = []  # (category, length)
    for code in range(CODE_POINTS):
        index = NAMES.index(category(code, classes[code]))
        if runs and runs[-1][0] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    words = [f"{length << 5 | index}" for index, length in runs]
    with open(out_path, "w", encoding="utf-8") as out:
        out.write("// Made by scripts/make_unicode_table.py from Unicode 16.0. Do not edit.\n")
        out.write("// Runs of code points from U+0000 on: length * 32 + category.\n")
        line = ""
        for word in words:
            if len(line) + len(word) + 1 > 100:
                out.write(line + "\n")
                line = ""
            line += word + ","
        out.write(line + "\n")
    print(f"{out_path}: {len(runs)} runs")


if __name__ == "__main__":
    main()
