#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write the manual pages of section 3 from the comments of the public headers.

    man3.py OUTPUT-FOLDER HEADER...
    man3.py --list HEADER...          the names of the pages, for the build

HEADER... must be all public headers that have such comments (docs/meson.build lists them): pages
refer to each other, and the version is read from cache.h.

A comment that begins with two asterisks documents the declaration that follows it. It begins with
"name - summary", or with "struct name - summary". Lines "@parameter: ..." describe parameters. A
paragraph that begins with "Returns" or "Errors" goes under RETURN VALUE.

Each field of a documented struct must have a comment: on the same line, or on the lines before it.
A comment between blank lines is the heading of the fields that follow. A struct and a function of
the same name share a page.
"""
import os
import re
import sys

COMMENT = re.compile(r"/\*\*\s*\n?(.*?)\*/\s*\n((?:[^;{/]|/(?!\*))*?)\s*[;{]", re.S)
PAGE7 = ("folio", "folio-deadlines", "folio-durability", "folio-io")


def clean(comment):
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in comment.strip("\n").split("\n")]
    return "\n".join(lines).strip()


def one_line(code):
    return re.sub(r"\s+", " ", code).strip()


def declaration(text):
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    text = re.sub(r"FOLIO_REF_FUNCTION_\((\w+), ", r"folio_ref_\1(", text)
    text = re.sub(r"\b(static inline|FOLIO_INLINE_)\s", "", text)
    return one_line(text)


def fields(where, body):
    """Yield (declaration, text) for each field, and (None, text) for each heading."""
    pending, last, position = "", None, 0
    while True:
        space = re.compile(r"\s*").match(body, position)
        position = space.end()
        if position == len(body):
            break
        comment = re.compile(r"/\*(.*?)\*/", re.S).match(body, position)
        if not comment:
            if last:
                yield last
            end = body.index(";", position)
            last, pending = (one_line(body[position:end]), pending), ""
            position = end + 1
            continue
        text, position = clean(comment.group(1)), comment.end()
        if last and "\n" not in space.group():
            last = (last[0], text)
        elif re.compile(r"[ \t]*\n[ \t]*\n").match(body, position):
            if last:
                yield last
            last = None
            yield None, text
        else:
            pending = text
    if last:
        yield last


class Page:
    """One page; sections keep paragraphs in roff."""

    def __init__(self, header, name):
        self.header, self.name, self.summary, self.synopsis = header, name, None, []
        self.sections = {"DESCRIPTION": [], "PARAMETERS": [], "RETURN VALUE": [], "FIELDS": []}
        self.text = ""  # all of it, for SEE ALSO

    def add(self, body, code, is_struct):
        """Add the comment of a declaration; a function's summary replaces that of a struct."""
        first, _, rest = body.partition("\n")
        # A one-line comment may have more than its first sentence.
        sentence = re.match(r"(.+?)\.\s+(.*)", first)
        summary, more = sentence.groups() if sentence else (first.rstrip("."), "")
        if not self.summary or not is_struct:
            self.summary = summary
        self.synopsis.insert(len(self.synopsis) if is_struct else 0, code)
        self.text += f" {code} {body}"
        for paragraph in re.split(r"\n\s*\n|\n(?=@\w+:)", (more + "\n\n" + rest).strip()):
            parameter = re.match(r"@(\w+): (.*)", paragraph, re.S)
            if parameter:
                text = marked(re.sub(r"\n\s*", "\n", parameter.group(2)))
                self.sections["PARAMETERS"].append(f".TP\n\\fI{parameter.group(1)}\\fR\n{text}")
            elif re.match(r"(Returns|Errors)\b", paragraph):
                self.sections["RETURN VALUE"].append(".PP\n" + marked(paragraph))
            elif paragraph.strip():
                self.sections["DESCRIPTION"].append(".PP\n" + marked(paragraph))

    def add_fields(self, path, body):
        for code, text in fields(path, body):
            if not text:
                raise SystemExit(f"{path}: struct {self.name}: no comment for: {code}")
            if code:
                self.sections["FIELDS"].append(f".TP\n\\fB{escape(code)}\\fR\n{marked(text)}")
            else:
                self.sections["FIELDS"].append(".PP\n" + marked(text))
            self.text += " " + (code or "") + " " + text

    def mentions(self):
        return set(re.findall(r"\bfolio_\w+", self.text)) - {self.name}

    def see_also(self, found):
        """The pages that this one mentions, and the pages that mention it."""
        names = {name for name in self.mentions() if name in found}
        names |= {name for name, page in found.items() if self.name in page.mentions()}
        if self.name.startswith("folio_ref_"):  # the counter: each page names all others
            names |= {name for name in found if name.startswith("folio_ref_")} - {self.name}
        also = {(name, "3") for name in names} | {("folio", "7")}
        also |= set(re.findall(r"\b([\w-]+)\((\d)\)", self.text))
        if "ETIMEDOUT" in self.text:
            also.add(("folio-deadlines", "7"))
        for name, section in also:
            if name.startswith("folio") and section == "7" and name not in PAGE7:
                raise SystemExit(f"{self.name}: no page {name}({section})")
        return ",\n".join(f"\\fB{escape(name)}\\fR({section})"
                          for name, section in sorted(also, key=lambda page: page[::-1]))

    def roff(self, version, found):
        out = [
            f'.TH {self.name.upper()} 3 "{date()}" "folio {version}" "folio"',
            ".SH NAME", f"{self.name} \\- {escape(self.summary)}",
            ".SH SYNOPSIS", ".nf", f"\\fB#include <{self.header}>\\fR", "",
            "\n".join(escape(code) + ";" for code in self.synopsis), ".fi",
        ]
        for title, parts in self.sections.items():
            if parts:
                # The heading begins a paragraph.
                out += [f'.SH "{title}"', parts[0].removeprefix(".PP\n")] + parts[1:]
        out += [".SH SEE ALSO", self.see_also(found)]
        return "\n".join(out) + "\n"


def pages(paths):
    found = {}
    for path in paths:
        header = os.path.join("folio", os.path.basename(path))
        with open(path, encoding="utf-8") as file:
            source = file.read()
        for match in COMMENT.finditer(source):
            head = re.match(r"(struct )?(folio_\w+) - (.*)", clean(match.group(1)), re.S)
            if not head:
                continue
            is_struct, name, body = head.groups()
            code = declaration(match.group(2))
            if not re.search(rf"\b{name}\b", code):
                raise SystemExit(f"{path}: the comment of {name} precedes: {code}")
            page = found.setdefault(name, Page(header, name))
            page.add(body, code, is_struct)
            if is_struct:
                page.add_fields(path, source[match.end():source.index("\n};", match.end())])
    return found


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def marked(text):
    """@name becomes italic; functions, constants, and other manual pages become bold."""
    text = escape(text)
    text = re.sub(r"@(\w+)", r"\\fI\1\\fR", text)
    text = re.sub(r"\b(FOLIO_[A-Z_]+|folio_\w+|E[A-Z]{3,})\b", r"\\fB\1\\fR", text)
    return re.sub(r"\b([\w\\-]+)(?=\(\d\))", r"\\fB\1\\fR", text)


def date():
    """The date of folio(7), so that the same sources make the same pages."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "man", "folio.7")
    with open(path, encoding="utf-8") as file:
        return re.search(r"^\.Dd (.*)$", file.read(), re.M).group(1)


def main(argv):
    if len(argv) < 3:
        raise SystemExit(__doc__)
    found = pages(argv[2:])
    if argv[1] == "--list":
        print("\n".join(sorted(name + ".3" for name in found)))
        return
    cache_h = next(path for path in argv[2:] if path.endswith("cache.h"))
    with open(cache_h, encoding="utf-8") as file:
        version = re.search(r'FOLIO_VERSION "(.*?)"', file.read()).group(1)
    for name, page in found.items():
        with open(os.path.join(argv[1], name + ".3"), "w", encoding="utf-8") as file:
            file.write(page.roff(version, found))


main(sys.argv)
