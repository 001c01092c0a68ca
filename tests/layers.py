#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check that the sources include in one direction only.

The folders of src/ form a fixed order, and FOLDERS below is its single source. A file may include
files of its own folder and of folders to the left of it. Two things fail: an include of a folder to
the right, and a circle of includes. Public headers (<folio/...>) may be included anywhere.

    tests/layers.py [SRC]      SRC: the folder to check; src/ of this project unless told
"""

import re
import sys
from pathlib import Path

FOLDERS = ["base", "core", "io", "cache", "evict", "read", "write", "async", "api"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def find_circle(graph):
    """A list of files in which each includes the next and the last includes the first, or None."""
    done, path = set(), []

    def visit(file):
        if file in path:
            return path[path.index(file):]
        if file in done:
            return None
        path.append(file)
        for target in graph.get(file, []):
            circle = visit(target)
            if circle:
                return circle
        path.pop()
        done.add(file)
        return None

    for file in graph:
        circle = visit(file)
        if circle:
            return circle
    return None


def main():
    src = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "src"
    graph, faults = {}, []
    for path in sorted(src.rglob("*.[ch]")):
        name = path.relative_to(src).as_posix()
        folder = name.split("/")[0]
        if name.count("/") != 1 or folder not in FOLDERS:
            faults.append(f"{name}: a source lies in one of the folders {' '.join(FOLDERS)}")
            continue
        graph[name] = INCLUDE.findall(path.read_text(encoding="utf-8"))
        for target in graph[name]:
            place = target.split("/")[0]
            if not (src / target).is_file():
                faults.append(f"{name}: includes \"{target}\", which is no file of {src}")
            elif place in FOLDERS and FOLDERS.index(place) > FOLDERS.index(folder):
                faults.append(f"{name}: {folder}/ must not include \"{target}\"")
    circle = find_circle(graph)
    if circle:
        faults.append("circle: " + " -> ".join(circle + circle[:1]))
    if not graph:
        faults.append(f"{src}: no sources")
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{len(graph)} files, {sum(map(len, graph.values()))} includes: one direction")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
