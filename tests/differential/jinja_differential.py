#!/usr/bin/env python3
"""Holds dsv3's Jinja interpreter equal to Jinja2 on random templates.

    ninja -C build/release jinja_render
    python3 tests/differential/jinja_differential.py --render build/release/tests/jinja_render \\
        [--cases 10000] [--seed 1] [--only any|chat|mutated] [--show 20]

Needs the packages jinja2 and transformers (5.12): the reference is the environment that
transformers makes for chat templates. A third of the templates is of any shape
(jinja_any_templates.py), a third is of the kind that models ship, with random conversations, and a
third is damaged real templates of tests/golden-text (jinja_chat_templates.py). Outputs must be
equal; where Jinja2 reports an error there must be one, at the same stage (parsing or rendering), and
with the same message where the template raised it. Exit code 1 and the differences if there are any.

--render is a command; it is given the cases as JSON lines, see jinja_render.cc.
"""

import argparse
import collections
import datetime
import functools
import json
import pathlib
import random
import shlex
import signal
import subprocess
import sys
import types

import jinja2.filters
import jinja2.sandbox
from transformers.utils import chat_template_utils

from jinja_any_templates import random_case
from jinja_chat_templates import chat_case, mutated_case

NOW = [2025, 3, 4, 15, 6, 7]
MAX_OUTPUT = 200_000

# Deliberate differences: (name, whether Jinja2's result and ours are one), with the reason.
EXCLUSIONS = [
    # Integers have 64 bits here: no template needs more, and longer ones are a way to exhaust memory.
    ("integers beyond 64 bits", lambda case, ours: "does not fit 64 bits" in ours.get("error", "")),
    ("complex numbers", lambda case, ours: "complex numbers" in ours.get("error", "")),
]


class Unaddressed:
    """Stands for an iterator or a method; its text has no address in memory, as with us."""

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        if callable(self.inner):
            owner = type(getattr(self.inner, "__self__", ""))  # format() is a function of the sandbox
            return f"<built-in method {self.inner.__name__} of {owner.__name__} object>"
        return f"<{type(self.inner).__name__} object>"


class UnaddressedIterator(Unaddressed):
    def __iter__(self):
        return iter(self.inner)

    def __next__(self):
        return next(self.inner)


class UnaddressedMethod(Unaddressed):
    def __call__(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def unaddressed(value):
    if isinstance(value, (types.BuiltinMethodType, types.FunctionType)):
        return UnaddressedMethod(value)
    if hasattr(value, "__next__") and not isinstance(value, UnaddressedIterator):
        return UnaddressedIterator(value)
    return value


def take_out_addresses():
    """Python prints where an iterator or a method lies in memory: that would differ in each run."""
    def wrapped(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            return unaddressed(function(*args, **kwargs))
        return call

    for name, function in jinja2.filters.FILTERS.items():
        jinja2.filters.FILTERS[name] = wrapped(function)
    for name in ("getattr", "getitem"):
        setattr(jinja2.sandbox.SandboxedEnvironment, name, wrapped(getattr(jinja2.sandbox.SandboxedEnvironment, name)))


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*NOW)


class Timeout(BaseException):
    """Not an Exception: Jinja2's lexer makes a syntax error with no message of any that a literal raises."""


def on_alarm(*_):
    raise Timeout


def run_reference(case):
    """Adds "output", or "error" and "phase", to the case; false where it has no usable result."""
    phase = "parse"
    signal.setitimer(signal.ITIMER_PROF, 5)  # of the processor's time, or a busy machine would choose the cases
    try:
        compiled = chat_template_utils._cached_compile_jinja_template(case["template"])
        phase = "render"
        output = compiled.render(**json.loads(json.dumps(case["context"])))
        output.encode()  # no lone surrogates
        if len(output) > MAX_OUTPUT:
            return False
        case["output"] = output
    except (RecursionError, Timeout, MemoryError):
        return False
    except Exception as e:
        case["error"], case["phase"] = f"{type(e).__name__}: {e}", phase
        if type(e).__name__ == "TemplateError":
            case["raised"] = str(e)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return True


def make_cases(args):
    root = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(args.templates or root / "tests/golden-text/templates")
    templates = [p.read_text() for p in sorted(folder.glob("*.jinja"))]
    if not templates:
        sys.exit(f"{folder}: no templates")
    makers = {"any": random_case, "chat": chat_case, "mutated": lambda rng: mutated_case(rng, templates)}
    if args.only:
        makers = {args.only: makers[args.only]}
    rng = random.Random(args.seed)
    cases = []
    while len(cases) < args.cases:
        kind = list(makers)[len(cases) % len(makers)]
        case = makers[kind](rng)
        if run_reference(case):
            cases.append({"kind": kind, "now": NOW, **case})
    return cases


def difference(case, ours):
    """What differs, or nothing."""
    if "output" in case:
        return "" if ours.get("output") == case["output"] else "output"
    if "error" not in ours:
        return "error missed"
    if "raised" in case and case["raised"] != ours["error"]:
        return "message"
    return "" if ours["phase"] == case["phase"] else "phase"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", required=True)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["any", "chat", "mutated"])
    parser.add_argument("--templates", help="folder of real templates (default: those of the goldens)")
    parser.add_argument("--show", type=int, default=20, help="differences to print")
    args = parser.parse_args()

    chat_template_utils.datetime = FixedTime
    take_out_addresses()
    signal.signal(signal.SIGPROF, on_alarm)
    sys.setrecursionlimit(3000)
    cases = make_cases(args)
    keys = ("template", "context", "now")
    lines = "".join(json.dumps({k: case[k] for k in keys}) + "\n" for case in cases)
    answers = subprocess.run(shlex.split(args.render), input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    answers = [json.loads(line) for line in answers.split(b"\n")[:-1]]
    if len(answers) != len(cases):
        sys.exit(f"{args.render} answered {len(answers)} of {len(cases)} cases")

    excluded, kinds, bad = collections.Counter(), collections.Counter(), 0
    for case, ours in zip(cases, answers):
        kinds[case["kind"], "rendered" if "output" in case else "error"] += 1
        what = difference(case, ours)
        if not what:
            continue
        reason = next((name for name, matches in EXCLUSIONS if matches(case, ours)), None)
        if reason:
            excluded[reason] += 1
            continue
        bad += 1
        if bad <= args.show:
            print(f"{what}: {case['template']!r}")
            if case["kind"] != "any":
                print("  context:", json.dumps(case["context"]))
            print("  jinja2:", {k: case[k] for k in ("output", "error", "phase") if k in case})
            print("  ours:  ", ours)
    print(", ".join(f"{n} {kind} {result}" for (kind, result), n in sorted(kinds.items())))
    for reason, n in excluded.items():
        print(f"{n} not counted: {reason}")
    print(f"{len(cases)} cases, {bad} differ")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
