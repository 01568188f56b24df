"""The console in a real browser: Chromium, driven by Playwright; and the console's own server, in a thread."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from cli.console.gate import Gate
from cli.console.serve import opening, serve
from tests.console.world import World

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """The system's Chromium (`apt-get install chromium`), or the one that CHROMIUM names."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    path = program()
    assert path, "there is no Chromium: `apt-get install chromium`, or name one by CHROMIUM"
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to be started by root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=root)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Served:
    """A console that runs."""

    gate: Gate
    folder: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.gate.port}"

    def address(self, path: str = "/") -> str:
        return self.origin + self.gate.base + path

    def come_in(self, page: Page) -> None:
        """As `confirm desk` opens the browser."""
        page.goto(self._file())
        page.wait_for_selector("a.skip", state="attached")

    def come_in_by_button(self, page: Page) -> None:
        """The same, where no script runs."""
        page.goto(self._file())
        page.click("button")
        page.wait_for_selector("a.skip", state="attached")

    def _file(self) -> str:
        file = self.folder / f"open-{self.gate.port}.html"
        file.write_text(opening(self.gate))
        return file.as_uri()


@contextmanager
def served(world: World, folder: Path, language: str = "en") -> Iterator[Served]:
    """The console of whoever is signed in in that world, by the function that the command calls."""
    begun = threading.Event()
    told: list[tuple[Gate, Callable[[], None]]] = []

    def ready(gate: Gate, end: Callable[[], None]) -> None:
        gate.clock = lambda: world.elapsed
        told.append((gate, end))
        begun.set()

    def work() -> None:
        call = serve(world.desk, world.caller, 0, language, browser=False, now=world.clock.now, ready=ready)
        asyncio.run(call)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(60)
    [(gate, end)] = told
    try:
        yield Served(gate, folder)
    finally:
        end()
        thread.join(60)


@dataclass
class Complaints:
    """What the browser's console says: refused scripts and styles, errors, failed loads."""

    said: list[str] = field(default_factory=list)

    def of(self, page: Page) -> Page:
        page.on("console", lambda message: self._add(f"{message.text} ({message.location.get('url')})"))
        page.on("pageerror", lambda error: self._add(str(error)))
        return page

    def _add(self, complaint: str) -> None:
        if "icon.svg" not in complaint:  # Chromium fetches a tab's icon when it likes, after the server's end too
            self.said.append(complaint)
