#!/usr/bin/env python3
"""chartgate beside distribution and zot as a registry: same machine, same bytes, loopback only, as a Markdown table.

    make bench-registry                            everything; zot where CHARTGATE_TOOLS_DIR has it
    registry.py --only warm,push --rounds 3
    registry.py --rivals-only                      without chartgate

The upstream of those that pull through is nginx with the files of a registry.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import data
from load import Link, readers
from servers import Chartgate, Distribution, StaticRegistry, Zot, request, wrk

MB = 1_000_000
MIB = 1 << 20
KIND = "application/vnd.oci.image.manifest.v1+json"
REPO = "library/app"
# Bytes a second, as of a line of 2 Gbit/s.
LINE = 250_000_000
# distribution hides manifests of kinds that are not asked for.
ACCEPT = {"Accept": KIND}


class Image:
    """A manifest with one layer of random bytes; different for every `salt`."""

    def __init__(self, size, salt=""):
        # A stretch of noise that is moved on: 200 MiB of it need not be made anew each time.
        self.layer = hashlib.shake_128(f"{size} {salt}".encode()).digest(min(size, MIB)) + bytes(max(size - MIB, 0))
        config = json.dumps({"architecture": "amd64", "os": "linux", "salt": salt}).encode()
        self.blobs = {digest(content): content for content in (config, self.layer)}
        config_digest, layer_digest = self.blobs
        self.layer_digest = layer_digest
        manifest = {
            "schemaVersion": 2,
            "mediaType": KIND,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": size}],
        }
        self.manifest = json.dumps(manifest, indent=2).encode()
        self.digest = digest(self.manifest)

    def lay(self, root, repository=REPO):
        """Into the folder of a `StaticRegistry`."""
        for kind, files in (("blobs", self.blobs), ("manifests", {self.digest: self.manifest})):
            folder = root / "v2" / repository / kind
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)

    def push(self, port, repository, tag):
        """Onto a registry, as clients do."""
        for name, content in self.blobs.items():
            push_blob(port, repository, name, content)
        headers = {"Content-Type": KIND}
        expect(201, request(port, "PUT", f"/v2/{repository}/manifests/{tag}", self.manifest, headers))


def digest(content):
    """As registries write it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def expect(status, answer):
    """The answer, if it has this status."""
    if answer[0] != status:
        raise SystemExit(f"{answer[0]} instead of {status}: {answer[2][:500]}")
    return answer


def push_blob(port, repository, name, content, chunked=False):
    """Seconds from the question to the last answer: POST and one PUT, or (`chunked`) POST, a chunked PATCH and an empty PUT."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300, blocksize=MIB)
    start = time.perf_counter()

    def ask(method, path, body=None, headers=None, **how):
        connection.request(method, path, body, headers or {}, **how)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status // 100 != 2:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]}")
        place = answer.getheader("Location") or ""
        return place.removeprefix(f"http://127.0.0.1:{port}")

    place = ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
    binary = {"Content-Type": "application/octet-stream"}
    if chunked:
        view = memoryview(content)
        pieces = (view[at : at + MIB] for at in range(0, len(content), MIB))
        place = ask("PATCH", place, pieces, {**binary, "Transfer-Encoding": "chunked"}, encode_chunked=True)
        content = b""
    ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={name}", content, binary)
    took = time.perf_counter() - start
    connection.close()
    return took


class Options:
    """What `main` was asked for, and what all figures need."""

    def __init__(self, options):
        self.__dict__.update(vars(options))
        self.has_zot = os.access(pathlib.Path(os.environ.get("CHARTGATE_TOOLS_DIR", "")) / "zot" / "zot", os.X_OK)

    def gateway(self, folder, upstream=None):
        """chartgate with an open tenant `t`: an upstream `up`, or hosted."""
        tenant = {"access": {"anonymous": ["pull", "push", "delete"]}}
        config = {"tenants": {"t": tenant}}
        if upstream:
            config["upstreams"] = {"up": {"type": "oci", "url": f"http://127.0.0.1:{upstream}", "allow_private": True}}
            tenant["registries"] = ["up"]
        else:
            tenant["hosted"] = {}
        gateway = Chartgate(self.program, folder, config, access_log=False)
        gateway.ready()
        return gateway


    def rate(self, port, path, long):
        """Answers per second on 16 connections. wrk reads 8 KiB at once: on long bodies it would measure itself."""
        if not long:
            return wrk(port, path, self.seconds, [f"Accept: {KIND}"])
        return readers(port, path, 16, self.seconds)[0]


def main():
    """Runs what was asked for and prints the table as it grows."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", data.HERE.parents[2] / "target")).resolve()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=target / "release" / "chartgate")
    parser.add_argument("--seconds", type=int, default=3, help="of load for each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=100, help="that want the same blob at once")
    parser.add_argument("--rivals-only", action="store_true")
    parser.add_argument("--only", default=",".join(FIGURES))
    options = Options(parser.parse_args())
    options.program = options.program.resolve()
    keep = target / "bench"
    keep.mkdir(parents=True, exist_ok=True)
    print(f"{os.cpu_count()} processors{'' if options.has_zot else ', no zot'}\n")
    print("| figure | must reach | chartgate | distribution | zot | ratio |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="chartgate-bench-", dir=keep) as folder:
        for name in options.only.split(","):
            place = pathlib.Path(folder) / name
            place.mkdir()
            for row in FIGURES[name](options, place):
                print("| " + " | ".join(row) + " |", flush=True)
            shutil.rmtree(place, ignore_errors=True)


def warm(options, folder):
    """Requests per second for what everybody holds already: a manifest and a layer of 6 MiB, pulled through and hosted."""
    image = Image(6 * MIB)
    image.lay(folder / "site")
    with StaticRegistry(folder / "upstream", folder / "site", KIND) as upstream:
        through = {"distribution": Distribution(folder / "distribution", upstream.port)}
        if not options.rivals_only:
            through["chartgate"] = options.gateway(folder / "gateway", upstream.port)
        yield from warm_rows(options, "pulled through", image, through, {"chartgate": f"t/up/{REPO}"})
    hosted = {"distribution": Distribution(folder / "hosted-distribution")}
    if options.has_zot:
        hosted["zot"] = Zot(folder / "hosted-zot")
    if not options.rivals_only:
        hosted["chartgate"] = options.gateway(folder / "hosted-gateway")
    names = {"chartgate": f"t/{REPO}"}
    for who, server in hosted.items():
        image.push(server.port, names.get(who, REPO), "1.0")
    yield from warm_rows(options, "hosted", image, hosted, names)


def warm_rows(options, how, image, servers, names):
    """The rows for one kind of server; ends the servers."""
    references = {"manifest by digest": f"manifests/{image.digest}", "blob of 6 MiB": f"blobs/{image.layer_digest}"}
    if how == "hosted":
        references["manifest by tag"] = "manifests/1.0"
    try:
        for what, reference in references.items():
            rates, costs = {who: [] for who in servers}, {who: [] for who in servers}
            for _ in range(options.rounds):
                for who, server in servers.items():
                    path = f"/v2/{names.get(who, REPO)}/{reference}"
                    expect(200, request(server.port, "GET", path, headers=ACCEPT))
                    before = server.cpu()
                    rates[who].append(options.rate(server.port, path, "blob" in what))
                    costs[who].append((server.cpu() - before) / (rates[who][-1] * options.seconds) * 1e6)
            cells = {
                who: f"{statistics.median(rates[who]):,.0f}/s, {statistics.median(costs[who]):.0f} ms CPU per 1000, {server.memory() / MB:.0f} MB"
                for who, server in servers.items()
            }
            medians = {who: statistics.median(rate) for who, rate in rates.items()}
            yield row(f"warm {what}, {how}, 16 connections", "1.5x the faster", cells, medians, more)
    finally:
        for server in servers.values():
            server.stop()


def cold(options, folder):
    """Many clients that want the same 200 MiB, which nobody holds yet: the upstream on this machine, and behind a line."""
    yield cold_row(options, folder / "near", "upstream on the same machine", options.rounds, None)
    yield cold_row(options, folder / "far", f"upstream behind {LINE / 1e6:.0f} MB/s", 1, LINE)


def cold_row(options, folder, where, rounds, line):
    """One row: every round has a blob and servers of its own."""
    cells, rates = {}, {}
    for who in ("distribution",) if options.rivals_only else ("distribution", "chartgate"):
        samples = []
        for number in range(rounds):
            image = Image(200 * MIB, f"cold {who} {number}")
            place = folder / f"{who}-{number}"
            image.lay(place / "site")
            with contextlib.ExitStack() as stack:
                upstream = stack.enter_context(StaticRegistry(place / "upstream", place / "site", KIND))
                port = stack.enter_context(Link(upstream.port, line)).port if line else upstream.port
                server = Distribution(place, port) if who == "distribution" else options.gateway(place, port)
                stack.enter_context(server)
                name = REPO if who == "distribution" else f"t/up/{REPO}"
                expect(200, request(server.port, "GET", f"/v2/{name}/manifests/{image.digest}", headers=ACCEPT))
                samples.append(crowd(options, upstream, server, name, image))
            shutil.rmtree(place, ignore_errors=True)
        seconds, first, last, before, peak, gets = (statistics.median(column) for column in zip(*samples))
        rates[who] = options.clients * 200 * MIB / seconds
        cells[who] = (
            f"{rates[who] / 1e6:,.0f} MB/s, {seconds:.1f} s, {gets:.0f} upstream GETs, first byte after {first * 1000:.0f} ms"
            f" (the last client's {last * 1000:.0f} ms), memory {before / MB:.0f} to {peak / MB:.0f} MB"
        )
    return row(f"{options.clients} cold clients of one 200 MiB blob, {where}", "5x, one GET, memory flat", cells, rates, more)


def crowd(options, upstream, server, name, image):
    """One run: seconds, to the first byte in the median and at worst, resident bytes before and at most, upstream GETs."""
    before = server.memory()
    path = f"/v2/{name}/blobs/{image.layer_digest}"
    _, seconds, first, last = readers(server.port, path, options.clients, 0)
    peak = server.memory("VmHWM")
    gets = upstream.asked("GET", f"/v2/{REPO}/blobs/{image.layer_digest}")
    if digest(request(server.port, "GET", path)[2]) != image.layer_digest:
        raise SystemExit("what came is not what the upstream has")
    return seconds, first, last, before, peak, gets


def first_byte(options, folder):
    """What pulling through adds to the time to the first byte of a small manifest that nobody holds yet."""
    images = [Image(1000, f"first {number}") for number in range(options.rounds * 100)]
    for image in images:
        image.lay(folder / "site")
    with StaticRegistry(folder / "upstream", folder / "site", KIND) as upstream:
        through = {"distribution": (Distribution(folder / "distribution", upstream.port), REPO)}
        if not options.rivals_only:
            through["chartgate"] = (options.gateway(folder / "gateway", upstream.port), f"t/up/{REPO}")
        try:
            paths = lambda name: [f"/v2/{name}/manifests/{image.digest}" for image in images]
            direct = first_bytes(upstream.port, paths(REPO))
            added = {}
            cells = {}
            for who, (server, name) in through.items():
                took = first_bytes(server.port, paths(name))
                added[who] = statistics.median(took) - statistics.median(direct)
                p99 = sorted(took)[len(took) * 99 // 100] - statistics.median(direct)
                cells[who] = f"{added[who] * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms"
            name = f"added to the first byte of a cold manifest, upstream's own {statistics.median(direct) * 1000:.2f} ms"
            yield row(name, "under 2 ms", cells, added, less)
        finally:
            for server, _ in through.values():
                server.stop()


def first_bytes(port, paths):
    """Seconds from the question to the head of each answer, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    for path in paths:
        start = time.perf_counter()
        connection.request("GET", path, headers=ACCEPT)
        answer = connection.getresponse()
        took.append(time.perf_counter() - start)
        body = answer.read()
        if answer.status != 200 or digest(body) != path.rsplit("/", 1)[1]:
            raise SystemExit(f"{answer.status}: {body[:500]}")
    connection.close()
    return took


def push(options, folder):
    """Uploads of 200 MiB, durable when they are answered."""
    servers = {"distribution": Distribution(folder / "distribution")}
    if options.has_zot:
        servers["zot"] = Zot(folder / "zot")
    if not options.rivals_only:
        servers["chartgate"] = options.gateway(folder / "gateway")
    names = {"chartgate": f"t/{REPO}"}
    try:
        for chunked in (False, True):
            samples = {who: [] for who in servers}
            costs = {who: [] for who in servers}
            for number in range(options.rounds + 1):
                for who, server in servers.items():
                    layer = Image(200 * MIB, f"push {chunked} {number}").layer
                    before = server.cpu()
                    took = push_blob(server.port, names.get(who, REPO), digest(layer), layer, chunked)
                    # The first round warms up: connections, files, the disk.
                    if number:
                        samples[who].append(took)
                        costs[who].append(server.cpu() - before)
            medians = {who: statistics.median(values) for who, values in samples.items()}
            cells = {
                who: f"{took:.2f} s, {statistics.median(costs[who]):.2f} s CPU, {servers[who].memory('VmHWM') / MB:.0f} MB at most"
                for who, took in medians.items()
            }
            how = "a chunked PATCH, as docker does" if chunked else "one PUT, as helm and containerd do"
            yield row(f"push of 200 MiB, {how}", "as fast as distribution", cells, medians, less)
    finally:
        for server in servers.values():
            server.stop()


def row(name, goal, cells, values, compare):
    """One line of the table; the ratio is to the better rival."""
    rivals = [value for who, value in values.items() if who != "chartgate"]
    ratio = compare(values["chartgate"], rivals) if "chartgate" in values else ""
    return [name, goal, *(cells.get(who, "") for who in ("chartgate", "distribution", "zot")), ratio]


def more(ours, theirs):
    """How many times more."""
    return f"{ours / max(theirs):.2f}x"


def less(ours, theirs):
    """How many times less."""
    return f"{min(theirs) / ours:.2f}x"


FIGURES = {"warm": warm, "cold": cold, "first": first_byte, "push": push}

if __name__ == "__main__":
    sys.exit(main())
