#!/usr/bin/env python3
"""Writes src/text/normalization_table.inc: what the normalizers of Hugging Face tokenizers do to
each character.

    python3 scripts/make_normalization_table.py src/text/normalization_table.inc

Needs the package tokenizers (0.23) and a Python with Unicode 16.0 or newer tables. The package's
normal forms are those of Unicode 9, whatever Python has: each entry is asked of the package itself,
and Python's tables only say what to ask.
"""

import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed by rule
SCRIPTS = ("Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Georgian Greek Han Hangul Hebrew "
           "Hiragana Katakana Khmer Lao Latin Mongolian Myanmar Tamil Thai Tibetan").split()


def runs(codes):
    """Ranges [first, last] of a sorted list."""
    found = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def decompositions(normalizer, plain):
    """{code: text} where the normalizer changes a character, and not as `plain` has it."""
    found = {}
    for code in CODES:
        text = normalizer.normalize_str(chr(code))
        if code not in HANGUL and text != plain.get(code, chr(code)):
            found[code] = text
    return found


def combining_classes(nfd):
    """The class of each mark: Python's, unless the package orders the mark in another way."""
    found = {}
    for code in CODES:
        mark = chr(code)
        value = unicodedata.combining(mark)
        if value == 0:
            continue
        # U+0334 has class 1 and goes before a higher class; U+0345 has 240 and goes after a lower.
        overlay = nfd.normalize_str(mark + "\u0334") != mark + "\u0334"
        below = nfd.normalize_str("\u0345" + mark) != "\u0345" + mark
        expected = (value > 1, value < 240)
        if (overlay, below) == expected:
            found[code] = value
        elif overlay or below:
            if nfd.normalize_str(mark) == mark:
                sys.exit(f"U+{code:04X} has another combining class than Python's {value}")
    return found


def compositions(nfc):
    """[(first, second, composed)] for the pairs that NFC joins."""
    found = []
    for code in CODES:
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if nfc.normalize_str(chr(first) + chr(second)) == chr(code):
                found.append((first, second, code))
    return sorted(found)


def lower_ranges(lowercase):
    """[first, last, step, distance] of characters that become one other character."""
    found, several = [], []
    for code in CODES:
        text = lowercase.normalize_str(chr(code))
        if text == chr(code):
            continue
        if len(text) > 1:
            several.append((code, text))
            continue
        distance = ord(text) - code
        last = found[-1] if found else None
        gap = code - last[1] if last else 0
        if last and last[3] == distance and gap in (1, 2) and (last[0] == last[1] or
                                                              last[2] == gap):
            last[1], last[2] = code, gap
        else:
            found.append([code, code, 1, distance])
    if several != [(0x130, "i\u0307")]:
        sys.exit(f"lower case: expected U+0130 alone to become several characters: {several}")
    return found


def script_runs(name):
    split = pre_tokenizers.Split(Regex(f"[^\\p{{{name}}}]"), "removed")
    return runs([code for code in CODES if split.pre_tokenize_str(chr(code))])


class Writer:
    def __init__(self, out):
        self.out, self.line = out, ""

    def comment(self, text):
        self.out.write(f"// {text}\n")

    def array(self, declaration, words):
        self.out.write(declaration + " = {\n")
        line = ""
        for word in words:
            if len(line) + len(word) + 1 > 100:
                self.out.write(line + "\n")
                line = ""
            line += word + ","
        self.out.write(line + "\n};\n")


def write_decompositions(writer, name, table):
    texts = "".join(table.values())
    words, offset = [], 0
    for code, text in table.items():
        words.append(f"{{{code},{offset},{len(text)}}}")
        offset += len(text)
    writer.array(f"constexpr Decomposition k{name}[]", words)
    writer.array(f"constexpr char32_t k{name}Texts[]", [str(ord(c)) for c in texts])


def main():
    (path,) = sys.argv[1:]
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    canonical = decompositions(nfd, {})
    compatible = decompositions(nfkd, canonical)
    marks = [code for code in CODES if not normalizers.StripAccents().normalize_str(chr(code))]
    with open(path, "w", encoding="utf-8") as out:
        writer = Writer(out)
        writer.comment("Made by scripts/make_normalization_table.py. Do not edit.")
        writer.comment("Full canonical decompositions: code point, where its text begins, length.")
        write_decompositions(writer, "Canonical", canonical)
        writer.comment("Full compatibility decompositions that differ from those.")
        write_decompositions(writer, "Compatible", compatible)
        writer.comment("Canonical combining classes other than 0.")
        classes = []
        for code, value in combining_classes(nfd).items():
            if classes and classes[-1][1] == code - 1 and classes[-1][2] == value:
                classes[-1][1] = code
            else:
                classes.append([code, code, value])
        writer.array("constexpr CombiningRange kCombining[]",
                     [f"{{{a},{b},{value}}}" for a, b, value in classes])
        writer.comment("Pairs that compose to one character.")
        writer.array("constexpr Composition kCompositions[]",
                     ["{%d,%d,%d}" % entry for entry in compositions(normalizers.NFC())])
        writer.comment("Combining marks, which StripAccents drops.")
        writer.array("constexpr CodeRange kAccents[]", [f"{{{a},{b}}}" for a, b in runs(marks)])
        writer.comment("Lower case: first and last character, step, distance; U+0130 is not here.")
        writer.array("constexpr LowerRange kLower[]",
                     ["{%d,%d,%d,%d}" % tuple(entry)
                      for entry in lower_ranges(normalizers.Lowercase())])
        writer.comment("Scripts, as \\p{name} of the package's regular expressions has them.")
        for name in SCRIPTS:
            writer.array(f"constexpr CodeRange k{name}[]",
                         [f"{{{a},{b}}}" for a, b in script_runs(name)])
        writer.out.write("constexpr Script kScripts[] = {\n")
        for name in SCRIPTS:
            writer.out.write(f'    {{"{name}", k{name}}},\n')
        writer.out.write("};\n")


if __name__ == "__main__":
    main()
