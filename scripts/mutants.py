# SPDX-License-Identifier: GPL-2.0-only
"""Puts mutants into C source text, for scripts/mutate.

All mutants of a file are compiled in at once, each behind a switch, so that trying one costs a
test run and no build. What is mutated, in function bodies only:

  true, false   a condition, or an operand of && and ||, is taken to be so
  boundary      < becomes <=, > becomes >=, and back
  equality      == becomes != and back, where the value is not a condition by itself
  plus-one      a number is one larger
  constant      true becomes false and back, -EXXX becomes 0, a status becomes IOERR
  removed       an expression statement or a break is left out

Left out, because another mutant of the list does the same: of a && b, `b taken to be false`; of
a || b, `b taken to be true`. Left out, because it only hangs: the one condition of a loop taken to
be true.

The parser knows as much C as this project's house style uses; what it does not know it leaves alone.
"""
import re

TOKEN = re.compile(
    r"""(?P<space>\s+|/\*.*?\*/|\\\n)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<number>(?:0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<op><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.X | re.S)

OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, set(")]}")
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
EQUALITY = {"==": "!=", "!=": "=="}
TYPE_WORDS = {"struct", "enum", "union", "const", "static", "unsigned", "signed", "int", "char",
              "void", "bool", "long", "short", "volatile", "size_t", "ssize_t", "uint8_t", "uint16_t",
              "uint32_t", "uint64_t", "int64_t", "int32_t", "cleanup_free", "cleanup_fd"}

PRELUDE = r"""
#ifndef MUTANT_PRELUDE
#define MUTANT_PRELUDE
extern int mutant_on;
extern unsigned char *mutant_met;
static inline int mutant(int id)
{
    mutant_met[id] = 1;
    return mutant_on == id;
}
#endif
"""

# Linked into every program. $MUTANTS: a list of numbers; the program becomes that many children, one
# after another, each with that mutant on, and prints "NUMBER STATUS" of waitpid for each into the
# descriptor $MUTANT_OUT. $MUTANT_CPU and $MUTANT_WALL: seconds that each may take. $MUTANT: the same for
# one, without children. The file $MUTANT_MET gets a byte for each mutant that was met, also by
# processes that die.
RUNTIME = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char none[1 << 16];
unsigned char *mutant_met = none;
int mutant_on;

static unsigned number(const char *name)
{
    const char *text = getenv(name);

    return text ? (unsigned)atoi(text) : 0;
}

static void record_met(const char *path)
{
    int fd = path ? open(path, O_RDWR) : -1;
    void *map;

    if (fd < 0)
        return;
    map = mmap(NULL, sizeof(none), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        mutant_met = map;
}

__attribute__((constructor)) static void begin(void)
{
    char *list = getenv("MUTANTS");
    struct rlimit cpu = {number("MUTANT_CPU"), number("MUTANT_CPU") + 1};
    int out = (int)number("MUTANT_OUT"), status;

    mutant_on = (int)number("MUTANT");
    record_met(getenv("MUTANT_MET"));
    while (list && *list) {
        int id = (int)strtol(list, &list, 10);
        pid_t child = fork();

        if (child == 0) {
            setpgid(0, 0);
            setrlimit(RLIMIT_CPU, &cpu);
            alarm(number("MUTANT_WALL"));
            close(out);
            unsetenv("MUTANTS");
            mutant_on = id;
            return;
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            _exit(99);
        kill(-child, SIGKILL);
        dprintf(out, "%d %d\n", id, status);
        if (!*list)
            _exit(0);
    }
}
"""
MOST = (1 << 16) - 1


class Token:
    __slots__ = ("kind", "text", "line")

    def __init__(self, kind, text, line):
        self.kind, self.text, self.line = kind, text, line


class Mutant:
    """One change: `key` names it in a way that outlives edits elsewhere in the file."""

    def __init__(self, number, path, function, line, operator, text):
        self.number, self.path, self.function, self.line = number, path, function, line
        self.operator, self.text, self.nth = operator, text, 1

    @property
    def key(self):
        nth = " #%d" % self.nth if self.nth > 1 else ""
        return "%s %s %s `%s`%s" % (self.path, self.function, self.operator, self.text, nth)


def tokenize(source):
    """Tokens with what is between them: every byte of the source is in some token."""
    tokens, at, line = [], 0, 1
    while at < len(source):
        if source[at] == "#" and source[:at].rstrip(" \t")[-1:] in ("", "\n"):
            end = at
            while True:
                end = source.find("\n", end)
                if end < 0:
                    end = len(source)
                if source[end - 1] != "\\":
                    break
                end += 1
            kind, text = "space", source[at:end]
        else:
            found = TOKEN.match(source, at)
            kind, text = found.lastgroup, found.group()
        tokens.append(Token(kind, text, line))
        line += text.count("\n")
        at += len(text)
    return tokens


class Instrument:
    def __init__(self, path, source, first_number):
        self.path, self.next = path, first_number
        self.all = tokenize(source)
        # Positions of the tokens that mean something; the rest is copied along.
        self.code = [i for i, t in enumerate(self.all) if t.kind != "space"]
        self.mutants, self.seen, self.function = [], {}, None

    # --- tokens: positions are indices into self.code --------------------------------------------

    def tok(self, i):
        return self.all[self.code[i]].text

    def kind(self, i):
        return self.all[self.code[i]].kind

    def raw(self, i, end):
        """The source of tokens i to end - 1, with what is between them."""
        if i >= end:
            return ""
        return "".join(t.text for t in self.all[self.code[i]:self.code[end - 1] + 1])

    def gap(self, i):
        """What stands between token i and the one before it."""
        start = self.code[i - 1] + 1 if i > 0 else 0
        stop = self.code[i] if i < len(self.code) else len(self.all)
        return "".join(t.text for t in self.all[start:stop])

    def close(self, i):
        """The token that closes the bracket at i."""
        depth = 0
        while True:
            if self.tok(i) in OPENING:
                depth += 1
            elif self.tok(i) in CLOSING:
                depth -= 1
                if depth == 0:
                    return i
            i += 1

    def find(self, wanted, i, end):
        """The first token of `wanted` outside brackets, or -1."""
        while i < end:
            if self.tok(i) in wanted:
                return i
            i = self.close(i) + 1 if self.tok(i) in OPENING else i + 1
        return -1

    def split(self, separators, i, end):
        """[(start, end, separator behind it or "")]."""
        parts = []
        while True:
            at = self.find(separators, i, end)
            parts.append((i, end if at < 0 else at, "" if at < 0 else self.tok(at)))
            if at < 0:
                return parts
            i = at + 1

    # --- mutants ---------------------------------------------------------------------------------

    def new(self, operator, i, end, text=None):
        text = text or " ".join(re.sub(r"/\*.*?\*/", " ", self.raw(i, end), flags=re.S).split())
        m = Mutant(self.next, self.path, self.function, self.all[self.code[i]].line, operator, text)
        same = (self.function, operator, text)
        self.seen[same] = m.nth = self.seen.get(same, 0) + 1
        self.mutants.append(m)
        self.next += 1
        return "mutant(%d)" % m.number

    # --- expressions -----------------------------------------------------------------------------

    def condition(self, i, end, can_be_true=True, can_be_false=True):
        """An expression of which only zero or not matters."""
        # Redundant brackets are looked through.
        if self.tok(i) == "(" and self.close(i) == end - 1:
            return "(" + self.condition(i + 1, end - 1, can_be_true, can_be_false) + ")"
        for op in ("?", "||", "&&"):
            if self.find({op}, i, end) >= 0:
                return self.expression(i, end)
        switch = ""
        if can_be_false:
            switch += self.new("false", i, end) + " ? 0 : "
        if can_be_true:
            switch += self.new("true", i, end) + " ? 1 : "
        return "(%s!!(%s))" % (switch, self.comparison(i, end, True))

    def logic(self, i, end, op):
        out = []
        for n, (a, b, sep) in enumerate(self.split({op}, i, end)):
            first = n == 0
            out.append(self.condition(a, b, can_be_true=op == "&&" or first,
                                      can_be_false=op == "||" or first))
        return (" %s " % op).join(out)

    def comparison(self, i, end, is_condition):
        at = self.find(set(BOUNDARY) | set(EQUALITY), i, end)
        if at < 0 or at == i:
            return self.operand(i, end)
        op = self.tok(at)
        other = BOUNDARY.get(op) or EQUALITY[op]
        left, right = self.operand(i, at), self.operand(at + 1, end, compared=True)
        if op in EQUALITY and is_condition:
            return "%s %s %s" % (left, op, right)
        name = "boundary" if op in BOUNDARY else "equality"
        switch = self.new(name, i, end)
        n = self.next
        return ("({ __auto_type l%d = (%s); __auto_type r%d = (%s); %s ? l%d %s r%d : l%d %s r%d; })" %
                (n, left, n, right, switch, n, other, n, n, op, n))

    def operand(self, i, end, compared=False):
        """No operator of lower precedence than a comparison outside brackets."""
        out = ""
        while i < end:
            out += self.gap(i) if out else ""
            text, kind = self.tok(i), self.kind(i)
            before = self.tok(i - 1)
            if kind == "name" and text in ("sizeof", "offsetof", "_Static_assert", "UINT64_C",
                                           "__asm__", "container_of", "RATELIMIT_INIT"):
                if i + 1 < end and self.tok(i + 1) == "(":
                    stop = self.close(i + 1) + 1
                    out += self.raw(i, stop)
                    i = stop
                    continue
            if text == "(" and kind == "op":
                stop = self.close(i)
                out += "(" + (self.expression(i + 1, stop) if stop > i + 1 else "") + ")"
                i = stop + 1
            elif text == "[":
                stop = self.close(i)
                out += "[" + self.expression(i + 1, stop) + "]"
                i = stop + 1
            elif text == "{":
                stop = self.close(i)
                out += self.initializer(i, stop + 1)
                i = stop + 1
            elif kind == "number":
                out += "(%s ? %s + 1 : %s)" % (self.new("plus-one", i, i + 1, self.around(i)), text,
                                              text)
                i += 1
            elif (text == "-" and i + 1 < end and re.fullmatch(r"E[A-Z]+", self.tok(i + 1)) and
                  not compared):
                out += "(%s ? 0 : -%s)" % (self.new("constant", i, i + 2), self.tok(i + 1))
                i += 2
            elif re.fullmatch(r"VIOMMU_S_[A-Z]+", text) and not compared:
                out += "(%s ? VIOMMU_S_IOERR : %s)" % (self.new("constant", i, i + 1), text)
                i += 1
            elif text in ("true", "false") and before not in ("==", "!="):
                out += "(%s ? !%s : %s)" % (self.new("constant", i, i + 1), text, text)
                i += 1
            else:
                out += text
                i += 1
        return out

    def around(self, i):
        """A number with its neighbours, so that the key says which one."""
        lo, hi = i, i + 1
        while lo > 0 and i - lo < 3 and self.tok(lo - 1) not in "{};":
            lo -= 1
        while hi < len(self.code) and hi - i < 3 and self.tok(hi) not in "{};":
            hi += 1
        return " ".join(self.raw(lo, hi).split())

    def expression(self, i, end):
        parts = self.split({","}, i, end)
        if len(parts) > 1:
            return ", ".join(self.expression(a, b) for a, b, _ in parts)
        at = self.find(ASSIGNMENTS, i, end)
        if at >= 0:
            return self.raw(i, at) + " " + self.tok(at) + " " + self.expression(at + 1, end)
        at = self.find({"?"}, i, end)
        if at >= 0:
            colon, depth = at + 1, 0
            while self.tok(colon) != ":" or depth:
                if self.tok(colon) in OPENING:
                    colon = self.close(colon)
                elif self.tok(colon) == "?":
                    depth += 1
                elif self.tok(colon) == ":":
                    depth -= 1
                colon += 1
            return "%s ? %s : %s" % (self.condition(i, at), self.expression(at + 1, colon),
                                     self.expression(colon + 1, end))
        for op in ("||", "&&"):
            if self.find({op}, i, end) >= 0:
                return self.logic(i, end, op)
        if i == end:
            return ""
        return self.comparison(i, end, False)

    def initializer(self, i, end):
        """{...}: designators are copied, values are expressions."""
        out = []
        for a, b, _ in self.split({","}, i + 1, end - 1):
            if a == b:
                continue
            prefix = ""
            if self.tok(a) in (".", "["):
                at = self.find({"="}, a, b)
                prefix = self.raw(a, at + 1) + " "
                a = at + 1
            out.append(prefix + (self.initializer(a, b) if self.tok(a) == "{" else
                                 self.expression(a, b)))
        return "{" + ", ".join(out) + "}"

    # --- statements ------------------------------------------------------------------------------

    def is_declaration(self, i, end):
        if self.tok(i) in TYPE_WORDS:
            return True
        return i + 1 < end and self.kind(i) == "name" and self.kind(i + 1) == "name"

    def declaration(self, i, end):
        """type a = x, b = y (no semicolon)."""
        if self.tok(i) in ("static", "_Static_assert"):
            return self.raw(i, end)
        out = []
        for a, b, _ in self.split({","}, i, end):
            at = self.find({"="}, a, b)
            if at < 0:
                out.append(self.raw(a, b))
            elif self.tok(at + 1) == "{":
                out.append(self.raw(a, at) + " = " + self.initializer(at + 1, b))
            else:
                out.append(self.raw(a, at) + " = " + self.expression(at + 1, b))
        return ", ".join(out)

    def simple(self, i, end):
        """A declaration or an expression, as in the head of a for."""
        if i == end:
            return ""
        return self.declaration(i, end) if self.is_declaration(i, end) else self.expression(i, end)

    def statement(self, i):
        """(text, index behind it)."""
        word = self.tok(i)
        lead = self.gap(i)
        if word == "{":
            stop = self.close(i)
            return lead + self.block(i, stop), stop + 1
        if word == "if":
            stop = self.close(i + 1)
            out = lead + "if (" + self.condition(i + 2, stop) + ")"
            text, i = self.statement(stop + 1)
            out += " {" + text + "}"
            if i < len(self.code) and self.tok(i) == "else":
                out += self.gap(i) + "else"
                text, i = self.statement(i + 1)
                out += " {" + text + "}"
            return out, i
        if word == "while":
            stop = self.close(i + 1)
            out = lead + "while (" + self.condition(i + 2, stop, can_be_true=False) + ")"
            text, i = self.statement(stop + 1)
            return out + " {" + text + "}", i
        if word == "do":
            text, i = self.statement(i + 1)
            stop = self.close(i + 1)
            return (lead + "do {" + text + "} while (" +
                    self.condition(i + 2, stop, can_be_true=False) + ");"), stop + 2
        if word == "for":
            stop = self.close(i + 1)
            (a, b, _), (c, d, _), (e, f, _) = self.split({";"}, i + 2, stop)
            out = lead + "for (" + self.simple(a, b) + "; "
            out += self.condition(c, d, can_be_true=False) if d > c else ""
            out += "; " + self.raw(e, f) + ")"
            text, i = self.statement(stop + 1)
            return out + " {" + text + "}", i
        if word == "switch":
            stop = self.close(i + 1)
            out = lead + "switch (" + self.expression(i + 2, stop) + ")"
            text, i = self.statement(stop + 1)
            return out + text, i
        if word in ("case", "default"):
            at = self.find({":"}, i, len(self.code))
            return lead + self.raw(i, at + 1), at + 1
        if self.kind(i) == "name" and self.tok(i + 1) == ":":
            return lead + self.raw(i, i + 2), i + 2
        end = self.find({";"}, i, len(self.code))
        if word == "return":
            return lead + "return " + self.expression(i + 1, end) + ";", end + 1
        if word in ("continue", "goto", ";"):
            return lead + self.raw(i, end + 1), end + 1
        if word == "break":
            return "%s{ if (!%s) break; }" % (lead, self.new("removed", i, end)), end + 1
        if word == "_Static_assert" or self.is_declaration(i, end):
            return lead + self.declaration(i, end) + ";", end + 1
        # (void)x; only keeps the compiler quiet; VQ_HOOK() is nothing but in a fuzz target.
        if (self.raw(i, i + 3) == "(void)" and end == i + 4) or word == "VQ_HOOK":
            return lead + self.raw(i, end + 1), end + 1
        switch = self.new("removed", i, end)
        return "%s{ if (!%s) { %s; } }" % (lead, switch, self.expression(i, end)), end + 1

    def block(self, i, stop):
        out, i = "{", i + 1
        while i < stop:
            text, i = self.statement(i)
            out += text
        return out + self.gap(stop) + "}"

    def run(self):
        """The file with all its mutants."""
        out, i, n = "", 0, len(self.code)
        while i < n:
            out += self.gap(i)
            if self.tok(i) == "{" and i > 0 and self.tok(i - 1) == ")":
                stop = self.close(i)
                self.function = self.name_before(i)
                out += self.block(i, stop)
                i = stop + 1
            elif self.tok(i) in OPENING:
                stop = self.close(i)
                out += self.raw(i, stop + 1)
                i = stop + 1
            else:
                out += self.tok(i)
                i += 1
        return PRELUDE + "#line 1\n" + out + self.gap(n)

    def name_before(self, i):
        """The name of the function whose body opens at i."""
        depth, i = 0, i - 1
        while True:
            if self.tok(i) == ")":
                depth += 1
            elif self.tok(i) == "(":
                depth -= 1
                if depth == 0:
                    return self.tok(i - 1)
            i -= 1


def instrument(path, source, first_number):
    """(text with switches, mutants) of one file; numbers start at first_number."""
    work = Instrument(path, source, first_number)
    return work.run(), work.mutants
