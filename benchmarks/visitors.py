"""The studio under visitors: how long answers take, whether memory stays level, and whether anything is lost.

    python benchmarks/visitors.py [--visitors 20] [--requests 500] [--quick]

Each visitor has a scene, and by turns types other words, looks at labels, corrects a box, undoes and accepts;
what the server says of it at the end must be what was done. "memory" is the server's, after a fifth of the
requests and at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from common import arguments, begin, report


class Visitor:
    """One with a workspace, who remembers what ought to hold."""

    def __init__(self, url: str, number: int) -> None:
        self.client = httpx.Client(base_url=url, timeout=120)
        self.taken: dict[str, list[float]] = defaultdict(list)
        state = self.ask("open", "POST", "/api/workspaces", {"sample": number % 6})
        self.at, (picture,) = f"/api/workspaces/{state['id']}", state["pictures"]
        self.picture = f"{self.at}/pictures/{picture['id']}"
        self.done: list[str] = []
        self.words = state["words"]
        self.steps = 0

    def ask(self, what: str, method: str, path: str, body: Any = None) -> Any:
        began = time.perf_counter()
        answer = self.client.request(method, path, json=body)
        self.taken[what].append(time.perf_counter() - began)
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers["content-type"] else answer.content

    def step(self) -> None:
        n, self.steps = self.steps, self.steps + 1
        match n % 5:
            case 0:
                self.words = f"sunset, water, tree, house, thing {n}"  # never the same list twice
                self.ask("words", "PUT", f"{self.at}/words", {"words": self.words})
            case 1 | 3:
                told = self.ask("labels", "GET", f"{self.picture}/labels")
                self.ask("map", "GET", f"{self.picture}/map.png?version={told['version']}")
            case 2:
                box = {"kind": "box", "box": [n, 0, n + 40, 60], "word": "tree"}
                self.ask("correction", "POST", f"{self.picture}/corrections", box)
                self.done.append("correct")
            case 4 if n % 2:
                self.ask("undo", "POST", f"{self.at}/undo")
                self.done.pop()
            case _:
                self.ask("accept", "POST", f"{self.picture}/accept", {"accepted": True})
                self.done.append("accept")

    def lost(self) -> bool:
        """Whether the server says anything else than what was done."""
        state = self.ask("state", "GET", self.at)
        (picture,) = state["pictures"]
        held = self.done.count("correct")
        accepted = "accept" in self.done
        said = (picture["corrections"], len(state["lessons"]), picture["state"] == "accepted", state["words"])
        return said != (held, held, accepted, self.words)


def memory(pid: int) -> float:
    """Of a process, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of figures."""
    command = [sys.executable, "-m", "freeda", "app", "--port", str(given.port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = re.search(r"http://\S+/", server.stdout.readline())
        if said is None:
            raise SystemExit("the server could not begin")
        with ThreadPoolExecutor(given.visitors) as threads:
            visitors = list(threads.map(lambda n: Visitor(said[0], n), range(given.visitors)))
            each = -(-given.requests // given.visitors)
            began, levels = time.perf_counter(), []
            for part in (each // 5, each - each // 5):
                list(threads.map(lambda one, part=part: [one.step() for _ in range(part)], visitors))
                levels.append(memory(server.pid))
            seconds = time.perf_counter() - began
            lost = sum(threads.map(Visitor.lost, visitors))
    finally:
        server.kill()
        server.communicate()
    rows = []
    for what in visitors[0].taken:
        taken = sorted(t for one in visitors for t in one.taken[what])
        at = taken[min(len(taken) - 1, len(taken) * 95 // 100)]
        middle = 1000 * statistics.median(taken)
        rows.append({"request": what, "n": len(taken), "median ms": middle, "95 % ms": 1000 * at})
    asked = sum(row["n"] for row in rows)
    print(
        json.dumps({"requests": asked, "seconds": seconds, "memory MB": levels, "visitors that lost": lost})
    )
    if lost:
        raise SystemExit(f"{lost} visitors lost something")
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--visitors", type=int, help="default 20, quick 4")
    parser.add_argument("--requests", type=int, help="steps of all together: default 500, quick 40")
    parser.add_argument("--port", type=int, default=7869)
    given = begin(parser)
    given.visitors = given.visitors or (4 if given.quick else 20)
    given.requests = given.requests or (40 if given.quick else 500)
    report("visitors", given, measure(given))


if __name__ == "__main__":
    main()
