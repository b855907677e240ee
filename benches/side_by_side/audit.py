#!/usr/bin/env python3
"""What the audit log costs a cached hit: the same requests with and without it, in turns, in one run.

    audit.py --program target/release/chartgate

Processor time for each request, because it does not depend on what else the machine does.
"""

import argparse
import pathlib
import statistics
import tempfile

import data
from servers import Chartgate, request, wrk

ACCESS = {"rules": [{"subjects": ["user:ci"], "actions": ["pull", "push"]}]}
CI = "Basic Y2k6b3BlbnNlc2FtZQ=="


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--program", default=str(root / "target/release/chartgate"))
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    config = {"auth": {"users": {"ci": {"password": "opensesame"}}}, "tenants": {"t": {"hosted": True, "access": ACCESS}}}
    with tempfile.TemporaryDirectory(prefix="chartgate-audit-") as folder:
        folder = pathlib.Path(folder)
        with (
            Chartgate(arguments.program, folder / "on", {**config, "audit": {"file": "audit.log"}}, access_log=False) as on,
            Chartgate(arguments.program, folder / "off", config, access_log=False) as off,
        ):
            costs = {on: [], off: []}
            for server in costs:
                server.ready()
                status, *_ = request(server.port, "POST", "/api/t/charts", data.package("web", "1.0.0"), {"Authorization": CI})
                assert status == 201, status
            for _ in range(arguments.rounds):
                for server, found in costs.items():
                    before = server.cpu()
                    rate = wrk(server.port, "/t/charts/web-1.0.0.tgz", arguments.seconds, [f"Authorization: {CI}"])
                    found.append((server.cpu() - before) / (rate * arguments.seconds) * 1e6)
            with_log, without = (statistics.median(found) for found in costs.values())
            print(f"µs of processor time for each hit: {with_log:.2f} with the audit log, {without:.2f} without; ratio {with_log / without:.3f}")


if __name__ == "__main__":
    main()
