"""Clients under load: such as push and read for a while, each in a process of its own, and such as only take what they get."""

import hashlib
import http.client
import multiprocessing
import random
import select
import socket
import statistics
import threading
import time

import data


class Client:
    """One connection, which is opened again when it breaks; failures are counted, not raised."""

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


# What a reader takes at once, and what must have come before it is woken for it.
TAKEN = 1 << 20
ENOUGH = 256 << 10


class Reader:
    """A connection whose long answers the kernel throws away, so that reading costs little beside what is measured."""

    # Never written to.
    nowhere = bytearray(TAKEN)

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    def ask(self):
        """Sends the request; `read` takes what comes."""
        self.head, self.left, self.first = b"", None, None
        self.wake_at(1)
        self.asked = time.perf_counter()
        self.socket.send(self.request)

    def read(self):
        """Whether the answer is there to its end. Raises where it is not a whole 200."""
        try:
            if self.left is None:
                self.read_head()
            else:
                self.left -= self.checked(self.socket.recv_into(self.nowhere, min(self.left, TAKEN), socket.MSG_TRUNC))
        except BlockingIOError:
            return False
        if self.left is None:
            return False
        self.first = self.first or time.perf_counter() - self.asked
        self.wake_at(min(self.left, ENOUGH))
        return self.left == 0

    def read_head(self):
        """The head, and what came with it of the body."""
        come = self.socket.recv(4096)
        self.checked(len(come))
        self.head += come
        head, blank, body = self.head.partition(b"\r\n\r\n")
        if blank:
            lines = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:])
            if not head.startswith(b"HTTP/1.1 200 "):
                raise OSError(head[:200])
            self.left = int(lines[b"content-length"]) - len(body)

    def checked(self, count):
        """`count`, unless it says that the server has gone."""
        if count == 0:
            raise OSError(f"the answer broke off: {self.left} bytes are missing")
        return count

    def wake_at(self, count):
        """How many bytes must have come before `read` is worth it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(count, 1))


def readers(port, path, count, seconds, processes=2):
    """`count` readers that all ask at once, and again until `seconds` have passed (0: once).

    Answers per second, seconds to the last byte, and to the first one of a body in the median and at worst.
    """
    start = multiprocessing.Barrier(processes)
    with multiprocessing.Pool(processes, set_barrier, (start,)) as pool:
        parts = [pool.apply_async(read_many, (port, path, count // processes, seconds)) for _ in range(processes)]
        parts = [part.get() for part in parts]
    answers, ends, firsts = zip(*parts)
    firsts = sorted(first for part in firsts for first in part)
    return sum(answers) / max(ends), max(ends), statistics.median(firsts), firsts[-1]


def set_barrier(start):
    """What processes cannot be handed later."""
    global together
    together = start


def read_many(port, path, count, seconds):
    """One process' readers: answers, seconds to the last byte, and to every reader's first byte the first time."""
    waiting, known, firsts = select.epoll(), {}, []
    for _ in range(count):
        reader = Reader(port, path)
        known[reader.socket.fileno()] = reader
        waiting.register(reader.socket, select.EPOLLIN)
    together.wait()
    began = time.perf_counter()
    for reader in known.values():
        reader.ask()
    answers, active = 0, count
    while active:
        for number, _ in waiting.poll():
            reader = known[number]
            if not reader.read():
                continue
            answers += 1
            if len(firsts) < count:
                firsts.append(reader.first)
            if time.perf_counter() - began < seconds:
                reader.ask()
            else:
                waiting.unregister(number)
                active -= 1
    return answers, time.perf_counter() - began, firsts


class Link:
    """A line to a server on this machine that carries so many bytes a second, all connections together."""

    def __init__(self, server, rate):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.process = multiprocessing.Process(target=carry, args=(self.listener, server, rate), daemon=True)
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()
        self.listener.close()


def carry(listener, server, rate):
    """Joins every connection to one of its own to the server; what comes back waits for its turn on the line."""
    line = {"lock": threading.Lock(), "free": time.perf_counter()}

    def turn(count):
        with line["lock"]:
            line["free"] = max(line["free"], time.perf_counter()) + count / rate
            return line["free"] - time.perf_counter()

    def forward(source, target, slow):
        try:
            while piece := source.recv(TAKEN // 8):
                if slow:
                    time.sleep(max(turn(len(piece)), 0))
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One side has gone; the other one is told.
            for end in (source, target):
                end.close()

    while True:
        client, _ = listener.accept()
        there = socket.create_connection(("127.0.0.1", server))
        for arguments in ((client, there, False), (there, client, True)):
            threading.Thread(target=forward, args=arguments, daemon=True).start()
