#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Demand a test for every source: one of the same name, or a line in tests/stems.txt.

A source src/FOLDER/STEM.c is tested by tests/unit/STEM.c. In src/io/ the stem is io-STEM, because
file, threads and uring say too little in a list of tests. Stems are unique over all folders, so
tests/unit/ has no folders.

A line of tests/stems.txt names a source that has no test of its own name, the test that covers it,
and what that test covers:

    write/flusher  tests/unit/sync.c  writers at the dirty limit

A line that is no longer needed, or that names a file that does not exist, is an error too.
"""

import sys
from pathlib import Path


def stem_of(source):
    """The stem of src/FOLDER/NAME.c, which its test has as its name."""
    folder, name = source.parent.name, source.stem
    return f"io-{name}" if folder == "io" else name


def read_lines(path):
    """The lines of stems.txt: (number, source without suffix, test)."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            fields = line.split(maxsplit=2)
            yield number, fields[0], fields[1] if len(fields) > 2 else None


def check(root):
    """Returns the errors found in the tree at @root."""
    errors = []
    sources = {}  # "folder/name" -> stem
    owners = {}  # stem -> "folder/name"
    for source in sorted((root / "src").glob("*/*.c")):
        name = f"{source.parent.name}/{source.stem}"
        stem = stem_of(source)
        sources[name] = stem
        if stem in owners:
            errors.append(f"src/{name}.c and src/{owners[stem]}.c have the same stem {stem}")
        owners.setdefault(stem, name)
    if not sources:
        errors.append("there is no source src/*/*.c")
    for source in sorted((root / "src").glob("*.c")):
        errors.append(f"src/{source.name} is in no folder of src/")

    covered = set()
    for number, name, test in read_lines(root / "tests" / "stems.txt"):
        where = f"tests/stems.txt:{number}"
        if test is None:
            errors.append(f"{where}: needs a source, a test, and what the test covers")
        elif not (root / test).is_file():
            errors.append(f"{where}: {test} does not exist")
        if name not in sources:
            errors.append(f"{where}: src/{name}.c does not exist")
        elif (root / "tests" / "unit" / f"{sources[name]}.c").is_file():
            errors.append(f"{where}: src/{name}.c has the test tests/unit/{sources[name]}.c")
        if name in covered:
            errors.append(f"{where}: a second line for {name}")
        covered.add(name)

    for name, stem in sources.items():
        if name not in covered and not (root / "tests" / "unit" / f"{stem}.c").is_file():
            errors.append(f"src/{name}.c has neither tests/unit/{stem}.c "
                          "nor a line in tests/stems.txt")
    return errors


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    errors = check(root)
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
