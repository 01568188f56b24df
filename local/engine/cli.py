"""Find the Pulumi CLI, or make it: once per user, not per clone.

In this order: a `pulumi` on PATH that fits the SDK; the one in the user's cache; the official installer (needs the
internet); a build with Go from the module that go.mod and go.sum in `build/` pin (needs Go and a module proxy).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from local.errors import LocalError
from local.processes import explain

VERSION = version("pulumi")
"""Of the pinned SDK; the CLI must be at least this and of the same major version."""

PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
RECIPE = Path(__file__).parent / "build"
GO_NEEDED = (1, 21)
"""Older ones cannot fetch the toolchain that go.mod asks for by themselves."""

_STALLED_SECONDS = 25.0  # the official installer without a byte received: there is no internet
_SAY_EVERY_SECONDS = 5.0

Say = Callable[[str], None]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the CLI is kept, for all clones of this user."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "confirm-transactions" / f"pulumi-{VERSION}"


def say_on_stderr(text: str) -> None:
    """The default way to tell the user what is going on."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Finder:
    """Finds or makes the CLI. The steps are fields so that tests can replace them."""

    cache: Path = field(default_factory=cache_folder)
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", ""))
    say: Say = say_on_stderr
    ignore: tuple[Path, ...] = ()
    """Folders on PATH that hold our own copy."""
    install: Callable[[Path, Say], str] = field(default=lambda folder, say: official_install(folder, say))
    build: Callable[[Path, Say], str] = field(default=lambda folder, say: go_build(folder, say))

    def find(self) -> Path:
        """The path of a `pulumi` that works. Raises LocalError with what to install when there is no way to one."""
        return self.on_path() or self.cached() or self._make()

    def on_path(self) -> Path | None:
        """The first `pulumi` on PATH, if its version fits."""
        ignored = {folder.resolve() for folder in self.ignore}
        for name in self.search_path.split(os.pathsep):
            candidate = Path(name or ".") / "pulumi"
            if not os.access(candidate, os.X_OK) or candidate.parent.resolve() in ignored:
                continue
            found = version_of(candidate)
            if fits(found):
                return candidate.resolve()
            self.say(
                f"Not using {candidate}: it is version {found or 'unknown'}, needed is {VERSION} or newer of the "
                f"same major version."
            )
            return None
        return None

    def cached(self) -> Path | None:
        """The one made before. It was moved there whole, so its presence is proof enough."""
        candidate = self.cache / "bin" / "pulumi"
        return candidate if os.access(candidate, os.X_OK) else None

    def _make(self) -> Path:
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.cache.with_suffix(".lock"), self.say):
                if found := self.cached():  # another run made it while we waited
                    return found
                return self._make_alone()
        except OSError as error:
            raise LocalError(explain(error, f"keep the Pulumi CLI in {self.cache.parent}")) from error

    def _make_alone(self) -> Path:
        for left in self.cache.parent.glob("making-*"):  # of a run that was killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        reasons = []
        for make in (self.install, self.build):
            staging = Path(tempfile.mkdtemp(prefix="making-", dir=self.cache.parent))
            try:
                reason = make(staging, self.say)
                binary = staging / "bin" / "pulumi"
                if not reason and not fits(version_of(binary)):
                    reason = "what was made does not run"
                if not reason:
                    shutil.rmtree(self.cache, ignore_errors=True)
                    staging.rename(self.cache)  # atomic: either whole or not there
                    self.say(f"The Pulumi CLI is in {self.cache} now; it is kept for all your clones.")
                    return self.cache / "bin" / "pulumi"
                reasons.append(reason)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        raise LocalError(
            f"The Pulumi CLI {VERSION} could not be had: {'; '.join(reasons)}. Install Go 1.25 or newer "
            f"(go.dev/dl), or Pulumi {VERSION} (pulumi.com/docs/install), and run this again."
        )


def version_of(binary: Path) -> str:
    """What `pulumi version` answers, without the v; "" when it does not run."""
    try:
        answer = subprocess.run(
            [str(binary), "version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip().removeprefix("v") if answer.returncode == 0 else ""


def fits(found: str, needed: str = VERSION) -> bool:
    """Is `found` at least `needed` and of the same major version?"""
    numbers = [re.match(r"(\d+)\.(\d+)\.(\d+)", text) for text in (found, needed)]
    if not all(numbers):
        return False
    have, want = (tuple(int(part) for part in match.groups()) for match in numbers if match)
    return have[0] == want[0] and have >= want


def official_install(folder: Path, say: Say) -> str:
    """The SDK's own way to the official installer. Returns why it failed, "" when it did not."""
    say("The Pulumi CLI is not here yet. Asking its official installer (about a minute; needs the internet) ...")
    progress = _Progress(say, "downloading the Pulumi CLI")
    code = (
        "import socket, sys; socket.setdefaulttimeout(5)\n"
        "from pulumi.automation import PulumiCommand\n"
        "PulumiCommand.install(root=sys.argv[1])"
    )
    downloads = folder / "downloads"
    downloads.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "TMPDIR": str(downloads)},  # where the installer downloads to: shows us progress
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    errors = _Lines(process)
    size, since = -1, time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(0.2)
            now_size = sum(file.stat().st_size for file in _files(folder))
            if now_size != size:
                size, since = now_size, time.monotonic()
            progress.tell(f"{size / 1e6:.0f} MB so far")
            if time.monotonic() - since > _STALLED_SECONDS:
                return f"the official installer got no answer for {_STALLED_SECONDS:.0f} s (no internet?)"
    finally:
        _end_group(process)
    shutil.rmtree(downloads, ignore_errors=True)
    if process.returncode:
        return f"the official installer failed ({errors.last() or 'without a word'})"
    return ""


def go_build(folder: Path, say: Say) -> str:
    """Build it from the pinned modules. Returns why it failed, "" when it did not."""
    go = shutil.which("go")
    if go is None:
        return "Go is not installed"
    found = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = re.match(r"go(\d+)\.(\d+)", found)
    if not numbers or tuple(int(part) for part in numbers.groups()) < GO_NEEDED:
        return f"Go is too old ({found or 'unknown version'})"
    say(
        f"Building the Pulumi CLI {VERSION} with {found}: about 4-6 minutes and 3 GB of Go's caches, once per user, "
        "because the official download is out of reach."
    )
    source = folder / "source"
    shutil.copytree(RECIPE, source)
    # no C compiler needed; the recipe's go.sum decides what is trusted
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    fetching = _Progress(say, "fetching Go modules (1 of 2)")
    listed = _go(
        [go, "list", "-mod=readonly", "-deps", "-f", "{{.ImportPath}}", PACKAGE],
        source,
        environment,
        lambda lines: fetching.tell(f"{lines.count('downloading')} downloaded"),
    )
    if listed.reason:
        return listed.reason
    compiling = _Progress(say, "compiling (2 of 2)")
    total = len(listed.output.splitlines())
    name = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
    built = _go(
        [
            *(go, "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"),
            *("-ldflags", f"-s -w -X {name}={VERSION}", "-o", str(folder / "bin" / "pulumi"), PACKAGE),
        ],
        source,
        environment,
        lambda lines: compiling.tell(f"{lines.count()} packages of at most {total}"),
    )
    shutil.rmtree(source, ignore_errors=True)
    return built.reason


@dataclass(frozen=True)
class _GoResult:
    output: str
    reason: str


def _go(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], tell: Callable[[_Lines], None]
) -> _GoResult:
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        lines = _Lines(process)
        try:
            while process.poll() is None:
                time.sleep(0.1)
                tell(lines)
        finally:
            _end_group(process)
        output.seek(0)
        return _GoResult(output.read(), _go_reason(lines) if process.returncode else "")


def _go_reason(lines: _Lines) -> str:
    text = lines.text()
    if "no space left on device" in text:
        return "the disk is full (the build needs 3 GB for Go's caches: see `go env GOCACHE GOMODCACHE`)"
    if re.search(r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake|proxyconnect", text):
        return "Go cannot reach its module proxy (no internet; see `go env GOPROXY`)"
    if "toolchain not available" in text or "requires go >=" in text:
        return "Go is too old and cannot fetch a newer toolchain"
    return f"the Go build failed ({lines.last()})"


class _Lines:
    """What a process writes to stderr, read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def count(self, word: str = "") -> int:
        return sum(word in line for line in self._lines)

    def text(self) -> str:
        self._reader.join(2)
        return "".join(self._lines)

    def last(self) -> str:
        return next((line.strip() for line in reversed(self.text().splitlines()) if line.strip()), "")

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._lines.append(line)


class _Progress:
    """A line every few seconds: what is being done, how far, and for how long."""

    def __init__(self, say: Say, what: str) -> None:
        self._say, self._what = say, what
        self._began = self._said = time.monotonic()

    def tell(self, how_far: str) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY_SECONDS:
            self._said = now
            minutes, seconds = divmod(int(now - self._began), 60)
            self._say(f"  {self._what}: {how_far}, {minutes}:{seconds:02d} min")


@contextlib.contextmanager
def _alone(lock: Path, say: Say) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is making the Pulumi CLI; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_group(process: subprocess.Popen[str]) -> None:
    """Whatever happened, Ctrl-C included: no compiler or download goes on without us."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink():
                yield file
