"""Inputs: real indexes and charts of the corpus, and packages made in bulk."""

import gzip
import os
import pathlib

HERE = pathlib.Path(__file__).resolve()


def corpus():
    """The folder of real indexes and charts."""
    path = pathlib.Path(os.environ.get("CHARTGATE_CORPUS", HERE.parents[2] / ".." / "shared" / "corpus")).resolve()
    if not (path / "indexes").is_dir():
        raise SystemExit("no corpus of real indexes; set CHARTGATE_CORPUS")
    return path


def index(name):
    """A real index, unpacked."""
    return gzip.decompress((corpus() / "indexes" / f"{name}.yaml.gz").read_bytes())


def big_index():
    """24.5 MB of YAML, 24,804 versions."""
    return index("big-merged-all-shared")


def with_entry(text, name, version, url, digest):
    """`text` with one more chart; a helm-shaped file ends with its `generated` line."""
    entry = f"""  {name}:
  - apiVersion: v2
    created: "2026-01-02T03:04:05.000000001Z"
    description: a chart whose archive is at hand
    digest: {digest}
    name: {name}
    urls:
    - {url}
    version: {version}
""".encode()
    at = text.rindex(b"\ngenerated:") + 1
    return text[:at] + entry + text[at:]


def cut_to(text, size):
    """The charts of `text` up to about `size` bytes."""
    end = text.rindex(b"\ngenerated:") + 1
    at = size
    # A chart begins with its name at column two.
    while True:
        at = text.index(b"\n  ", at) + 1
        if text[at + 2 : at + 3] not in (b" ", b"-"):
            return text[:at] + text[end:]


def package(name, version):
    """The smallest package that is a chart, about 200 bytes."""
    chart = f"apiVersion: v2\nname: {name}\nversion: {version}\ndescription: one of many\n".encode()
    header = bytearray(512)
    member = f"{name}/Chart.yaml".encode()
    header[: len(member)] = member
    header[100:107] = b"0000644"
    header[108:115] = header[116:123] = b"0000000"
    header[124:135] = b"%011o" % len(chart)
    header[136:147] = b"%011o" % 0
    header[148:156] = b"        "
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    header[148:155] = b"%06o\0" % sum(header)
    tar = bytes(header) + chart + bytes(-len(chart) % 512) + bytes(1024)
    return gzip.compress(tar, 1, mtime=0)


def many_packages(folder, count):
    """`count` packages as chartgate and ChartMuseum keep them, 50 versions a chart; made once."""
    done = folder / ".complete"
    if done.exists() and done.read_text() == str(count):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name, version = f"chart-{number // 50:05}", f"1.{number % 50}.0"
        (folder / f"{name}-{version}.tgz").write_bytes(package(name, version))
    done.write_text(str(count))
