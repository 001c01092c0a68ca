#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Misses and write-back of the library beside fio on the same file: both take turns, one phase each in every round.

    bench/fio.py BUILD FILE [--write] [--cache MIB] [--rounds N] [--seconds S] [--fio-args "..."] [--only NAME]

BUILD: a build folder, with bench/phases in it. FILE: several times the cache, on a device that has direct I/O. With --write
it is overwritten; what is counted is what the device has when a sync has returned, fio's too.

Prints, for each comparison, the medians of the rounds and of the ratios within a round (with their quartiles), CPU time
for each block, and what the device gave or took for each byte that was read or written; then every round.
"""
import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time

# Name, what the library does, fio's part, bytes of a block.
READS = [
    ("random", "random 32", "--rw=randread --bs=4k --ioengine=psync --numjobs=32 --thread", 4096),
    # As fio draws them, each anew: what is in the cache is not asked of the device.
    ("uniform", "uniform 32", "--rw=randread --bs=4k --ioengine=psync --numjobs=32 --thread", 4096),
    # As random, by no cache: into memory of its size, and a copy. Beside fio, which reads into the same pages again and again.
    ("frames", "frames 32", "--rw=randread --bs=4k --ioengine=psync --numjobs=32 --thread", 4096),
    ("known", "known 32", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    # Pages are wanted in order, and come in another: who looks twice as far ahead has as many in flight as fio.
    ("known-64", "known 64", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    # A call for so many pages; the next one when all have come.
    ("batch", "batch 32", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    ("batch-128", "batch 128", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    ("sequential", "sequential", "--rw=read --bs=1M --ioengine=psync", 1 << 20),
    ("sequential-deep", "sequential", "--rw=read --bs=1M --ioengine=io_uring --iodepth=4", 1 << 20),
]
WRITES = [
    # Many times what may be dirty, and a sync at the end.
    ("random", "write-random 0", "--rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --end_fsync=1", 4096),
    ("random-libaio", "write-random 0", "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=32 --end_fsync=1", 4096),
    # 64 MiB, half of what may be dirty, then a sync, and again: nothing is written back but by the sync.
    ("random-synced", "write-random 16384",
     "--rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --fdatasync=16384 --end_fsync=1", 4096),
    ("sequential", "write-sequential", "--rw=write --bs=1M --ioengine=psync --end_fsync=1", 1 << 20),
    ("sequential-deep", "write-sequential", "--rw=write --bs=1M --ioengine=io_uring --iodepth=4 --end_fsync=1", 1 << 20),
]
FIO = ("fio --name=peer --direct=1 --time_based --group_reporting --randrepeat=0 --norandommap"
       " --output-format=json")


class Phases:
    """A process of bench/phases: its cache stays full from phase to phase."""

    def __init__(self, build, file, cache, write):
        self.process = subprocess.Popen([f"{build}/bench/phases", file, str(cache)] + ["write"] * write, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def phase(self, command, seconds):
        print(command, seconds, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("phases has ended")
        done, elapsed, moved, cpu = (float(word) for word in answer.split())
        return {"rate": done / elapsed, "device": moved / done, "cpu": cpu / 1e6 / done}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_fio(command):
    text = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    job = json.loads(text[text.index("{"):])["jobs"][0]
    done = job["write"] if job["write"]["io_bytes"] else job["read"]
    if job["error"]:
        sys.exit(f"fio: error {job['error']}")
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1e3
    return {"rate": float(done["bw_bytes"]), "device": 1.0, "cpu": cpu / done["io_bytes"]}


def spread(values):
    """Median and quartiles."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def machine():
    cpu = re.search(r"^model name\s*:\s*(.*)$", open("/proc/cpuinfo", encoding="utf-8").read(), re.M)
    return (f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} processors, "
            f"{platform.system()} {platform.release()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("file")
    parser.add_argument("--cache", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2, help="of each phase; whole ones, for fio")
    parser.add_argument("--fio-args", default="", help="more options for fio")
    parser.add_argument("--write", action="store_true", help="overwrite FILE")
    parser.add_argument("--only", action="append", choices=sorted({c[0] for c in READS + WRITES}))
    args = parser.parse_args()
    seconds = max(1, round(args.seconds))

    version = subprocess.run(["fio", "--version"], check=True, text=True, capture_output=True).stdout.strip()
    size = os.stat(args.file).st_size
    print(f"$ {' '.join(shlex.quote(word) for word in [os.path.basename(sys.argv[0])] + sys.argv[1:])}")
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}, {machine()}, {version}, load {os.getloadavg()[0]:.2f}")
    print(f"File of {size / 2**30:.1f} GiB, cache of {args.cache} MiB, "
          f"{args.rounds} rounds of {seconds} s for each.\n")
    rows = []
    for name, own, peer, block in WRITES if args.write else READS:
        if args.only and name not in args.only:
            continue
        command = shlex.split(FIO) + [f"--filename={args.file}", f"--size={size}", f"--runtime={seconds}"]
        command += shlex.split(peer) + shlex.split(args.fio_args) + ["--readonly"] * (not args.write)
        phases = Phases(args.build, args.file, args.cache, args.write)
        # The cache is full, and the file where the device has it at hand, before anything counts.
        full = 0.0
        while full < 1.25 * args.cache * 2**20:
            full += phases.phase("sequential" if own == "sequential" else "random 32", 1)["rate"]
        phases.phase(own, 1)
        run_fio(command)
        rounds = []
        for number in range(args.rounds):
            # Who goes first changes from round to round: what drifts falls on both.
            if number % 2:
                theirs = run_fio(command)
                ours = phases.phase(own, seconds)
            else:
                ours = phases.phase(own, seconds)
                theirs = run_fio(command)
            rounds.append((ours, theirs))
        phases.close()
        rows.append((name, block, peer, rounds))

    print(f"{'':16}{'folio':>12}{'fio':>13}{'folio/fio':>11}  {'quartiles':14}{'us CPU/block':>18}  device/byte")
    for name, block, peer, rounds in rows:
        ours, theirs = ([r[i]["rate"] for r in rounds] for i in (0, 1))
        ratio, low, high = spread([a / b for a, b in zip(ours, theirs)])
        cpu = [statistics.median([r[i]["cpu"] for r in rounds]) * block * 1e6 for i in (0, 1)]
        device = statistics.median([r[0]["device"] for r in rounds])
        unit, scale = ("k/s", block * 1e3) if block == 4096 else ("MiB/s", 2**20)
        print(f"{name:16}{statistics.median(ours) / scale:7.1f} {unit:5}{statistics.median(theirs) / scale:7.1f} {unit:5}"
              f"{ratio:9.3f}  {low:.3f}..{high:.3f}  {cpu[0]:8.1f} {cpu[1]:8.1f}  {device:8.3f}")
    print()
    for name, block, peer, rounds in rows:
        print(f"{name}: fio {peer} {args.fio_args}")
        scale = block * 1e3 if block == 4096 else 2**20
        print("  " + " ".join(f"{a['rate'] / scale:.1f}/{b['rate'] / scale:.1f}" for a, b in rounds))


main()
