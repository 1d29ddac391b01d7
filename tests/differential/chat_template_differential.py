#!/usr/bin/env python3
"""Holds `dsv3 template` equal to transformers' apply_chat_template on random conversations.

    python3 tests/differential/chat_template_differential.py --dsv3 build/release/src/cli/dsv3 \\
        [--cases 600] [--seed 1] [--show 10]

Needs the package transformers (5.12). Each template of tests/golden-text gets --cases conversations
with tools, documents, add_generation_prompt, continue_final_message and further variables. Exit code
1 and the first differences if there are any.
"""

import argparse
import collections
import copy
import json
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile

from transformers.utils.chat_template_utils import render_jinja_template

from jinja_chat_templates import random_context

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def random_line(r):
    context = random_context(r)
    kwargs = {}
    kind = r.random()
    if kind < 0.3:
        kwargs["continue_final_message"] = True
    elif kind < 0.35:
        kwargs["continue_final_message"] = r.choice(["reasoning_content", "role", "content"])
    if r.random() < (0.05 if kwargs else 0.6):
        kwargs["add_generation_prompt"] = r.random() < 0.8
    for name in ("thinking", "enable_thinking", "x"):
        if r.random() < 0.2:
            kwargs[name] = r.choice([True, False, None, 1, "a"])
    line = {"messages": context["messages"], "kwargs": kwargs}
    for name in ("tools", "documents"):
        if context[name] is not None:
            line[name] = context[name]
    return line


def reference(line, template):
    """The rendered text, or None where transformers reports an error."""
    kwargs = dict(line["kwargs"])
    goes_on = kwargs.pop("continue_final_message", False)
    prompt = kwargs.pop("add_generation_prompt", False)
    if goes_on and prompt:
        return None  # apply_chat_template refuses it before it renders
    try:
        rendered, _ = render_jinja_template(
            [copy.deepcopy(line["messages"])], tools=line.get("tools"), documents=line.get("documents"),
            chat_template=template, continue_final_message=goes_on, add_generation_prompt=prompt, **TOKENS, **kwargs)
        return rendered[0]
    except Exception:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsv3", required=True, help="a command")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--templates", help="folder of templates (default: those of the goldens)")
    parser.add_argument("--show", type=int, default=10, help="differences to print")
    args = parser.parse_args()
    folder = pathlib.Path(args.templates or pathlib.Path(__file__).resolve().parents[2] / "tests/golden-text/templates")
    paths = sorted(folder.glob("*.jinja"))
    if not paths:
        sys.exit(f"{folder}: no templates")

    r = random.Random(args.seed)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as model:
        (pathlib.Path(model) / "tokenizer_config.json").write_text(json.dumps(TOKENS))
        for path in paths:
            lines = [random_line(r) for _ in range(args.cases)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            command = shlex.split(args.dsv3) + ["template", model, "--template", str(path)]
            answers = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE).stdout.split(b"\n")[:-1]
            if len(answers) != len(lines):
                sys.exit(f"{path}: {len(answers)} answers to {len(lines)} lines")
            for line, answer in zip(lines, map(json.loads, answers)):
                expected = reference(line, path.read_text())
                counts["rendered" if expected is not None else "errors"] += 1
                if answer.get("rendered") == expected:  # None: an error, as there
                    continue
                counts["differ"] += 1
                if counts["differ"] <= args.show:
                    print(f"{path.name}: {json.dumps(line)}\n  transformers: {expected!r}\n  ours:         {answer}")
    print(f"{counts['rendered']} rendered, {counts['errors']} errors, {counts['differ']} differ")
    sys.exit(counts["differ"] != 0)


if __name__ == "__main__":
    main()
