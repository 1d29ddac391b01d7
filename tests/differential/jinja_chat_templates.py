"""Random Jinja templates of the kind that models ship, with random conversations.

Expressions are made by the type of their value, so most templates render to the end.
"""

import json
import re

ROLES = ["system", "user", "assistant", "tool", "developer"]
TEXTS = ["", "Hi", "What is 2 + 2?", "  padded \n", "line one\nline two\n\n  line three", "\n\nx\n",
         "<think>first\nthink</think>\n\nthen answer", "<think>open", "no </think> start", "a</think>b</think>c",
         "h\u00e9llo \u4f60\u597d \u00df\u0130\u01c6 \U0001f600\U0001f44d\U0001f3fd", "tab\tquote\" back\\slash 'single'",
         "<b>&amp; \"q\"</b>", "{{ not.a.template }} {% if %}", "<\uff5cUser\uff5c>fake<\uff5cAssistant\uff5c>", "CamelCase UPPER lower",
         "\u00a0\u3000wide\u2003", "bell\u0007 del\u007f nul\u0000 nel\u0085 ls\u2028", "1234", "-3.5", "a,b,,c", "\r\nwindows\r\n",
         "Look, goof-ball -- use the -b option! A--b...--c -- pre-post-x well-é-known e-mail--\u3000end 1-2-a-b"]
WORDS = ["city", "unit", "name", "caf\u00e9", "x", "n", "items", "values", "type", "text", "city name", "1"]


def random_json(r, depth):
    kind = r.randrange(9 if depth > 0 else 6)
    if kind == 0:
        return r.choice([0, 1, -7, 42, 10**12, 2**53])
    if kind == 1:
        return r.choice([0.5, -1.25, 1e20, 1e-7, 100.0, 3.14159, 1e16, 123456789.125, -0.0])
    if kind == 2:
        return r.choice([True, False, None])
    if kind <= 5:
        return r.choice(TEXTS + WORDS)
    if kind == 6:
        return [random_json(r, depth - 1) for _ in range(r.randint(0, 3))]
    return {r.choice(WORDS): random_json(r, depth - 1) for _ in range(r.randint(0, 3))}


def random_object(r, depth):
    return {r.choice(WORDS): random_json(r, depth) for _ in range(r.randint(0, 3))}


def random_context(r):
    def tool_call(i):
        arguments = random_object(r, 2)
        if r.random() < 0.3:
            arguments = json.dumps(arguments, ensure_ascii=r.random() < 0.5)
        call = {"type": "function", "function": {"name": r.choice(["get_weather", "f\u00fc", "search"]), "arguments": arguments}}
        if r.random() < 0.5:
            call["id"] = f"call_{i}"
        return call

    def message():
        role = r.choice(ROLES[:4] + ["user", "assistant"] * 2 + ROLES[4:])
        m = {"role": role, "content": r.choice(TEXTS)}
        if r.random() < 0.15:
            m["content"] = [{"type": "text", "text": r.choice(TEXTS)} if r.random() < 0.8 else
                            {"type": "image", "url": "http://x/y?a=b c"} for _ in range(r.randint(0, 3))]
        if role == "assistant":
            if r.random() < 0.35:
                m["tool_calls"] = [tool_call(i) for i in range(r.randint(0, 3))]
                if r.random() < 0.5:
                    m["content"] = None
            if r.random() < 0.3:
                m["reasoning_content"] = r.choice(TEXTS)
            if r.random() < 0.1:
                m["prefix"] = True
        if role == "tool" and r.random() < 0.5:
            m["tool_call_id"] = "call_0"
        if r.random() < 0.05:
            del m["content"]
        return m

    context = {"messages": [message() for _ in range(r.choice([0, 1, 1, 2, 3, 5, 8]))],
               "tools": None, "documents": None, "add_generation_prompt": r.random() < 0.5,
               "bos_token": "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "eos_token": "<\uff5cend\u2581of\u2581sentence\uff5c>",
               "kw": random_object(r, 3)}
    if r.random() < 0.6:
        context["tools"] = [{"type": "function", "function": {
            "name": r.choice(["get_weather", "search"]), "description": r.choice(TEXTS),
            "parameters": {"type": "object", "required": ["city"][:r.randint(0, 1)],
                           "properties": {w: {"type": r.choice(["string", "number", ["string", "null"]]), "enum": random_json(r, 1)}
                                          for w in r.sample(WORDS, r.randint(0, 3))}}}} for _ in range(r.randint(0, 3))]
    if r.random() < 0.3:
        context["documents"] = [{"title": r.choice(TEXTS), "text": r.choice(TEXTS)} for _ in range(r.randint(0, 2))]
    if r.random() < 0.4:
        context["enable_thinking"] = r.choice([True, False, None])
    return context


class ChatGenerator:
    """Makes templates; `scope` maps types (str, int, bool, list, any) to the variables that have them."""

    def __init__(self, rng):
        self.r = rng
        self.counter = 0
        self.scope = {
            "str": ["bos_token", "eos_token"], "int": ["messages|length"], "bool": ["add_generation_prompt"],
            "list": ["messages", "(tools or [])", "(documents or [])"],
            "any": ["kw", "messages", "tools", "documents", "enable_thinking", "undefined_name"],
            "dict": ["kw", "kw"], "msg": [], "loop": [],
        }
        self.macros = []

    def name(self, prefix):
        self.counter += 1
        return f"{prefix}{self.counter}"

    def within(self, additions, make):
        old = {k: list(v) for k, v in self.scope.items()}
        for kind, names in additions.items():
            self.scope[kind] = self.scope[kind] + names * 4
        try:
            return make()
        finally:
            self.scope = old

    # ---- expressions ----

    def string_literal(self):
        text = self.r.choice(["", " ", "\n", "\n\n", "<\uff5cUser\uff5c>", "<think>", "</think>", "a", "Hi", "role: ", "{\"k\": ", "}}", "%}", "it's",
                              "\\", "\t", "\u00e9\u4f60", "x" * 9, "```json\n", "\"", ", "])
        quote = self.r.choice("'\"")
        text = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
        if self.r.random() < 0.7:
            text = text.replace("\n", "\\n").replace("\t", "\\t")
        return quote + text + quote

    def str(self, d=2):
        r = self.r
        if d <= 0 or r.random() < 0.2:
            return r.choice(self.scope["str"]) if r.random() < 0.55 else self.string_literal()
        s = lambda: self.str(d - 1)
        low = lambda: "(" + s() + ")"
        options = [
            lambda: f"{s()} + {s()}", lambda: f"{s()} ~ {self.any(d - 1)}", lambda: f"({s()} ~ {self.int(d - 1)} ~ {s()})",
            lambda: f"({s()} if {self.bool(d - 1)} else {s()})", lambda: f"({s()} if {self.bool(d - 1)})",
            lambda: f"{low()} | trim", lambda: f"{low()}.{r.choice(['strip', 'lstrip', 'rstrip'])}({r.choice(['', '', self.string_literal()])})",
            lambda: f"{low()} | {r.choice(['upper', 'lower', 'capitalize', 'title', 'string', 'e', 'safe', 'escape', 'striptags', 'urlencode'])}",
            lambda: f"{low()} | replace({self.string_literal()}, {s()})", lambda: f"{low()}.replace({self.string_literal()}, {s()})",
            lambda: f"{low()}.split({self.separator()})[{r.choice(['0', '-1', '-1', '1'])}]",
            lambda: f"{low()}.split({self.separator()}, {r.choice(['0', '1', '1', '2', '-1'])}) | {r.choice(['first', 'last'])}",
            lambda: f"({low()}.{r.choice(['partition', 'rpartition'])}({self.separator()}))[{r.choice(['0', '1', '2', '-1'])}]",
            lambda: f"{self.list(d - 1)} | join({s()})", lambda: f"({s()}).join({self.list(d - 1)} | map('string'))",
            lambda: f"{self.any(d - 1)} | tojson{self.json_arguments()}", lambda: f"{self.any(d - 1)} | string",
            lambda: f"{low()}[{self.bound()}:{self.bound()}]", lambda: f"{low()}[{r.choice(['::-1', '1:', ':-1', '0', '-1', '99'])}]",
            lambda: f"{low()} | {r.choice(['first', 'last'])}", lambda: f"{low()} | reverse",
            lambda: f"{low()} | indent({r.choice(['', '2', '4, true', 'width=3, blank=true', 'first=true'])})",
            lambda: f"{low()} | default({s()}{r.choice(['', ', true'])})", lambda: f"undefined_name | default({s()})",
            lambda: f"{low()} | truncate({r.choice(['4', '9, true', '12, false, s', '5, true, \"\"', '3, leeway=0']).replace('s', self.string_literal())})",
            lambda: f"{low()} | wordwrap({r.choice(['5', '8', '12, false'])})", lambda: f"{low()} | center({r.choice(['8', '20'])})",
            lambda: f"{low()}.{r.choice(['upper', 'lower', 'title', 'capitalize', 'swapcase', 'casefold', 'expandtabs'])}()",
            lambda: f"{low()}.{r.choice(['removeprefix', 'removesuffix'])}({self.string_literal()})",
            lambda: f"{low()}.{r.choice(['ljust', 'rjust', 'center', 'zfill'])}({r.choice(['3', '10', '14'])})",
            lambda: f"'%s and %r' | format({self.any(d - 1)}, {self.any(d - 1)})", lambda: f"'%-9s|%5d|%.2f' % ({s()}, {self.int(d - 1)}, {self.int(d - 1)})",
            lambda: f"'{{}}: {{!r:>12}} {{n:04d}}'.format({s()}, {s()}, n={self.int(d - 1)})", lambda: f"{low()} * {r.choice(['0', '1', '3'])}",
            lambda: f"strftime_now({r.choice(['\"%Y-%m-%d\"', '\"%d %b %Y\"', '\"%A %B %-d, %H:%M:%S\"', '\"%j %p %I %% %a %y\"', '\"Today: %d/%m\"'])})",
            lambda: f"{self.dict(d - 1)}.get({self.key()}, {s()}) | string",
            lambda: f"{self.call_macro(d)}",
        ]
        return r.choice(options)()

    def separator(self):
        return self.r.choice(["'</think>'", "'\\n'", "' '", "','", "'a'", "'\u3000'", "''" if self.r.random() < 0.1 else "'x'"])

    def bound(self):
        return self.r.choice(["", "0", "1", "2", "-1", "-2", "5", "100", "-100"])

    def key(self):
        return self.r.choice(["'city'", "'name'", "'caf\u00e9'", "'role'", "'content'", "'nope'", "'items'", "'type'"])

    def json_arguments(self):
        return self.r.choice(["", "", "", "", "(indent=2)", "(indent=4)", "(ensure_ascii=false)", "(ensure_ascii=true)", "(sort_keys=true)",
                              "(indent=none)", "(separators=(',', ':'))", "(indent=1, sort_keys=true, ensure_ascii=true)", "(indent='\\t')",
                              "(separators=(', ', ': '), indent=0)"])

    def int(self, d=2):
        r = self.r
        if d <= 0 or r.random() < 0.3:
            return r.choice(self.scope["int"]) if r.random() < 0.6 else r.choice(["0", "1", "2", "7", "-1", "1_000"])
        i = lambda: self.int(d - 1)
        return r.choice([
            lambda: f"({i()} {r.choice(['+', '-', '*'])} {i()})", lambda: f"({i()} {r.choice(['%', '//'])} {r.choice(['2', '3', '-2'])})",
            lambda: f"({self.str(d - 1)}) | length", lambda: f"{self.list(d - 1)} | {r.choice(['length', 'count'])}",
            lambda: f"({self.str(d - 1)}).{r.choice(['find', 'rfind', 'count'])}({self.separator()})", lambda: f"({self.str(d - 1)}) | int({r.choice(['', '5', '-1, 16'])})",
            lambda: f"({self.str(d - 1)}) | wordcount", lambda: f"({i()} if {self.bool(d - 1)} else {i()})",
            lambda: f"[{i()}, {i()}] | {r.choice(['max', 'min', 'sum', 'first', 'last'])}", lambda: f"({i()}) | abs", lambda: f"-{i()}",
            lambda: f"({i()} / {r.choice(['2', '4', '3'])}) | {r.choice(['round', 'int', 'float', 'round(1)', 'round(0, \"floor\")'])}",
        ])()

    def bool(self, d=2):
        r = self.r
        if d <= 0 or r.random() < 0.15:
            return r.choice(self.scope["bool"] + ["true", "false", "not tools", "tools is defined and tools"])
        b = lambda: self.bool(d - 1)
        options = [
            lambda: f"{b()} and {b()}", lambda: f"{b()} or {b()}", lambda: f"not {b()}", lambda: f"({b()})",
            lambda: f"{self.any(d - 1)} is {r.choice(['', 'not '])}{r.choice(['defined', 'undefined', 'none', 'string', 'mapping', 'sequence', 'iterable', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'callable'])}",
            lambda: f"{self.str(d - 1)} {r.choice(['==', '!=', 'in', 'not in', '<', '>='])} {self.str(d - 1)}",
            lambda: f"{self.int(d - 1)} {r.choice(['==', '!=', '<', '<=', '>', '>='])} {self.int(d - 1)}",
            lambda: f"{self.int(d - 1)} is {r.choice(['odd', 'even', 'divisibleby 3', 'eq 2', 'lt(4)', 'in [1, 2]'])}",
            lambda: f"{self.key()} {r.choice(['in', 'not in'])} {self.dict(d - 1)}", lambda: f"{self.list(d - 1)} | length > {self.int(0)}",
            lambda: f"({self.str(d - 1)}).{r.choice(['startswith', 'endswith'])}({r.choice([self.string_literal(), '(' + self.string_literal() + ', ' + self.string_literal() + ')'])})",
            lambda: f"({self.str(d - 1)}).{r.choice(['isdigit', 'isalpha', 'isspace', 'isupper', 'islower', 'istitle', 'isalnum', 'isnumeric', 'isascii', 'isidentifier'])}()",
            lambda: f"{self.any(d - 1)}", lambda: f"{self.any(d - 1)} == {self.any(d - 1)}", lambda: f"({self.str(d - 1)}) is {r.choice(['lower', 'upper', 'filter', 'test', 'sameas none'])}",
            lambda: f"1 < {self.int(d - 1)} <= 5",
        ]
        if self.scope["loop"]:
            options.append(lambda: self.r.choice(self.scope["loop"]) + "." + r.choice(["first", "last"]))
        if self.scope["msg"]:
            m = r.choice(self.scope["msg"])
            options += [lambda: f"{m}{r.choice(['.role', '[\"role\"]'])} {r.choice(['==', '!=', 'in', 'not in'])} {r.choice(['[\"user\", \"tool\"]', '\"user\"', '\"assistant\"', '(\"system\", \"developer\")'])}",
                        lambda: f"{m}.{r.choice(['tool_calls', 'content', 'reasoning_content', 'prefix'])} is {r.choice(['defined', 'string', 'none', 'not none', 'iterable'])}",
                        lambda: f"'{r.choice(['tool_calls', 'content', 'prefix'])}' in {m}", lambda: f"{m}['tool_calls']",
                        lambda: f"{m}.content is string and '</think>' in {m}.content"] * 2
        return r.choice(options)()

    def list(self, d=2):
        r = self.r
        if d <= 0 or r.random() < 0.3:
            return r.choice(self.scope["list"] + ["[]", "[1, 2, 3]", "['b', 'a', 'B']", "range(3)", "('x', 'y')"])
        l = lambda: self.list(d - 1)
        return r.choice([
            lambda: f"[{self.any(d - 1)}, {self.any(d - 1)}]", lambda: f"({l()})[{self.bound()}:{self.bound()}]", lambda: f"({l()})[::-1]",
            lambda: f"({l()} | list)", lambda: f"({l()} | reverse | list)", lambda: f"({self.str(d - 1)}).split({self.separator()})",
            lambda: f"({self.str(d - 1)}).splitlines()", lambda: f"({self.str(d - 1)} | list)",
            lambda: f"(messages | {r.choice(['selectattr', 'rejectattr'])}('role', {r.choice(['\"equalto\"', '\"==\"', '\"ne\"', '\"in\"'])}, {r.choice(['\"user\"', '\"tool\"', '\"assistant\"'])}) | list)",
            lambda: f"(messages | {r.choice(['selectattr', 'rejectattr'])}({r.choice(['\"tool_calls\"', '\"content\"', '\"content\", \"string\"', '\"prefix\", \"defined\"', '\"content\", \"none\"'])}) | list)",
            lambda: f"(messages | map(attribute={r.choice(['\"role\"', '\"content\"', '\"prefix\", default=\"-\"', '\"tool_calls.0.function.name\"'])}) | list)",
            lambda: f"({l()} | {r.choice(['select', 'reject', 'select(\"string\")', 'reject(\"none\")', 'select(\"defined\")', 'map(\"string\")', 'map(\"tojson\")', 'unique'])} | list)",
            lambda: f"({self.dict(d - 1)} | {r.choice(['dictsort', 'items | list', 'list', 'dictsort(true)', 'dictsort(false, \"key\", true)'])})",
            lambda: f"({self.dict(d - 1)}.{r.choice(['keys()', 'values()', 'items()'])} | list)", lambda: f"({l()} | batch(2) | list)",
            lambda: f"({l()} | map('string') | sort{r.choice(['', '(reverse=true)', '(case_sensitive=true)'])})", lambda: f"({l()} | list + {l()} | list)",
            lambda: f"(messages | groupby('role') | map('first') | list)", lambda: f"({l()} | slice(2) | list)", lambda: f"({l()} | default([], true))",
        ])()

    def dict(self, d=2):
        r = self.r
        if d <= 0 or r.random() < 0.5:
            options = self.scope["dict"] + ["{}", "{'a': 1, 'city': 'x'}"] + self.scope["msg"] * 3
            return r.choice(options)
        return r.choice([lambda: f"{{'name': {self.any(d - 1)}, {self.string_literal()}: {self.any(d - 1)}}}", lambda: f"dict({self.dict(d - 1)}, extra={self.any(d - 1)})",
                         lambda: f"dict(name={self.str(d - 1)})"])()

    def any(self, d=2):
        r = self.r
        if d <= 0:
            return r.choice(self.scope["any"] + self.scope["str"] + self.scope["int"] + ["none", "1.5", "true"] + self.scope["msg"])
        options = [lambda: self.str(d - 1), lambda: self.int(d - 1), lambda: self.list(d - 1), lambda: self.dict(d - 1),
                   lambda: r.choice(self.scope["any"]), lambda: f"{self.dict(d - 1)}[{self.key()}]",
                   lambda: f"{self.dict(d - 1)}.{r.choice(['city', 'name', 'items', 'values', 'nope', 'content', 'x'])}",
                   lambda: f"({self.bool(d - 1)})", lambda: f"({self.list(d - 1)} | {r.choice(['first', 'last'])})"]
        if self.scope["msg"]:
            m = r.choice(self.scope["msg"])
            options += [lambda: f"{m}.{r.choice(['content', 'tool_calls', 'role', 'reasoning_content', 'tool_calls[0].function'])}", lambda: m] * 2
        if self.scope["loop"]:
            options.append(lambda: f"{r.choice(self.scope['loop'])}.{r.choice(['index', 'index0', 'length', 'revindex', 'revindex0', 'previtem', 'nextitem', 'depth', 'cycle(1, 2)', 'changed(1)'])}")
        return r.choice(options)()

    # ---- statements ----

    def edge(self):
        return self.r.choice(["", "", "", "-", "-", "+"])

    def tag(self, text):
        return f"{{%{self.edge()} {text} {self.edge()}%}}"

    def printed(self, e):
        return f"{{{{{self.r.choice(['', '', '-'])} {e} {self.r.choice(['', '', '-'])}}}}}"

    def text(self):
        return self.r.choice(["", "", "\n", "\n", "\n  ", "\n\n", " ", "text ", "<|im_start|>", "\t", "  \n", "\r\n", "### ", "{ }", "{#- note -#}", "  {# note #}\n", "\u4f60"])

    def body(self, d):
        out = self.text()
        saved = {k: list(v) for k, v in self.scope.items()}
        for _ in range(self.r.randint(1, 3)):
            out += self.statement(d) + self.text()
        self.scope = saved
        return out

    def call_macro(self, d):
        if not self.macros:
            return self.str(d - 1)
        name, count = self.r.choice(self.macros)
        arguments = [self.any(d - 1) for _ in range(self.r.choice([count, count, max(count - 1, 0)]))]
        return f"{name}({', '.join(arguments)})"

    def statement(self, d):
        r = self.r
        if d <= 0:
            return self.printed(r.choice([self.str, self.str, self.int, self.any])(2))
        b = lambda: self.body(d - 1)
        t = self.tag
        kind = r.randrange(16)
        if kind < 3:
            return self.printed(r.choice([self.str, self.str, self.any, self.list, self.int, self.bool])(3))
        if kind < 5:
            out = t(f"if {self.bool()}") + b()
            while r.random() < 0.4:
                out += t(f"elif {self.bool()}") + b()
            return out + (t("else") + b() if r.random() < 0.5 else "") + t("endif")
        if kind < 8:
            m = self.name("m")
            over = r.choice(["messages", "messages", "messages[1:]", "messages | reverse", "messages if messages[0].role == 'system'"][:4])
            test = f" if {self.within({'msg': [m]}, self.bool)}" if r.random() < 0.2 else ""
            inner = self.within({"msg": [m], "any": [m, m + ".content"], "loop": ["loop"], "int": ["loop.index", "loop.index0"]}, lambda: b() + self.loop_extra(m))
            return t(f"for {m} in {over}{test}") + inner + (t("else") + b() if r.random() < 0.2 else "") + t("endfor")
        if kind == 8:
            v = self.name("v")
            inner = self.within({"any": [v], "loop": ["loop"], "int": ["loop.revindex"]}, b)
            jump = t(f"if {self.within({'any': [v], 'loop': ['loop']}, self.bool)}") + t(r.choice(["break", "continue"])) + t("endif") if r.random() < 0.3 else ""
            return t(f"for {v} in {self.list()}") + jump + inner + t("endfor")
        if kind == 9:
            k, v = self.name("k"), self.name("v")
            inner = self.within({"str": [f"({k} | string)"], "any": [k, v]}, b)
            return t(f"for {k}, {v} in {self.dict()}{r.choice(['.items()', ' | items', ' | dictsort'])}") + inner + t("endfor")
        if kind in (10, 11):
            v = self.name("s")
            kind = r.choice(["str", "str", "int", "list", "any", "bool", "dict"])
            out = t(f"set {v} = {getattr(self, kind)(2)}")
            self.scope[kind] = self.scope[kind] + [v] * 3
            return out
        if kind == 12:
            v = self.name("b")
            out = t(f"set {v}{r.choice(['', '', ' | trim', ' | upper | indent(2)'])}") + b() + t("endset")
            self.scope["str"] = self.scope["str"] + [v] * 3
            return out
        if kind == 13:
            n = self.name("ns")
            out = t(f"set {n} = namespace(text={self.str(1)}, n={self.int(1)}, on=false)")
            m = self.name("m")
            inner = self.within({"msg": [m], "str": [n + ".text"], "int": [n + ".n"], "bool": [n + ".on"], "loop": ["loop"]}, lambda:
                t(f"set {n}.text = {self.str(2)}") + t(f"set {n}.n = {n}.n + 1") + b() + t(f"set {n}.on = {self.bool(1)}"))
            self.scope["str"] = self.scope["str"] + [n + ".text"] * 3
            self.scope["bool"] = self.scope["bool"] + [n + ".on"] * 3
            return out + t(f"for {m} in messages") + inner + t("endfor")
        if kind == 14:
            f = self.name("f")
            a, c = self.name("a"), self.name("a")
            signature = r.choice([f"{a}", f"{a}, {c}={self.str(1)}", f"{a}=none, {c}=[]", f"{a}, {c}={a}"])
            names = [a, c] if c in signature else [a]
            outer, self.macros = self.macros, []  # no recursion
            inner = self.within({"any": names, "str": [f"({a} | string)"]}, b)
            self.macros = outer + [(f, len(names))]
            return t(f"macro {f}({signature})") + inner + t("endmacro") + self.printed(self.call_macro(2))
        return r.choice([
            lambda: t("generation") + b() + t("endgeneration"), lambda: t(f"with w = {self.any()}") + self.within({"any": ["w"]}, b) + t("endwith"),
            lambda: t(f"filter {r.choice(['trim', 'upper', 'indent(3)', 'replace(\"a\", \"b\")', 'escape'])}") + b() + t("endfilter"),
            lambda: "{% raw %}{{ raw }}\n {% endraw %}", lambda: t(f"if {self.bool(1)} and false") + "{{ raise_exception('no: ' ~ messages) }}" + t("endif"),
            lambda: t(f"if not messages") + "{{ raise_exception('No messages') }}" + t("endif"),
            lambda: t("macro box(t)") + "[{{ t }}:{{ caller('in') }}]" + t("endmacro") + t(f"call(q) box({self.any(1)})") + self.within({"str": ["q"]}, b) + t("endcall"),
            lambda: t("for n in kw.values() recursive") + "{{ loop.depth }}{% if n is mapping %}({{ loop(n.values()) }}){% else %}{{ n }}{% endif %}" + t("endfor"),
        ])()

    def loop_extra(self, m):
        r = self.r
        return r.choice(["", "", "", "{{ loop.index }}/{{ loop.length }}", "{%- if not loop.last %}, {% endif -%}", f"{{{{ loop.previtem.role if loop.previtem }}}}{{{{ loop.nextitem.role }}}}",
                         f"{{%- for c in {m}.tool_calls or [] %}}{{{{ c.function.name }}}}({{{{ c['function'].arguments | tojson }}}}){{% if not loop.last %}},{{% endif %}}{{% endfor -%}}",
                         f"{{% if {m}.content is string %}}{{{{ {m}.content.split('</think>')[-1].lstrip('\\n') }}}}{{% elif {m}.content %}}{{% for p in {m}.content %}}{{{{ p.text or p.type }}}}{{% endfor %}}{{% endif %}}",
                         f"{{{{ loop.changed({m}.role) }}}}{{{{ loop.cycle('a', 'b') }}}}"])


def chat_case(rng):
    """One {"template", "context"}."""
    g = ChatGenerator(rng)
    parts = []
    for _ in range(rng.randint(1, 4)):
        parts.append(g.statement(rng.randint(1, 3)) + g.text())
    return {"template": "".join(parts), "context": random_context(rng)}


PIECES = re.compile(r"(\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\})", re.S)
TOKENS = re.compile(r"\s+|\w+|'[^']*'|\"[^\"]*\"|[^\w\s]", re.S)


def mutated_case(rng, templates):
    """One of `templates` with pieces removed, doubled or swapped with another's, and a conversation."""
    pieces = [p for p in PIECES.split(rng.choice(templates)) if p]
    others = [p for p in PIECES.split(rng.choice(templates)) if p]
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at = rng.randrange(len(pieces))
        kind = rng.randrange(8)
        if kind == 0 and len(pieces) > 1:
            del pieces[at]
        elif kind == 1:
            pieces.insert(at, pieces[at])
        elif kind == 2:
            pieces.insert(at, rng.choice(others))
        elif kind <= 4 and pieces[at][:2] in ("{%", "{{"):
            edge = rng.choice(["", "-", "+"] if pieces[at][1] == "%" else ["", "-"])
            pieces[at] = pieces[at][:2] + edge + pieces[at][2:].lstrip("-+")
        else:
            tokens, more = TOKENS.findall(pieces[at]) or [""], TOKENS.findall(rng.choice(others)) or [""]
            where = rng.randrange(len(tokens))
            if kind == 5:
                del tokens[where]
            elif kind == 6:
                tokens[where] = rng.choice(more)
            else:
                tokens.insert(where, rng.choice(more))
            pieces[at] = "".join(tokens)
    return {"template": "".join(pieces), "context": random_context(rng)}
