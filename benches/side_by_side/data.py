"""Inputs: real indexes and charts of the corpus, and packages made in bulk."""

import gzip
import io
import os
import pathlib
import random
import tarfile

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


def realistic_package(name, version):
    """A package of about 9 KB, as an ordinary chart has: values, README and templates, different in each version."""
    words = random.Random(f"{name} {version}")
    sentence = lambda count: " ".join(WORDS[words.randrange(len(WORDS))] for _ in range(count))
    chart = f"""apiVersion: v2
name: {name}
version: {version}
appVersion: "{words.randrange(9)}.{words.randrange(30)}.{words.randrange(9)}"
description: {sentence(14)}
type: application
kubeVersion: ">=1.23.0-0"
home: https://example.com/{name}
icon: https://example.com/{name}/icon.png
keywords: [{", ".join(WORDS[words.randrange(len(WORDS))] for _ in range(4))}]
sources: [https://example.com/{name}/source]
maintainers:
- name: {sentence(2)}
  email: someone@example.com
annotations:
  example.com/category: {sentence(1)}
"""
    files = {"Chart.yaml": chart, "README.md": sentence(500)}
    files["values.yaml"] = "".join(f"{sentence(1)}{line}:\n  {sentence(1)}: {words.randrange(10**6)}\n" for line in range(150))
    for number in range(8):
        files[f"templates/part{number}.yaml"] = "".join(
            f"{sentence(1)}: {{{{ .Values.{sentence(1)} | quote }}}}\n" for _ in range(60)
        )
    bytes_out = io.BytesIO()
    with tarfile.open(fileobj=bytes_out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(bytes_out.getvalue(), 1, mtime=0)


def realistic_folder(folder, charts, versions):
    """`charts` charts of `versions` versions each, as ChartMuseum keeps them; made once."""
    done = folder / ".complete"
    if done.exists() and done.read_text() == f"{charts} {versions}":
        return
    folder.mkdir(parents=True, exist_ok=True)
    for chart in range(charts):
        for number in range(versions):
            name, version = f"chart-{chart:03}", f"{number // 20}.{number % 20}.0"
            (folder / f"{name}-{version}.tgz").write_bytes(realistic_package(name, version))
    done.write_text(f"{charts} {versions}")


WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ne", "ru", "ta", "so", "vi") for b in ("ber", "dan", "fil", "gor", "mes") for c in ("a", "en", "is", "o", "ul")]
