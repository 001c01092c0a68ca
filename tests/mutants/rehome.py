#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""After code has moved between files of src/, name the new file in each row of the mutant tables.

Where the text to be replaced is no longer in the row's file, it is searched for in all sources. If
one file has it, once, the row names that file from here on; else the row is printed, and is for a
person.

    tests/mutants/rehome.py [TABLE...]      every table of the project unless told
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def find(old):
    """Files of src/ that have the text exactly once."""
    return [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("src/**/*.[ch]"))
            if path.read_text(encoding="utf-8").count(old) == 1]


def rehome(table):
    """Rewrite one table; returns (rows changed, rows that need a person)."""
    text = table.read_text(encoding="utf-8")
    changed, left = 0, []
    for mutant in tomllib.loads(text).get("mutant", []):
        for number, edit in enumerate(mutant.get("edits", [mutant])):
            file, old = edit["file"], edit["old"]
            path = ROOT / file
            if path.is_file() and old in path.read_text(encoding="utf-8"):
                continue
            homes = find(old)
            # The row: from its name to the next one's.
            row = re.search(rf'(?ms)^name = "{re.escape(mutant["name"])}"$.*?(?=^\[\[|\Z)', text)
            files = list(re.finditer(r'\bfile = "([^"]*)"', row.group(0)))
            if len(homes) != 1 or len(files) <= number or files[number].group(1) != file:
                left.append(f"{table.name}: {mutant['name']}: {file} no longer has it, "
                            f"{', '.join(homes) or 'nor has any other file'}")
                continue
            at = row.start() + files[number].start(1)
            text = text[:at] + homes[0] + text[at + len(file):]
            changed += 1
    table.write_text(text, encoding="utf-8")
    return changed, left


def main():
    tables = [Path(name) for name in sys.argv[1:]] or sorted(ROOT.glob("tests/**/*.toml"))
    left = []
    for table in tables:
        changed, unknown = rehome(table)
        left += unknown
        print(f"{table.name}: {changed} rows changed")
    print("\n".join(left))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
