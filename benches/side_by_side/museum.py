#!/usr/bin/env python3
"""chartgate in ChartMuseum's place and ChartMuseum itself: same machine, same flags, same charts, as a Markdown table.

    make bench-museum                              against ChartMuseum 0.13.1
    CHARTGATE_CHARTMUSEUM=path make bench-museum   against another version
    museum.py --only start,visible --rounds 3
"""

import argparse
import hashlib
import multiprocessing
import os
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time

import data
from load import read_on, write_on
from servers import Minio, Museum, request

MB = 1_000_000


class Rivals:
    """The two commands, chartgate first, and what they serve."""

    def __init__(self, options):
        self.commands = {"chartgate": [options.program, "chartmuseum"], "ChartMuseum": [options.chartmuseum]}
        self.charts = options.keep / f"museum-{options.charts}-{options.versions}"
        data.realistic_folder(self.charts, options.charts, options.versions)
        files = sorted(self.charts.glob("*.tgz"))
        self.digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        self.size = sum(file.stat().st_size for file in files)

    def folder(self, place):
        """A fresh copy of the charts, with neither's kept state."""
        shutil.copytree(self.charts, place, ignore=shutil.ignore_patterns(".complete"))
        return place

    def serve(self, name, place, storage):
        """One of them on a folder."""
        flags = ["--storage", "local", "--storage-local-rootdir", str(storage)]
        return Museum(self.commands[name], place / name, flags)


def main():
    """Runs what was asked for and prints the table as it grows."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", data.HERE.parents[2] / "target")).resolve()
    tools = pathlib.Path(os.environ.get("CHARTGATE_TOOLS_DIR", target / "tools"))
    museum = pathlib.Path(os.environ.get("CHARTGATE_CHARTMUSEUM", tools / "chartmuseum-0.13.1" / "chartmuseum"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=target / "release" / "chartgate")
    parser.add_argument("--chartmuseum", type=pathlib.Path, default=museum)
    parser.add_argument("--minio", type=pathlib.Path, default=tools / "minio" / "minio")
    parser.add_argument("--charts", type=int, default=100)
    parser.add_argument("--versions", type=int, default=100, help="of each chart")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="of load")
    parser.add_argument("--only", default=",".join(FIGURES))
    options = parser.parse_args()
    options.keep = target / "bench"
    options.program, options.chartmuseum = options.program.resolve(), options.chartmuseum.resolve()
    rivals = Rivals(options)
    count = len(rivals.digests)
    print(f"{os.cpu_count()} processors, {count:,} versions of {options.charts} charts, {rivals.size / MB:.0f} MB; {options.chartmuseum}\n")
    print("| figure | must reach | chartgate | ChartMuseum | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="chartgate-bench-", dir=options.keep) as folder:
        for name in options.only.split(","):
            place = pathlib.Path(folder) / name
            place.mkdir()
            for row in FIGURES[name](options, rivals, place):
                print("| " + " | ".join(row) + " |", flush=True)
            shutil.rmtree(place, ignore_errors=True)


def forget_files():
    """Empties the page cache, where that is allowed: both start from the disk."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        print("the page cache could not be emptied: both start warm", file=sys.stderr)


def first_index(server, digests, seconds=600):
    """Seconds from the start of the process until its index has every version, and how large that index is."""
    deadline = server.started + seconds
    while time.perf_counter() < deadline:
        if server.process.poll() is not None:
            raise SystemExit(f"the server ended with {server.process.returncode}; see its log")
        try:
            status, _, body = request(server.port, "GET", "/index.yaml")
            took = time.perf_counter() - server.started
            if status == 200 and digests <= set(re.findall(r"\b[0-9a-f]{64}\b", body.decode())):
                return took, len(body)
        except OSError:
            pass
        time.sleep(0.002)
    raise SystemExit(f"no index with every version after {seconds} s")


def start(options, rivals, place):
    """The first start on a folder that it does not know, and the second; resident memory after each."""
    firsts, seconds, memories, peaks = ({name: [] for name in rivals.commands} for _ in range(4))
    for number in range(options.rounds):
        for name in rivals.commands:
            storage = rivals.folder(place / f"{name}-{number}-charts")
            for times in (firsts, seconds):
                forget_files()
                with rivals.serve(name, place, storage) as server:
                    times[name].append(first_index(server, rivals.digests)[0])
                    for _ in range(3):
                        request(server.port, "GET", "/index.yaml")
                    time.sleep(5)
                    memories[name].append(server.memory())
                    peaks[name].append(server.memory("VmHWM"))
            shutil.rmtree(storage)
    yield row("first start to a correct index", "5x faster", firsts, "{:.2f} s", factor)
    yield row("second start to a correct index", "", seconds, "{:.2f} s", factor)
    yield row("resident memory after it", "a quarter", memories, lambda size: f"{size / MB:.0f} MB", lambda a, b: f"{a / b:.2f}")
    yield row("peak memory", "", peaks, lambda size: f"{size / MB:.0f} MB", lambda a, b: f"{a / b:.2f}")


def visible(options, rivals, place):
    """From the start of a push until an index shows it."""
    samples = {name: [] for name in rivals.commands}
    for name in rivals.commands:
        with rivals.serve(name, place, rivals.folder(place / f"{name}-charts")) as server:
            first_index(server, rivals.digests)
            for number in range(options.rounds * 5):
                archive = data.realistic_package("chart-007", f"9.{number}.0")
                digest = hashlib.sha256(archive).hexdigest().encode()
                begin = time.perf_counter()
                status, _, body = request(server.port, "POST", "/api/charts", archive)
                if status != 201:
                    raise SystemExit(f"{name} answered a push with {status}: {body}")
                while digest not in request(server.port, "GET", "/index.yaml")[2]:
                    if time.perf_counter() - begin > 60:
                        raise SystemExit(f"{name} does not show a push after 60 s")
                    time.sleep(0.001)
                samples[name].append(time.perf_counter() - begin)
                time.sleep(0.05)
    yield row("push to visible, index fetched", "50x faster", samples, lambda took: f"{took * 1000:.1f} ms", factor)


def crowd(options, rivals, place):
    """4 writers and 4 readers at once, as fast as they can; then whether everything that was saved is there."""
    texts = []
    for name in rivals.commands:
        with rivals.serve(name, place, rivals.folder(place / f"{name}-charts")) as server:
            first_index(server, rivals.digests)
            with multiprocessing.Pool(8) as pool:
                writers = [pool.apply_async(write_on, (server.port, number, options.seconds)) for number in range(4)]
                readers = [pool.apply_async(read_on, (server.port, options.seconds)) for _ in range(4)]
                pushes = [writer.get() for writer in writers]
                reads = [reader.get() for reader in readers]
            texts.append(judge(server, pushes, reads))
    yield [f"4 writers and 4 readers, {options.seconds} s", "no error, no lost push, p99 of pushes under 50 ms", *texts, ""]


def judge(server, pushes, reads):
    """What became of a crowd, in words."""
    saved = {digest for writer in pushes for digest in writer["saved"]}
    took = sorted(time for writer in pushes for time in writer["took"]) or [0.0]
    errors = [error for one in (*pushes, *reads) for error in one["errors"]]
    reading = sorted(time for reader in reads for time in reader["took"]) or [0.0]
    words = [f"{len(saved):,} pushes, p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {took[len(took) * 99 // 100] * 1000:.1f} ms, worst {took[-1] * 1000:.0f} ms"]
    words.append(f"{len(reading):,} reads, p99 {reading[len(reading) * 99 // 100] * 1000:.0f} ms")
    words.append(f"{len(errors):,} errors" + (f" (the first: {errors[0]})" if errors else ""))
    if server.process.poll() is not None:
        return "; ".join([*words, f"**the server died** ({server.process.returncode})"])
    lost = saved
    for _ in range(20):
        lost = saved - set(re.findall(r"\b[0-9a-f]{64}\b", request(server.port, "GET", "/index.yaml")[2].decode()))
        if not lost:
            break
        time.sleep(0.5)
    words.append(f"{len(lost):,} lost after 10 s")
    words.append(f"{server.memory() / MB:.0f} MB")
    return "; ".join(words)


def bucket(options, rivals, place):
    """The same on MinIO: two starts, and what the second one asks of the bucket."""
    starts, asked = {}, {}
    for name, command in rivals.commands.items():
        folder = place / name
        with Minio(options.minio, folder / "minio") as minio:
            for file in sorted(rivals.charts.glob("*.tgz")):
                minio.put(file.name, file.read_bytes())
            flags = ["--storage", "amazon", "--storage-amazon-bucket", Minio.BUCKET, "--storage-amazon-region", "us-east-1"]
            flags += ["--storage-amazon-endpoint", f"http://127.0.0.1:{minio.port}"]
            env = {
                "AWS_ACCESS_KEY_ID": Minio.USER,
                "AWS_SECRET_ACCESS_KEY": Minio.PASSWORD,
                "CHARTGATE_DATA_DIR": str(folder / "data"),
            }
            starts[name], asked[name] = [], []
            for _ in range(2):
                before = minio.counts()
                with Museum(command, folder, flags, env) as server:
                    starts[name].append(first_index(server, rivals.digests)[0])
                    time.sleep(5)
                asked[name].append(since(before, settled_counts(minio)))
    for number, which in enumerate(("first", "second")):
        times = {name: [starts[name][number]] for name in starts}
        yield row(f"{which} start on a bucket, to a correct index", "", times, "{:.2f} s", factor)
        texts = [", ".join(f"{count:,} {what}" for what, count in sorted(asked[name][number].items())) for name in asked]
        yield [f"what the {which} start asks of the bucket", "" if number == 0 else "no GET of a package", *texts, ""]


def settled_counts(minio):
    """MinIO's counts, which it brings up to date every few seconds."""
    time.sleep(12)
    return minio.counts()


def since(before, after):
    """What was asked in between."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


def row(name, goal, samples, form, compare):
    """Medians side by side."""
    write = form.format if isinstance(form, str) else form
    medians = [statistics.median(values) for values in samples.values()]
    return [name, goal, *map(write, medians), compare(*medians)]


def factor(ours, theirs):
    """How many times faster."""
    return f"{theirs / ours:.1f}x"


FIGURES = {"start": start, "visible": visible, "crowd": crowd, "bucket": bucket}

if __name__ == "__main__":
    sys.exit(main())
