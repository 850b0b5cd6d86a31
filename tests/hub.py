"""A hub on this machine, of one folder: enough of the protocol for the hub's own client to fetch from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

REPO, COMMIT = "someone/some-bank", "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What was asked of it, and what it answers instead of files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.status = folder, list[str](), 200
        self.address = ""

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.status != 200:
                return self.answer(hub.status, b"{}")
            start = f"/datasets/{REPO}/resolve/"
            if path.startswith(start):
                file = path.removeprefix(start).partition("/")[2]
                if file not in hub.files():
                    return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                data = (folder / file).read_bytes()
                tag = hashlib.sha256(data).hexdigest()
                return self.answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
            if path.startswith(f"/api/datasets/{REPO}/tree"):
                found = [
                    {"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": "0" * 40}
                    for f in hub.files()
                ]
                return self.answer(200, json.dumps(found).encode())
            if path.startswith(f"/api/datasets/{REPO}"):
                listed = [{"rfilename": f} for f in hub.files()]
                told = {"id": REPO, "sha": COMMIT, "siblings": listed, "private": False, "tags": []}
                return self.answer(200, json.dumps(told).encode())
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
