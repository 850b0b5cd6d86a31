"""The nouns nearest to a word, against a plain loop; pictures that cannot be shown."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freeda.bank.inspect import nearest_nouns, write_sheet
from freeda.errors import BankError, InputError
from small_banks import make_bank, make_pair


@pytest.mark.parametrize("k", [1, 7, 40, 100])
@pytest.mark.parametrize("nouns", [1, 3, 50])
def test_nearest_nouns(tmp_path: Path, k: int, nouns: int) -> None:
    names = [f"n{i * i % 11}" for i in range(60)]
    bank = make_bank(tmp_path / "bank", [[make_pair(i, noun=names[i]) for i in range(60)]])
    query = np.random.default_rng(k).normal(size=6).astype(np.float32)
    query /= np.linalg.norm(query)
    found = nearest_nouns(bank, query, k, nouns)
    similar = [float(np.dot(bank.keys[i].astype(np.float64), query)) for i in range(60)]
    order = sorted(range(60), key=lambda i: -similar[i])
    expected = list(dict.fromkeys(names[i] for i in order))[:nouns]
    assert [near.noun for near in found] == expected
    for near in found:
        mine = [i for i in order if names[i] == near.noun]
        assert near.similarity == pytest.approx(similar[mine[0]], abs=1e-5)
        assert near.rows == mine[: len(near.rows)] and near.within == sum(i in order[:k] for i in mine)


def jpeg(kind: str = "JPEG", size: tuple[int, int] = (20, 10), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 1).save(out, kind)
    return out.getvalue()


def test_pictures_that_cannot_be_shown(tmp_path: Path) -> None:
    good = (jpeg(), jpeg("PNG", mode="1"))
    query = make_pair(0).key.astype(np.float32)
    for i, (image, mask) in enumerate(
        [
            (b"not a picture", good[1]),
            (good[0], jpeg("PNG", (5, 5), "1")),
            (jpeg("GIF"), good[1]),
            (jpeg("PNG", (9000, 2)), jpeg("PNG", (9000, 2), "1")),
        ]
    ):
        bank = make_bank(tmp_path / str(i), [[make_pair(0, image=image, mask=mask)]])
        with pytest.raises(BankError, match="the picture of row 0 is damaged"):
            write_sheet(bank, "cat", nearest_nouns(bank, query, 1, 1), tmp_path / "sheet.png")
    bank = make_bank(tmp_path / "good", [[make_pair(0, image=good[0], mask=good[1])]])
    found = nearest_nouns(bank, query, 1, 1)
    assert write_sheet(bank, "cat", found, tmp_path / "sheet.png") == 1
    with pytest.raises(InputError):
        nearest_nouns(bank, query, 1, 0)
