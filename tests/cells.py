#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cells.py CELLS - what folio bench measures, and what it says if a call fails, line by line.

CELLS (cells.c) is folio bench with workers and rounds that do not measure: each contender is called
a few times. What it was called with and what it did is the same each time: the sums of all
contenders of a workload that read the same lines are equal. It is compared with
tests/reports/cells-*.txt. After a change of a benchmark, write them anew, look at each, and commit
them with the change:

    python3 tests/cells.py build/tests/cells --write

With --only and names of cases (bench, bench-faults ...), runs these. Prints TAP.
"""
import difflib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / 'reports'
RUNS = {
    'bench': 'bench large --threads 3 --depth 5',
    'bench-small': 'bench small --threads 1',
    'bench-part': 'bench medium --cache 256K --depth 8 --threads 2',
    'bench-eighth': 'bench large --cache 1M --depth 8 --threads 1',
    'write': 'write medium --overwrite --threads 2 --sync 4',
    'write-small': 'write small --overwrite --threads 3 --sync 2 --cache 1M',
    'write-pages': 'write pages --overwrite --threads 2 --sync 3',
    'ref': 'ref --threads 3',
    'ref-many': 'ref --threads 257',
}
FILES = {name: random.Random(size).randbytes(size) for name, size in
         (('small', 65536 + 100), ('large', (9 << 20) + 4095), ('pages', 8192),
          ('medium', (1 << 20) + 100))}
SKIP = 'not possible here: '
# Faults of each run: function, kind, and the event (of the trace) from which on its calls fail.
FAULTS = {
    'bench-part': [
        # While all bytes are verified, then while the contenders of hits are checked.
        'folio_file_read byte 0', 'folio_file_read error 0', 'folio_file_read short 0',
        'pread64 byte 0', 'pread64 error 0', 'folio_file_get_page error 0',
        'folio_file_read byte 1', 'folio_file_read error 1', 'folio_file_read short 1',
        'folio_file_read end 1', 'folio_file_read_batch end 1', 'pread64 end 1',
        'pread64 byte 1', 'pread64 error 1', 'pread64 short 1', 'folio_file_get_page error 1',
        'folio_file_read_batch byte 1', 'folio_file_read_batch error 1',
        'folio_file_read_batch short 1', 'folio_file_read_batch result 1',
        'mmap64 memory 0', 'mmap64 memory 1', 'mmap64 file 1',
        # While hits are measured.
        'folio_file_read error 2', 'folio_file_read short 2', 'folio_file_read end 2',
        'folio_file_read_batch end 3', 'pread64 end 7', 'folio_file_get_page error 5',
        'folio_file_pin error 6', 'folio_file_pin error 1',
        'folio_file_read_batch error 3', 'folio_file_read_batch short 3',
        'folio_file_read_batch result 3', 'pread64 error 7', 'pread64 short 7',
        # The reads of the entire file, and those that are not cached.
        'pread64 byte 66', 'folio_file_read byte 66', 'mmap64 memory 66', 'mmap64 file 66',
        'folio_file_read error 78',
        'folio_file_read short 78', 'folio_file_read byte 79', 'pread64 byte 80',
        'folio_file_read byte 81', 'folio_file_prefetch error 81', 'folio_file_read_batch byte 82',
        'io_uring_submit_and_wait error 83', 'pread64 byte 83',
        'folio_file_read error 84', 'folio_file_read short 84', 'folio_file_read end 84',
        'pread64 end 85', 'folio_file_read end 86', 'folio_file_read_batch end 87',
        'folio_file_read end 89', 'pread64 end 90', 'pread64 error 85',
        'pread64 short 85', 'folio_file_prefetch error 86', 'folio_file_read error 86',
        'folio_file_read short 86', 'folio_file_read_batch error 87',
        'folio_file_read_batch short 87', 'folio_file_read_batch result 87',
        'io_uring_submit_and_wait error 88', 'folio_file_read error 89',
        'folio_file_read short 89', 'pread64 error 90', 'pread64 short 90'],
    # Without memory, what needs much of it is left out.
    'bench': ['mmap64 memory 1', 'machine_memory_available none 1'],
    'bench-eighth': [
        # The second cache: while it is opened, while its pages are cached, and while the contenders
        # are checked.
        'folio_cache_open memory 1', 'folio_cache_open error 1', 'folio_file_open memory 1',
        'folio_file_open error 1',
        'folio_file_read_batch error 2', 'folio_file_read_batch short 2',
        'folio_file_read_batch end 2', 'folio_file_read_batch result 2',
        'folio_file_read byte 2', 'folio_file_read error 2', 'folio_file_read_batch byte 2',
        'folio_file_get_page error 2', 'folio_file_pin error 2', 'pread64 byte 2',
        'pread64 error 2',
        # While its hits are measured.
        'folio_file_read error 35', 'folio_file_read short 35', 'folio_file_read_batch error 36',
        'folio_file_read_batch result 36', 'folio_file_read_batch cold 36',
        'folio_file_get_page error 38', 'folio_file_pin error 39', 'pread64 error 40'],
    'write': [
        'folio_file_read error 0', 'pread64 error 0', 'folio_file_write error 1',
        'folio_file_write short 1', 'folio_mark_dirty error 2', 'folio_file_get_page error 2',
        'pwrite64 error 3', 'pwrite64 short 3', 'folio_file_sync error 16', 'fdatasync error 16',
        'mmap64 memory 0', 'mmap64 file 0',
        'folio_file_write error 17', 'folio_file_write short 17', 'folio_file_sync error 17',
        'pwrite64 error 18', 'pwrite64 short 18', 'fdatasync error 18', 'folio_file_sync error 24',
        'fdatasync error 24', 'pread64 byte 25', 'folio_file_read byte 25'],
    # Counts that are wrong after a run: found at once, in each of the three checks.
    'ref': ['counters shared 0', 'counters own 0', 'counters slots 5', 'counters gone 14',
            'counters junk 14', 'counters shared 24', 'counters junk 22', 'counters free 0',
            'counters free 1', 'counters free 2', 'counters live 3', 'counters live 14',
            'counters live 15', 'counters live 16'],
}


def complete(cells, arguments, folder, fault=''):
    """The exit status and the trace of a run; then what does not change of its results."""
    name = arguments.split()[1]
    if name in FILES and (arguments.startswith('write') or not (folder / name).exists()):
        (folder / name).write_bytes(FILES[name])
    run = subprocess.run([cells, *arguments.split(), '--json'], cwd=folder, capture_output=True,
                         stdin=subprocess.DEVNULL, check=False, text=True, errors='replace',
                         env={**os.environ, 'CELLS_FAULT': fault})
    lines = [f'$ {arguments} {fault}', *trace(run.stderr), f'status {run.returncode}']
    if fault:
        # The end of the trace is new, and what is said about the fault.
        return lines[:1] + lines[-5:] + ([] if run.returncode else left_out(json.loads(run.stdout)))
    return lines if run.returncode else lines + list(results(json.loads(run.stdout)))


def left_out(report):
    """The notes of a report that say what was not measured as it should be, without figures."""
    return [re.sub(r'\d+(\.\d+)?', 'N', note) for note in report['notes']
            if note.startswith(('No bare array', 'Eighth: not', 'Of '))]


def trace(text):
    """Its lines. How often the cache is filled depends on the cache's own threads."""
    last = None
    for line in text.splitlines():
        if line != last:
            yield line
        last = line


def results(report):
    """Lines of the results; the first of them if something cannot be compared on this machine."""
    for note in report['notes']:
        if note.startswith('No '):
            yield SKIP + note
    for group in 'file', 'cache':
        if group in report:
            yield f'{group}: {" ".join(report[group])}'
        for name, value in report.get(group, {}).items():
            if name in ('bytes', 'hit_bytes', 'sync', 'name', 'threads', 'seconds'):
                yield f'{group} {name}: {value}'
    # The numbers of the note vary; they are those of the facts.
    cache = [note for note in report['notes'] if note.startswith('Cache: ')]
    facts = report.get('cache', {})
    if 'hits' in facts:
        assert cache[0].startswith('Cache: %d hits, %d misses, %d retries, %d evictions in total; '
                                   % tuple(facts[name] for name in
                                           ('hits', 'misses', 'retries', 'evictions'))), report
    for row in report['results']:
        yield ' | '.join(f'{value}' for name, value in row.items()
                         if not isinstance(value, (dict, list)))
        if 'succeed' in row:
            yield f'succeed: {row["succeed"]["median"]}'
        for name in 'missed', 'by device':
            share = row.get(name)
            assert share is None or 0 <= share['median'] <= (1 if name == 'missed' else 20), row
    for note in report['notes']:
        if not note.startswith(('Cache:', 'The machine', 'Huge', 'A virtual')):
            yield note


def main():
    cells = str(Path(sys.argv[1]).resolve())
    write = sys.argv[2:] == ['--write']
    only = sys.argv[3:] if sys.argv[2:3] == ['--only'] else None
    failed = 0
    skipped = {}
    cases = [(name, arguments, ['']) for name, arguments in RUNS.items()]
    cases += [(name + '-faults', RUNS[name], faults) for name, faults in FAULTS.items()]
    if only:
        unknown = set(only) - {name for name, _, _ in cases}
        if unknown:
            sys.exit(f'cells.py: no case {" ".join(sorted(unknown))}')
        cases = [case for case in cases if case[0] in only]
    print(f'1..{len(cases)}')
    for number, (name, arguments, faults) in enumerate(cases, 1):
        path = FOLDER / f'cells-{name}.txt'
        want = [] if write else path.read_text(encoding='utf-8').splitlines()
        lines = []
        with tempfile.TemporaryDirectory() as folder:
            for fault in faults:
                lines += complete(cells, arguments, Path(folder), fault)
                # The first difference is enough.
                if not write and lines != want[:len(lines)]:
                    break
        if write:
            path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
            want = lines
        skip = [line for line in lines if line.startswith(SKIP)]
        skipped.update({name + '-faults': skip[0]} if skip else {})
        if skip or name in skipped:
            print(f'ok {number} - {path.stem} # SKIP {skipped.get(name) or skip[0]}')
            continue
        if lines != want:
            failed += 1
            for line in difflib.unified_diff(want[:len(lines)], lines, path.name, 'now', n=0,
                                             lineterm=''):
                print(f'# {line}')
        print(f'{"ok" if lines == want else "not ok"} {number} - {path.stem}', flush=True)
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
