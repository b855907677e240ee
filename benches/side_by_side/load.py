"""Clients under load, each in a process of its own, on one connection that is opened again when it breaks."""

import hashlib
import http.client
import random
import time

import data


class Client:
    """One connection; failures are counted, not raised."""

    def __init__(self, port):
        self.port = port
        self.connection = None
        self.errors = []

    def ask(self, method, path, body=None):
        """Status and body; `None` where no answer came."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self.connection.request(method, path, body)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"{method}: {type(error).__name__} {error}"[:120])
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            # A server that is gone stays gone; asking in a tight loop would only fill the list.
            time.sleep(0.1)
            return None


def write_on(port, writer, seconds):
    """Pushes one new version after the other."""
    client = Client(port)
    result = {"saved": [], "took": [], "errors": client.errors}
    deadline = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < deadline:
        archive = data.realistic_package(f"chart-{number % 100:03}", f"{10 + writer}.{number}.0")
        number += 1
        begin = time.perf_counter()
        answer = client.ask("POST", "/api/charts", archive)
        if answer is None:
            continue
        result["took"].append(time.perf_counter() - begin)
        if answer[0] == 201:
            result["saved"].append(hashlib.sha256(archive).hexdigest())
        else:
            client.errors.append(f"POST: {answer[0]} {answer[1][:80]}")
    return result


def read_on(port, seconds):
    """Reads as helm does: sometimes the index, mostly charts and versions."""
    client = Client(port)
    result = {"took": [], "errors": client.errors}
    deadline = time.perf_counter() + seconds
    choice = random.Random(port)
    while time.perf_counter() < deadline:
        chart = f"chart-{choice.randrange(100):03}"
        kind = choice.randrange(10)
        path = "/index.yaml" if kind == 0 else f"/charts/{chart}-1.0.0.tgz" if kind < 7 else f"/api/charts/{chart}/latest"
        begin = time.perf_counter()
        answer = client.ask("GET", path)
        if answer is None:
            continue
        result["took"].append(time.perf_counter() - begin)
        if answer[0] != 200:
            client.errors.append(f"GET {path}: {answer[0]} {answer[1][:80]}")
    return result
