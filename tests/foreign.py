#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Use the library from a language that compiles no header: Python, through ctypes.

    foreign.py LIBRARY

Opens a file, and reads, pins, changes and syncs it, in random order, and compares it with a model
in memory, then with what the file has. It also calls each function that is inline in the headers.
The only structs that it declares are those that a program fills in; struct folio is an address.

Prints the seed, and takes it from FOLIO_SEED.
"""
import os
import random
import sys
import tempfile
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char_p, c_int, c_size_t,
                    c_ssize_t, c_uint, c_uint32, c_uint64, c_void_p, create_string_buffer, memmove,
                    memset, sizeof, string_at)
from errno import EBUSY, ENODATA

PAGE = 4096
PAGES = 300
ROUNDS = 3000
FROZEN = 1 << 31
TYPE_PRIVATE = 2
VIEW_LAYOUT = 1


class CacheParams(Structure):
    """The fields of struct folio_cache_params that a program must have; size is theirs."""
    _fields_ = [("size", c_size_t), ("bytes", c_uint64), ("flags", c_uint32),
                ("io_depth", c_uint32), ("io", c_void_p), ("io_context", c_void_p),
                ("readahead", c_uint64)]


class Range(Structure):
    _fields_ = [("offset", c_uint64), ("len", c_uint64)]


class Peek(Structure):
    _fields_ = [("version", c_void_p), ("seen", c_uint64)]


class Pin(Structure):
    _fields_ = [("folio", c_void_p), ("page", c_void_p), ("slot", c_void_p)]


PEEK_FN = CFUNCTYPE(None, c_void_p, c_void_p)

# name: (result, parameters)
FUNCTIONS = {
    "folio_version": (c_char_p, []),
    "folio_cache_open": (c_int, [POINTER(CacheParams), POINTER(c_void_p)]),
    "folio_cache_close": (c_int, [c_void_p]),
    "folio_file_open": (c_int, [c_void_p, c_char_p, c_int, c_uint, POINTER(c_void_p)]),
    "folio_file_close": (c_int, [c_void_p]),
    "folio_file_size": (c_uint64, [c_void_p]),
    "folio_file_read": (c_ssize_t, [c_void_p, c_void_p, c_size_t, c_uint64]),
    "folio_file_write": (c_ssize_t, [c_void_p, c_char_p, c_size_t, c_uint64]),
    "folio_file_get_page": (c_int, [c_void_p, c_uint64, c_uint, POINTER(c_void_p),
                                    POINTER(c_void_p)]),
    "folio_file_pin": (c_int, [c_void_p, c_uint64, c_uint, POINTER(Pin)]),
    "folio_file_sync": (c_int, [c_void_p, POINTER(Range), c_uint]),
    "folio_file_view": (c_int, [c_void_p, c_uint, POINTER(c_void_p)]),
    "folio_alloc": (c_int, [c_void_p, c_uint, c_uint, c_void_p, POINTER(c_void_p)]),
    "folio_lock": (c_int, [c_void_p]),
    "folio_mark_dirty": (c_int, [c_void_p, c_uint64]),
    "folio_unlock": (c_int, [c_void_p]),
    # Inline in the headers:
    "folio_file_get": (c_int, [c_void_p, c_uint64, c_uint, POINTER(c_void_p)]),
    "folio_data": (c_void_p, [c_void_p]),
    "folio_order": (c_uint, [c_void_p]),
    "folio_size": (c_size_t, [c_void_p]),
    "folio_index": (c_uint64, [c_void_p]),
    "folio_page": (c_void_p, [c_void_p, c_uint64]),
    "folio_owner": (c_void_p, [c_void_p]),
    "folio_unpin": (None, [POINTER(Pin)]),
    "folio_get": (None, [c_void_p]),
    "folio_put": (None, [c_void_p]),
    "folio_peek": (c_void_p, [c_void_p, c_uint64, POINTER(Peek)]),
    "folio_peek_valid": (c_bool, [POINTER(Peek)]),
    "folio_peek_copy": (None, [c_void_p, c_void_p, c_size_t]),
    "folio_peek_visit": (c_int, [c_void_p, c_void_p, c_uint64, PEEK_FN, c_void_p]),
    "folio_ref_init_frozen": (None, [POINTER(c_uint32)]),
    "folio_ref_count": (c_uint32, [POINTER(c_uint32)]),
    "folio_ref_is_frozen": (c_bool, [POINTER(c_uint32)]),
    "folio_ref_try_get": (c_bool, [POINTER(c_uint32)]),
    "folio_ref_try_get_n": (c_bool, [POINTER(c_uint32), c_uint32]),
    "folio_ref_get": (None, [POINTER(c_uint32)]),
    "folio_ref_get_n": (None, [POINTER(c_uint32), c_uint32]),
    "folio_ref_put": (c_bool, [POINTER(c_uint32)]),
    "folio_ref_put_n": (c_bool, [POINTER(c_uint32), c_uint32]),
    "folio_ref_try_freeze": (c_bool, [POINTER(c_uint32), c_uint32]),
    "folio_ref_unfreeze": (None, [POINTER(c_uint32), c_uint32]),
}


def bind(path):
    """Every function with its types, without the prefix: lib.file_read."""
    library, functions = CDLL(path), {}
    for name, (result, parameters) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
        functions[name.removeprefix("folio_")] = function
    return type("Library", (), {name: staticmethod(f) for name, f in functions.items()})


def expect(holds, what):
    if not holds:
        raise SystemExit(f"not ok 1 - {what}")


def equal(got, expected, what):
    expect(got == expected, f"{what}: {got!r}, not {expected!r}"[:200])


class File:
    """An open file, and a model of its bytes."""

    def __init__(self, lib, cache, path, model, rng):
        self.lib, self.model, self.rng, self.path = lib, model, rng, path
        self.file, self.view, self.peeks, self.visits = c_void_p(), c_void_p(), 0, 0
        equal(lib.file_open(cache, path.encode(), os.O_RDWR, 0, byref(self.file)), 0, "open")
        r = lib.file_view(self.file, VIEW_LAYOUT, byref(self.view))
        expect(r == 0 or not self.view, "view")

    def page(self, index):
        """A page of the model. Pins and peeks show zeros past the end of the file."""
        return bytes(self.model[index * PAGE:(index + 1) * PAGE]).ljust(PAGE, b"\0")

    def span(self):
        offset = self.rng.randrange(len(self.model))
        return offset, self.rng.choice((1, 64, 5000, 20000))

    def read(self):
        offset, length = self.span()
        buf = create_string_buffer(length)
        expected = bytes(self.model[offset:offset + length])
        equal(self.lib.file_read(self.file, buf, length, offset), len(expected), "read")
        equal(buf.raw[:len(expected)], expected, f"read of {length} bytes at {offset}")

    def write(self):
        offset, length = self.span()
        data = self.rng.randbytes(min(length, len(self.model) - offset))
        equal(self.lib.file_write(self.file, data, len(data), offset), len(data), "write")
        self.model[offset:offset + len(data)] = data

    def pin(self, change=False):
        lib, index = self.lib, self.rng.randrange(PAGES)
        folio, again, page = c_void_p(), c_void_p(), c_void_p()
        pin = Pin()
        equal(lib.file_pin(self.file, index, 0, byref(pin)), 0, "pin")
        equal(string_at(pin.page, PAGE), self.page(index), f"page {index} by pin")
        lib.unpin(byref(pin))
        equal(lib.file_get(self.file, index, 0, byref(folio)), 0, "get")
        equal(lib.file_get_page(self.file, index, 0, byref(again), byref(page)), 0, "get_page")
        equal(again.value, folio.value, "the folio of a page that is pinned")
        equal(lib.page(folio, index), page.value, "folio_page")
        equal(lib.size(folio), PAGE << lib.order(folio), "folio_size")
        first = lib.index(folio)
        expect(first <= index < first + lib.size(folio) // PAGE, "folio_index")
        equal(lib.data(folio), page.value - (index - first) * PAGE, "folio_data")
        equal(string_at(page.value, PAGE), self.page(index), f"page {index}")
        lib.put(again)
        lib.get(folio)  # two pins, which the function does not see
        if change:
            self.change(folio, index, page.value)
        lib.put(folio)
        equal(string_at(page.value, PAGE), self.page(index), f"page {index} with one pin")
        lib.put(folio)

    def change(self, folio, index, address):
        lib = self.lib
        at = self.rng.randrange(min(PAGE, len(self.model) - index * PAGE) - 64)
        data = self.rng.randbytes(64)
        equal(lib.lock(folio), 0, "lock")
        memmove(address + at, data, 64)
        equal(lib.mark_dirty(folio, 1), 0, "mark_dirty")
        equal(lib.unlock(folio), 0, "unlock")
        self.model[index * PAGE + at:index * PAGE + at + 64] = data

    def write_in_place(self):
        self.pin(change=True)

    def peek(self):
        peek, index = Peek(), self.rng.randrange(PAGES)
        buf = create_string_buffer(PAGE)
        # Eviction wants to record the first uses of a page.
        for _ in range(8):
            self.lib.file_read(self.file, buf, PAGE, index * PAGE)
        address = self.lib.peek(self.view, index, byref(peek)) if self.view else None
        if address:
            self.lib.peek_copy(buf, address, PAGE)
            expect(self.lib.peek_valid(byref(peek)), "a page that no thread changes is valid")
            equal(buf.raw, self.page(index), f"page {index} in place")
            # Even, and not the value of any version that the page will have.
            peek.seen += 1 << 40
            expect(not self.lib.peek_valid(byref(peek)), "a page of another version is valid")
            self.peeks += 1

    def visit(self):
        index, seen = self.rng.randrange(PAGES), []
        visit = PEEK_FN(lambda page, context: seen.append((string_at(page, PAGE), context)))
        equal(self.lib.peek_visit(self.file, self.view, index, visit, 77), 0, "peek_visit")
        equal(seen[-1], (self.page(index), 77), f"visit of page {index}")
        self.visits += 1

    def sync(self):
        equal(self.lib.file_sync(self.file, None, 0), 0, "sync")
        with open(self.path, "rb") as file:
            equal(file.read(), bytes(self.model), "the file after a sync")


def check_file(lib, cache, rng, folder):
    model = bytearray(rng.randbytes(PAGES * PAGE - 100))
    path = os.path.join(folder, "data")
    with open(path, "wb") as file:
        file.write(model)
    file = File(lib, cache, path, model, rng)
    equal(lib.file_size(file.file), len(model), "size")
    steps = [file.read, file.write, file.pin, file.write_in_place, file.peek, file.visit]
    for number in range(ROUNDS):
        rng.choice(steps)()
        if number % 500 == 499:
            file.sync()
    expect(file.peeks or not file.view, "no peek found a page")
    out = c_void_p()
    equal(lib.file_get(file.file, PAGES, 0, byref(out)), -ENODATA, "get past the end")
    file.sync()
    equal(lib.file_close(file.file), 0, "close")
    print(f"# {file.peeks} peeks, {file.visits} visits")


def check_alloc(lib, cache):
    """A folio of the program's own: its owner, its size, its memory, its pins."""
    folio = c_void_p()
    equal(lib.alloc(cache, 2, TYPE_PRIVATE, 0x1234, byref(folio)), 0, "alloc")
    equal(lib.owner(folio), 0x1234, "folio_owner")
    equal((lib.order(folio), lib.size(folio)), (2, 4 * PAGE), "folio_order, folio_size")
    memset(lib.data(folio), 7, lib.size(folio))
    lib.get(folio)
    lib.put(folio)
    equal(lib.cache_close(cache), -EBUSY, "close with a folio")
    lib.put(folio)


def check_ref(lib, rng):
    """Each operation of a counter, with its result and the value that it leaves, by a model."""
    word = c_uint32(rng.randrange(1 << 32))
    ref = byref(word)
    lib.ref_init_frozen(ref)
    equal(word.value, FROZEN, "folio_ref_init_frozen")
    count = 0  # 0: frozen
    for _ in range(ROUNDS):
        n = rng.randrange(1, 5)
        if count == 0:
            expect(lib.ref_is_frozen(ref) and lib.ref_count(ref) == 0, "frozen")
            expect(not lib.ref_try_get(ref) and not lib.ref_try_get_n(ref, n), "get of a frozen")
            equal(word.value, FROZEN + 1 + n, "what refused gets leave")
            lib.ref_unfreeze(ref, n)
            count = n
        elif rng.random() < 0.2:
            expected = rng.choice((count, count + 1))
            equal(lib.ref_try_freeze(ref, expected), expected == count, "folio_ref_try_freeze")
            count = 0 if expected == count else count
        elif rng.random() < 0.5:
            get = rng.randrange(4)
            n = n if get & 1 else 1
            if get == 0:
                lib.ref_get(ref)
            elif get == 1:
                lib.ref_get_n(ref, n)
            else:
                expect(lib.ref_try_get_n(ref, n) if get & 1 else lib.ref_try_get(ref), "try_get")
            count += n
        else:
            n = 1 if n == 1 else min(n, count)
            last = lib.ref_put(ref) if n == 1 else lib.ref_put_n(ref, n)
            count -= n
            equal(last, count == 0, "folio_ref_put")
        equal(word.value, count or FROZEN, "the word")
        equal((lib.ref_count(ref), lib.ref_is_frozen(ref)), (count, count == 0), "folio_ref_count")


def main(path):
    seed = int(os.environ.get("FOLIO_SEED") or random.randrange(1 << 32))
    print(f"# FOLIO_SEED={seed}", flush=True)
    rng, lib = random.Random(seed), bind(path)
    cache = c_void_p()
    # As few pages as a cache may have: most of the file is read again and again.
    params = CacheParams(size=sizeof(CacheParams), bytes=64 * PAGE)
    equal(lib.cache_open(byref(params), byref(cache)), 0, "cache_open")
    with tempfile.TemporaryDirectory() as folder:
        check_file(lib, cache, rng, folder)
    check_alloc(lib, cache)
    check_ref(lib, rng)
    equal(lib.cache_close(cache), 0, "cache_close")
    print(f"ok 1 - folio {lib.version().decode()}: {len(FUNCTIONS)} functions\n1..1")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
