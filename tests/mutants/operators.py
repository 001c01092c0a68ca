# SPDX-License-Identifier: BSD-2-Clause
"""The operators of generate.py: every small mistake that they can make in a C source.

A source is cut into tokens; comments, strings, assertions and preprocessor lines other than
constants are left alone. An operator looks at the tokens around a place, and proposes edits. Many
proposals are not C, or mean the same: the compiler and its object code tell.
"""

import re
from dataclasses import dataclass

TOKEN = re.compile(r"""
    (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
  | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*)
  | (?P<sign><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[^\s\w])
""", re.VERBOSE | re.DOTALL | re.MULTILINE)
DEFINE = re.compile(r"[ \t]*#[ \t]*define[ \t]+\w+[ \t]+")

RELATIONS = {"<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"], ">=": [">", "<="],
             "==": ["!="], "!=": ["=="]}
EXCHANGED = {"&&": "||", "||": "&&", "+": "-", "-": "+", "<<": ">>", ">>": "<<", "|": "&",
             "&": "|", "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "++": "--", "--": "++",
             "*": "+", "%": "/", "/": "*"}
UNARY = {"+", "-", "&", "*"}
TYPES = {"uint64_t": ["uint32_t", "int64_t"], "uint32_t": ["uint16_t", "uint64_t", "int32_t"],
         "uint16_t": ["uint8_t", "uint32_t"], "int64_t": ["int32_t"], "size_t": ["uint32_t"],
         "ssize_t": ["int"], "unsigned": ["uint8_t", "int"], "int": ["unsigned"]}
ENDS = re.compile(r"unlock|put|free|wake|release|close|destroy|end|leave|unpin|signal")
KEYWORDS = {"if", "while", "for", "switch", "return", "sizeof", "do", "else", "case", "goto",
            "default", "_Static_assert", "_Alignas", "_Alignof", "assert", "static_assert",
            "typeof", "__attribute__", "defined"}
ASSIGN = {"=", "+=", "-=", "|=", "&=", "^=", "<<=", ">>=", "*=", "/=", "%="}


@dataclass(frozen=True)
class Mutation:
    """Replace text[start:end] by new. The line is that of start, counted from 1."""
    operator: str
    start: int
    end: int
    new: str
    line: int


@dataclass
class Token:
    kind: str
    text: str
    start: int
    end: int
    pair: int = -1  # index of the other bracket


def tokens_of(text):
    """The tokens that may be mutated, with matching brackets linked."""
    tokens = []
    for match in TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "directive":
            head = DEFINE.match(match[0])
            value = head and re.match(r"[\w()\s+*<-]+(?=$|/[*/])", match[0][head.end():])
            if value:
                base = match.start() + head.end()
                for number in re.finditer(r"(?<!\w)(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b", value[0]):
                    tokens.append(Token("number", number[0], base + number.start(),
                                        base + number.end()))
        elif kind != "comment":
            tokens.append(Token(kind, match[0], match.start(), match.end()))
    stack = []
    for index, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        if token.text in "([{":
            stack.append(index)
        elif token.text in ")]}" and stack:
            token.pair = stack.pop()
            tokens[token.pair].pair = index
    return tokens


def in_assertion(tokens):
    """Indexes of the tokens inside assertions."""
    inside = set()
    for index, token in enumerate(tokens[:-1]):
        if re.search(r"assert$", token.text, re.IGNORECASE) and tokens[index + 1].pair > index:
            inside.update(range(index, tokens[index + 1].pair + 1))
    return inside


def is_operand_end(token):
    return token.kind in ("number", "string") or token.text in (")", "]") or (
        token.kind == "name" and token.text not in KEYWORDS)


def statements(tokens):
    """Pairs of indexes, first token and semicolon, of expression statements and of jumps."""
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else "}"
        if token.kind != "name" and token.text not in ("++", "--", "*"):
            continue
        opens = before == ")" and index > 1 and tokens[tokens[index - 1].pair - 1].text in (
            "if", "while", "for")
        if before not in (";", "{", "}", "else", ":") and not opens:
            continue
        end, assigns = index, False
        while end < len(tokens) and tokens[end].text not in (";", "{", "}"):
            if tokens[end].text in "([" and tokens[end].pair > end:
                end = tokens[end].pair
            elif tokens[end].text in ASSIGN or tokens[end].text in ("++", "--"):
                assigns = True
            end += 1
        if end >= len(tokens) or tokens[end].text != ";":
            continue
        jump = token.text in ("break", "continue")
        call = token.kind == "name" and token.text not in KEYWORDS and \
            tokens[index + 1].text == "("
        # Two names in a row, or a name and a star before a name, begin a declaration.
        after = index + 1
        while after < end and tokens[after].text == "*":
            after += 1
        declares = token.kind == "name" and tokens[after].kind == "name"
        if jump or call or (assigns and not declares):
            yield index, end


def arguments(tokens, opening):
    """Ranges of indexes, first and last token, of the arguments of a call."""
    first, index = opening + 1, opening + 1
    while index < tokens[opening].pair:
        if tokens[index].text in "([{" and tokens[index].pair > index:
            index = tokens[index].pair
        elif tokens[index].text == ",":
            yield first, index - 1
            first = index + 1
        index += 1
    if first < tokens[opening].pair:
        yield first, tokens[opening].pair - 1


class Source:
    """A source and all mutations of it, in the order of its text."""

    def __init__(self, text):
        self.text = text
        self.tokens = tokens_of(text)
        self.skip = in_assertion(self.tokens)
        self.found = []
        for index in range(len(self.tokens)):
            if index not in self.skip:
                self.at(index)
        self.of_statements()
        self.found.sort(key=lambda mutation: (mutation.start, mutation.end, mutation.new))

    def add(self, operator, first, last, new):
        start, end = self.tokens[first].start, self.tokens[last].end
        if self.text[start:end] != new:
            self.found.append(Mutation(operator, start, end, new,
                                       self.text.count("\n", 0, start) + 1))

    def slice(self, first, last):
        return self.text[self.tokens[first].start:self.tokens[last].end]

    def at(self, index):
        token = self.tokens[index]
        before = self.tokens[index - 1] if index else Token("sign", ";", 0, 0)
        # The format of the code puts blanks around a binary operator, and none after an unary one.
        binary = is_operand_end(before) and self.text[token.end:token.end + 1].isspace()
        if token.kind == "number":
            self.of_number(index)
        elif token.text in RELATIONS and binary:
            for new in RELATIONS[token.text]:
                self.add("relation", index, index, new)
        elif token.text in EXCHANGED and (binary or token.text not in UNARY):
            self.add("operation", index, index, EXCHANGED[token.text])
        elif token.text == "(" and token.pair > index:
            self.of_bracket(index)
        elif token.text in ("true", "false"):
            self.add("constant", index, index, "false" if token.text == "true" else "true")
        elif token.text in TYPES and self.tokens[min(index + 1, len(self.tokens) - 1)].text != "(":
            for new in TYPES[token.text]:
                self.add("type", index, index, new)
        elif token.text == "return":
            self.of_return(index)
        elif token.text == "!" and not binary:
            self.add("condition", index, index, "!!")

    def of_number(self, index):
        digits = re.match(r"0[xX][0-9a-fA-F]+|\d+", self.tokens[index].text)[0]
        suffix = self.tokens[index].text[len(digits):]
        value = int(digits, 0) if digits[:2] in ("0x", "0X") else int(digits)
        show = hex if digits[:2] in ("0x", "0X") else str
        self.add("constant", index, index, show(value + 1) + suffix)
        if value:
            self.add("constant", index, index, show(value - 1) + suffix)

    def of_bracket(self, index):
        before, close = self.tokens[index - 1], self.tokens[index].pair
        if before.text in ("if", "while"):
            self.add("condition", index, close, f"(!{self.slice(index, close)})")
        if before.kind != "name" or before.text in KEYWORDS:
            return
        # A type before the name: a declaration or a definition.
        if index > 1 and self.tokens[index - 2].kind == "name" and \
                self.tokens[index - 2].text not in ("return", "else"):
            return
        listed = list(arguments(self.tokens, index))
        for one, two in zip(listed, listed[1:]):
            middle = self.text[self.tokens[one[1]].end:self.tokens[two[0]].start]
            self.add("arguments", one[0], two[1],
                     self.slice(*two) + middle + self.slice(*one))

    def of_return(self, index):
        end = index + 1
        while end < len(self.tokens) and self.tokens[end].text != ";":
            end += 1
        value = self.slice(index + 1, end - 1) if end > index + 1 else ""
        if re.match(r"-E[A-Z0-9]+$|-errno$|r$|error$|result$", value):
            self.add("error", index + 1, end - 1, "0")

    def of_statements(self):
        listed = [pair for pair in statements(self.tokens) if pair[0] not in self.skip]
        for first, end in listed:
            called = self.tokens[first + 1].text == "(" and self.tokens[first].text
            ends = called and ENDS.search(called)
            self.add("end" if ends else "statement", first, end, ";")
        for one, two in zip(listed, listed[1:]):
            # The order of two plain stores cannot be seen; that of calls may matter.
            if one[1] + 1 != two[0] or not any("(" in self.slice(*each) for each in (one, two)):
                continue
            between = self.text[self.tokens[one[1]].end:self.tokens[two[0]].start]
            self.add("order", one[0], two[1], self.slice(*two) + between + self.slice(*one))


def mutations(text):
    """All mutations of a source, in the order of its text.

    >>> def show(text):
    ...     for m in mutations(text):
    ...         print(m.operator, text[:m.start] + "[" + m.new + "]" + text[m.end:])
    >>> show("{ if (a < b) return -EIO; }")
    condition { if [(!(a < b))] return -EIO; }
    relation { if (a [<=] b) return -EIO; }
    relation { if (a [>] b) return -EIO; }
    error { if (a < b) return [0]; }
    >>> show("{ x = f(a, &b); unlock(c); }")
    statement { [;] unlock(c); }
    order { [unlock(c); x = f(a, &b);] }
    arguments { x = f([&b, a]); unlock(c); }
    end { x = f(a, &b); [;] }
    >>> show("#define BITS 7u /* 5 */")
    constant #define BITS [6u] /* 5 */
    constant #define BITS [8u] /* 5 */
    >>> show('{ uint64_t *p = g; assert(p > q); /* p = 1; */ log("p < 1"); }')
    type { [int64_t] *p = g; assert(p > q); /* p = 1; */ log("p < 1"); }
    type { [uint32_t] *p = g; assert(p > q); /* p = 1; */ log("p < 1"); }
    statement { uint64_t *p = g; assert(p > q); /* p = 1; */ [;] }
    """
    return Source(text).found
