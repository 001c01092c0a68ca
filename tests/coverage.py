#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check that each line and branch that the tests do not reach is named, and why.

    coverage.py                                check that coverage.toml fits the sources
    coverage.py --check REPORT.json            check it against what the tests have reached
    coverage.py --table FILE.md REPORT.json    put the table between the two markers of FILE.md

REPORT.json is gcovr's; `make coverage` makes it and does both. coverage.toml has a table for each
file. A key is the text of a line, without the blanks around it, and the value is the reason why it
or one of its branches is not reached. The lines that follow and are not reached either belong to
it. An entry whose line is no longer in the file, or is reached in full, is an error; the second
does not apply to a reason that begins with "Schedule:", since other schedules reach other branches.

A reason begins with its kind, one of KINDS. Prints each finding; exits with 1 if there are any.
"""
import json
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = "tests/coverage.toml"
KINDS = "Schedule", "Platform", "Memory", "Contract", "Environment", "Compiler", "Debug"
BEGIN, END = "<!-- coverage: begin -->\n", "<!-- coverage: end -->\n"
# Branches of an assertion: the one that fails is not to be reached. Code that only pause points
# have is not part of the library.
ASSERTION = re.compile(r"\bassert\(")
PAUSE = re.compile(r"\s*FOLIO_PAUSE\(")


class Line:
    """A line that has code: its text, how often it ran, and which of its branches were taken."""

    def __init__(self, text, counted):
        self.text = text.strip()
        self.ran = counted["count"] > 0
        taken = [branch["count"] > 0 for branch in counted["branches"]]
        self.taken = [] if ASSERTION.search(text) else taken
        self.reason = None

    @property
    def full(self):
        return self.ran and all(self.taken)


class File:
    """The lines of one file, each with the reason from the list if it is not reached in full."""

    def __init__(self, counted, reasons):
        self.name = counted["file"]
        texts = (ROOT / self.name).read_text(encoding="utf-8").split("\n")
        self.lines = {}
        for line in counted["lines"]:
            number = line["line_number"]
            if not line.get("gcovr/noncode") and not PAUSE.match(texts[number - 1]):
                self.lines[number] = Line(texts[number - 1], line)
        self.used = set()
        above = None  # the reason that lines that did not run inherit
        for number in sorted(self.lines):
            line = self.lines[number]
            if line.full:
                above = None
                continue
            if line.text in reasons:
                self.used.add(line.text)
                line.reason = above = reasons[line.text]
            elif not line.ran:
                line.reason = above
            else:
                above = None

    def unnamed(self):
        """The lines that are not reached in full and have no reason."""
        return [(number, line) for number, line in sorted(self.lines.items())
                if not line.full and not line.reason]

    def totals(self):
        """Lines: all, reached; branches: all, taken; then those that are named of each."""
        lines = self.lines.values()
        return (len(lines), sum(line.ran for line in lines),
                sum(len(line.taken) for line in lines), sum(sum(line.taken) for line in lines),
                sum(not line.ran for line in lines if line.reason),
                sum(line.taken.count(False) for line in lines if line.reason))


def check_list(named):
    """Yields what is wrong with the list, by the sources alone."""
    for name, reasons in named.items():
        path = ROOT / name
        if not path.is_file():
            yield f"{LIST}: there is no file {name}"
            continue
        texts = {line.strip() for line in path.read_text(encoding="utf-8").split("\n")}
        for text, reason in reasons.items():
            if text not in texts:
                yield f"{LIST}: {name} has no line: {text}"
            if not reason.startswith(tuple(kind + ": " for kind in KINDS)):
                yield f"{LIST}: {name}: a reason begins with its kind: {text}"


def check_report(named, files):
    """Yields what the tests have not reached and the list does not name, and the reverse."""
    for file in files:
        for number, line in file.unnamed():
            reached = "".join("+" if taken else "-" for taken in line.taken)
            what = f"branches {reached}" if line.ran else "not reached"
            yield f"{file.name}:{number}: {what}: {line.text}"
        for text, reason in named.get(file.name, {}).items():
            if text not in file.used and not reason.startswith("Schedule:"):
                yield f"{LIST}: {file.name}: the tests reach it by now: {text}"


def share(part, total):
    """In percent, rounded down to a tenth."""
    return f"{1000 * part // total / 10:g} %" if total else "-"


def row(name, totals):
    lines, ran, branches, taken, lines_named, branches_named = totals
    neither = lines - ran - lines_named + branches - taken - branches_named
    return (f"| {name} | {lines} | {share(ran, lines)} | {lines_named} | {branches} | "
            f"{share(taken, branches)} | {branches_named} | {neither} |\n")


def table(files):
    """A row for each folder, and for each file in it that has something not reached."""
    rows, folders = "", {}
    for file in files:
        folders.setdefault(str(pathlib.Path(file.name).parent), []).append(file)

    def added(some):
        return [sum(column) for column in zip(*(file.totals() for file in some))]

    for folder, inside in sorted(folders.items()):
        rows += row(folder, added(inside))
        rows += "".join(row("&nbsp; " + pathlib.Path(file.name).name, file.totals())
                        for file in inside if not all(line.full for line in file.lines.values()))
    head = ("| file | lines | reached | named | branches | taken | named | neither |\n"
            "|---|---|---|---|---|---|---|---|\n")
    return head + rows + row("all", added(files))


def write_table(path, text):
    document = path.read_text(encoding="utf-8")
    begin, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    path.write_text(document[:begin] + text + document[end:], encoding="utf-8")


def main(arguments):
    named = tomllib.loads((ROOT / LIST).read_text(encoding="utf-8"))
    findings = list(check_list(named))
    if arguments:
        with open(arguments[-1], encoding="utf-8") as report:
            counted = sorted(json.load(report)["files"], key=lambda file: file["file"])
        files = [File(one, named.get(one["file"], {})) for one in counted]
        if arguments[0] == "--table":
            write_table(pathlib.Path(arguments[1]), table(files))
        else:
            findings += check_report(named, files)
    print(*findings, sep="\n", end="\n" if findings else "")
    return 1 if findings else 0


if not (sys.argv[1:] == [] or (sys.argv[1] == "--check" and len(sys.argv) == 3) or
        (sys.argv[1] == "--table" and len(sys.argv) == 4)):
    sys.exit(__doc__)
sys.exit(main(sys.argv[1:]))
