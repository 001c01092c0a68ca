#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write the manual pages of section 3 from the comments of the public headers.

    man3.py OUTPUT-FOLDER HEADER...
    man3.py --list HEADER...          the names of the pages, for the build

A comment that begins with two asterisks and "name - what it does" stands before the declaration of name. Lines
"@parameter: ..." describe parameters; a paragraph that begins with "Returns" or "Errors" gets its heading. Whatever a page
says is thus said once, in the header.
"""
import os
import re
import sys

COMMENT = re.compile(r"/\*\*\s*\n?(.*?)\*/\s*\n((?:[^;{/]|/(?!\*))*?)\s*[;{]", re.S)


def clean(comment):
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in comment.strip("\n").split("\n")]
    return "\n".join(lines).strip()


def declaration(text):
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    text = re.sub(r"FOLIO_REF_FUNCTION_\((\w+), ", r"folio_ref_\1(", text)
    text = re.sub(r"\bstatic inline\b\s*", "", text)
    return re.sub(r"\s+", " ", text).strip()


def pages(path):
    header = os.path.join("folio", os.path.basename(path))
    for comment, code in COMMENT.findall(open(path, encoding="utf-8").read()):
        text = clean(comment)
        head = re.match(r"(\w+) - (.*)", text, re.S)
        if not head or not head.group(1).startswith("folio_"):
            continue
        name = head.group(1)
        body = head.group(2)
        code = declaration(code)
        if name not in code:
            raise SystemExit(f"{path}: the comment of {name} stands before: {code}")
        yield header, name, body, code


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def marked(text):
    """@name becomes italic; name(2) and constants bold."""
    text = escape(text)
    text = re.sub(r"@(\w+)", r"\\fI\1\\fR", text)
    text = re.sub(r"\b(FOLIO_[A-Z_]+|folio_\w+|E[A-Z]{3,})\b", r"\\fB\1\\fR", text)
    return text


def date():
    """That of the page of the command, so that the same sources make the same pages."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "man", "folio.1"), encoding="utf-8") as file:
        return re.search(r"^\.Dd (.*)$", file.read(), re.M).group(1)


def page(header, name, body, code, version):
    first, _, rest = body.partition("\n\n") if "\n@" not in body.split("\n\n")[0] else (body, "", "")
    summary, *after = first.split("\n")
    rest = "\n".join(after) + ("\n\n" + rest if rest else "")
    sections = {"DESCRIPTION": [], "PARAMETERS": [], "RETURN VALUE": []}
    for paragraph in re.split(r"\n\s*\n|\n(?=@\w+:)", rest.strip()):
        parameter = re.match(r"@(\w+): (.*)", paragraph, re.S)
        if parameter:
            sections["PARAMETERS"].append(
                ".TP\n\\fI%s\\fR\n%s" % (parameter.group(1), marked(re.sub(r"\n\s*", "\n", parameter.group(2)))))
        elif re.match(r"(Returns|Errors)\b", paragraph):
            sections["RETURN VALUE"].append(".PP\n" + marked(paragraph))
        elif paragraph.strip():
            sections["DESCRIPTION"].append(".PP\n" + marked(paragraph))
    # One-line comments say all in the summary: what is behind its first sentence is description.
    sentence = re.match(r"(.+?[.;:])\s+(.*)", summary)
    if sentence:
        summary, more = sentence.group(1).rstrip(".;:"), sentence.group(2)
        where = "RETURN VALUE" if more.startswith("Returns") else "DESCRIPTION"
        sections[where].insert(0, ".PP\n" + marked(more))
    out = [
        f'.TH {name.upper()} 3 "{date()}" "folio {version}" "folio"',
        ".SH NAME", f"{name} \\- {escape(summary.rstrip('.'))}",
        ".SH SYNOPSIS", ".nf", f"\\fB#include <{header}>\\fR", "", escape(code) + ";", ".fi",
    ]
    for title, parts in sections.items():
        if parts:
            # The heading begins a paragraph.
            out += [f'.SH "{title}"', parts[0].removeprefix(".PP\n")] + parts[1:]
    out += [".SH SEE ALSO", f"\\fBfolio\\fR(1), \\fI{header}\\fR"]
    return "\n".join(out) + "\n"


def main(argv):
    if len(argv) < 3:
        raise SystemExit(__doc__)
    found = [entry for path in argv[2:] for entry in pages(path)]
    if argv[1] == "--list":
        print("\n".join(sorted(name + ".3" for _, name, _, _ in found)))
        return
    cache_h = next((p for p in argv[2:] if p.endswith("cache.h")), None)
    version = re.search(r'FOLIO_VERSION "(.*?)"', open(cache_h).read()).group(1) if cache_h else ""
    for header, name, body, code in found:
        with open(os.path.join(argv[1], name + ".3"), "w", encoding="utf-8") as file:
            file.write(page(header, name, body, code, version))


main(sys.argv)
