#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check the wording and the line length of every tracked text file.

    style.py [PATH...]      a path is a file or a folder; without one, the complete repository

A line has at most 100 columns; a tab counts up to the next multiple of eight. The phrases listed
below are errors in upper case and across a line break, too: name the actor or the noun instead.
Prints "file:line: reason" for each finding; exits with 1 if there are any.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLUMNS = 100

# Files that quote what a program, another project or a lawyer wrote. They are left as they are.
QUOTED = ("bench/results/", "linux/results/", "linux/patches/", "linux/config", "tests/reports/",
          "tests/mutants/results/", "LICENSE")
# Lines that may be longer: rows of Markdown tables, and the sources and commands that tables of
# mutants quote (all but their comments and their "why").
LONG = {".md": re.compile(r"\s*\|"), ".toml": re.compile(r"(?!\s*#|why\b)")}

# Between two words: blanks, or a line break and the sign that begins the next line of a comment.
GAP = r"(?: +|[ \t]*\n[ \t]*(?:\*|#|//|>)?[ \t]*)"
PHRASES = [(re.compile(pattern.replace(" ", GAP), re.IGNORECASE), reason) for pattern, reason in (
    (r"\bwho [a-z]+s\b", "name the actor: the caller, a reader, a thread that ..."),
    (r"\bfor who\b", "name the actor: for a caller that ..., for threads that ..."),
    (r"\bbeside\b", "write: next to (data), concurrently with (calls), compared with (figures)"),
    (r"\bmeanwhile\b", "write: in the meantime, since then, or nothing"),
)]


def tracked():
    """Names of files relative to ROOT: what git tracks, or everything where there is no git."""
    command = ["git", "ls-files", "-z"]
    if os.path.exists(os.path.join(ROOT, ".git")):
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [name for name in listed.stdout.split("\0") if name]
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith((".git", "build", "__"))]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return found


def findings(name, text):
    """Pairs of a line number and a reason."""
    long = LONG.get(os.path.splitext(name)[1])
    for number, line in enumerate(text.split("\n"), 1):
        width = len(line.expandtabs(8))
        if width > COLUMNS and not (long and long.match(line)):
            yield number, f"{width} columns, more than {COLUMNS}"
    for pattern, reason in PHRASES:
        for match in pattern.finditer(text):
            words = " ".join(match[0].split())
            yield text.count("\n", 0, match.start()) + 1, f'"{words}": {reason}'


def main(paths):
    wanted = [os.path.relpath(os.path.abspath(path), ROOT) for path in paths or [ROOT]]
    bad = 0
    for name in sorted(tracked()):
        path = os.path.join(ROOT, name)
        if not any(part == "." or (name + "/").startswith(part + "/") for part in wanted):
            continue
        if name.startswith(QUOTED) or os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        if b"\0" in data:
            continue
        for number, reason in sorted(findings(name, data.decode("utf-8"))):
            print(f"{name}:{number}: {reason}")
            bad += 1
    return 1 if bad else 0


sys.exit(main(sys.argv[1:]))
