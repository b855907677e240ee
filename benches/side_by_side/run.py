#!/usr/bin/env python3
"""Figures against rivals on the same machine, loopback only, as a Markdown table.

    make bench                          everything
    run.py --only nginx,pull            some figures
    run.py --program target/release/chartgate --seconds 5 --rounds 3
"""

import argparse
import hashlib
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import data
from servers import Chartgate, Nginx, find, one_shot, request, wrk

MB = 1_000_000


def main():
    """Runs what was asked for and prints the table as it grows."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", data.HERE.parents[2] / "target")).resolve()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=target / "release" / "chartgate")
    parser.add_argument("--seconds", type=int, default=4, help="of load for each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosted", type=int, default=100_000, help="hosted versions of the start figure")
    parser.add_argument("--only", default=",".join(FIGURES))
    options = parser.parse_args()
    options.program = options.program.resolve()
    options.keep = target / "bench"
    print(f"{describe_machine()}\n")
    print("| figure | must reach | chartgate | rival | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="chartgate-bench-") as folder:
        for name in options.only.split(","):
            place = pathlib.Path(folder) / name
            place.mkdir()
            for row in FIGURES[name](options, place):
                print("| " + " | ".join(row) + " |", flush=True)
            shutil.rmtree(place, ignore_errors=True)


def describe_machine():
    """What the figures were measured on, in one line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    nginx = subprocess.run([find("nginx"), "-v"], capture_output=True, text=True, check=True).stderr.strip()
    return f"{os.cpu_count()} x {model}, {nginx.removeprefix('nginx version: ')}"


def against_nginx(options, folder):
    """Requests per second for an index, its 304 and a chart, against nginx with the same bytes as files."""
    corpus = data.corpus()
    upstream = folder / "upstream"
    shutil.copytree(corpus / "charts" / "jenkinsci+helm-charts", upstream)
    (upstream / "grafana").mkdir()
    (upstream / "grafana" / "index.yaml").write_bytes(data.index("grafana"))
    site = folder / "site"
    site.mkdir()
    for access_log in (True, False):
        place = folder / f"log-{access_log}"
        with Nginx(place / "source", upstream) as source, Nginx(place / "nginx", site, access_log) as nginx:
            url = f"http://127.0.0.1:{source.port}/grafana/"
            config = {
                "upstreams": {
                    "grafana": {"type": "helm", "url": url, "allow_private": True, "refresh": "1h"},
                    "charts": {"type": "dir", "url": str(upstream)},
                },
                "tenants": {"t": {"charts": ["grafana", "charts"], "access": {"anonymous": ["pull"]}}},
            }
            with Chartgate(options.program, place / "gateway", config, access_log=access_log) as gateway:
                gateway.ready()
                suffix = "" if access_log else ", both without access log"
                for row in load_rows(options, site, gateway, nginx):
                    yield [row[0] + suffix, *row[1:]]


def load_rows(options, site, gateway, nginx):
    """The three requests that nearly all clients send."""
    chart_path = "/t/charts/jenkins-2.5.4.tgz"
    _, fields, index = request(gateway.port, "GET", "/t/index.yaml")
    _, _, chart = request(gateway.port, "GET", chart_path)
    (site / "t" / "charts").mkdir(parents=True, exist_ok=True)
    (site / "t" / "index.yaml").write_bytes(index)
    (site / chart_path[1:]).write_bytes(chart)
    tag = next(value for name, value in fields.items() if name.lower() == "etag")
    rival_tag = request(nginx.port, "GET", "/t/index.yaml")[1]["ETag"]
    yield load_row(options, f"GET index, {len(index) / MB:.1f} MB", "/t/index.yaml", (gateway, []), (nginx, []))
    condition = "If-None-Match: {}".format
    yield load_row(options, "GET index, 304", "/t/index.yaml", (gateway, [condition(tag)]), (nginx, [condition(rival_tag)]))
    yield load_row(options, f"GET chart, {len(chart) / 1000:.0f} KB", chart_path, (gateway, []), (nginx, []))


def load_row(options, name, path, ours, theirs):
    """Alternating rounds of both servers; medians, and processor time per 1000 requests."""
    rates, costs = ([], []), ([], [])
    for _ in range(options.rounds):
        for place, (server, headers) in enumerate((ours, theirs)):
            before = server.cpu()
            rate = wrk(server.port, path, options.seconds, headers)
            rates[place].append(rate)
            costs[place].append((server.cpu() - before) / (rate * options.seconds) * 1e6)
    cells = [
        f"{statistics.median(rates[place]):,.0f}/s, {statistics.median(costs[place]):.0f} ms CPU per 1000, {server.memory() / MB:.0f} MB"
        for place, (server, _) in enumerate((ours, theirs))
    ]
    ratio = statistics.median(rates[0]) / statistics.median(rates[1])
    return [f"{name}, 16 connections", "at least nginx", *cells, f"{ratio:.2f}"]


def helm_pull(options, folder):
    """helm's own processor time for `pull --repo`: a raw 18 MB YAML index against the same through chartgate."""
    site = folder / "site"
    site.mkdir()
    archive = data.package("zz-bench", "1.0.0")
    (site / "zz-bench-1.0.0.tgz").write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    index = data.with_entry(data.cut_to(data.big_index(), 18_000_000), "zz-bench", "1.0.0", "zz-bench-1.0.0.tgz", digest)
    (site / "index.yaml").write_bytes(index)
    with Nginx(folder / "nginx", site) as nginx:
        raw = f"http://127.0.0.1:{nginx.port}/"
        config = {
            "upstreams": {"raw": {"type": "helm", "url": raw, "allow_private": True}},
            "tenants": {
                "full": {"charts": ["raw"], "access": {"anonymous": ["pull"]}},
                "slim": {"charts": ["raw"], "access": {"anonymous": ["pull"]}, "index": {"fields": "slim"}},
            },
        }
        with Chartgate(options.program, folder / "gateway", config) as gateway:
            gateway.ready()
            for version in ("helm3", "helm4"):
                theirs = pull_cost(options, folder, version, raw)
                for tenant in ("full", "slim"):
                    ours = pull_cost(options, folder, version, f"http://127.0.0.1:{gateway.port}/{tenant}")
                    cells = [f"{cpu:.2f} s CPU, {memory / MB:.0f} MB" for cpu, memory in (ours, theirs)]
                    name = f"{version} pull --repo, {len(index) / MB:.0f} MB YAML upstream, `fields: {tenant}`"
                    yield [name, "helm's CPU 3x lower", *cells, f"{theirs[0] / ours[0]:.1f}x lower"]


def pull_cost(options, folder, version, url):
    """Median processor seconds and memory of one `helm pull`."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*"}
    command = [find(version), "pull", "zz-bench", "--repo", url, "--version", "1.0.0"]
    samples = []
    for _ in range(max(options.rounds, 3)):
        (home / "zz-bench-1.0.0.tgz").unlink(missing_ok=True)
        samples.append(one_shot(command, home, env))
    return statistics.median(cpu for cpu, _ in samples), statistics.median(memory for _, memory in samples)


def big_upstream(options, folder):
    """One upstream of 24,804 versions: cold ingest, memory, refresh of one change, publishing an upload."""
    index = data.big_index()
    site = folder / "site"
    site.mkdir()
    (site / "index.yaml").write_bytes(index)
    with Nginx(folder / "nginx", site) as nginx:
        upstream = {"type": "helm", "url": f"http://127.0.0.1:{nginx.port}/", "allow_private": True, "refresh": "1h"}
        access = {"anonymous": ["pull", "push", "delete"]}
        config = {"upstreams": {"big": upstream}, "tenants": {"t": {"hosted": {}, "charts": ["big"], "access": access}}}
        pinned = ["taskset", "-c", "0"] if shutil.which("taskset") else []
        empty = {"tenants": {"t": {"hosted": {}, "access": access}}}
        with Chartgate(options.program, folder / "empty", empty, pinned) as gateway:
            gateway.ready()
            base = gateway.memory("VmHWM")
        colds = []
        for number in range(options.rounds):
            with Chartgate(options.program, folder / f"cold{number}", config, pinned) as gateway:
                colds.append((gateway.ready(), gateway.memory("VmHWM")))
        seconds = statistics.median(cold for cold, _ in colds)
        peak = statistics.median(memory for _, memory in colds)
        yield [
            f"cold start to ready on one core, {len(index) / MB:.1f} MB upstream fetched and merged",
            "ingest under 0.8 s, memory under 4x the text",
            f"{seconds:.2f} s, peak {peak / MB:.0f} MB, {(peak - base) / len(index):.1f}x the text above an empty gateway's {base / MB:.0f} MB",
            "",
            "",
        ]
        with Chartgate(options.program, folder / "warm", config) as gateway:
            gateway.ready()
            time.sleep(12)
            yield ["idle memory, 24,804 versions merged", "under 150 MB", f"{gateway.memory() / MB:.0f} MB", "", ""]
            yield refresh_row(options, gateway, site, index)
            yield publish_row(options, gateway)


def refresh_row(options, gateway, site, index):
    """A refresh after one more entry appeared upstream, from POST to answer."""
    samples = []
    for number in range(options.rounds + 2):
        changed = data.with_entry(index, "zz-new", f"1.0.{number}", "https://example.com/zz-new.tgz", "ab" * 32)
        (site / "next").write_bytes(changed)
        (site / "next").rename(site / "index.yaml")
        # Last-Modified counts in seconds; a change within one must not look like none.
        time.sleep(1.1)
        start = time.perf_counter()
        status, _, body = request(gateway.admin, "POST", "/upstreams/big/refresh", b"")
        samples.append(time.perf_counter() - start)
        if status != 200:
            raise SystemExit(f"refresh answered {status}: {body}")
        if f'"version":"1.0.{number}"'.encode() not in request(gateway.port, "GET", "/t/index.yaml")[2]:
            raise SystemExit("the refreshed index does not show the change")
    return ["refresh with one entry changed, fetched over loopback", "under 60 ms", f"{statistics.median(samples) * 1000:.0f} ms", "", ""]


def publish_row(options, gateway):
    """Uploads into the merged tenant: the answer, and the index that shows the version right after it."""
    samples = []
    for number in range(options.rounds * 5):
        archive = data.package("zz-upload", f"1.0.{number}")
        start = time.perf_counter()
        status, _, body = request(gateway.port, "POST", "/api/t/charts", archive)
        samples.append(time.perf_counter() - start)
        if status != 201:
            raise SystemExit(f"upload answered {status}: {body}")
        index = request(gateway.port, "GET", "/t/index.yaml")[2]
        if b'"zz-upload"' not in index or f"charts/zz-upload-1.0.{number}.tgz".encode() not in index:
            raise SystemExit("an upload that was answered 201 is not in the next index")
    name = f"upload to visible, tenant of {24_804 + len(samples):,} merged versions"
    return [name, "under 20 ms", f"median {statistics.median(samples) * 1000:.1f} ms, worst {max(samples) * 1000:.1f} ms", "", ""]


def many_hosted(options, folder):
    """Starting with a large hosted store: the first time, when everything is read, and later."""
    hosted = options.keep / f"hosted-{options.hosted}"
    data.many_packages(hosted / "t", options.hosted)
    config = {
        "store": {"type": "fs", "root": str(hosted)},
        "tenants": {"t": {"hosted": {}, "access": {"anonymous": ["pull"]}}},
    }
    first = None
    later = []
    for _ in range(options.rounds + 1):
        with Chartgate(options.program, folder / "gateway", config) as gateway:
            gateway.ready()
            # Serving means the whole index, not an open port.
            status, _, index = request(gateway.port, "GET", "/t/index.yaml")
            took = time.perf_counter() - gateway.started
            listed = index.count(b'"digest"')
            if status != 200 or listed != options.hosted:
                raise SystemExit(f"{status}: {listed} of {options.hosted} versions are listed")
            memory = gateway.memory()
        if first is None:
            first = took
        else:
            later.append(took)
    yield [f"first start with {options.hosted:,} hosted versions", "", f"{first:.2f} s", "", ""]
    text = f"{statistics.median(later):.2f} s, {memory / MB:.0f} MB"
    yield [f"second start with {options.hosted:,} hosted versions, index served", "under 1 s", text, "", ""]


FIGURES = {"nginx": against_nginx, "pull": helm_pull, "big": big_upstream, "hosted": many_hosted}

if __name__ == "__main__":
    sys.exit(main())
