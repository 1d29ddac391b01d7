#!/usr/bin/env python3
"""Holds dsv3's tokenizer equal to Hugging Face tokenizers on random texts.

    python3 tests/differential/tokenizer_differential.py --dsv3 build/release/bin/dsv3 \\
        [--model FILE_OR_FOLDER ...] [--strings 20000] [--seed 1] [--only NAME] [--keep FOLDER]

Needs the package tokenizers (0.23). It trains small tokenizers of many kinds with that package
(byte-level, Metaspace with byte fallback, characters; normalizers, pre-tokenizers, decoders and
added tokens of all supported kinds), makes random strings over all of Unicode and real-looking
texts, and compares ids, and texts decoded from the ids and from random ids. With --model, that
tokenizer.json is compared too. Exit code 1 and the first differences if there are any.

--tokenize and --detokenize replace the commands that are run: programs that take the tokenizer's
path and read and write the JSON lines of `dsv3 tokenize` and `dsv3 detokenize`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "   \t\n\r",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "éèêüößñçåøæœ", "абвгдежзийклмнопрстуфхцч",
    "αβγδεζηθικλμνξοπρστυφχψως", "אבגדהוזחטיכ", "ابتثجحخدذرزس", "अआइईउऊकखगघािीुू्",
    "กขคงจฉชซเแโใไ่้๊", "的一是不了在人有我他这中大来上个国", "あいうえおかきくけこアイウエオー゛゜・",
    "가나다라마바사각난닫ᄀ까ᅢᆨᆩ", "、。「」！？，：；（）", "½²³①ⅧⅣ٣४〇㊿", "😀🎉👍🏽👨‍👩‍👧🇩🇪❤️",
    "\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\u0085", "\u200b\u200c\u200d\ufeff\u180e",
    "\u0300\u0301\u0308\u0323\u0327\u0345\u05b0\u064b\u3099\u309a", "ﬁﬀĳŉǰΐ㎏㌔ﷺ﷽①ℌⅨ½ſKÅΩ",
    "\x00\x01\x02\x1b\x1c\x1d\x1e\x1f\x7f\x80\x9f", "▁▁_Ġ▂ĊÃ¤", "々〆〡〢⺀⼀㐀𠀀𪜀豈",
    "'s't're've'm'll'd'S'T", "İıIiẞßǅǆΣσς",
]
WORDS = ("the of and to in is that it was for on with as at by from this be are or an have not "
         "which one were all we when there their more if out so up what some time no than them "
         "Hello world tokenizer don't I'll they're can't user_name camelCase HTTPServer x86_64 "
         "int main return const char std::vector self. def print() { } => != 3.14159 0xFF 2025-01-02 "
         "https://example.org/a?b=c&d=1 naïve café Straße привет мир 你好 世界 今天天气 こんにちは "
         "カタカナ 안녕하세요 สวัสดี नमस्ते שלום مرحبا").split(" ")


def random_character(r):
    while True:
        code = r.choice((r.randrange(0x80), r.randrange(0x800), r.randrange(0x10000),
                         r.randrange(0x20000), r.randrange(0x110000)))
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def random_text(r, added):
    kind = r.random()
    if kind < 0.25:  # real-looking
        text = "".join(r.choice(WORDS) + r.choice((" ", " ", " ", ", ", ".\n", "  ", "\n\n", ""))
                       for _ in range(r.randint(1, 12)))
    elif kind < 0.45:  # anything
        text = "".join(random_character(r) for _ in range(r.randint(0, 12)))
    elif kind < 0.55:  # runs
        text = "".join(r.choice(r.choice(ALPHABETS)) * r.choice((1, 2, 3, 7, 40))
                       for _ in range(r.randint(1, 5)))
    else:
        some = [r.choice(ALPHABETS) for _ in range(r.randint(1, 4))]
        length = r.randint(0, 24) if r.random() < 0.97 else r.randint(100, 1500)
        text = "".join(r.choice(r.choice(some)) for _ in range(length))
    if added and r.random() < 0.3:
        for _ in range(r.randint(1, 3)):
            at = r.randint(0, len(text))
            text = text[:at] + r.choice((" ", "", "", "a")) + r.choice(added) + text[at:]
    return text


def corpus(r, count=1500):
    return [random_text(r, []) for _ in range(count)]


def added_tokens(r):
    tokens, texts = [], ["<s>", "</s>", "<|im_end|>", "[X]", "ab[X]cd", "Hello", "É", "e\u0301x",
                         "①", "<|x|><", "▁x", " spaced ", "\n\n", "é", "中文", "<0x41>", "ﬁ"]
    for text in r.sample(texts, r.randint(0, 7)):
        tokens.append(AddedToken(text, single_word=r.random() < 0.2, lstrip=r.random() < 0.2,
                                 rstrip=r.random() < 0.2, normalized=r.random() < 0.5,
                                 special=r.random() < 0.5))
    return tokens


def random_normalizer(r):
    n = normalizers
    steps = [n.NFC(), n.NFD(), n.NFKC(), n.NFKD(), n.Lowercase(), n.StripAccents(),
             n.Strip(left=r.random() < 0.7, right=r.random() < 0.7), n.Prepend("▁"),
             n.Replace(" ", "▁"), n.Replace(Regex(" {2,}"), " "), n.Replace("ab", ""),
             n.Replace(Regex(r"\p{P}"), "$1"), n.Prepend("xy")]
    if r.random() < 0.3:
        return None
    if r.random() < 0.4:
        return r.choice(steps)
    return n.Sequence(r.sample(steps, r.randint(0, 3)))


KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
PATTERNS = [
    KIMI,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\s]+|\s+", r"\p{N}", r"\w+|[^\w\s]+", "[a-z&&[^aeiou]]+", r"[\p{Hiragana}\p{Katakana}]+",
    r"\p{Lu}\p{Ll}*", "[一-龥぀-ゟ゠-ヿ]+", r".{1,5}", r"\d+(?=\D)", r"[^a-m[0-4]]{2,}",
]
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
            "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


def random_split(r):
    p = pre_tokenizers
    return r.choice([
        lambda: p.Split(Regex(r.choice(PATTERNS)), r.choice(BEHAVIORS), invert=r.random() < 0.3),
        lambda: p.Split(r.choice((" ", "a", "ab", "▁")), r.choice(BEHAVIORS),
                        invert=r.random() < 0.3),
        lambda: p.Digits(individual_digits=r.random() < 0.5),
        lambda: p.Punctuation(r.choice(BEHAVIORS)),
        lambda: p.WhitespaceSplit(),
        lambda: p.Whitespace(),
        lambda: p.CharDelimiterSplit(r.choice("a e")),
    ])()


def metaspace(r):
    return pre_tokenizers.Metaspace(replacement=r.choice("▁▁▁_"), split=r.random() < 0.6,
                                    prepend_scheme=r.choice(("always", "first", "never")))


def byte_level(r, plain=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=not plain and r.random() < 0.3,
                                    use_regex=not plain and r.random() < 0.6)


def random_pre_tokenizer(r, kind):
    p = pre_tokenizers
    if kind == "deepseek":
        return p.Sequence([p.Split(Regex(x), "isolated") for x in DEEPSEEK] + [byte_level(r, True)])
    if kind == "bytes":
        steps = [random_split(r) for _ in range(r.randint(0, 2))] + [byte_level(r)]
        return p.Sequence(steps) if len(steps) > 1 or r.random() < 0.5 else steps[0]
    if kind == "after bytes":
        return p.Sequence([byte_level(r), random_split(r)] +
                          ([byte_level(r, True)] if r.random() < 0.3 else []))
    if kind == "metaspace":
        steps = [random_split(r) for _ in range(r.choice((0, 0, 0, 1)))] + [metaspace(r)]
        if r.random() < 0.2:
            steps.append(random_split(r))
        return p.Sequence(steps) if len(steps) > 1 else steps[0]
    return r.choice([None, random_split(r), p.Sequence([random_split(r), random_split(r)])])


def random_decoder(r, kind):
    d = decoders
    if kind in ("deepseek", "bytes") and r.random() < 0.8:
        return d.ByteLevel()
    llama = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    steps = [d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0), d.ByteLevel(),
             d.Strip("a", 2, 1), d.Metaspace("▁", r.choice(("always", "never"))), d.Replace("a", "")]
    return r.choice([llama, llama, None, d.Metaspace("▁", r.choice(("always", "never", "first"))),
                     d.Fuse(), d.ByteFallback(),
                     d.Sequence(r.sample(steps, r.randint(0, 4)))])


def random_post_processor(r, tokenizer):
    p = processors
    names = [x for x in ("<s>", "</s>", "Hello") if tokenizer.token_to_id(x) is not None]
    special = [(x, tokenizer.token_to_id(x)) for x in names]
    around = [" ".join(r.choice(names) for _ in range(r.randint(0, 2))) if names else ""
              for _ in range(2)]
    template = p.TemplateProcessing(single=f"{around[0]} $A {around[1]}".strip(),
                                    special_tokens=special)
    level = p.ByteLevel(trim_offsets=r.random() < 0.5)
    return r.choice([None, None, level, template, p.Sequence([level, template]),
                     p.Sequence([template, level]), p.Sequence([])])


def merges_as_strings(path):
    """Rewrites a file as older versions of the package do, unless a token has a space."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    merges = data["model"]["merges"]
    if not any(" " in token for pair in merges for token in pair):
        data["model"]["merges"] = [" ".join(pair) for pair in merges]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False)


def make_tokenizer(r, kind):
    """A tokenizer trained on random texts, with random parts around the model."""
    fallback = kind in ("metaspace", "characters") and r.random() < 0.6
    unk = "<unk>" if kind in ("metaspace", "characters") and r.random() < 0.7 else None
    tokenizer = Tokenizer(models.BPE(byte_fallback=fallback, unk_token=unk,
                                     fuse_unk=r.random() < 0.5))
    tokenizer.pre_tokenizer = random_pre_tokenizer(r, kind)
    normalizer = random_normalizer(r)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    special = ["<unk>"] if unk else []
    if fallback:
        special += [f"<0x{b:02X}>" for b in range(256 if r.random() < 0.8 else 200)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    full = kind in ("deepseek", "bytes") and r.random() < 0.8
    trainer = trainers.BpeTrainer(vocab_size=r.choice((400, 800, 1500)) + len(special),
                                  show_progress=False, special_tokens=special,
                                  limit_alphabet=r.choice((60, 300)) if not full else 1000,
                                  initial_alphabet=alphabet if full else [])
    tokenizer.train_from_iterator(corpus(r), trainer)
    # Of a token of which the normalizer leaves nothing the package would find matches without end,
    # and of two with the same normalised text it takes one by chance.
    added, seen = [], set()
    for token in added_tokens(r):
        text = token.content
        if token.normalized and normalizer is not None:
            text = normalizer.normalize_str(text)
        if text and text not in seen:
            added.append(token)
            seen.add(text)
    data = json.loads(tokenizer.to_str())
    # Byte tokens and the unknown one are tokens of the model, not added ones.
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] == "<s>"]
    data["model"]["ignore_merges"] = r.random() < 0.3
    tokenizer = Tokenizer.from_str(json.dumps(data))
    for token in added:
        tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
    decoder = random_decoder(r, kind)
    if decoder is not None:
        tokenizer.decoder = decoder
    processor = random_post_processor(r, tokenizer)
    if processor is not None:
        tokenizer.post_processor = processor
    return tokenizer, [t.content for t in added]


def run(command, path, lines):
    result = subprocess.run(command + [path], input="".join(json.dumps(x) + "\n" for x in lines),
                            capture_output=True, text=True, encoding="utf-8")
    found = [json.loads(line) for line in result.stdout.split("\n") if line]
    if len(found) != len(lines):
        error = found[0] if found else result.stderr.strip()
        return None, str(error)[:600]
    return found, None


def attempt(call):
    """What it returns; None where the package panics, as it does on some odd combinations."""
    try:
        return call()
    except Exception:  # pylint: disable=broad-except
        raise
    except BaseException as error:  # pylint: disable=broad-except
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return None


def compare(name, tokenizer, path, added, r, count, options):
    texts = [random_text(r, added) for _ in range(count)]
    special = [r.random() < 0.2 for _ in texts]
    found, error = run(options.tokenize, path,
                       [{"text": t, "add_special_tokens": s} for t, s in zip(texts, special)])
    if error:
        return [f"{name}: {error}"]
    differences = []
    ids = [attempt(lambda t=t, s=s: tokenizer.encode(t, add_special_tokens=s).ids)
           for t, s in zip(texts, special)]
    for text, expected, one in zip(texts, ids, found):
        if expected is not None and one.get("ids") != expected:
            differences.append(f"{name}: encode {json.dumps(text)}: expected {expected}, "
                               f"found {one}")
    size = tokenizer.get_vocab_size()
    lists = [x if x is not None and r.random() < 0.6 else [r.randrange(size + 3) for _ in range(r.randint(0, 12))]
             for x in ids]
    skip = [r.random() < 0.5 for _ in lists]
    found, error = run(options.detokenize, path, [{"ids": x, "skip_special_tokens": s}
                                                  for x, s in zip(lists, skip)])
    if error:
        return differences + [f"{name}: {error}"]
    for one, x, s in zip(found, lists, skip):
        expected = attempt(lambda: tokenizer.decode(x, skip_special_tokens=s))
        if expected is not None and one.get("text") != expected:
            differences.append(f"{name}: decode {x} (skip {s}): expected {expected!r}, "
                               f"found {one}")
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsv3", default="build/release/bin/dsv3")
    parser.add_argument("--tokenize", nargs="+")
    parser.add_argument("--detokenize", nargs="+")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--strings-of-each", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--keep")
    options = parser.parse_args()
    options.tokenize = options.tokenize or [options.dsv3, "tokenize"]
    options.detokenize = options.detokenize or [options.dsv3, "detokenize"]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    print(f"Unicode of Python {unicodedata.unidata_version}, seed {options.seed}", flush=True)

    differences, strings, refused, cases = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = options.keep or folder
        os.makedirs(folder, exist_ok=True)
        for path in options.model:
            r = random.Random(options.seed)
            file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
            tokenizer = Tokenizer.from_file(file)
            added = [t.content for t in tokenizer.get_added_tokens_decoder().values()][-20:]
            differences += compare(path, tokenizer, file, added, r, options.strings, options)
            strings += options.strings
        kinds = ("deepseek", "bytes", "metaspace", "after bytes", "characters")
        seed = options.seed * 1_000_000
        while not options.model and strings < options.strings:
            kind = kinds[seed % len(kinds)]
            name = f"{kind} {seed}"
            r = random.Random(seed)
            seed += 1
            if options.only and options.only not in name:
                if seed % 1_000_000 > 100_000:
                    break
                continue
            try:
                tokenizer, added = make_tokenizer(r, kind)
            except BaseException as error:  # pylint: disable=broad-except
                if isinstance(error, KeyboardInterrupt):
                    raise
                refused += 1
                continue
            path = os.path.join(folder, name.replace(" ", "_") + ".json")
            tokenizer.save(path)
            if seed % 2:
                merges_as_strings(path)
            found = compare(name, tokenizer, path, added, r, options.strings_of_each, options)
            if not options.keep and not found:
                os.remove(path)
            differences += found
            strings += options.strings_of_each
            cases += 1
    shown = {}
    for x in differences:
        shown.setdefault(x.split(": ")[0] + x.split(": ")[1][:6], x)
    for difference in list(shown.values())[:40]:
        print(difference[:1500])
    print(f"{strings} strings, {cases} trained tokenizers ({refused} the package did not make), "
          f"{len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
