#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""reports.py SCREEN - every form of folio bench's output, byte by byte.

SCREEN (screen.c) prints fixed results, so each form is exact: the text, tables, JSON, CSV and
pictures in tests/reports. After a change of a form, write them anew, look at each and at the
pictures in a browser, and commit them with the change:

    python3 tests/reports.py build/tests/screen --write

Prints TAP.
"""
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / 'reports'
# Arguments of screen, and the suffix of the file with what they print.
FORMS = {'txt': [], 'all.txt': ['--all'], 'json': ['--json'], 'csv': ['--csv'],
         'svg': ['--json', '--svg', 'picture.svg']}
SETS = {'reads': ['busy'], 'extremes': [], 'writes': [], 'counters': [],
        'single': [], 'equal': []}


def printed(screen, name, form):
    """What screen prints of a set in a form; of a picture, its file."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([screen, name, *SETS[name], *FORMS[form]], cwd=folder, check=True,
                             stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        return (Path(folder) / 'picture.svg').read_bytes() if form == 'svg' else run.stdout


def main():
    screen = str(Path(sys.argv[1]).resolve())
    write = sys.argv[2:] == ['--write']
    failed = 0
    print(f'1..{len(SETS) * len(FORMS)}')
    for number, (name, form) in enumerate(((n, f) for n in SETS for f in FORMS), 1):
        path = FOLDER / f'{name}.{form}'
        now = printed(screen, name, form)
        if write:
            path.write_bytes(now)
        want = path.read_bytes()
        if now != want:
            failed += 1
            for line in difflib.unified_diff(want.decode().splitlines(),
                                             now.decode(errors='replace').splitlines(),
                                             str(path.name), 'printed', n=0, lineterm=''):
                print(f'# {line}')
        print(f'{"ok" if now == want else "not ok"} {number} - {path.name}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
