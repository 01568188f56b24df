"""Who comes in to the console: nobody but the browser of who started it, and nothing that another page sends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
import tempfile
import webbrowser
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from starlette.routing import Mount, Route

from cli import identity, main, target
from cli.console import serve
from cli.console.gate import COOKIE, HEADERS, IDLE_SECONDS, MOST_BODY
from cli.console.pages import UPLOADS, Console, application
from cli.desk import Desk
from cli.exits import Exit
from cli.identity import Caller, caller
from tests.cli.conftest import TARGET
from tests.console.world import ANA, PORT, Client, World, waiting
from workers.domain.desk import Role

HOST = f"127.0.0.1:{PORT}"


@pytest.fixture
def world() -> World:
    return World().holds(*(waiting(number) for number in range(8)))


@pytest.fixture
def ana(world: World) -> Client:
    return world.sits(ANA)


def test_the_code_is_good_once(world: World) -> None:
    client, late = Client(world.gate()), None
    wrong = client.raw("POST", "/enter", {"origin": "null"}, b"code=guessed")
    assert wrong.status == 403
    assert not client.cookies
    assert client.come_in().status == 200
    assert client.get("/").status == 200
    late = Client(client.gate)
    assert late.come_in().status == 401
    assert not late.cookies
    assert late.get("/").status == 401


def test_the_code_is_in_no_address_and_on_no_command_line(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another user of the machine reads the words of all processes, and a history keeps addresses."""
    told: list[tuple[str, str, int, int]] = []

    def open_(address: str) -> None:
        page = Path(address.removeprefix("file://"))
        if not page.is_file():
            told.append((address, "", 0, 0))
            return
        file, folder = (stat.S_IMODE(one.stat().st_mode) for one in (page, page.parent))
        told.append((address, page.read_text(), file, folder))

    monkeypatch.setattr(webbrowser, "open", open_)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gate = world.gate()

    async def opened() -> None:
        async with serve._opened(gate):
            while not told:
                await asyncio.sleep(0.01)

    asyncio.run(opened())
    [(address, page, file_mode, folder_mode)] = told
    assert gate.code not in address
    assert (file_mode, folder_mode) == (0o600, 0o700)
    assert 'method="post"' in page
    assert gate.code not in re.findall(r'action="([^"]*)"', page)[0]
    assert list(tmp_path.iterdir()) == [], "nothing of it stays"


def test_the_cookie_is_for_this_browser_and_this_console(world: World) -> None:
    """Cookies know no ports: what listens on another port of 127.0.0.1 is at another path, and is sent none."""
    client = Client(world.gate())
    kept = client.come_in().headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert f"path={client.gate.base.lower()}/" in kept
    assert len(client.gate.base) > 20
    assert client.gate.base != world.gate().base, "nobody can guess it"


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=guessed", f"{COOKIE}=", "other=1", f"{COOKIE}=é"])
def test_who_has_no_cookie_sees_and_does_nothing(world: World, ana: Client, cookie: str) -> None:
    other = Client(ana.gate)  # knows the address
    for answer in (
        other.get("/", cookie=cookie),
        other.get("/transactions/order-00001", cookie=cookie),
        other.raw("POST", f"{ana.gate.base}/ask", {"origin": ana.origin, "cookie": cookie}, b"id=order-00001"),
    ):
        assert answer.status == 401
        assert "order-0" not in answer.text


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"evil.example:{PORT}", f"127.0.0.1.evil.example:{PORT}"]
)
def test_no_other_name_leads_here(ana: Client, host: str) -> None:
    """A page elsewhere whose own name resolves to 127.0.0.1 is of our origin to the browser, but for its name."""
    answer = ana.get("/", host=host)
    assert answer.status == 421
    assert "order-0" not in answer.text
    assert ana.get("/", host=f"localhost:{PORT}").status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_other_pages_neither_read_nor_send(world: World, ana: Client, site: str) -> None:
    """`same-site` is another port of this machine."""
    assert ana.get("/", **{"sec-fetch-site": site}).status == 403
    assert ana.post("/ask", {"id": "order-00001"}, **{"sec-fetch-site": site}).status == 403


@pytest.mark.parametrize(
    "origin", ["null", "", f"http://127.0.0.1:{PORT + 1}", "http://evil.example", f"https://{HOST}"]
)
def test_a_form_of_another_origin_does_nothing(world: World, ana: Client, origin: str) -> None:
    request = world.ask("order-00001")
    answer = ana.post(f"/requests/{request}/withdraw", {}, origin=origin)
    assert answer.status == 403
    assert world.requests.kept[request]["state"] == "open"


def _taking_forms() -> list[str]:
    world = World()
    [mount] = [
        one for one in application(Console(world.desk, ANA, "en")).routes if getattr(one, "path", "") == "/{base}"
    ]
    assert isinstance(mount, Mount)
    routes = [one for one in mount.routes if isinstance(one, Route) and one.methods and "POST" in one.methods]
    return [one.path for one in routes]


@pytest.mark.parametrize("path", _taking_forms())
@pytest.mark.parametrize("token", ["", "guessed"])
def test_each_form_wants_its_token(world: World, path: str, token: str) -> None:
    request = world.ask("order-00001")
    ana = world.sits(ANA)
    before = dict(world.requests.kept)
    where = path.replace("{id}", request).replace("{action}", "withdraw")
    answer = ana.post(where, {"csrf": token, "id": "order-00002", "language": "es"})
    assert answer.status == 409
    assert "another session" in answer.text
    assert world.requests.kept == before
    assert len(_taking_forms()) >= 5


def test_a_tab_of_yesterday_says_so(world: World, ana: Client) -> None:
    world.elapsed += IDLE_SECONDS - 1
    assert ana.get("/status").status == 200
    world.elapsed += IDLE_SECONDS - 1
    assert ana.get("/status?live").status == 200, "the page asks by itself"
    world.elapsed += 2
    answer = ana.get("/status?live")
    assert answer.status == 401
    assert answer.headers["hx-refresh"] == "true"
    assert "This session is over" in answer.text
    assert "Ctrl-C" in answer.text
    assert ana.get("/").status == 401, "it does not come back"
    assert ana.come_in().status == 401


def test_every_answer_is_sealed(world: World, ana: Client) -> None:
    """No frame, no script but ours, nothing kept: of pages, errors, styles and the door alike."""
    for path in (f"{ana.gate.base}/", f"{ana.gate.base}/nowhere", "/static/console.css", "/", "/nowhere"):
        answer = ana.raw("GET", path, {})
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
    assert {**ana.raw("GET", "/", {"host": "evil"}).headers}.items() >= HEADERS.items()
    policy = HEADERS["content-security-policy"]
    for part in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    assert (HEADERS["x-frame-options"], HEADERS["cache-control"]) == ("DENY", "no-store")
    assert "unsafe" not in policy


def test_no_page_has_what_the_policy_forbids(world: World, ana: Client) -> None:
    request = world.ask("order-00001")
    for path in ("/", "/transactions/order-00001", "/requests", f"/requests/{request}", "/status", "/reconcile"):
        text = ana.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", text), path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_no_other_method(ana: Client, method: str) -> None:
    assert ana.raw(method, f"{ana.gate.base}/", {"origin": ana.origin}).status == 405


def test_what_is_too_long_is_not_read(world: World, ana: Client) -> None:
    assert ana.post("/ask", {"id": "x"}, **{"content-length": str(MOST_BODY + 1)}).status == 413
    assert ana.post("/ask", {"id": "x" * MOST_BODY}, **{"content-length": "9"}).status == 413, "it lies"
    assert ana.post("/ask", {"id": "x"}, **{"content-length": "-1"}).status == 413
    assert ana.raw("POST", "/enter", {}, b"code=" + b"x" * 5000).status == 413
    limit = UPLOADS["/reconcile"]
    assert ana.post("/reconcile", {}, **{"content-length": str(limit + 1)}).status == 413


def test_it_listens_on_this_machine_alone() -> None:
    with contextlib.closing(serve.listening(0)) as first:
        address, port = first.getsockname()
        assert address == "127.0.0.1"
        first.listen()
        with pytest.raises(OSError, match="in use"):
            serve.listening(port)


def test_an_error_of_ours_shows_no_trace(world: World, monkeypatch: pytest.MonkeyPatch, ana: Client) -> None:
    async def broken(limit: int = 0) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.requests, "requests", broken)
    world.clock.advance(60)
    answer = ana.get("/requests")
    assert answer.status == 500
    assert "an error in this program (RuntimeError)" in answer.text
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


def test_aws_says_who_one_is_and_as_what_one_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by a dry run, which starts nothing; a function that is not there can't be called."""
    asked: list[tuple[str, str]] = []

    class Calls:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Arn": ANA.arn}

        def invoke(self, **given: str) -> None:
            asked.append((given["FunctionName"], given["InvocationType"]))
            if given["FunctionName"] != "desk-maker":
                raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Invoke")

    monkeypatch.setattr(boto3, "client", lambda *_, **__: Calls())
    stack = replace(TARGET, functions={"maker": "desk-maker", "checker": "desk-checker"})
    found = asyncio.run(caller(stack))
    assert (found.name, found.roles) == ("ana", frozenset({Role.MAKER}))
    assert set(asked) == {("desk-maker", "DryRun"), ("desk-checker", "DryRun")}
    assert asyncio.run(caller(replace(TARGET, functions={}))).roles == frozenset()
    assert Caller("arn:aws:iam::111122223333:root", frozenset()).name is None


def test_a_taken_port_is_said_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def me(_: object) -> Caller:
        return ANA

    @contextlib.asynccontextmanager
    async def open_desk(_: object) -> AsyncIterator[Desk]:
        yield world.desk

    monkeypatch.setattr(target, "find", lambda _: world.target)
    monkeypatch.setattr(target, "open_desk", open_desk)
    monkeypatch.setattr(identity, "caller", me)
    with contextlib.closing(serve.listening(0)) as taken, pytest.raises(SystemExit) as end:
        main.run(["desk", "--no-browser", "--port", str(taken.getsockname()[1])])
    assert end.value.code == Exit.USAGE
    assert "nothing can listen on 127.0.0.1" in capsys.readouterr().err
