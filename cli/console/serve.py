"""Runs the console: a server on 127.0.0.1, and the browser of whoever started it."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import socket
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import uvicorn

from cli import render
from cli.console.gate import Gate
from cli.console.pages import UPLOADS, Console, application, doorstep, utc_now
from cli.desk import Desk
from cli.identity import Caller

OPENED_SECONDS = 60
"""How long the file that opens the browser is kept."""


def listening(port: int) -> socket.socket:
    """Bound to this machine alone; 0 takes a port that is free."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen()  # now, or a browser that is faster than the server finds nobody
    except OSError:
        bound.close()
        raise
    return bound


def gate_of(desk: Desk, caller: Caller, port: int, language: str, now: Callable[[], datetime] = utc_now) -> Gate:
    """All of it, as uvicorn is to run it."""
    console = Console(desk, caller, language, now=now)
    gate = Gate(application(console), port, doorstep(console), UPLOADS)
    console.base = gate.base
    return gate


async def serve(
    desk: Desk,
    caller: Caller,
    port: int,
    language: str,
    *,
    browser: bool,
    now: Callable[[], datetime] = utc_now,
    ready: Callable[[Gate, Callable[[], None]], None] | None = None,
) -> None:
    """Until Ctrl-C; `ready` is told when it begins, and how to end it.

    Raises:
        OSError: the port is taken.
    """
    bound = listening(port)
    gate = gate_of(desk, caller, bound.getsockname()[1], language, now)
    server = uvicorn.Server(
        uvicorn.Config(gate, lifespan="off", access_log=False, log_level="error", server_header=False, ws="none")
    )
    render.note(f"The console of {desk.target} is at http://127.0.0.1:{gate.port}/ until you press Ctrl-C.")
    async with _opened(gate) if browser else contextlib.nullcontext():
        if not browser:
            render.note(f"It asks for this code, once: {gate.code}")
        if ready:
            ready(gate, lambda: setattr(server, "should_exit", True))
        await server.serve(sockets=[bound])


@contextlib.asynccontextmanager
async def _opened(gate: Gate) -> AsyncIterator[None]:
    """Opens the browser with a file that only its owner may read, and that brings the code in a form.

    A command line is read by every user of the machine, and an address is kept in a history: the code is in neither.
    """
    folder = Path(tempfile.mkdtemp(prefix="confirm-desk-"))  # 0700
    page = folder / "open.html"
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(opening(gate))
    render.note(f"If no browser opens, go there and give this code, which is good once: {gate.code}")
    task = asyncio.create_task(asyncio.to_thread(webbrowser.open, page.as_uri()))
    timer = asyncio.get_running_loop().call_later(OPENED_SECONDS, _removed, folder)
    try:
        yield
    finally:
        timer.cancel()
        task.cancel()
        _removed(folder)


def opening(gate: Gate) -> str:
    """The page that brings the code: by itself where scripts run, by its button where they do not."""
    return (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>confirm desk</title>'
        f'<form method="post" action="http://127.0.0.1:{gate.port}/enter">'
        f'<input type="hidden" name="code" value="{html.escape(gate.code)}">'
        "<button autofocus>Open the console of confirm</button></form>"
        "<script>document.forms[0].submit()</script>\n"
    )


def _removed(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "open.html").unlink(missing_ok=True)
        folder.rmdir()
