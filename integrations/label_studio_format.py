"""What Label Studio sends and takes: its requests, labelling configs and regions, and where its pictures are.

Formats: labelstud.io/guide/task_format, /tags/brushlabels, /guide/ml_create.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from secrets import compare_digest, token_hex
from typing import Any, NamedTuple
from urllib import request as http
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

from fastapi import HTTPException, Request

from freeda.errors import InputError, one_line, shortened


def part(body: Any, kind: Any, *path: str) -> Any:
    """What a request holds at `path`. Raises InputError where that is nothing of this kind."""
    found = body
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, kind) or (isinstance(found, float) and not isfinite(found)):
        raise InputError(f"{'.'.join(path)} is {shortened(found)}, which Label Studio does not send")
    return found


class Config(NamedTuple):
    """The BrushLabels or PolygonLabels of a labelling config, whichever come first."""

    kind: str
    """What results call them: "brushlabels" or "polygonlabels"."""
    name: str
    image: str
    """The Image that they are for."""
    key: str
    """Where a task's data has its address."""
    labels: tuple[str, ...]

    @classmethod
    def read(cls, xml: str) -> Config:
        """Raises InputError for a config without such labels for an Image."""
        try:
            tags = list(ElementTree.fromstring(xml).iter())
        except ElementTree.ParseError as error:
            raise InputError(f"label_config is no XML ({error})") from error
        images = {tag.get("name", ""): tag.get("value", "") for tag in tags if tag.tag.lower() == "image"}
        for tag in tags:
            kind, image = tag.tag.lower(), tag.get("toName", "")
            if kind in ("brushlabels", "polygonlabels") and images.get(image, "").startswith("$"):
                labels = tuple(label.get("value", "") for label in tag.iter("Label"))
                return cls(kind, tag.get("name", ""), image, images[image][1:], labels)
        raise InputError("label_config has neither BrushLabels nor PolygonLabels for an Image of value=$...")

    def words(self, mark: Any) -> list[str]:
        """The labels of a region, a click or a box. Raises InputError for none, and for any but its own."""
        words = part(mark, list, "value", part(mark, str, "type"))
        if not words or any(word not in self.labels for word in words):
            raise InputError(f"labels {shortened(words)}: the config has {shortened(list(self.labels))}")
        return words

    def drawn(self, annotation: Any) -> list[tuple[dict[str, Any], str]]:
        """The value and the label of every region of an annotation that was made with these labels."""
        return [
            (part(mark, dict, "value"), word)
            for mark in part(annotation, list, "result")
            if part(mark, dict).get("from_name") == self.name
            for word in self.words(mark)
        ]

    def region(self, word: str, value: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """A result: where it lies on a photograph of `size` = (H, W), labelled `word`."""
        return {
            "id": token_hex(5),
            "from_name": self.name,
            "to_name": self.image,
            "type": self.kind,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": {**value, self.kind: [word]},
        }


def let_in(login: str) -> Callable[[Request], None]:
    """What turns away who does not bring `login`, "name:password", by HTTP Basic; "" lets everyone in."""
    right = f"Basic {b64encode(login.encode()).decode()}".encode()

    def check(request: Request) -> None:
        if login and not compare_digest(request.headers.get("authorization", "").encode(), right):
            raise HTTPException(401, "this backend wants a login", {"WWW-Authenticate": "Basic"})

    return check


class Studio(NamedTuple):
    """Where pictures are: in Label Studio itself, which wants its token, and in a folder of this machine."""

    url: str = ""
    token: str = ""
    files: Path | None = None

    def picture(self, url: str) -> bytes:
        """The bytes at a task's address. Raises OSError, and ValueError for one that is not to be read."""
        parts = urlsplit(url)
        if self.files is None or parts.path.rstrip("/") != "/data/local-files":
            return self.ask(self.url + url if url.startswith("/") else url)
        folder = self.files.resolve()
        path = (folder / parse_qs(parts.query).get("d", [""])[0].lstrip("/")).resolve()
        if not (path.is_relative_to(folder) and path.is_file()):
            raise InputError(f"there is no such file under --files {self.files}")
        return path.read_bytes()

    def record(self, path: str, body: bytes | None = None) -> Any:
        """The JSON that Label Studio answers. Raises InputError."""
        try:
            return json.loads(self.ask(self.url + path, body))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.url}{path}: {one_line(error)}") from error

    def ask(self, url: str, body: bytes | None = None) -> bytes:
        """What Label Studio answers; no one else is asked. Raises as `picture`."""
        if not self.url or urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            raise InputError("only pictures of Label Studio (--studio) and under --files are read")
        headers = {"Content-Type": "application/json", "Authorization": f"Token {self.token}"}
        if body is None and self.token.count(".") == 2:  # a personal one, to be traded for one of minutes
            traded = self.record("/api/token/refresh/", json.dumps({"refresh": self.token}).encode())
            headers["Authorization"] = f"Bearer {part(traded, str, 'access')}"
        asked = http.Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), body, headers)
        with http.build_opener(_Stay).open(asked, timeout=30) as answer:
            return answer.read()


class _Stay(http.HTTPRedirectHandler):
    def redirect_request(self, *asked: Any) -> None:
        """Follow nothing: the token would go along, to whatever host."""
