"""The screens of docs/desk.md, taken anew: `make screens`. Of the desk in memory that the tests have."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.console.browser import chromium, served
from tests.console.world import BERTA, World, waiting
from tests.docs.markdown import ROOT

FOLDER = ROOT / "docs/images"
WHY = "the bank has told us of an outage until 11:00"


def main() -> None:
    world = World().holds(*(waiting(number) for number in range(180)))
    request = world.ask("order-00012", "order-00027", "order-00042", why="the statement of 5 January has none of them")
    world.caller = BERTA
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, served(world, Path(folder)) as console:
        page = browser.new_page(viewport={"width": 1200, "height": 720}, locale="en")
        console.come_in(page)
        for id_ in ("order-00003", "order-00006"):
            page.check(f"input[value={id_}]")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / "desk-queue.png")
        page.set_viewport_size({"width": 1200, "height": 440})
        page.goto(console.address(f"/requests/{request}"))
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / "desk-request.png")
        page.set_viewport_size({"width": 1200, "height": 620})
        page.goto(console.address("/status"))
        page.click("summary")
        page.fill("#why-pause", WHY)
        page.click("text=Pause now")
        page.click("summary")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / "desk-paused.png", full_page=True)
        page.goto(console.address("/"))
        page.fill("#resume-why", "their status page says so")
        page.click("text=Resume")
        page.emulate_media(color_scheme="dark")
        page.goto(console.address("/transactions/order-00007"))
        page.click("button[lang=es]")
        page.set_viewport_size({"width": 1200, "height": 720})
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / "desk-life.png")


if __name__ == "__main__":
    main()
