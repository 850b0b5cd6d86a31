"""The studio, made once for all tests, and visitors who talk to it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the web page needs FastAPI (the extra app)")
from starlette.testclient import TestClient

from freeda.app.background import Background
from freeda.app.exporting import Exporter
from freeda.app.limits import Limits
from freeda.app.studio import Studio
from freeda.app.web import build

PATIENCE = 120.0
"""Seconds for what must come: a busy machine takes its time."""


@pytest.fixture(scope="session")
def model() -> Any:
    import freeda

    return freeda.load("miniature")


class Visitor:
    """Somebody with a workspace."""

    def __init__(self, client: TestClient, studio: Studio, id: str | None = None, sample: int | None = None):
        self.client, self.studio = client, studio
        self.id = id or self.ask("POST", "/api/workspaces", {"sample": sample})["id"]
        self.at = f"/api/workspaces/{self.id}"

    def ask(self, method: str, path: str, body: Any = None, status: int = 200, **how: Any) -> Any:
        """An answer's JSON, or its bytes."""
        answer = self.client.request(method, path, json=body, **how)
        assert answer.status_code == status, answer.text[:500]
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def state(self) -> Any:
        return self.ask("GET", self.at)

    def words(self, words: str, status: int = 200, **more: Any) -> Any:
        return self.ask("PUT", f"{self.at}/words", {"words": words, **more}, status)

    def send(self, *images: Any, name: str = "photo.png", status: int = 200) -> Any:
        files = [("files", (name, one if isinstance(one, bytes) else to_png(one))) for one in images]
        return self.ask("POST", f"{self.at}/pictures", files=files, status=status)

    def first(self) -> str:
        """The id of the first picture."""
        return str(self.state()["pictures"][0]["id"])

    def labels(self, picture: str) -> Any:
        return self.ask("GET", f"{self.at}/pictures/{picture}/labels")

    def map(self, picture: str) -> tuple[Any, Any]:
        """(regions, labels) of a picture, both (h, w), -1 where there is none."""
        data = self.ask("GET", f"{self.at}/pictures/{picture}/map.png")
        plane = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        return plane[..., 0] + 256 * plane[..., 1] - 1, plane[..., 2] - 1

    def correct(self, picture: str, status: int = 200, **body: Any) -> Any:
        return self.ask("POST", f"{self.at}/pictures/{picture}/corrections", body, status)

    def accept(self, picture: str, accepted: bool = True, **more: Any) -> Any:
        return self.ask("POST", f"{self.at}/pictures/{picture}/accept", {"accepted": accepted, **more})

    def until(self, good: Callable[[Any], bool]) -> Any:
        """The state, once it is good."""
        end, state = time.monotonic() + PATIENCE, self.state()
        while not good(state):
            assert time.monotonic() < end, state
            state = self.ask("GET", f"{self.at}?after={state['revision']}&wait=5")
        return state

    def idle(self) -> Any:
        """The state, once nothing is left to do."""
        return self.until(lambda state: state["work"] is None)

    def export(self, status: int = 200, **body: Any) -> Any:
        """An exported file's bytes."""
        job = self.ask("POST", f"{self.at}/exports", body, 202)["job"]
        end = time.monotonic() + PATIENCE
        while (answer := self.client.get(f"{self.at}/exports/{job}")).status_code == 202:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert answer.status_code == status, answer.text
        return answer


def to_png(image: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "PNG")
    return out.getvalue()


@contextmanager
def running(
    model: Any, limits: Limits | None = None, folder: Path | None = None, words: str | None = None
) -> Iterator[tuple[TestClient, Studio]]:
    """A studio that answers without a network."""
    studio = Studio(model, limits)
    if folder is not None:
        studio.open_folder(folder, words)
    exporter = Exporter(studio)
    app, background = build(studio, exporter), Background(studio)
    try:
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client, studio
    finally:
        background.close()
        exporter.close()
        studio.close()
    assert not studio.place.exists()


@pytest.fixture(scope="session")
def shared(model: Any) -> Iterator[tuple[TestClient, Studio]]:
    with running(model) as found:
        yield found


@pytest.fixture
def visitor(shared: tuple[TestClient, Studio]) -> Visitor:
    """Somebody new, with the first sample."""
    return Visitor(*shared, sample=0)
