"""The HTTP client against servers that speak well, badly, or not at all."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.support import SECRET, RawServer, client, http, quietly, raw_server, saying, until
from workers.transport.http import (
    IDLE_SECONDS,
    MAX_HEAD_BYTES,
    BadResponse,
    Disconnected,
    HttpClient,
    HttpError,
    NotConnected,
    Response,
    ResponseParser,
    TimedOut,
)

GOOD = http(200, {"a": 1})
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3;note=x\r\n{"a\r\n5 \r\n": 12\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n'
)


def parse(data: bytes, max_body_bytes: int = 1000) -> Response | None:
    return ResponseParser(max_body_bytes).feed(data)


# --- the parser, without a socket


@settings(deadline=None)
@given(st.lists(st.integers(1, 40)), st.sampled_from([GOOD, CHUNKED, http(200, b"x" * 300, "A: b\r\n")]))
def test_pieces_of_any_size_make_the_same_answer(sizes: list[int], data: bytes) -> None:
    whole = parse(data)
    parser, at, answer = ResponseParser(), 0, None
    for size in sizes:
        if at + size < len(data):
            assert parser.feed(data[at : at + size]) is None
            at += size
    answer = parser.feed(data[at:])
    assert answer == whole
    assert parser.keep_alive


def test_reads_headers_by_lower_case_name_and_joins_repeated_ones() -> None:
    answer = parse(http(429, b"", "Retry-After:  7 \r\nX: a\r\nx:b\r\n"))
    assert answer is not None
    assert (answer.status, answer.body, answer.headers["retry-after"], answer.headers["x"]) == (429, b"", "7", "a, b")


def test_reads_chunks_and_skips_interim_answers() -> None:
    answer = parse(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\n" + CHUNKED)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b'{"a": 12}')


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        ("HTTP/1.1 204 None\r\n\r\n", True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", False),
    ],
)
def test_knows_whether_the_connection_may_be_used_again(head: str, keep_alive: bool) -> None:
    parser = ResponseParser()
    assert parser.feed(head.encode()) is not None
    assert parser.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"220 mail.example ESMTP\r\n\r\n", "not HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 0x2 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", "header"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded: x\r\n\r\n", "header"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "header"),
        (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "header"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "without a length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", "length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n", "length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "twice"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 300, "chunk size line over"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "1xx"),
        (b"HTTP/1.1 100 \r\n\r\n" * 9, "1xx"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "body over 1000"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n", "body over"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES, "head over"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * MAX_HEAD_BYTES,
            "trailer over",
        ),
    ],
)
def test_refuses_what_breaks_http_or_a_limit(data: bytes, reason: str) -> None:
    with pytest.raises(BadResponse, match=reason) as caught:
        parse(data)
    assert caught.value.sent


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            parse(prefix + data)
        except BadResponse:
            continue


@pytest.mark.parametrize("filler", [b" ", b"\t", b":", b"a:", b"\r", b"\r\n"])
def test_a_hostile_head_costs_no_time(filler: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\nA:" + (filler * MAX_HEAD_BYTES)[: MAX_HEAD_BYTES - 100] + b"\x00\r\n\r\n"
    start = time.process_time()
    with pytest.raises(BadResponse):
        parse(data)
    assert time.process_time() - start < 2  # a thousandth, unless it looks at each byte for each byte


# --- the client, over sockets


def test_sends_one_exact_request_and_reuses_the_connection() -> None:
    async def run() -> None:
        async with (
            raw_server(saying(GOOD, hold=True)) as server,
            client(server.url + "/v1/", headers={"Authorization": "Bearer x"}) as calls,
        ):
            for _ in range(3):
                answer = await calls.request("POST", "/p", headers={"Idempotency-Key": "k"}, body=b"{}")
                assert (answer.status, answer.body) == (200, b'{"a": 1}')
            host = server.url.removeprefix("http://")
            assert server.requests[0].decode() == (
                f"POST /v1/p HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\n"
                "Idempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert (len(server.requests), server.connections) == (3, 1)

    quietly(run)


def test_concurrent_calls_have_a_connection_each_and_never_swap_answers() -> None:
    async def echo(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.read_request(reader)
            number = int(request.split(b"/n/")[1].split(b" ")[0])
            await asyncio.sleep((number * 7 % 5) / 1000)
            writer.write(http(200, number))

    async def run() -> None:
        async with raw_server(echo) as server, client(server.url) as calls:
            for _ in range(3):
                answers = await asyncio.gather(*(calls.request("GET", f"/n/{n}") for n in range(20)))
                assert [int(answer.body) for answer in answers] == list(range(20))
            assert server.connections == 20

    quietly(run)


def test_a_chunked_answer_in_crumbs() -> None:
    async def run() -> None:
        async with raw_server(saying(CHUNKED, pieces=3, hold=True)) as server, client(server.url, 2.0) as calls:
            for _ in range(2):
                assert (await calls.request("GET", "/")).body == b'{"a": 12}'
            assert server.connections == 1

    quietly(run)


def test_follows_no_redirect_and_tries_once() -> None:
    async def run() -> None:
        answer = http(302, b"", "Location: /elsewhere\r\n")
        async with raw_server(saying(answer, hold=True)) as server, client(server.url) as calls:
            assert (await calls.request("GET", "/here")).status == 302
            assert len(server.requests) == 1

    quietly(run)


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"", Disconnected, "before the answer"),
        (b"HTT", Disconnected, "within the answer"),
        (GOOD[:-3], Disconnected, "within the answer"),
        (CHUNKED[:-2], Disconnected, "within the answer"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", BadResponse, "not HTTP"),
        (http(200, b"x" * 2000), BadResponse, "body over 1500"),
    ],
)
def test_an_answer_that_never_gets_complete(answer: bytes, error: type[HttpError], reason: str) -> None:
    async def run() -> None:
        async with raw_server(saying(answer)) as server, client(server.url, max_body_bytes=1500) as calls:
            with pytest.raises(error, match=reason) as caught:
                await calls.request("POST", "/", body=b"{}")
            assert caught.value.sent
            assert len(server.requests) == 1

    quietly(run)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", GOOD[:-1], CHUNKED[:-2]])
def test_a_server_that_hangs_meets_the_time_limit_and_its_connection_is_dropped(answer: bytes) -> None:
    async def run() -> None:
        async with raw_server(saying(answer, hold=True)) as server, client(server.url, 0.5) as calls:
            start = asyncio.get_running_loop().time()
            with pytest.raises(TimedOut, match=r"within 0\.5 s") as caught:
                await calls.request("GET", "/")
            assert caught.value.sent
            assert asyncio.get_running_loop().time() - start > 0.49
            with pytest.raises(TimedOut):
                await calls.request("GET", "/")
            assert server.connections == 2

    quietly(run)


def test_the_time_limit_is_for_the_whole_call_and_each_call_has_its_own() -> None:
    async def drip(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = b"/slow" in await server.read_request(reader)
        for at in range(0, len(GOOD), 4):
            writer.write(GOOD[at : at + 4])
            await asyncio.sleep(0.3 if slow else 0)

    async def run() -> None:
        async with raw_server(drip) as server, client(server.url, 2.0) as calls:
            slow = asyncio.create_task(calls.request("GET", "/slow"))
            await asyncio.sleep(1)
            start = asyncio.get_running_loop().time()
            also_slow = asyncio.create_task(calls.request("GET", "/slow"))
            assert (await calls.request("GET", "/fast")).status == 200
            with pytest.raises(TimedOut):
                await slow
            assert not also_slow.done()
            with pytest.raises(TimedOut):
                await also_slow
            assert asyncio.get_running_loop().time() - start > 1.99

    quietly(run)


def test_a_slow_connection_does_not_stretch_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call began first and is due first, though others have sent before it."""

    async def run() -> None:
        async with raw_server(saying(b"", hold=True)) as server, client(server.url, 2.0) as calls:
            loop = asyncio.get_running_loop()
            connect, waits = loop.create_connection, iter((1.1, 0.0))

            async def slowly(*arguments: Any, **options: Any) -> Any:
                await asyncio.sleep(next(waits))
                return await connect(*arguments, **options)

            monkeypatch.setattr(loop, "create_connection", slowly)
            first = asyncio.create_task(calls.request("GET", "/1"))
            await asyncio.sleep(1)
            second = asyncio.create_task(calls.request("GET", "/2"))
            await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            assert isinstance(first.exception(), TimedOut)
            assert not second.done()
            with pytest.raises(TimedOut):
                await second

    quietly(run)


def test_nobody_listens() -> None:
    async def run() -> None:
        with socket.socket() as taken:  # bound and not listening: refuses, and nobody else can take it
            taken.bind(("127.0.0.1", 0))
            async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as calls:
                with pytest.raises(NotConnected, match="connection refused") as caught:
                    await calls.request("GET", "/")
                assert not caught.value.sent

    quietly(run)


def test_a_connection_that_never_comes_about_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async def never(*_: object, **__: object) -> None:
            await asyncio.sleep(10)

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        async with client("http://127.0.0.1:9", 0.03) as calls:
            with pytest.raises(TimedOut, match="no connection within") as caught:
                await calls.request("GET", "/")
            assert not caught.value.sent

    quietly(run)


async def _one_answer_then_close(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read_request(reader)
    writer.write(GOOD)
    await writer.drain()


def test_a_connection_closed_while_idle_is_replaced_before_anything_is_sent() -> None:
    async def run() -> None:
        async with raw_server(_one_answer_then_close) as server, client(server.url) as calls:
            for _ in range(3):
                await calls.request("GET", "/")
                await asyncio.sleep(0.01)
            assert (server.connections, len(server.requests)) == (3, 3)

    quietly(run)


def test_a_close_that_the_loop_has_not_seen_yet_is_noticed_too() -> None:
    """As after the freeze of a Lambda: the end lies in the socket, and the loop had no time to read it."""

    async def run() -> None:
        loop = asyncio.get_running_loop()

        async def answered(listening: socket.socket) -> socket.socket:
            accepted, _ = await loop.sock_accept(listening)
            accepted.setblocking(False)
            await loop.sock_recv(accepted, 4096)
            await loop.sock_sendall(accepted, GOOD)
            return accepted

        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            async with client(f"http://127.0.0.1:{listening.getsockname()[1]}") as calls:
                first = asyncio.create_task(calls.request("GET", "/"))
                accepted = await answered(listening)
                await first
                accepted.close()  # no await from here to the next call: the loop sees nothing of it
                second = asyncio.create_task(calls.request("GET", "/"))
                accepted = await answered(listening)
                assert (await second).status == 200
                accepted.close()

    quietly(run)


def test_a_connection_idle_for_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with raw_server(saying(GOOD, hold=True)) as server, client(server.url) as calls:
            await calls.request("GET", "/")
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + IDLE_SECONDS + 1)
            await calls.request("GET", "/")
            assert server.connections == 2

    quietly(run)


def test_bytes_that_nobody_asked_for_poison_the_connection() -> None:
    """Else the next call would take them for its own answer."""

    async def run() -> None:
        async with raw_server(saying(GOOD + GOOD, hold=True)) as server, client(server.url) as calls:
            await calls.request("GET", "/")
            await calls.request("GET", "/")
            assert server.connections == 2

        async def late(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read_request(reader)
            writer.write(GOOD)
            await asyncio.sleep(0.01)
            writer.write(http(200, "not yours"))
            await reader.read()

        async with raw_server(late) as server, client(server.url) as calls:
            await calls.request("GET", "/")
            await asyncio.sleep(0.03)
            assert (await calls.request("GET", "/")).body == b'{"a": 1}'
            assert server.connections == 2

    quietly(run)


def test_a_cancelled_call_takes_its_connection_along() -> None:
    async def run() -> None:
        ends: list[bytes] = []

        async def slow(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await server.read_request(reader)
            if b"/first" in request:
                ends.append(await reader.read())
            writer.write(http(200, "first" if b"/first" in request else "second"))

        async with raw_server(slow) as server, client(server.url) as calls:
            task = asyncio.create_task(calls.request("GET", "/first"))
            await until(lambda: len(server.requests) == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: ends == [b""])  # nothing of it stays open
            assert (await calls.request("GET", "/second")).body == b'"second"'
            assert server.connections == 2

    quietly(run)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "gateway.example",
        "http://",
        "http://user:pw@x",
        "http://x/?a=b",
        "http://x/#f",
        f"https://{SECRET}@x",
    ],
)
def test_refuses_urls_it_could_not_keep_its_word_on(url: str) -> None:
    with pytest.raises(ValueError, match="the URL must") as caught:
        HttpClient(url, timeout_seconds=1)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda calls: calls.request("GET", "/a b"),
        lambda calls: calls.request("GET", "/a\r\nHost: x"),
        lambda calls: calls.request("G T", "/"),
        lambda calls: calls.request("GET", "/", headers={"A": f"{SECRET}\r\nB: c"}),
        lambda calls: calls.request("GET", "/", headers={"A b": "c"}),
        lambda calls: calls.request("GET", "/", headers={"A": "ü"}),
    ],
)
def test_nothing_can_be_smuggled_into_a_request(call: Callable[[HttpClient], object]) -> None:
    async def run() -> None:
        async with raw_server(saying(GOOD)) as server, client(server.url) as calls:
            with pytest.raises(ValueError, match="HTTP does not allow") as caught:
                await call(calls)  # type: ignore[misc]
            assert SECRET not in str(caught.value)
            assert server.connections == 0

    quietly(run)


def test_errors_and_answers_show_nothing_of_what_was_said() -> None:
    async def run() -> None:
        for answer in (http(200, b"x", f"Set-Cookie: {SECRET}\r\n"), f"HTTP/1.1 {SECRET}\r\n\r\n".encode()):
            async with (
                raw_server(saying(answer)) as server,
                client(server.url, headers={"Authorization": SECRET}) as calls,
            ):
                try:
                    shown = repr(await calls.request("GET", f"/{SECRET}", headers={"K": SECRET}))
                except HttpError as error:
                    shown = repr(error) + str(error)
                assert SECRET not in shown + repr(calls)

    quietly(run)


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=gateway"
            " -addext subjectAltName=IP:127.0.0.1 -keyout key -out certificate"
        ),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both"
    both.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return both


def _serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_works_and_is_kept_alive(certificate: Path) -> None:
    async def run() -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with (
            raw_server(saying(GOOD, hold=True), ssl=_serving(certificate)) as server,
            client(server.url, 2.0, tls=trusting) as calls,
        ):
            for _ in range(3):
                assert (await calls.request("GET", "/")).status == 200
                await asyncio.sleep(0.01)
            assert server.connections == 1

    quietly(run)


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(certificate: Path) -> None:
    async def run() -> None:
        async with (
            raw_server(saying(GOOD), ssl=_serving(certificate)) as server,
            client(server.url, 2.0) as calls,
        ):
            with pytest.raises(NotConnected, match=r"self.signed") as caught:
                await calls.request("GET", "/", headers={"K": SECRET})
            assert not caught.value.sent
            assert server.requests == []

    quietly(run)


def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    async def run() -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with (
            raw_server(saying(GOOD), ssl=_serving(certificate)) as server,
            client(server.url.replace("127.0.0.1", "localhost"), 2.0, tls=trusting) as calls,
        ):
            with pytest.raises(NotConnected, match="Hostname mismatch"):
                await calls.request("GET", "/")

    quietly(run)
