"""Processes under measurement: chartgate, nginx, and one-shot clients, with their memory and processor time."""

import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find(program):
    """The path of a program; a clear message where it is missing."""
    tools = os.environ.get("CHARTGATE_TOOLS_DIR", "")
    names = {"distribution": "registry", "zot": "zot"}
    for path in (f"{tools}/{program}/{names.get(program, 'helm')}", shutil.which(program), f"/usr/sbin/{program}"):
        if path and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise SystemExit(f"`{program}` is missing; `make bench` installs it")


def request(port, method, path, body=None, headers=None):
    """One request on a connection of its own: status, header fields, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Server:
    """A running server and all of its worker processes."""

    def __init__(self, command, cwd, log, env=None):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def pids(self):
        """The process and its children."""
        pids = [self.process.pid]
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                pids.append(int(stat.parent.name))
        return pids

    def memory(self, field="VmRSS"):
        """Resident bytes now (`VmRSS`) or at most (`VmHWM`), of all processes together."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) * 1024
        return total

    def cpu(self):
        """Processor seconds used so far by all processes together."""
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def wait_for(self, port, path, seconds=120):
        """Seconds from the start of the process until `path` answers 200."""
        deadline = self.started + seconds
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.process.args[0]} ended with {self.process.returncode}; see its log")
            try:
                if request(port, "GET", path)[0] == 200:
                    return time.perf_counter() - self.started
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"no 200 from {path} after {seconds} s")

    def stop(self):
        """Ends it, by force if it does not want to."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Chartgate(Server):
    """chartgate on a configuration without listeners and data folder, which are added."""

    def __init__(self, program, folder, config, prefix=(), access_log=True):
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.admin = free_port(), free_port()
        config = dict(config)
        config["server"] = {**config.get("server", {}), "http": f"127.0.0.1:{self.port}", "admin": f"127.0.0.1:{self.admin}", "grace_period": "1s"}
        config.setdefault("data_dir", str(folder / "data"))
        file = folder / "gateway.yaml"
        file.write_text(json.dumps(config, indent=1))
        env = {**os.environ, "CHARTGATE_LOG": "info" if access_log else "warn"}
        with open(folder / "chartgate.log", "ab") as log:
            super().__init__([*prefix, program, "serve", "--config", str(file)], folder, log, env)

    def ready(self):
        """Seconds from the start of the process until it is ready."""
        return self.wait_for(self.admin, "/readyz")


class Museum(Server):
    """ChartMuseum, or chartgate in its place, with the same flags."""

    def __init__(self, command, folder, flags, env=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        arguments = ["--port", str(self.port), "--listen-host", "127.0.0.1", *flags]
        with open(folder / "server.log", "ab") as log:
            super().__init__([*command, *arguments], folder, log, {**os.environ, **(env or {})})


class Minio(Server):
    """MinIO with an empty bucket `charts`, which counts what it is asked."""

    USER, PASSWORD, BUCKET = "minio-user", "minio-password", "charts"

    def __init__(self, program, folder):
        (folder / self.BUCKET).mkdir(parents=True)
        self.port = free_port()
        env = {
            **os.environ,
            "HOME": str(folder),
            "MINIO_ROOT_USER": self.USER,
            "MINIO_ROOT_PASSWORD": self.PASSWORD,
            "MINIO_BROWSER": "off",
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        }
        command = [program, "server", "--quiet", "--address", f"127.0.0.1:{self.port}", "--console-address", "127.0.0.1:0", folder]
        with open(folder.parent / "minio.log", "ab") as log:
            super().__init__(command, folder.parent, log, env)
        self.wait_for(self.port, "/minio/health/cluster")

    def put(self, key, content):
        """Stores an object."""
        host = f"127.0.0.1:{self.port}"
        path = "/" + self.BUCKET + "/" + urllib.parse.quote(key)
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        headers = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"PUT\n{path}\n\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key_bytes = f"AWS4{self.PASSWORD}".encode()
        for part in scope.split("/"):
            key_bytes = hmac.digest(key_bytes, part.encode(), "sha256")
        signature = hmac.new(key_bytes, text.encode(), "sha256").hexdigest()
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={self.USER}/{scope}, SignedHeaders={names}, Signature={signature}"
        status, _, body = request(self.port, "PUT", path, content, headers)
        if status != 200:
            raise SystemExit(f"MinIO answered {status}: {body}")

    def counts(self):
        """Requests so far, by the name of the operation."""
        text = request(self.port, "GET", "/minio/v2/metrics/cluster")[2].decode()
        found = re.findall(r'^minio_s3_requests_total\{api="(\w+)".*?\} (\S+)$', text, re.M)
        return {name: int(float(value)) for name, value in found}


class Nginx(Server):
    """nginx with the files of a folder, set up as static file servers are."""

    def __init__(self, folder, root, access_log=True):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        (folder / "nginx.conf").write_text(
            f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes auto; user root;
events {{ worker_connections 1024; }}
http {{
  access_log {'access.log' if access_log else 'off'}; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; etag on;
  open_file_cache max=1000; open_file_cache_valid 1s; types {{ application/gzip tgz; application/x-yaml yaml; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{self.port}; root {root}; location = /alive {{ return 200; }} }}
}}
"""
        )
        conf = str(folder / "nginx.conf")
        if os.getuid() != 0:
            text = (folder / "nginx.conf").read_text().replace(" user root;", "")
            (folder / "nginx.conf").write_text(text)
        with open(folder / "nginx.log", "ab") as log:
            super().__init__([find("nginx"), "-p", str(folder), "-c", conf], folder, log)
        self.wait_for(self.port, "/alive")


class StaticRegistry(Server):
    """The upstream of all: nginx on `<folder>/v2/<repository>/{blobs,manifests}/<digest>`, which logs what it is asked.

    `rate`, where given, is what one connection gets, as nginx writes it (`50m`).
    """

    def __init__(self, folder, root, kind, rate=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = folder / "asked.log"
        user = "user root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes auto; {user}
events {{ worker_connections 1024; }}
http {{
  log_format asked '$request_method $uri $status'; access_log {self.log} asked;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; etag on; types {{ }}
  {f"limit_rate {rate};" if rate else ""}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{self.port} backlog=1024; root {root};
    location = /v2/ {{ default_type application/json; return 200 '{{}}'; }}
    location ~ /blobs/(?<digest>[^/]+)$ {{ default_type application/octet-stream; add_header Docker-Content-Digest $digest; }}
    location ~ /manifests/(?<digest>[^/]+)$ {{ default_type {kind}; add_header Docker-Content-Digest $digest; }}
  }}
}}
"""
        )
        with open(folder / "nginx.log", "ab") as log:
            super().__init__([find("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, log)
        self.wait_for(self.port, "/v2/")

    def asked(self, method, path):
        """How often this was asked for."""
        return sum(line.startswith(f"{method} {path} ") for line in self.log.read_text().splitlines())


class Distribution(Server):
    """distribution on a folder, or in front of an upstream; without access log and with its descriptors in memory."""

    def __init__(self, folder, upstream=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        config = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "data")},
                "cache": {"blobdescriptor": "inmemory"},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "none"},
        }
        if upstream:
            config["proxy"] = {"remoteurl": f"http://127.0.0.1:{upstream}"}
        (folder / "config.yml").write_text(json.dumps(config))
        env = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        with open(folder / "distribution.log", "ab") as log:
            super().__init__([find("distribution"), "serve", str(folder / "config.yml")], folder, log, env)
        self.wait_for(self.port, "/v2/")


class Zot(Server):
    """zot on a folder; without access log."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        config = {
            "distSpecVersion": "1.1.1",
            "storage": {"rootDirectory": str(folder / "data")},
            "http": {"address": "127.0.0.1", "port": str(self.port)},
            "log": {"level": "error"},
        }
        (folder / "config.json").write_text(json.dumps(config))
        with open(folder / "zot.log", "ab") as log:
            super().__init__([find("zot"), "serve", str(folder / "config.json")], folder, log)
        self.wait_for(self.port, "/v2/")


def wrk(port, path, seconds, headers=()):
    """Requests per second of 16 connections."""
    command = [find("wrk"), "-t2", "-c16", f"-d{seconds}s", "--timeout", "10s"]
    for header in headers:
        command += ["-H", header]
    text = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    if "Non-2xx or 3xx" in text or "Socket errors" in text:
        raise SystemExit(f"errors under load on {path}:\n{text}")
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Requests/sec"))


def one_shot(command, cwd, env):
    """Processor seconds and peak resident bytes of one command."""
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} failed: {complaint}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
