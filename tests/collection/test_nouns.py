"""Nouns of captions: what a picture can show, singular, with every place where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freeda.collection import tagging
from freeda.collection.nouns import Noun, find_nouns, singular
from freeda.collection.tagging import choose_tagger
from freeda.errors import InputError

CASES = [
    # the small world
    (
        "a red beach ball and two toadstools on the green grass under a cloudy sky",
        "beach ball, toadstool, grass, sky",
    ),
    ("a small cottage beside a sailboat on the sea at night", "cottage, sailboat, sea, night"),
    ("a parasol on a snowy field in front of a brick wall", "parasol, field, brick wall"),
    (
        "a picture of a violet clock and a little orange blossom on the deep snow before a glowing sundown",
        "clock, blossom, snow, sundown",
    ),
    ("under a clear night sky, a butterfly on the beach", "night sky, butterfly, beach"),
    # COCO's
    ("A red stop sign sitting on the side of a dark road.", "stop sign, road"),
    ("A couple of people sitting on top of a wooden bench.", "person, bench"),
    ("A man is riding the giant wave on his board.", "man, wave, board"),
    ("a man rides a wave next to two surfers", "man, wave, surfer"),
    ("A living room with a fireplace and a dining table", "living room, fireplace, dining table"),
    ("Two black bears in a kitchen with a sink", "bear, kitchen, sink"),
    ("A person holds glasses and a glass near wine glasses", "person, glasses, glass, wine glass"),
    ("an orange and an orange cat on a plate", "orange, cat, plate"),
    ("The shadow of a man's head", "shadow, man, head"),
    ("three buses and seven knives on shelves with tomatoes", "bus, knife, shelf, tomato"),
    ("A man in a red t shirt near a parking lot with a polar bear", "man, t shirt, parking lot, polar bear"),
    ("A tennis player with a racket during a tennis match", "tennis player, racket"),
    ("people playing tennis, a board game and a baseball game", "person, board game"),
    ("broccoli plants by a broccoli plant and mens doubles", "broccoli plant"),
    ("A photo of the front view of a scene", ""),
    ("running, jumping and smiling", ""),
    ("", ""),
    ("?!... 12 3/4 _", ""),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_lemmas(text: str, expected: str) -> None:
    assert ", ".join(n.lemma for n in find_nouns(text, "pattern")) == expected


def test_spans_are_the_words_as_written() -> None:
    text = "A Dog, two dogs and a stop  sign"
    assert find_nouns(text, "pattern") == [Noun("dog", ((2, 5), (11, 15))), Noun("stop sign", ((22, 32),))]
    assert text[22:32] == "stop  sign"


@given(st.text(max_size=80))
def test_any_text_gives_spans_inside_it(text: str) -> None:
    ends = 0
    for noun in find_nouns(text, "pattern"):
        assert noun.lemma == noun.lemma.lower() and noun.spans
        for start, end in noun.spans:
            assert 0 <= start < end <= len(text) and text[start:end].strip() == text[start:end]
            ends = max(ends, end)


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("cats", "cat"),
        ("boxes", "box"),
        ("dishes", "dish"),
        ("benches", "bench"),
        ("buses", "bus"),
        ("glass", "glass"),
        ("houses", "house"),
        ("horses", "horse"),
        ("cherries", "cherry"),
        ("ties", "tie"),
        ("cookies", "cookie"),
        ("leaves", "leaf"),
        ("gloves", "glove"),
        ("shoes", "shoe"),
        ("potatoes", "potato"),
        ("people", "person"),
        ("sheep", "sheep"),
        ("scissors", "scissors"),
        ("tennis", "tennis"),
        ("bus", "bus"),
        ("skis", "ski"),
        ("dresses", "dress"),
        ("waves", "wave"),
        ("kids", "kid"),
        ("gas", "gas"),
        ("toes", "toe"),
        ("hoes", "hoe"),
        ("heroes", "hero"),
        ("neckties", "necktie"),
        ("busses", "bus"),
        ("collies", "collie"),
        ("starbucks", "starbucks"),
    ],
)
def test_singular(plural: str, one: str) -> None:
    assert singular(plural) == one
    assert singular(one) == one


def test_no_corpora_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pattern tagger works from files in its own package: nltk may find no data at all."""
    import nltk

    def no_data(*args: object, **kwargs: object) -> None:
        raise AssertionError("nltk data was asked for")

    monkeypatch.setattr(nltk.data, "find", no_data)
    monkeypatch.setattr(nltk.data, "load", no_data)
    assert [n.lemma for n in find_nouns("a zebra by a windmill", "pattern")] == ["zebra", "windmill"]


def test_unknown_tagger() -> None:
    with pytest.raises(InputError, match="tagger 'x' is unknown"):
        choose_tagger("x")
    assert choose_tagger("pattern") == "pattern"


@pytest.fixture
def small_spacy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """spaCy with a tagger of its own, taught a few words here: its models are on no package registry."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra: nlp)")
    from spacy.training import Example

    taught = {
        "DT": "a two the",
        "NN": "zog brick wall dog chair",
        "NNS": "zogs",
        "IN": "on beside",
        "VBZ": "sits",
    }
    tags = {word: tag for tag, words in taught.items() for word in words.split()}
    sentences = (
        *("a zog sits on the brick wall", "two zogs beside a zog", "the wall beside two zogs"),
        "a dog sits on a chair",
    )
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")
    examples = [
        Example.from_dict(nlp.make_doc(s), {"words": s.split(), "tags": [tags[w] for w in s.split()]})
        for s in sentences
    ]
    spacy.util.fix_random_seed(0)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    monkeypatch.setattr(spacy, "load", lambda name, **_: nlp)
    tagging._spacy.cache_clear()
    tagging.prove_tagger.cache_clear()
    yield
    tagging._spacy.cache_clear()
    tagging.prove_tagger.cache_clear()


def test_spacy_where_it_is_installed(small_spacy: None) -> None:
    """Words and spans are ours, tags are spaCy's: nonsense that it was taught is found where it stands."""
    assert choose_tagger() == choose_tagger("spacy") == "spacy"
    text = "a zog, two  zogs on the brick wall"
    assert find_nouns(text, "spacy") == [Noun("zog", ((2, 5), (12, 16))), Noun("brick wall", ((24, 34),))]
    assert find_nouns("?! ", "spacy") == []


def test_spacy_with_its_model() -> None:
    if tagging._spacy() is None:
        pytest.skip("spaCy and its model en_core_web_sm are not installed: the adapter to it was not tried")
    assert [n.lemma for n in find_nouns("Two dogs sit beside a stop sign.", "spacy")] == ["dog", "stop sign"]


def test_without_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)  # importing it fails
    tagging._spacy.cache_clear()
    try:
        assert choose_tagger() == "pattern"
        with pytest.raises(InputError, match="needs spaCy and its model"):
            choose_tagger("spacy")
    finally:
        tagging._spacy.cache_clear()
