#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check that the library exports every documented function, those that are inline included.

    documented.py LIBRARY HEADER-FOLDER

A function is documented if a comment that begins with two asterisks and its name precedes it. An
inline function without one must be private: its name ends in an underscore, or it is in atomic.h,
or in ref-debug.h, which are not for programs. Then a program in another language has every function
that a program in C has.

Prints each finding, and exits with 1 if there are any.
"""
import re
import subprocess
import sys
from pathlib import Path

# A name that a parenthesis follows; FOLIO_REF_FUNCTION_ makes the names of the counter's.
NAME = r"(?:\b(folio_\w+)\(|FOLIO_REF_FUNCTION_\((\w+),)"
COMMENT = re.compile(r"/\*\*\s+(?:\* )?(folio_\w+) - .*?\*/\n(?:\s*#.*\n)*(.*?)[;{]", re.S)
INLINE = re.compile(r"^(?:static inline|FOLIO_INLINE_)\b[^;{}]*?" + NAME, re.M)
PRIVATE = ("atomic.h", "ref-debug.h")


def name_of(match, group):
    return match[group] or "folio_ref_" + match[group + 1]


def documented(text):
    """Names of the functions with a comment of their own; types of functions are none."""
    for comment, code in COMMENT.findall(text):
        found = re.search(NAME, code)
        if found and name_of(found, 1) == comment and not code.startswith("typedef"):
            yield comment


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return {line.split()[2].split("@")[0] for line in lines if line.split()[1] == "T"}


def main(library, folder):
    names, inline, findings = set(), set(), []
    for path in sorted(Path(folder).glob("*.h")):
        if path.name in PRIVATE:
            continue
        text = path.read_text(encoding="utf-8")
        here = set(documented(text))
        there = {name_of(match, 1) for match in INLINE.finditer(text)}
        findings += [f"{path.name}: {name} is inline, and has no comment that begins with its name"
                     for name in sorted(there - here) if not name.endswith("_")]
        names |= here
        inline |= here & there
    findings += [f"{name} is documented and not exported: src/folio.map must list it; if it is "
                 "inline, its definition begins with FOLIO_INLINE_, and src/api/inline.c includes "
                 "its header" for name in sorted(names - exported(library))]
    if not inline:
        findings.append(f"{folder} has no documented inline function")
    print(*findings, sep="\n", end="\n" if findings else "")
    print(f"{len(names)} documented functions, {len(inline)} of them inline")
    return 1 if findings else 0


if len(sys.argv) != 3:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
