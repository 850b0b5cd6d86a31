"""Whether the page can be read, light and dark."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import WAIT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(served: Any, browser: Any, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: letters at least 4.5 to 1 against what lies behind them."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(served.url)
    page.wait_for_selector(".legend li")
    page.locator("#words textarea, #words input").first.fill("sunset, water, tree, house, gate, gate")
    page.wait_for_selector(".note.bad")
    page.add_style_tag(content="* { transition: none !important; animation: none !important }")
    page.get_by_text("Settings").click()
    for tab, part in (("Segment", "text=Local weight"), ("References", "#draw"), ("Bank", "#search")):
        page.get_by_role("tab", name=tab).click()
        page.locator(part).locator("visible=true").first.wait_for()
        found = page.evaluate(TEXTS)
        assert len(found) >= 5
        for text, colour, behind in found:
            light, dark = sorted((luminance(colour), luminance(behind)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (tab, text, colour, behind)
    context.close()


TEXTS = """() => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const clear = (c) => c === 'transparent' || c.endsWith(', 0)');
    while (walk.nextNode()) {
        const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement;
        if (!text || !e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
        if (e.closest('.picture, script, style, option, .heard')) continue;
        let behind = e;
        while (behind && clear(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
        const ground = getComputedStyle(behind || document.body).backgroundColor;
        found.push([text, getComputedStyle(e).color, ground]);
    }
    return found;
}"""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it; `colour` is "rgb(r, g, b)"."""
    r, g, b = (float(v) / 255 for v in re.findall(r"[\d.]+", colour)[:3])
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (r, g, b)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
