#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""screen.py SCREEN FOLIO - the first screen of folio bench, in terminals and in a pipe.

SCREEN (screen.c) prints fixed results, so the expected text is exact. FOLIO is the command; only
the form of its output is checked, not the figures. Nothing here depends on time. Prints TAP.
"""
import csv
import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import traceback
import xml.etree.ElementTree

SCREEN, FOLIO = map(os.path.abspath, sys.argv[1:3])
COLUMNS = 80
KINDS = 'reads', 'writes', 'counters'

READS = """\
CORRECT  all 5368709120 bytes equal the kernel's, read by copy and by pin
HITS     cached 64-byte reads are 320 times as fast as pread on one hot page,
         ~40.0 times at random offsets, 50.0 times at skewed (Zipf) offsets
LIMIT    a plain array is 4.00, ~3.00 and 4.00 times as fast as folio
MMAP     a mapping is 3.75, ~2.50 and 3.00 times as fast as folio
MISSES   random 0.950, known before 0.900, in sequence 1.90 times direct I/O
THREADS  2 threads read 1.95, 1.90 and 1.96 times as much as one
CAUTION  The machine was busy before the run (load 3.25): see the spreads.
NOISE    ~: quartiles more than 20 % of the median apart; do not quote these

cached 64-byte reads, 1 thread             x pread  1       10       100    1000
 one hot page  folio              3.91 ns      320  #######################
               plain array       0.977 ns     1280  ============================
 random        folio              50.0 ns    ~40.0  ##############
               folio, 32/call     25.0 ns     80.0  #################
               plain array        16.7 ns      120  ===================
 skewed, Zipf  folio              40.0 ns     50.0  ###############
               folio, 32/call     20.0 ns      100  ##################
               plain array        10.0 ns      200  =====================
uncached reads                            x direct  0             1
 random 4 KiB  32 threads         114 k/s    0.950  ##############|
 known before  prefetch          90.0 k/s    0.900  ############# |
               batch             80.0 k/s    0.800  ############  |
 in sequence   1 thread        1900 MiB/s     1.90  ############################
SETUP    folio 0.0.0, file NAME: 1 GiB, cache 1.1 GiB, io_uring
         A processor with a name of some length, 2 virtual processors, 24.0 GiB,
         Linux 6.1
MORE     --all: full tables; --json, --csv: for programs; --svg FILE: a picture
"""

MORE = 'MORE     --all: full tables; --json, --csv: for programs; --svg FILE: a picture'

# The columns of each table after threads and contender.
READ_COLUMNS = ['M/s', 'ns/op', 'spread', 'x 1 thr', 'x pread', 'x mmap', 'x bare array']
WRITE_COLUMNS = ['M/s', 'ns/op', 'spread', 'x 1 thr', 'x pwrite', 'x mmap']
SYNC_COLUMNS = ['k/s', 'ns/op', 'spread', 'x pwrite+fdatasync']
LOOP_COLUMNS = ['x load + CAS loop', 'x CAS assuming 1']
COLUMNS_OF = {
    'reads': {
        'hot': READ_COLUMNS, 'uniform': READ_COLUMNS, 'zipf': READ_COLUMNS,
        'miss': ['k/s', 'ns/op', 'spread', 'by device', 'x pread direct'],
        'miss-known': ['k/s', 'ns/op', 'spread', 'by device', 'x io_uring direct'],
        'sequential': ['MiB/s', 'ns/op', 'spread', 'by device', 'x pread direct']},
    'writes': {
        'hot': WRITE_COLUMNS, 'uniform': WRITE_COLUMNS,
        'random': SYNC_COLUMNS, 'sequential': SYNC_COLUMNS},
    'counters': {
        'get+put': ['M/s', 'ns/op', 'spread', 'x 1 thr', *LOOP_COLUMNS],
        'release': ['M/s', 'ns/op', 'spread', 'x sub'],
        'failing get': ['M/s', 'ns/op', 'spread', *LOOP_COLUMNS],
        'freeze': ['M/s', 'ns/op', 'spread', 'succeed', *LOOP_COLUMNS],
        'freeze readers': ['M/s', 'ns/op', 'spread', 'succeed', *LOOP_COLUMNS]}}

count = failures = 0


def check(name, test, *arguments):
    global count, failures
    count += 1
    try:
        test(*arguments)
        print('ok %d - %s' % (count, name))
    except Exception:
        failures += 1
        print('not ok %d - %s' % (count, name))
        print(re.sub('^', '# ', traceback.format_exc(), flags=re.M).rstrip('# '))


def expect_equal(got, expected):
    assert got == expected, 'got:\n%s\nexpected:\n%s' % (got, expected)


# Texts that are not the answer to any question of these tests.
OTHER_LINES = ['', 'usage: folio COMMAND [ARGUMENT...]', 'folio: nosuch: Is a directory',
               'measuring', 'verifying', '    10  folio copy']


def expect_line(text, pattern):
    """A line of the text matches completely. A pattern that matches too much fails."""
    for other in OTHER_LINES:
        assert not re.fullmatch(pattern, other), '%s matches %r' % (pattern, other)
    assert any(re.fullmatch(pattern, line) for line in text.split('\n')), (pattern, text)


def environment(**changes):
    result = dict(os.environ, TERM='xterm')
    result.pop('NO_COLOR', None)
    result.update(changes)
    return result


def in_pipe(*command, **changes):
    done = subprocess.run(command, capture_output=True, env=environment(**changes))
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.decode()


def in_terminal(columns, *command, stderr=False, **changes):
    """Standard output, and standard error if stderr is set, is a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    process = subprocess.Popen(command, stdin=slave, stdout=slave,
                               stderr=slave if stderr else subprocess.PIPE,
                               env=environment(**changes))
    os.close(slave)
    received = b''
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        received += part
    os.close(master)
    errors = process.stderr.read() if process.stderr else b''
    assert process.wait() == 0 and not errors, (process.returncode, errors)
    # The terminal itself converts line ends.
    return received.decode().replace('\r\n', '\n')


def plain(text):
    return re.sub('\033\\[[0-9;]*m', '', text)


def narrow(text):
    for line in text.split('\n'):
        assert '\033' not in line and '\t' not in line and '\r' not in line, repr(line)
        assert len(line) <= COLUMNS, '%d columns: %s' % (len(line), line)


# ---- fixed results ----

def exact_text():
    expect_equal(in_pipe(SCREEN, 'reads', 'busy'), READS)


def quiet_text():
    """Without other load there is no warning; marks of wide ratios are still explained."""
    text = in_pipe(SCREEN, 'reads')
    expect_equal(text, re.sub('CAUTION.*\n', '', READS))
    text = in_pipe(SCREEN, 'counters')
    assert '~' not in text and 'NOISE' not in text and 'CAUTION' not in text, text


def same_everywhere(kind):
    pipe = in_pipe(SCREEN, kind, 'busy')
    narrow(pipe)
    for columns in 80, 200:
        text = in_terminal(columns, SCREEN, kind, 'busy')
        assert '\033[1mCAUTION\033[0m' in text and '\033[32m###' in text, text
        expect_equal(plain(text), pipe)
        for changes in {'NO_COLOR': '1'}, {'TERM': 'dumb'}:
            expect_equal(in_terminal(columns, SCREEN, kind, 'busy', **changes), pipe)


def counters_without_ratio():
    for form in '--all', '--json', '--csv':
        text = in_pipe(SCREEN, 'counters', form)
        assert not re.search(r'\bnan|\binf\b', text), text
    expect_line(in_pipe(SCREEN, 'counters', '--all'), ' +2  fetch-add, bit +0 +- +- +40.00% +')
    drawn, text = picture('counters')
    assert not [label.text for label in drawn.texts if re.search(r'\bnan|\binf\b', label.text)]
    assert 'nan' not in text and 'inf' not in text, text
    expect_line(text, 'FREEZE   not compared: in a sample, no attempt to freeze succeeded')
    assert not re.search('^ freeze', text, re.M), text


def bars_are_ratios():
    """The length of a bar is proportional to its ratio, or to the logarithm of it."""
    for kind in KINDS:
        linear = False
        bars = []
        for line in in_pipe(SCREEN, kind).split('\n') + ['']:
            heading = re.search(r'  x (pread|pwrite|direct|loop)  (\S+)', line)
            bar = re.match(r'[ ].{41} *~?([0-9.]+)  ([#=]*)', line)
            if bar:
                bars.append((float(bar.group(1)), len(bar.group(2))))
                continue
            if bars:
                value = (lambda ratio: ratio) if linear else (lambda ratio: math.log10(ratio / low))
                most = max(value(ratio) for ratio, length in bars)
                longest = max(length for ratio, length in bars)
                for ratio, length in bars:
                    assert abs(length - longest * value(ratio) / most) <= 0.51, (kind, bars)
                bars = []
            if heading:
                linear = heading.group(2) == '0'
                low = float(heading.group(2))


def tables_in(text):
    """The columns of each table, by the name of its workload."""
    tables, workload = {}, None
    for line in text.split('\n'):
        title = re.match(r'([a-z+ -]+): .* \(\d+ rounds of [0-9.]+ ms\)$', line)
        if title:
            workload = title.group(1)
        elif line.startswith('  threads  '):
            tables[workload] = re.split('  +', line.strip())
    return tables


def all_tables():
    for kind, columns in COLUMNS_OF.items():
        pipe = in_pipe(SCREEN, kind, 'busy', '--all')
        expect_equal(in_terminal(80, SCREEN, kind, 'busy', '--all'), pipe)
        expect_equal(in_terminal(200, SCREEN, kind, 'busy', '--all'), pipe)
        expect_equal(tables_in(pipe), {workload: ['threads', 'contender', *names]
                                       for workload, names in columns.items()})
        expect_line(pipe, r'The machine was busy before the run \(load 3\.25\): see the spreads\.')
        expect_line(pipe, r'A note that only the tables have\.')
        # Every row of the results is in it.
        results = json.loads(in_pipe(SCREEN, kind, '--json'))['results']
        assert len(re.findall(r'^ +\d+  \w', pipe, re.M)) == len(results), pipe


def programs():
    """JSON, CSV and the summary show the same ratios."""
    results = json.loads(in_pipe(SCREEN, 'reads', '--json'))['results']
    ratio = {(row['workload'], row['contender'], row['threads']): row['ratio_to']
             for row in results}
    assert abs(ratio['hot', 'folio copy', 1]['pread']['median'] - 320) < 0.01, ratio
    assert abs(ratio['miss', 'folio copy', 32]['pread direct']['median'] - 0.95) < 0.001, ratio
    wide = ratio['uniform', 'folio copy', 1]['pread']
    assert wide['high'] - wide['low'] > 0.2 * wide['median'], wide
    rows = list(csv.DictReader(in_pipe(SCREEN, 'reads', '--csv').splitlines()))
    assert len(rows) == len(results)
    zipf = [float(row['base0_ratio']) for row in rows
            if (row['workload'], row['contender'], row['threads']) == ('zipf', 'folio copy', '1')]
    assert zipf == [50], rows


# ---- the picture ----

class Picture:
    def __init__(self, path):
        self.root = xml.etree.ElementTree.parse(path).getroot()
        self.width, self.height = float(self.root.get('width')), float(self.root.get('height'))
        self.texts = self.find('text')
        roles = 'own', 'own one', 'peer', 'peer one', 'limit', 'limit one'
        self.bars = [rect for rect in self.find('rect')
                     if rect.get('class') in roles and rect.get('height') == '13']
        self.spreads = [line for line in self.find('line') if line.get('class') == 'spread']

    def find(self, tag):
        return list(self.root.iter('{http://www.w3.org/2000/svg}' + tag))

    def at(self, bar, kind):
        """The texts of a kind in the row of a bar."""
        return [text for text in self.texts if text.get('class').split()[0] == kind and
                abs(float(text.get('y')) - float(bar.get('y')) - 11) < 0.2]


def picture(kind):
    path = os.path.join(directory, kind + '.svg')
    summary = in_pipe(SCREEN, kind, 'busy', '--svg', path)
    return Picture(path), summary


def picture_labels(kind):
    """A label states the value that its bar shows, and a line the quartiles around it."""
    drawn, _ = picture(kind)
    assert len(drawn.bars) == len(drawn.spreads) and len(drawn.bars) > 8, len(drawn.bars)
    panels = {}
    for bar, spread in zip(drawn.bars, drawn.spreads):
        label = drawn.at(bar, 'value')
        assert len(label) == 1, bar.attrib
        value, unit = re.match(r'~?([0-9.]+) (\S+?)(?:,|$)', label[0].text).groups()
        end = float(bar.get('x')) + float(bar.get('width'))
        left, right = float(spread.get('x1')), float(spread.get('x2'))
        assert left <= end <= right, (bar.attrib, spread.attrib)
        assert float(bar.get('y')) < float(spread.get('y1')) < float(bar.get('y')) + 13
        assert float(label[0].get('x')) > right
        if float(value) > 0:
            assert left < right, spread.attrib
            panels.setdefault(unit, []).append((math.log10(float(value)), end))
    for unit, points in panels.items():
        # The axis is a straight line through the smallest and the largest value.
        (low, left), (high, right) = min(points), max(points)
        for value, end in points:
            expected = left + (right - left) * (value - low) / (high - low or 1)
            assert abs(end - expected) <= 1, (unit, value, end, expected)


def picture_ratios():
    """The column at the right has the ratios of the summary, and marks the same ones."""
    drawn, summary = picture('reads')
    texts = [text.text for text in drawn.texts if text.get('class').startswith('ratio')]
    for ratio in '320', '~40.0', '80.0', '50.0', '1280', '0.950', '0.900', '0.800', '1.90':
        assert ratio + ' \u00d7' in texts, (ratio, texts)
        assert re.search(r' %s ' % re.escape(ratio), summary), ratio
    # A rate whose quartiles are far apart is marked, too.
    assert any(text.text == '~20.0 M/s, 50.0 ns' for text in drawn.texts)


def picture_warns(kind):
    drawn, _ = picture(kind)
    cautions = [text.text for text in drawn.texts if text.get('class') == 'caution']
    expect_equal(cautions,
                 ['Caution: The machine was busy before the run (load 3.25): see the spreads.'])
    assert any(text.text.endswith('. Line in a bar: first to third quartile.')
               for text in drawn.texts)


def picture_full(kind):
    """No third of the width or of the height is empty, and nothing is cut off."""
    drawn, _ = picture(kind)
    inked = [0, 0, 0]
    for bar in drawn.bars:
        spans = [(float(bar.get('x')), float(bar.get('x')) + float(bar.get('width')))]
        for text in drawn.texts:
            if abs(float(text.get('y')) - float(bar.get('y')) - 8) > 12:
                continue
            x, length = float(text.get('x')), 7.1 * len(text.text)
            spans.append((x - length, x) if text.get('text-anchor') == 'end' else (x, x + length))
        for third in range(3):
            left, right = drawn.width / 3 * third, drawn.width / 3 * (third + 1)
            inked[third] += sum(max(0, min(b, right) - max(a, left)) for a, b in spans) > 30
    assert min(inked) > 0.6 * len(drawn.bars), (inked, len(drawn.bars))
    heights = sorted([float(text.get('y')) for text in drawn.texts] + [0, drawn.height])
    assert max(b - a for a, b in zip(heights, heights[1:])) < drawn.height / 6, heights
    for text in drawn.texts:
        if text.get('text-anchor') == 'start' and text.get('class') != 'title':
            assert float(text.get('x')) + 7.1 * len(text.text) <= drawn.width, text.text
    for text in drawn.texts:
        assert 0 < float(text.get('y')) < drawn.height


# ---- the command ----

def labels(text):
    return re.findall('^([A-Z+]+) ', text, re.M)


def command_form(arguments, expected, optional=('CAUTION', 'NOISE')):
    """The verdict comes first. The form is the same in a pipe and in terminals of two widths."""
    command = [FOLIO, 'bench', *arguments, '--seconds', '0.05', '--threads', '2']
    for text in in_pipe(*command), *(in_terminal(columns, *command) for columns in (80, 200)):
        narrow(plain(text))
        found = [label for label in labels(plain(text)) if label not in optional]
        expect_equal(found, expected)
        assert ('NOISE' in labels(plain(text))) == ('~' in re.sub('NOISE.*', '', plain(text))), text
        expect_line(plain(text), re.escape(MORE))
        assert 'nan' not in text and 'inf' not in text, text


def command_progress():
    """Progress is on the terminal only, and no longer than its line."""
    command = [FOLIO, 'bench', 'large', '--seconds', '0.05', '--threads', '1']
    for columns in 80, 200:
        text = in_terminal(columns, *command, stderr=True)
        shown = text.split('\r\033[K')
        assert all(len(plain(part)) < columns for part in shown[:-1]), shown
        lines = '\n'.join(shown[:-1])
        expect_line(lines, r'verifying: \d+ %')
        for workload in 'hot', 'uniform', 'zipf', 'miss', 'miss-known', 'sequential':
            for turn in 1, 5:
                expect_line(lines, r'measuring: round %d of \d+, %s' % (turn, workload))
        narrow(plain(shown[-1]))
        assert plain(shown[-1]).startswith('CORRECT  '), shown[-1]
    # in_pipe checks that standard error is empty.
    assert in_pipe(*command).startswith('CORRECT  ')


def long_name():
    """A long name of a file, and of a directory, does not make a line longer."""
    path = os.path.join('d' * 120, 'n' * 120 + ' \u00e4\u2603')
    os.mkdir(os.path.dirname(path))
    with open(path, 'wb') as file:
        file.write(bytes(65536))
    command_form([path], ['CORRECT', 'HITS', 'LIMIT', 'MMAP', 'MISSES', 'THREADS', 'SETUP', 'MORE'])


def help_texts():
    for name in '', 'bench', 'bench write', 'bench ref', 'cat', 'cp':
        narrow(in_pipe(FOLIO, *name.split(), '--help'))


def command_all():
    text = in_pipe(FOLIO, 'bench', 'large', '--seconds', '0.05', '--threads', '1', '--all')
    workloads = 'hot', 'uniform', 'zipf', 'chain', 'eighth', 'miss', 'miss-known', \
        'sequential'
    expect_equal(tuple(tables_in(text)), workloads)
    expect_line(text, r'Misses: measured with a cache of 4 MiB\.')


with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    # Large enough that its misses are measured, and too small for that.
    for name, size in ('large', 9 << 20), ('small', 1 << 20):
        with open(name, 'wb') as file:
            file.write(os.urandom(size))

    check('reads: the exact text', exact_text)
    check('without noise there are no warnings', quiet_text)
    for kind in *KINDS, 'extremes':
        check(kind + ': the same text in terminals of 80 and 200 columns and in a pipe',
              same_everywhere, kind)
    check('a ratio that does not exist is not printed as a number', counters_without_ratio)
    check('bars show the ratios next to them', bars_are_ratios)
    check('--all prints every workload, column and row', all_tables)
    check('JSON and CSV have the same ratios', programs)
    for kind in KINDS:
        check(kind + ': bars and labels of the picture show the same values', picture_labels, kind)
        check(kind + ': the picture shows warnings and spreads', picture_warns, kind)
        check(kind + ': no third of the picture is empty', picture_full, kind)
    check('the picture has the ratios of the summary', picture_ratios)

    reads = ['CORRECT', 'HITS', 'LIMIT', 'MMAP', 'MISSES', 'THREADS', 'SETUP', 'MORE']
    check('folio bench, a file of 9 MiB', command_form, ['large'], reads)
    check('folio bench, a file of 1 MiB', command_form, ['small'], reads)
    check('folio bench, a file larger than the cache', command_form,
          ['large', '--cache', '4M', '--depth', '8'], reads)
    check('folio bench, a long file name', long_name)
    check('folio bench write', command_form, ['write', 'small', '--overwrite'],
          ['CORRECT', 'CACHED', 'SYNCED', 'LIMIT', 'THREADS', 'SETUP', 'MORE'])
    check('folio bench ref', command_form, ['ref'],
          ['CORRECT', 'GET+PUT', 'SHARED', 'RELEASE', 'FAILING', 'FREEZE', 'LIMIT', 'SETUP',
           'MORE'])
    check('help texts fit in 80 columns', help_texts)
    check('folio bench --all', command_all)
    check('progress is shown on a terminal only', command_progress)
    os.chdir('/')

print('1..%d' % count)
sys.exit(failures != 0)
