#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check that the C program of the README is the example that the tests build and run.

    readme.py README.md hello.c

The only C block of the README must be hello.c from its first #include on. Otherwise prints the
differences and exits with 1.
"""
import difflib
import pathlib
import re
import sys

readme, example = (pathlib.Path(path).read_text(encoding="utf-8") for path in sys.argv[1:])
blocks = re.findall(r"^```c\n(.*?)^```$", readme, re.M | re.S)
if len(blocks) != 1:
    sys.exit(f"{sys.argv[1]} has {len(blocks)} C blocks, not one")
differences = list(difflib.unified_diff(
    example[example.index("#include"):].splitlines(), blocks[0].splitlines(), sys.argv[2],
    sys.argv[1], lineterm=""))
print(*differences, sep="\n")
sys.exit(1 if differences else 0)
