"""What the web page grants its visitors: every bound once."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

HOST, PORT = "127.0.0.1", 7860
"""Where the page is served unless told otherwise: to this machine only."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the web page. Raises InputError for a value below 1."""

    upload_megabytes: int = 20
    """Largest photograph that is taken, in megabytes (10**6 bytes)."""
    megapixels: int = 16
    """Largest photograph that is taken, in millions of pixels."""
    words: int = 100
    """Class names at a time; also fewer than the 256 labels that one byte holds."""
    letters: int = 4000
    """Characters of a word list, a caption or a search, in all."""
    scenes: int = 8
    """Photographs kept encoded, of all visitors together; the one that was used longest ago goes first. Each
    takes some 7 bytes a pixel, and what the encoders make of it."""
    minutes: int = 30
    """How long an encoded photograph is kept after it was last used, and how long a file is."""
    folder_megabytes: int = 500
    """Files of all visitors together, in megabytes; the oldest go first."""
    waiting: int = 32
    """Requests that may wait for the models; more are told to come back."""
    requests_per_minute: int = 900
    """Of one visitor (address), of any kind: labelling while somebody types takes some ten a second."""
    uploads_per_minute: int = 30
    """Of one visitor (address)."""

    seconds: int = 120
    """How long one request may take to arrive, a photograph included."""
    silent_seconds: int = 20
    """How long a connection may be open without a request, or with half a request's head."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if self.words > 255:
            raise InputError(f"words is {self.words}: the page draws at most 255")
