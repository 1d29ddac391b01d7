"""Random Jinja templates of any shape: every filter, test, method and statement, on any kind of value.

About half of them are errors, in Jinja2 and here.
"""

CONTEXT = {
    "i": 7, "j": -3, "z": 0, "x": 1.5, "y": -0.25, "big": 1e20, "t": True, "f": False, "n": None,
    "s": "Hello World", "u": "h\u00e9llo \u4f60\u597d \u00df", "e": "", "w": "  pad\t\n", "h": "<a href='x'>&\"b\"</a>",
    "ml": "one\ntwo\n\n  three\r\nfour", "num": "42", "fl": "3.75",
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "lm": [1, "a", None, 2.5, [1], {"k": 1}], "le": [],
    "d": {"b": 1, "a": 2, "C": "x"}, "de": {}, "dn": {"in": {"k": [1, {"q": "deep"}]}, "items": 5},
    "ms": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "n": 2},
           {"role": "User", "content": "Yo", "n": 1}],
}
FILTERS = ["abs", "capitalize", "center(12)", "count", "default('D')", "default('D', true)", "d",
           "dictsort", "dictsort(by='value')", "dictsort(reverse=true)", "escape", "first", "float",
           "float(1.5)", "forceescape", "indent", "indent(2, true)", "indent('> ', blank=true)", "int",
           "int(5)", "int(base=16)", "items", "join", "join(', ')", "join('-', attribute='role')", "last",
           "length", "list", "lower", "map('upper')", "map(attribute='role')", "map('length')",
           "map(attribute='n', default=9)", "max", "min", "max(attribute='role')", "reject('odd')",
           "rejectattr('n')", "rejectattr('role', 'equalto', 'user')", "replace('l', 'L')",
           "replace('', '.')", "replace('o', '0', 1)", "reverse", "round", "round(1)",
           "round(1, 'floor')", "round(0, 'ceil')", "round(-1)", "safe", "select", "select('string')",
           "select('defined')", "selectattr('content')", "selectattr('n', 'gt', 1)", "slice(2)",
           "slice(2, 'F')", "batch(2)", "batch(2, 'F')", "sort", "sort(reverse=true)",
           "sort(case_sensitive=true)", "sort(attribute='role')", "sort(attribute='role,content')",
           "string", "striptags", "sum", "sum(attribute='n')", "sum(start=10)", "title", "tojson",
           "tojson(indent=2)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))",
           "tojson(ensure_ascii=true)", "trim", "trim('ab')", "truncate(5)", "truncate(5, true, '')",
           "truncate(8, leeway=0)", "unique", "unique(attribute='role')", "upper", "urlencode",
           "wordcount", "wordwrap(6)", "wordwrap(4, break_long_words=false)", "xmlattr",
           "groupby('role')", "groupby('n', default=0)", "format(1, 'a')", "format", "attr('upper')",
           "filesizeformat", "filesizeformat(true)", "e", "pprint"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true",
         "false", "mapping", "sequence", "iterable", "callable", "odd", "even", "divisibleby(2)",
         "divisibleby 3", "eq 1", "equalto('a')", "ne 2", "gt 1", "lt 2", "ge 1", "le(3)", "in [1, 'a']",
         "lower", "upper", "escaped", "sameas none", "sameas(true)", "filter", "test"]
METHODS = ["upper()", "lower()", "title()", "capitalize()", "strip()", "lstrip()", "rstrip()",
           "strip('Hd')", "split()", "split('l')", "split(' ', 1)", "rsplit(' ', 1)", "rsplit(None, 1)",
           "split(None, 1)", "splitlines()", "splitlines(true)", "partition('o')", "rpartition('o')",
           "find('o')", "rfind('o')", "find('o', 5)", "find('', 3)", "index('l')", "count('l')", "count('')",
           "startswith('He')", "endswith(('ld', 'x'))", "startswith('l', 2)", "replace('l', '')",
           "replace('l', 'LL', 1)", "join(ls)", "join('ab')", "format(1, 2)", "removeprefix('He')",
           "removesuffix('ld')", "ljust(14, '.')", "rjust(14)", "center(15, '*')", "zfill(13)",
           "expandtabs(4)", "isalpha()", "isdigit()", "isalnum()", "isspace()", "islower()", "isupper()",
           "istitle()", "isascii()", "swapcase()", "isidentifier()", "isnumeric()", "casefold()",
           "get('a')", "get('zz', 1)", "keys()", "values()", "items()", "index(1)", "count(1)", "append(1)",
           "pop()", "update({})", "copy()", "nosuch()", "isdecimal()", "isprintable()", "start", "index(2)"]
LITERALS = ["0", "1", "2", "-1", "3", "10", "2.5", "0.1", "1e3", "'a'", "'abc'", "\"it's\"", "''", "'%s-%d'",
            "'%5.2f|%-4s|%05d|%x|%%' % (1.5, 'a', 42, 255)", "'%(b)s' % d", "'{0}{1!r:>5}{b}'.format(1, 'x', b=2)",
            "'{:>6}|{:<6}|{:^6}|{:06.2f}|{:,}|{:+d}|{:x}|{:.1%}'.format('a', 'b', 'c', 3.14159, 1234567, 5, 255, 0.5)",
            "[]", "[1, 2]", "['x', 'y', 1]", "{}", "{'a': 1}", "{'k': [1, 2], 3: 4}", "(1, 2)", "(1,)", "()",
            "true", "false", "none", "'\\u00e9\\n\\t\\x41'", "'{{'", "range(4)", "range(5, 0, -2)", "dict(a=1)"]
NAMES = list(CONTEXT) + ["nope"]


class Generator:
    def __init__(self, rng):
        self.r = rng
        self.names = NAMES

    def pick(self, *options):
        return self.r.choice(options)

    def expr(self, depth):
        r = self.r
        if depth <= 0 or r.random() < 0.15:
            return r.choice(self.names) if r.random() < 0.6 else r.choice(LITERALS)
        sub = lambda: self.expr(depth - 1)
        kind = r.randrange(17)
        if kind == 0:
            return f"{sub()} {r.choice(['+', '-', '*', '/', '//', '%', '~', '+', '~'])} {sub()}"
        if kind == 1:
            return f"{sub()} {r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {sub()}"
        if kind == 2:
            return f"{sub()} {r.choice(['and', 'or'])} {sub()}"
        if kind == 3:
            return f"{r.choice(['not ', '-', '+', ''])}{sub()}"
        if kind == 4:
            return f"({sub()} if {sub()} else {sub()})" if r.random() < 0.7 else f"({sub()} if {sub()})"
        if kind in (5, 6, 7):
            return f"({sub()})|{r.choice(FILTERS)}" if r.random() < 0.5 else f"{r.choice(self.names)}|{r.choice(FILTERS)}|{r.choice(FILTERS)}"
        if kind == 8:
            return f"{sub()} is {r.choice(['', 'not '])}{r.choice(TESTS)}"
        if kind == 9:
            return f"{r.choice(self.names)}.{r.choice(METHODS)}" if r.random() < 0.5 else f"({sub()}).{r.choice(METHODS)}"
        if kind == 10:
            part = lambda: r.choice(["", "0", "1", "2", "-1", "-2", "5", "i", "none"])
            step = r.choice(["", "", ":", ":2", ":-1", ":-2"])
            return f"{r.choice(self.names)}[{part()}:{part()}{step}]"
        if kind == 11:
            return f"{r.choice(self.names)}[{r.choice(['0', '1', '-1', '9', repr('a'), repr('role'), 's', 'l[0]', '1.0', 'none', 'true'])}]"
        if kind == 12:
            return f"{r.choice(self.names)}.{r.choice(['a', 'b', 'role', 'in', 'items', 'keys', 'x.y', '0', 'in.k[1].q', '__class__', 'C'])}"
        if kind == 13:
            return r.choice([f"[{sub()}, {sub()}]", f"({sub()}, {sub()})", f"{{'p': {sub()}, 'q': {sub()}}}"])
        if kind == 14:
            return f"{r.choice(['2', '3', '-2', 'i', 'x', '0'])} ** {r.choice(['2', '3', '-1', '0.5', '0'])}"
        if kind == 15:
            return self.formatted()
        return f"({sub()})"

    def formatted(self):
        """A text with a random format specification of Python's two kinds."""
        r = self.r
        value = r.choice(["i", "j", "z", "x", "y", "big", "t", "s", "u", "n", "l", "e", "nope", "1234567", "-0.0", "0.000012345", "1e16", "99.5", "2.5", "255"])
        if r.random() < 0.5:
            spec = r.choice(["", "", "-", "+", " ", "#", "0", "-0", "+0", "# "]) + r.choice(["", "", "1", "5", "12", "*"])
            spec += r.choice(["", "", ".0", ".1", ".3", ".10", ".", ".*"]) + r.choice("ddiuxXofFeEgGsrac%") 
            stars = ["7", "-6", "0"][:spec.count("*")]
            if r.random() < 0.15:
                return f"'%(k){spec}|' % {{'k': {value}}}"
            return f"'<%{spec}>' % ({', '.join(stars + [value])},)"
        spec = r.choice(["", "", "", "<", ">", "^", "=", "*^", "你>", "0=", "x<"]) + r.choice(["", "", "", "+", "-", " "]) + r.choice(["", "", "", "#"])
        spec += r.choice(["", "", "0"]) + r.choice(["", "", "3", "9", "20"]) + r.choice(["", "", "", ",", "_"]) + r.choice(["", "", "", ".0", ".1", ".4", ".17"])
        spec += r.choice(["", "", "d", "x", "X", "o", "b", "e", "E", "f", "F", "g", "G", "%", "s", "c", "n"])
        return f"'<{{{r.choice(['', '0', 'k'])}{r.choice(['', '', '!s', '!r', '!a'])}:{spec}}}>'.format({value}, k={value})"

    def space(self):
        return self.r.choice(["", "", " ", "\n", "\n  ", "  \n\n", "txt", "\ttxt "])

    def tag(self, text):
        a, b = self.r.choice(["", "", "-", "+"]), self.r.choice(["", "", "-", "+"])
        return f"{{%{a} {text} {b}%}}"

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.r.randint(1, 3))) + self.space()

    def with_name(self, name, make):
        outer, self.names = self.names, self.names + [name] * 8
        try:
            return make()
        finally:
            self.names = outer

    def statement(self, depth):
        r = self.r
        e = lambda d=2: self.expr(r.randint(0, d))
        printed = lambda: f"{{{{{r.choice(['', '', '-'])} {e(3)} {r.choice(['', '', '-'])}}}}}"
        if depth <= 0 or r.random() < 0.3:
            return printed()
        kind = r.randrange(13)
        b = lambda: self.body(depth - 1)
        t = self.tag
        if kind == 0:
            return t(f"if {e()}") + b() + (t(f"elif {e()}") + b() if r.random() < 0.3 else "") + (t("else") + b() if r.random() < 0.5 else "") + t("endif")
        if kind in (1, 2, 3):
            it = r.choice(["l", "ls", "lm", "d", "s", "range(3)", "ms", "d.items()", "nope", "le", e()])
            target = "k, v" if it == "d.items()" else r.choice(["v", "v", "x"])
            test = f" if {e()}" if r.random() < 0.25 else ""
            loop = lambda: "{{ loop." + r.choice(["index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "cycle('a', 'b')", "changed(v)"]) + " }}"
            jump = t("if " + e(1)) + t(r.choice(["break", "continue"])) + t("endif") if r.random() < 0.2 else ""
            inner = self.with_name("v", lambda: b() + (loop() if r.random() < 0.6 else "") + jump + printed())
            tail = t("else") + b() if r.random() < 0.3 else ""
            return t(f"for {target} in {it}{test}") + inner + tail + t("endfor")
        if kind in (4, 5):
            name = r.choice(["v", "x", "s", "q"])
            return t(f"set {name} = {e(3)}") + self.with_name(name, b)
        if kind == 6:
            name = r.choice(["v", "s", "q"])
            f = r.choice(["", " | upper", " | trim | length"])
            return t(f"set {name}{f}") + b() + t("endset") + self.with_name(name, printed)
        if kind == 7:
            return t("set ns = namespace(a=1)") + t("for v in l") + t(f"set ns.a = {r.choice(['ns.a + v', 'v', e()])}") + t("endfor") + "{{ ns.a }}"
        if kind == 8:
            args = r.choice(["", "a", "a, b=2", "a, b=a", "a=1, b=none"])
            call = r.choice(["m()", "m(1)", "m(1, 2)", "m(a=3)", "m(s, b=l)", "m(*l)", "m(1, 2, 3, k=4)", "m(**{'a': 5})"])
            extra = r.choice(["", "{{ varargs }}", "{{ kwargs }}", "{{ varargs }}{{ kwargs }}", "{{ caller is defined }}"])
            inner = self.with_name("a", lambda: self.with_name("b", b))
            return t(f"macro m({args})") + inner + extra + t("endmacro") + "{{ " + call + " }}" + self.with_name("m()", printed)
        if kind == 9:
            return t(f"with v = {e()}, w = {e()}") + self.with_name("v", b) + t("endwith")
        if kind == 10:
            return t("filter " + r.choice(["upper", "trim", "length", "replace('l', 'L')", "indent(2)"])) + b() + t("endfilter")
        if kind == 11:
            return t("macro c(k)") + "[{{ caller(k) if " + r.choice(["k", "true"]) + " else '' }}]" + t("endmacro") + t("call(p) c(" + e(1) + ")") + self.with_name("p", b) + t("endcall")
        return self.r.choice(["{# comment #}", "{#- c -#}", "{% raw %}{{ x }}{% endraw %}", t("generation") + b() + t("endgeneration"), "{{ " + e(4) + " }}"])


def random_case(rng):
    """One {"template", "context"}."""
    g = Generator(rng)
    template = "{{ " + g.expr(rng.randint(1, 4)) + " }}" if rng.random() < 0.5 else g.body(rng.randint(1, 3))
    return {"template": template, "context": CONTEXT}
