"""What was asked for last is what is seen at the end, in a real browser, whatever else was on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from freeda.app.engine import samples


def held(page: Any, pattern: str) -> Callable[[], None]:
    """Hold all requests of that pattern back, from now on; call what is returned to let them go."""
    kept: list[Any] = []
    free: list[bool] = []
    page.page.route(pattern, lambda route: route.continue_() if free else kept.append(route))

    def release() -> None:
        free.append(True)
        for route in kept:
            route.continue_()

    return release


def shares(model: Any, image: Any, words: str, **changes: Any) -> Any:
    return model.segment(image, words.split(", "), **changes).shares


def test_the_last_of_several_scenes(page: Any, model: Any) -> None:
    page.page.evaluate("for (const i of [2, 3, 1]) document.querySelectorAll('.sample')[i].click()")
    page.page.wait_for_function("document.querySelector('.photo').alt === 'scene-2'")
    last = samples()[1]
    page.has_words(*last.words.split(", "))
    page.shows(shares(model, last.image, last.words))


def test_requests_that_overtake_each_other(page: Any, model: Any) -> None:
    kept: list[Any] = []
    page.page.route("**/gradio_api/queue/join*", lambda route: kept.append(route))
    for i in (2, 3):
        with page.page.expect_request("**/gradio_api/queue/join*"):
            page.page.locator(".sample").nth(i).click()
    while len(kept) < 2:
        page.page.wait_for_timeout(20)
    kept[1].continue_()
    last = samples()[3]
    page.has_words(*last.words.split(", "))
    with page.page.expect_response("**/gradio_api/run/**"):  # what follows every answer
        kept[0].continue_()
    page.type("snow, house")
    assert page.page.locator(".photo").get_attribute("alt") == last.name
    page.shows(shares(model, last.image, "snow, house"))


def test_words_typed_while_a_scene_is_opened(page: Any, model: Any) -> None:
    release = held(page, "**/gradio_api/queue/join*")
    page.page.locator(".sample").nth(2).click()
    page.type("grass, wall")
    release()
    page.shows_photo("scene-3")
    page.has_words("grass", "wall")  # not the scene's own
    page.shows(shares(model, samples()[2].image, "grass, wall"))


def test_words_typed_while_a_photograph_is_opened(page: Any, model: Any, tmp_path: Path) -> None:
    image = samples()[1].image
    Image.fromarray(image).save(tmp_path / "mine.png")
    release = held(page, "**/gradio_api/queue/join*")
    with page.page.expect_request("**/gradio_api/queue/join*"):
        page.page.set_input_files(".file", tmp_path / "mine.png")
    page.type("wall, grass")
    release()
    page.shows_photo("mine.png")
    page.has_words("wall", "grass")
    page.shows(shares(model, image, "wall, grass"))


def test_words_typed_while_it_is_cut_anew(page: Any, model: Any) -> None:
    page.page.get_by_text("Settings").click()
    coarse = {"superpixels": replace(model.options.superpixels, scale=1000.0)}
    first = samples()[0]
    page.slid({"Superpixel scale": "End"}, shares(model, first.image, first.words, **coarse))
    release = held(page, "**/gradio_api/queue/join*")
    with page.page.expect_request("**/gradio_api/queue/join*"):
        page.slider("Superpixel scale").press("Home")  # asks with the words as they still are
    page.type("sunset, tree")
    with page.page.expect_response("**/gradio_api/run/**"):  # what follows the answer to the older words
        release()
    page.has_words("sunset", "tree")
    fine = {"superpixels": replace(model.options.superpixels, scale=10.0)}
    page.shows(shares(model, first.image, "sunset, tree", **fine))


def test_a_scene_taken_while_a_photograph_is_sent(page: Any, tmp_path: Path) -> None:
    Image.fromarray(samples()[1].image).save(tmp_path / "mine.png")
    release = held(page, "**/gradio_api/upload*")
    with page.page.expect_request("**/gradio_api/upload*"):
        page.page.set_input_files(".file", tmp_path / "mine.png")
    page.page.locator(".sample").nth(2).click()
    page.shows_photo("scene-3")
    opened: list[str] = []
    page.page.on("request", lambda request: opened.append(request.post_data or ""))
    with page.page.expect_response("**/gradio_api/upload*"):
        release()
    page.type("night, sand")
    assert page.page.locator(".photo").get_attribute("alt") == "scene-3"
    assert not [sent for sent in opened if "mine.png" in sent and "event_data" in sent]


def test_the_last_of_several_clicks(page: Any) -> None:
    page.page.evaluate(
        """() => {
            const picture = document.querySelector('.picture'), box = picture.getBoundingClientRect();
            for (const share of [0.2, 0.8, 0.5]) {
                const [clientX, clientY] = [box.x + share * box.width, box.y + share * box.height];
                picture.dispatchEvent(new MouseEvent('click', { clientX, clientY, bubbles: true }));
            }
        }"""
    )
    page.page.wait_for_function(
        "/ at 25[4-8], 25[4-8]$/.test(document.querySelector('.verdict small')?.innerText)"
    )
    page.page.wait_for_selector(".below .card")  # what it resembles: pictures take longer
    assert re.search(r" at 25[4-8], 25[4-8]$", page.page.locator(".verdict small").inner_text())


def test_an_answer_that_never_came(page: Any, served: Any, model: Any) -> None:
    """Gradio shows the last of two answers that arrive together: the page asks for what it missed."""
    with page.page.expect_request("**/gradio_api/run/**") as sent:
        page.type("night, clock")
    session, other = sent.value.post_data_json["session_hash"], samples()[2]
    served.engine.open(session, other.image, other.name)
    page.words.fill("night, sand")
    page.shows_photo("scene-3")
    page.shows(shares(model, other.image, "night, sand"))
