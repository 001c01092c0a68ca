#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compare misses and write-back of the library with fio on the same file; both run in every round.

    bench/fio.py BUILD FILE [--write] [--cache MIB] [--rounds N] [--seconds S] [--only NAME]
                 [--fio-args "..."]

BUILD: a build folder that contains bench/phases. FILE: several times the size of the cache, on a
device that has direct I/O. With --write it is overwritten; for both sides the data counts that the
device has when a sync has returned.

Prints for each comparison the medians of the rounds and of the ratios within a round (with their
quartiles), the CPU time per block, and the bytes that the device delivered or took per byte read or
written; then every round.
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
    # Drawn independently, as fio draws them: the device is not asked for pages that are cached.
    ("uniform", "uniform 32", "--rw=randread --bs=4k --ioengine=psync --numjobs=32 --thread", 4096),
    # As random without a cache: reads into memory of its size, and a copy. fio reads into the same
    # pages again and again.
    ("frames", "frames 32", "--rw=randread --bs=4k --ioengine=psync --numjobs=32 --thread", 4096),
    ("known", "known 32", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    # The reader needs pages in order, but they arrive in another: only with twice the distance does
    # it have as many in flight as fio.
    ("known-64", "known 64", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    # One call reads that many pages; the next one begins when all of them have arrived.
    ("batch", "batch 32", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    ("batch-128", "batch 128", "--rw=randread --bs=4k --ioengine=io_uring --iodepth=32", 4096),
    ("sequential", "sequential", "--rw=read --bs=1M --ioengine=psync", 1 << 20),
    ("sequential-deep", "sequential", "--rw=read --bs=1M --ioengine=io_uring --iodepth=4", 1 << 20),
]
WRITES = [
    # Many times as many pages as may be dirty, and a sync at the end.
    ("random", "write-random 0",
     "--rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --end_fsync=1", 4096),
    ("random-libaio", "write-random 0",
     "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=32 --end_fsync=1", 4096),
    # 64 MiB, half of the dirty limit, then a sync, and so on: only the sync writes back.
    ("random-synced", "write-random 16384",
     "--rw=randwrite --bs=4k --ioengine=io_uring --iodepth=32 --fdatasync=16384 --end_fsync=1",
     4096),
    ("sequential", "write-sequential",
     "--rw=write --bs=1M --ioengine=psync --end_fsync=1", 1 << 20),
    ("sequential-deep", "write-sequential",
     "--rw=write --bs=1M --ioengine=io_uring --iodepth=4 --end_fsync=1", 1 << 20),
]
FIO = ("fio --name=peer --direct=1 --time_based --group_reporting --randrepeat=0 --norandommap"
       " --output-format=json")


class Phases:
    """A process of bench/phases: its cache stays full from phase to phase."""

    def __init__(self, build, file, cache, write):
        command = [f"{build}/bench/phases", file, str(cache)] + ["write"] * write
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

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
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
    return (f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} processors, "
            f"{platform.system()} {platform.release()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("file")
    parser.add_argument("--cache", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2, help="of each phase; rounded, for fio")
    parser.add_argument("--fio-args", default="", help="more options for fio")
    parser.add_argument("--write", action="store_true", help="overwrite FILE")
    parser.add_argument("--only", action="append", choices=sorted({c[0] for c in READS + WRITES}))
    args = parser.parse_args()
    seconds = max(1, round(args.seconds))

    version = subprocess.run(["fio", "--version"], check=True, text=True, capture_output=True)
    version = version.stdout.strip()
    size = os.stat(args.file).st_size
    print(f"$ {shlex.join([os.path.basename(sys.argv[0])] + sys.argv[1:])}")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    print(f"{date}, {machine()}, {version}, load {os.getloadavg()[0]:.2f}")
    print(f"File of {size / 2**30:.1f} GiB, cache of {args.cache} MiB, "
          f"{args.rounds} rounds of {seconds} s for each.\n")
    rows = []
    for name, own, peer, block in WRITES if args.write else READS:
        if args.only and name not in args.only:
            continue
        command = shlex.split(FIO) + [f"--filename={args.file}", f"--size={size}"]
        command += [f"--runtime={seconds}"] + shlex.split(peer) + shlex.split(args.fio_args)
        command += ["--readonly"] * (not args.write)
        phases = Phases(args.build, args.file, args.cache, args.write)
        # Before anything counts, fill the cache, and let the device bring the file near.
        full = 0.0
        while full < 1.25 * args.cache * 2**20:
            full += phases.phase("sequential" if own == "sequential" else "random 32", 1)["rate"]
        phases.phase(own, 1)
        run_fio(command)
        rounds = []
        for number in range(args.rounds):
            # The order alternates from round to round, so that a drift affects both sides.
            if number % 2:
                theirs = run_fio(command)
                ours = phases.phase(own, seconds)
            else:
                ours = phases.phase(own, seconds)
                theirs = run_fio(command)
            rounds.append((ours, theirs))
        phases.close()
        rows.append((name, block, peer, rounds))

    print(f"{'':16}{'folio':>12}{'fio':>13}{'folio/fio':>11}  {'quartiles':14}"
          f"{'us CPU/block':>18}  device/byte")
    for name, block, peer, rounds in rows:
        ours, theirs = ([r[i]["rate"] for r in rounds] for i in (0, 1))
        ratio, low, high = spread([a / b for a, b in zip(ours, theirs)])
        cpu = [statistics.median([r[i]["cpu"] for r in rounds]) * block * 1e6 for i in (0, 1)]
        device = statistics.median([r[0]["device"] for r in rounds])
        unit, scale = ("k/s", block * 1e3) if block == 4096 else ("MiB/s", 2**20)
        own, other = (statistics.median(rates) / scale for rates in (ours, theirs))
        print(f"{name:16}{own:7.1f} {unit:5}{other:7.1f} {unit:5}{ratio:9.3f}"
              f"  {low:.3f}..{high:.3f}  {cpu[0]:8.1f} {cpu[1]:8.1f}  {device:8.3f}")
    print()
    for name, block, peer, rounds in rows:
        print(f"{name}: fio {peer} {args.fio_args}")
        scale = block * 1e3 if block == 4096 else 2**20
        pairs = [(a["rate"] / scale, b["rate"] / scale) for a, b in rounds]
        print("  " + " ".join(f"{a:.1f}/{b:.1f}" for a, b in pairs))


main()
