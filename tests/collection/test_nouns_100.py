"""The pattern tagger against captions whose nouns were marked by hand (`nouns_100.json` says how).

`pytest tests/collection/test_nouns_100.py -s` prints the figures and every difference.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from freeda.collection.captions import to_captions
from freeda.collection.nouns import find_nouns, ranked, survey
from noun_scores import Score, exact, lenient, mentions

FIXTURE: dict[str, Any] = json.loads((Path(__file__).parent / "nouns_100.json").read_text("utf-8"))
COCO = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[3] / "shared" / "data"))
COCO /= "captions_val2017.json"
needs_coco = pytest.mark.skipif(not COCO.is_file(), reason=f"no {COCO} (set FREEDA_DATA)")


def test_scores_themselves() -> None:
    marked = {"stop sign": [(2, 11)], "dog": [(20, 23), (30, 33)]}
    found = {"sign": [(7, 11)], "dog": [(20, 23)], "cat": [(40, 43)]}
    assert exact([(found, marked)]) == Score(right=1, found=3, marked=3)
    assert lenient([(found, marked), (marked, marked)]) == Score(right=5, found=6, marked=6)
    assert exact([(marked, marked)]).precision == exact([(marked, marked)]).recall == 1


@pytest.mark.parametrize("part", ["sample", "held_out"])
def test_the_fixture_is_sound(part: str) -> None:
    rows = FIXTURE[part]
    assert len(rows) == 100 == len({row["id"] for row in rows})
    for row in rows:
        for lemma, spans in row["nouns"].items():
            assert lemma == lemma.lower().strip() and spans
            for start, end in spans:
                text = row["caption"]
                assert text[start:end].strip() == text[start:end] != ""
                assert not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
                assert text[start].lower() == lemma[0] or lemma == "person"


@needs_coco
def test_the_captions_are_those_drawn() -> None:
    rows = sorted(json.loads(COCO.read_text("utf-8"))["annotations"], key=lambda row: row["id"])
    drawn = [(row["id"], row["caption"]) for row in random.Random(2024).sample(rows, 200)]
    assert drawn == [(row["id"], row["caption"]) for row in FIXTURE["sample"] + FIXTURE["held_out"]]


@pytest.mark.parametrize("part", ["sample", "held_out"])
def test_precision_and_recall(part: str) -> None:
    pairs = []
    for row in FIXTURE[part]:
        found = {n.lemma: n.spans for n in find_nouns(row["caption"], "pattern")}
        marked = {lemma: [(s, e) for s, e in spans] for lemma, spans in row["nouns"].items()}
        pairs.append((found, marked))
        more, less = mentions(found) - mentions(marked), mentions(marked) - mentions(found)
        if more or less:
            print(
                f"{row['caption'].strip()!r}: + {sorted(m[0] for m in more)} - {sorted(m[0] for m in less)}"
            )
    score = exact(pairs)
    print(f"{part}: {score}; compounds judged by their last word: {lenient(pairs)}")
    assert score.precision >= 0.90 and score.recall >= 0.90


@needs_coco
@pytest.mark.slow
def test_a_real_caption_file() -> None:
    counted = survey(to_captions(COCO), "pattern")
    print(f"{counted.mentions / counted.captions:.2f} a caption; {ranked(counted.nouns)[:50]}")
    assert counted.captions == 25_014 and counted.repeated == 225
    assert 2.6 < counted.mentions / counted.captions < 3.0
    assert counted.without < 0.005 * counted.captions
    assert {"person", "man", "woman", "table", "street", "field"} <= {
        n for n, _ in ranked(counted.nouns)[:20]
    }
