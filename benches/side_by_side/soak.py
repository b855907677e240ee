#!/usr/bin/env python3
"""chartgate at its limits for minutes: mixed clients from very many addresses, most of whom are turned away.

    make soak                            ten minutes
    soak.py --program PATH --seconds 60

Fails where memory or descriptors grow, or where one line of the audit log is missing: every answer that must have one is counted
here and looked up there. Loopback only; the addresses are those that a trusted proxy announces.
"""

import argparse
import base64
import http.client
import json
import pathlib
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter

import data
from servers import Chartgate, request

MIB = 1 << 20
# What memory may grow by between the end of the second minute and the end (the larger of both): caches that are still filling.
GROWTH, SLACK = 0.10, 24 * MIB
# Descriptors that may be open in the end beyond those at the start.
DESCRIPTORS = 16
# More clients than a limiter tells apart (100,000 in the product), so that its bound is reached.
ADDRESSES = 200_000

ACME = {"hosted": True, "access": {"anonymous": ["pull"], "rules": [{"subjects": ["user:ci"], "actions": ["pull", "push", "delete"]}]}}
CONFIG = {
    "server": {"trusted_proxies": ["127.0.0.0/8"]},
    "auth": {"users": {"ci": {"password": "opensesame"}, "eve": {"password": "another"}}},
    "audit": {"file": "audit.log", "max_size": "16MiB", "keep": 1000},
    "tenants": {
        # One allowance for everybody, one for each address, and one without any for those whose every deed is counted.
        "busy": {**ACME, "limits": {"requests": "200/s", "burst": 200, "by": "tenant"}},
        "wide": {**ACME, "limits": {"requests": "6/m", "burst": 3, "by": "address"}},
        "shop": ACME,
        "own": {"hosted": True, "access": {"rules": [{"subjects": ["user:ci"], "actions": ["pull"]}]}},
    },
}


def basic(user, password):
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


CI, EVE = basic("ci", "opensesame"), basic("eve", "another")


def address():
    """Some client, told by its proxy: one of a few who come all the time, or one of very many."""
    number = random.randrange(random.choice([1000, ADDRESSES]))
    return f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Tally:
    """What was answered, over all clients."""

    def __init__(self):
        self.lock = threading.Lock()
        self.status = Counter()
        self.denied = 0
        self.malformed = 0
        self.unanswered = 0
        self.deeds = set()
        self.unknown = set()
        self.broken = []

    def note(self, who, status, is_denied):
        with self.lock:
            self.status[f"{who} {status}"] += 1
            self.denied += is_denied


class Client(threading.Thread):
    """One client that asks until it is told to stop, on a connection that it keeps for a while."""

    def __init__(self, world, ask, name, pause=0.0):
        super().__init__(name=name, daemon=True)
        self.world, self.ask, self.pause = world, ask, pause
        self.link, self.uses = None, 0

    def run(self):
        while not self.world.over.is_set():
            try:
                self.ask(self)
            except OSError as error:
                self.drop()
                with self.world.tally.lock:
                    self.world.tally.status[f"{self.name} {type(error).__name__}"] += 1
                    self.world.tally.unanswered += 1
            except Exception as error:  # noqa: BLE001: told at the end, which fails
                self.world.tally.broken.append(f"{self.name}: {error!r}")
                return
            if self.pause:
                self.world.over.wait(self.pause)
        self.drop()

    def drop(self):
        if self.link:
            self.link.close()
        self.link, self.uses = None, 0

    def send(self, method, path, body=None, **fields):
        """Status and fields of one answer, whose body is read."""
        if self.uses >= 200:
            self.drop()
        if self.link is None:
            self.link = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=60)
        self.uses += 1
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        try:
            self.link.request(method, path, body, headers)
            answer = self.link.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError) as error:
            raise OSError(str(error)) from error
        self.world.tally.note(self.name, answer.status, answer.status in (401, 403, 429))
        return answer.status, answer.headers

    def deed(self, method, path, body=None, good=(200, 201, 202), **fields):
        """One that changes something: it must have a line."""
        name = f"{self.name}-{self.world.next()}"
        try:
            status, _ = self.send(method, path, body, Authorization=CI, X_Request_Id=name, **fields)
        except OSError:
            with self.world.tally.lock:
                self.world.tally.unknown.add(name)
            raise
        if status not in good:
            raise RuntimeError(f"{method} {path}: {status}")
        with self.world.tally.lock:
            self.world.tally.deeds.add(name)


class World:
    """The gateway and what its clients share."""

    def __init__(self, port):
        self.port, self.over, self.tally = port, threading.Event(), Tally()
        self.numbers, self.lock = 0, threading.Lock()

    def next(self):
        with self.lock:
            self.numbers += 1
            return self.numbers


# --- what clients do ------------------------------------------------------------------------------------------------------------


def pull(client):
    """At the rate limit of the tenant, and beyond."""
    path = random.choice(["/busy/index.yaml", "/busy/charts/held-1.0.0.tgz", "/v2/busy/app/manifests/1"])
    client.send("GET", path, Authorization=CI, X_Forwarded_For=address())


def many(client):
    """Very many addresses, each with a small allowance of its own."""
    client.send("GET", "/wide/index.yaml", X_Forwarded_For=address())


def denied(client):
    """Somebody who may do nothing there; to a stranger it looks like a question of credentials."""
    client.send("GET", "/own/index.yaml", X_Forwarded_For=address())
    client.send("POST", "/api/shop/charts", b"x", Authorization=EVE, X_Forwarded_For=address())


def guess(client):
    """Wrong passwords, from a few stubborn networks and from everywhere."""
    place = random.choice(["203.0.113.7", "203.0.113.8", address()])
    path = random.choice(["/shop/index.yaml", "/token?service=x", "/v2/shop/app/manifests/1"])
    client.send("GET", path, Authorization=basic("ci", f"guess-{random.random()}"), X_Forwarded_For=place)


def charts(client):
    """Pushed and removed again."""
    version = f"1.0.{client.world.next()}"
    client.deed("POST", "/api/shop/charts", data.package("soak", version), good=(201,))
    client.send("GET", f"/shop/charts/soak-{version}.tgz", Authorization=CI)
    client.deed("DELETE", f"/api/shop/charts/soak/{version}")


MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}).encode()


def images(client):
    """A tag is pushed, read and removed again; its manifest is the same each time."""
    tag = f"t{client.world.next()}"
    kind = "application/vnd.oci.image.index.v1+json"
    client.deed("PUT", f"/v2/shop/app/manifests/{tag}", MANIFEST, Content_Type=kind)
    client.send("GET", f"/v2/shop/app/manifests/{tag}", Authorization=CI, Accept=kind)
    client.deed("DELETE", f"/v2/shop/app/manifests/{tag}")


def leave(client):
    """Goes away in the middle: of a head, of an upload, of an answer."""
    name = f"{client.name}-{client.world.next()}"
    with client.world.tally.lock:
        client.world.tally.unknown.add(name)
    upload = f"POST /api/shop/charts HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\nAuthorization: {CI}\r\nX-Request-Id: {name}\r\n\r\nxyz"
    for text in (
        b"GET /shop/index.yaml HTTP/1.1\r\nHost: a\r\nX-",
        b"GET /shop/index.yaml HTTP/1.1\r\nHost: a\r\n\r\n",
        upload.encode(),
    ):
        with socket.create_connection(("127.0.0.1", client.world.port)) as link:
            link.sendall(text)


def malformed(client):
    """No request at all."""
    with socket.create_connection(("127.0.0.1", client.world.port), timeout=60) as link:
        link.sendall(b"GET /shop/index.yaml HTTP/1.1\r\nHost: a b\r\n\r\n")
        if b" 400 " not in link.recv(64):
            raise RuntimeError("a malformed head was not refused")
    with client.world.tally.lock:
        client.world.tally.malformed += 1


# --- what is measured -----------------------------------------------------------------------------------------------------------


def metrics(port):
    """Values by name with labels."""
    _, _, text = request(port, "GET", "/metrics")
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def descriptors(server):
    """How many the process has open."""
    return len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()))


def lines_of(folder):
    """All lines of the audit log, over its files."""
    for file in folder.glob("audit.log*"):
        with open(file, encoding="ascii") as text:
            yield from map(json.loads, text)


def slope(samples):
    """MiB an hour, by least squares."""
    times, sizes = zip(*samples)
    if len(times) < 3:
        return 0.0
    return statistics.linear_regression(times, sizes).slope * 3600 / MIB


def soak(arguments, folder):
    """Runs everything; the problems that were found."""
    with Chartgate(arguments.program, folder, CONFIG, access_log=False) as server:
        server.ready()
        world = World(server.port)
        setup = Client(world, None, "setup")
        for tenant in ("busy", "shop"):
            setup.deed("POST", f"/api/{tenant}/charts", data.package("held", "1.0.0"), good=(201,))
        kind = "application/vnd.oci.image.index.v1+json"
        setup.deed("PUT", "/v2/busy/app/manifests/1", MANIFEST, Content_Type=kind)
        setup.drop()
        opened = descriptors(server)
        kinds = [(pull, 3), (many, 3), (denied, 1), (guess, 2), (charts, 1), (images, 1), (leave, 1), (malformed, 1)]
        slow = {leave: 0.02, malformed: 0.02, charts: 0.05, images: 0.05}
        clients = [Client(world, ask, f"{ask.__name__}{at}", slow.get(ask, 0)) for ask, count in kinds for at in range(count)]
        begun = time.monotonic()
        for client in clients:
            client.start()
        samples, keys = [], 0
        while time.monotonic() - begun < arguments.seconds:
            time.sleep(min(2.0, arguments.seconds / 30))
            samples.append((time.monotonic() - begun, server.memory()))
            found = metrics(server.admin)
            keys = max([keys, *(value for name, value in found.items() if name.startswith("chartgate_limit_keys"))])
        found = metrics(server.admin)
        world.over.set()
        for client in clients:
            client.join(120)
        time.sleep(3)
        left = descriptors(server)
        answered = sum(count for name, count in world.tally.status.items())
        server.stop()
        ended = server.process.returncode
    return judge(arguments, folder, world.tally, samples, keys, (opened, left), answered, found, ended)


def judge(arguments, folder, tally, samples, keys, open_files, answered, found, ended):
    """Prints what came of it; what is wrong with it."""
    problems = list(tally.broken)
    if ended != 0:
        problems.append(f"the gateway ended with {ended}")
    # From the second minute on, or the first third of a short run.
    settled = [sample for sample in samples if sample[0] >= min(120, arguments.seconds / 3)]
    tenth = max(1, len(settled) // 10)
    before = statistics.median(size for _, size in settled[:tenth])
    after = statistics.median(size for _, size in settled[-tenth:])
    allowed = before + max(before * GROWTH, SLACK)
    if after > allowed:
        problems.append(f"memory grew from {before / MIB:.1f} to {after / MIB:.1f} MiB; {allowed / MIB:.1f} are allowed")
    opened, left = open_files
    if left > opened + DESCRIPTORS:
        problems.append(f"{opened} descriptors were open before, {left} after")
    deeds, counted, summed, refused = Counter(), 0, 0, 0
    for line in lines_of(folder):
        times = line.get("repeated", 1)
        if line["result"] == "lost":
            problems.append(f"the log itself says that lines are missing: {line}")
        elif line["action"] == "request":
            refused += times
        elif line["action"] == "others":
            # Too many at a time to tell them apart: denied ones and malformed ones together.
            summed += times
        elif line["result"] == "denied":
            counted += times
        else:
            deeds[line["request_id"]] += 1
    absent = [name for name in tally.deeds if deeds[name] != 1]
    if absent:
        problems.append(f"{len(absent)} deeds have no line, or two: {absent[:5]}")
    strange = set(deeds) - tally.deeds - tally.unknown
    if strange:
        problems.append(f"{len(strange)} lines are about deeds that nobody did: {sorted(strange)[:5]}")
    twice = [name for name in tally.unknown if deeds[name] > 1]
    if twice:
        problems.append(f"{len(twice)} deeds without an answer have two lines: {twice[:5]}")
    # Those that got no answer may have been denied.
    wanted, found_in_log = tally.denied + tally.malformed, counted + summed + refused
    if not wanted <= found_in_log <= wanted + tally.unanswered:
        problems.append(f"{wanted} requests were denied or malformed, and {found_in_log} are in the log")
    if refused > tally.malformed:
        problems.append(f"{tally.malformed} requests were malformed, and {refused} are in the log")
    # What a limiter tells apart, and what comes between two of its counts.
    if keys > 110_000:
        problems.append(f"the limiters hold {keys:.0f} keys")
    rate = answered / max(1, samples[-1][0])
    print(f"seconds {samples[-1][0]:.0f} · answers {answered} ({rate:.0f}/s) · denied {tally.denied} · deeds {len(tally.deeds)}")
    print(f"memory MiB: settled {before / MIB:.1f} · end {after / MIB:.1f} · most {max(size for _, size in samples) / MIB:.1f} · slope {slope(settled):.1f}/h")
    print(f"descriptors: {opened} before, {left} after · limiter keys: {keys or 'not told'} · denied or malformed in the log: {found_in_log} of {wanted}, {summed} of them in sums")
    lost = sum(value for name, value in found.items() if name.startswith("chartgate_audit_lines_total") and "lost" in name)
    if lost:
        problems.append(f"{lost:.0f} lines of the audit log were lost")
    if arguments.verbose:
        for name, count in sorted(tally.status.items()):
            print(f"  {name}: {count}")
    for group in ("pull", "many", "denied", "guess", "charts", "images"):
        if not any(name.startswith(group) and name.split()[-1].isdigit() for name in tally.status):
            problems.append(f"no `{group}` was ever answered")
    if not any(name.endswith(" 429") for name in tally.status):
        problems.append("the limit was never reached")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--program", default=str(root / "target/release/chartgate"))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--verbose", action="store_true", help="answers by client and status")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chartgate-soak-"))
    problems = soak(arguments, folder)
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    if arguments.keep or problems:
        print(f"logs are in {folder}")
    else:
        import shutil

        shutil.rmtree(folder)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
