"""The console in a real Chromium: by keyboard alone, at 200 %, in both schemes, and beside pages that mean no good."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from cli.console.gate import IDLE_SECONDS
from tests.console.browser import Complaints, chromium, program, served
from tests.console.world import ANA, BERTA, World, waiting
from workers.domain.transaction import Status

pytestmark = pytest.mark.skipif(
    program() is None and not os.environ.get("CI"), reason="no Chromium here: `apt-get install chromium`"
)
expect.set_options(timeout=60_000)
PAGES = ("/", "/transactions/order-00003", "/requests", "/status", "/reconcile")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    """A browser of its own for each test; whatever its console complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en")
    context.set_default_timeout(60_000)
    yield complaints.of(context.new_page())
    context.close()
    assert complaints.said == []


@pytest.fixture
def world() -> World:
    return World().holds(*(waiting(number) for number in range(8)))


def pressed_until(page: Page, key: str, wanted: str) -> None:
    """Press it until that has the focus, and see that one sees where one is."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate(f"document.activeElement.matches({wanted!r})"):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{wanted} has the focus, and nobody sees it"
            return
    raise AssertionError(f"{wanted} is not to be reached by {key}")


def test_a_day_without_a_mouse(world: World, page: Page, browser: Browser, tmp_path: Path) -> None:
    """Ana looks, chooses, asks; Berta sees the same and approves. Nobody clicks."""
    world.caller = ANA
    with served(world, tmp_path) as console:
        console.come_in(page)
        assert console.gate.code not in page.evaluate("JSON.stringify([location.href, history.length])")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        pressed_until(page, "Tab", "tbody input[value=order-00003]")
        page.keyboard.press("Space")
        expect(page.locator("#picked")).to_have_text("1 chosen")
        pressed_until(page, "Shift+Tab", ".bar button.main")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Ask for an exit of 1 transaction")
        pressed_until(page, "Tab", "input[name=kind]")
        if not page.is_checked("input[value=redrive]"):  # arrows go from one exit to the next
            page.keyboard.press("Space")
            pressed_until(page, "ArrowDown", "input[value=redrive]:checked")
        pressed_until(page, "Tab", "#why")
        page.keyboard.type("never received, says the bank")
        pressed_until(page, "Tab", "button.main")
        page.keyboard.press("Enter")
        expect(page.locator(".case")).to_contain_text("another person approves it")
        page.goto("about:blank")
    world.caller = BERTA
    with served(world, tmp_path) as console:
        console.come_in(page)
        pressed_until(page, "Tab", "nav a[href$=requests]")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Requests")
        pressed_until(page, "Tab", "tbody a")
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("never received, says the bank")
        pressed_until(page, "Tab", "button.main")
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text("1 of 1 gone through, 0 left out")
    assert world.store.records["order-00003"].status is Status.PENDING


def test_at_200_percent_nothing_goes_sideways(world: World, page: Page, tmp_path: Path) -> None:
    """1,280 pixels at 200 % are 640."""
    request = world.ask("order-00001", "order-00002")
    world.caller = BERTA
    page.set_viewport_size({"width": 640, "height": 800})
    with served(world, tmp_path) as console:
        page.goto(console.origin)
        page.fill("#code", console.gate.code)
        page.press("#code", "Enter")
        for language in ("en", "es"):
            page.click(f"button[lang={language}]")
            expect(page.locator("html")).to_have_attribute("lang", language)
            for path in (*PAGES, f"/requests/{request}"):
                page.goto(console.address(path))
                assert page.evaluate("document.documentElement.scrollWidth") <= 640, path


def test_light_and_dark_are_as_the_system_has_them(world: World, page: Page, tmp_path: Path) -> None:
    with served(world, tmp_path) as console:
        console.come_in(page)
        grounds = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert grounds == ["rgb(245, 247, 249)", "rgb(17, 23, 29)"]


def test_without_any_script_everything_is_there(world: World, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    with served(world, tmp_path) as console:
        console.come_in_by_button(page)
        page.fill("#text", "key window")
        page.click(".filter button")
        expect(page.locator("tbody tr")).to_have_count(2)
        page.check("input[value=order-00002]")
        page.click(".bar button.main")
        page.check("input[value=redrive]")
        page.fill("#why", "x")
        page.click("button.main")
        expect(page.locator(".case")).to_contain_text("another person approves it")
    context.close()


def test_a_filter_works_while_one_types(world: World, page: Page, tmp_path: Path) -> None:
    with served(world, tmp_path) as console:
        console.come_in(page)
        page.locator("#text").press_sequentially("key window")
        expect(page.locator("tbody tr")).to_have_count(2)
        assert "text=key%20window" in page.url
        page.select_option("#currency", "JPY")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.reload()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.check("#every")
        expect(page.locator("#picked")).to_have_text("1 chosen")
        kept = page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
        assert kept == ["htmx-current-path-for-history"], "no page stays in the browser"


def test_what_is_typed_before_the_scripts_are_there_filters_too(world: World, page: Page, tmp_path: Path) -> None:
    held: list[Route] = []
    with served(world, tmp_path) as console:
        console.come_in(page)
        page.route("**/htmx*.js", lambda route: held.append(route))
        page.goto(console.address("/?late="), wait_until="commit")
        page.fill("#text", "order-00002")
        for one in held:
            one.continue_()
        expect(page.locator("tbody tr")).to_have_count(1)
        assert held


def test_ten_thousand_are_no_burden(page: Page, tmp_path: Path) -> None:
    world = World().holds(*(waiting(number) for number in range(10_000)))
    with served(world, tmp_path) as console:
        console.come_in(page)
        expect(page.locator(".pages p")).to_have_text("1 to 50 of 10,000")
        page.click("a[rel=next]")
        expect(page.locator(".pages p")).to_have_text("51 to 100 of 10,000")
        page.fill("#text", "order-09999")
        expect(page.locator("tbody tr")).to_have_count(1)


def test_numbers_are_renewed_and_a_session_ends_in_the_open_tab(
    world: World, page: Page, complaints: Complaints, tmp_path: Path
) -> None:
    with served(world, tmp_path) as console:
        page.clock.install()
        console.come_in(page)
        page.goto(console.address("/status"))
        expect(page.locator(".tiles div:nth-child(4) dd")).to_have_text("8")
        world.holds(waiting(8))
        page.clock.run_for(6_000)
        expect(page.locator(".tiles div:nth-child(4) dd")).to_have_text("9")
        world.elapsed += IDLE_SECONDS + 1
        page.clock.run_for(6_000)
        expect(page.locator("h1")).to_have_text("This session is over")
        assert all("401" in one for one in complaints.said)
        complaints.said.clear()


def test_a_long_list_goes_on_by_itself(page: Page, tmp_path: Path) -> None:
    world = World().holds(*(waiting(number) for number in range(150)))
    request = world.ask(*(f"order-{number:05d}" for number in range(150)))
    world.caller, world.seconds_left = BERTA, 1
    with served(world, tmp_path) as console:
        console.come_in(page)
        page.goto(console.address(f"/requests/{request}"))
        page.click("text=Approve exactly this")
        expect(page.locator("#progress")).to_contain_text("100 of 150")
        world.seconds_left = None
        expect(page.locator("#progress")).to_contain_text("150 of 150")
    assert {record.status for record in world.store.records.values()} == {Status.PENDING}


EVIL = """<!doctype html><title>evil</title>
<iframe src="{inside}"></iframe>
<form id="sent" method="post" action="{order}" target="there"><input name="id" value="order-00001"></form>
<iframe name="there"></iframe>
<script>
  window.got = [];
  fetch("{inside}", {{credentials: "include"}})
    .then((answer) => answer.text()).then((text) => got.push(text), () => got.push("refused"));
  document.getElementById("sent").submit();
</script>"""


@contextmanager
def another_port(text: str) -> Iterator[tuple[int, list[str | None]]]:
    """A server of another user of the same machine, that writes down the cookies that it is sent."""
    cookies: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("cookie"))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], cookies
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_of_another_port_gets_nothing(world: World, browser: Browser, tmp_path: Path) -> None:
    """It knows even the address, which nobody tells it."""
    context = browser.new_context()
    page = context.new_page()
    with served(world, tmp_path) as console:
        console.come_in(page)
        asked: list[int] = []
        context.on("response", lambda answer: asked.append(answer.status) if console.gate.base in answer.url else None)
        evil = EVIL.format(inside=console.address("/"), order=console.address("/ask"))
        with another_port(evil) as (port, cookies):
            for host in ("127.0.0.1", "localhost"):
                page.goto(f"http://{host}:{port}/")
                page.wait_for_function("window.got.length > 0")
                assert page.evaluate("window.got") == ["refused"]
                assert [frame.content().count("order-0") for frame in page.frames[1:]] == [0, 0]
            assert cookies
            assert set(cookies) == {None}
        assert asked
        assert set(asked) <= {401, 403}
        assert world.requests.kept == {}
    context.close()
