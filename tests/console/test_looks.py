"""The colours, held to WCAG 2.2 AA in light and in dark: text 4.5 to 1, the borders of fields and the focus 3 to 1."""

from __future__ import annotations

import re

import pytest

from cli.console.pages import HERE

CSS = (HERE / "static/console.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.+?)\}", CSS, re.DOTALL)
)
TEXT = [
    *((ink, ground) for ink in ("ink", "quiet", "accent", "late") for ground in ("page", "card", "tint")),
    ("on-accent", "accent"),
    ("card", "late"),
    *((tone, f"{tone}-tint") for tone in ("late", "good", "wait")),
    *(("ink", f"{tone}-tint") for tone in ("late", "wait")),
    ("late", "wait-tint"),
    ("accent", "wait-tint"),
]
SHAPES = [*((one, ground) for one in ("field", "focus") for ground in ("page", "card"))]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_as_wcag_computes_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_everybody_can_read_it(scheme: dict[str, str]) -> None:
    weak = {pair: round(contrast(scheme[pair[0]], scheme[pair[1]]), 2) for pair in TEXT}
    assert {pair: found for pair, found in weak.items() if found < 4.5} == {}
    shapes = {pair: round(contrast(scheme[pair[0]], scheme[pair[1]]), 2) for pair in SHAPES}
    assert {pair: found for pair, found in shapes.items() if found < 3} == {}


def test_dark_has_each_colour_of_light_and_there_is_no_other() -> None:
    assert LIGHT.keys() == DARK.keys()
    rules = re.sub(r":root \{.+?\}", "", CSS, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b|rgba?\(|hsl", rules) == []
    assert set(re.findall(r"var\(--([a-z-]+)\)", rules)) == LIGHT.keys()
