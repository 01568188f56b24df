"""A stack on the local AWS: the plain `pulumi` command on the tracked program, with everything it needs running.

    with LocalAws("serverless") as aws:
        aws.pulumi("up", "--yes")
        aws.outputs()["tableName"]

Everything lives in `.local`, which git ignores:

    .local/bin, .local/pulumi, .local/state   the engine (local/engine/home.py)
    .local/program                            where `pulumi` runs: the tracked program by links, its config by copies
    .local/aws, .local/gateway                the emulator's and the simulated gateway's state and logs
    .local/traces                             the collector's: the spans of Lambdas and tasks
    .local/postgres                           PostgreSQL, which the emulator starts for an Aurora cluster
    .local/real                               all this once more, for the real providers (PROVIDERS=real)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import yaml

from local.emulator import REGION, Emulator
from local.engine import home as engine_home
from local.engine.cli import Finder, Say, say_on_stderr
from local.errors import LocalError
from local.postgres import Postgres, require_port
from local.processes import HOST, ROOT, Child, command_of, end, explain, kept_port

PROJECT = "confirm-transactions"

Value = str | int | float | bool

OVERRIDES: Mapping[str, Value] = {
    # A minute of the Scheduler lasts 10 s here (SCHEDULER_SPEED), so what waits for minutes on AWS waits for seconds.
    "schedule": "rate(1 minute)",
    "gatewayTimeoutSeconds": 1,
    "gatewayGraceSeconds": 5,
    "retryBaseSeconds": 2,
    "retryCapSeconds": 20,
    "maxAttempts": 4,
    "lambdaTimeoutSeconds": 25,
    "stopTimeoutSeconds": 40,
    "gatewayRateLimit": 480,  # a gateway binds before AWS does; here it lets one see the service scale
    # A Lambda or a task is one process of some 50 MB here, and the machine may have two cores.
    "backlogPerTask": 800,
    "mapConcurrency": 4,
    "traceSampling": 100,  # `python -m demo.trace` shows whichever transaction you ask for
    "minTasks": 1,
    "maxTasks": 4,
    "databaseInstances": 1,
    "minCapacityUnits": "0.5",
    "maxCapacityUnits": "1",
    "databaseInsights": "off",
}
"""Config that differs from the tracked one on the local AWS, besides `gatewayUrl`, which is the simulated gateway's."""

LEASES: Mapping[str, int] = {"serverless": 30, "fargate": 15}
"""`leaseSeconds` by alternative: it outlives a Lambda, and is as short as can be where a killed task's work waits."""

SCHEDULER_SPEED = 6.0
"""How much faster than on AWS the Scheduler's clock runs."""

LINKED = ("__main__.py", "Pulumi.yaml", "alternatives", "components", "workers", "delivery")
"""What the program directory shows of the repository, where it exists."""

POLICIES = "delivery/policies"

SAVE_SECONDS = 90.0
"""The longest that an emulator may take to save its state before it is started again, on a machine that is busy."""

RECORDED_ONLY = "CONFIRM_RECORDED_ONLY"
"""Names the file to which the provider writes what it only records: JSON Lines of {"type", "name"}."""


class LocalAws:
    """The local AWS for one stack. Use it as a context manager: what it started has ended when the block is left.

    When another process of this clone runs the local AWS already (`make shell` in another terminal), it is used as it
    is, and left running.
    """

    def __init__(
        self,
        stack: str = "serverless",
        *,
        root: Path = ROOT,
        folder: Path | None = None,
        gateway: bool = True,
        gateway_arguments: Sequence[str] = (),
        scheduler_speed: float = SCHEDULER_SPEED,
        finder: Finder | None = None,
        providers: engine_home.Providers = engine_home.PROVIDERS,
        say: Say = say_on_stderr,
    ) -> None:
        """`folder` is `.local` of the repository `root` unless given. Nothing happens before `start()`."""
        self.stack = stack
        self.root = root
        self.folder = (folder or root / ".local").resolve()
        self.program = self.folder / "program"
        self.recorded_only_file = self.folder / "recorded-only.jsonl"
        self.owner = False
        self.gateway_url: str | None = None
        self.endpoint_url = ""
        self._with_gateway = gateway
        self._gateway_arguments = tuple(gateway_arguments)
        self._scheduler_speed = scheduler_speed
        self._finder = finder or Finder(say=say, ignore=(self.folder / "bin",))
        self._providers = providers
        self._say = say
        self._lock: TextIO | None = None
        self._children: list[Emulator | Child] = []
        self._home: engine_home.EngineHome | None = None

    # --- life

    def __enter__(self) -> LocalAws:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> LocalAws:
        """Make and start all that a `pulumi` command on this stack needs."""
        try:
            tracked_config(self.root, self.stack)
            pulumi = self._finder.find()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._home = engine_home.prepare(self.folder, pulumi, self._providers)
            self.owner = self._take_lock()
            if self.owner:
                self._clear_what_a_killed_run_left()
                self._start_services()
            else:
                self._borrow_services()
            self._make_program()
            self._make_stack()
        except OSError as error:
            self.stop()
            raise LocalError(explain(error, "start the local AWS")) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End what this object started. The state stays."""
        while self._children:
            self._children.pop().stop()
        if self._lock:
            if self.owner:
                self._run_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def restart_emulator(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """In good order: Lambdas, tasks and PostgreSQL end with it and come back; what a table holds stays.

        `meanwhile` is called when all has ended.
        """
        for emulator in self._children:
            if isinstance(emulator, Emulator):
                emulator.stop(seconds=SAVE_SECONDS)
                require_port(self.folder / "postgres")
                meanwhile()
                emulator.start()

    # --- use

    @property
    def environment(self) -> dict[str, str]:
        """For commands that are to use the local AWS and nothing else: the user's own AWS and Pulumi settings are out.

        Those commands find `pulumi`, `confirm` and `python` on PATH.
        """
        if self._home is None:
            raise LocalError("The local AWS is not started.")
        inherited = {k: v for k, v in os.environ.items() if not is_foreign(k)}
        path = [str(self._home.bin), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        return inherited | self.own_environment | {"PATH": os.pathsep.join(path)}

    @property
    def own_environment(self) -> dict[str, str]:
        """The part of `environment` that is ours, PATH apart."""
        if self._home is None:
            raise LocalError("The local AWS is not started.")
        region = self.config().get("aws:region", REGION)
        direct = {f"{HOST},localhost"} | {os.environ[k] for k in ("NO_PROXY", "no_proxy") if os.environ.get(k)}
        return {
            **self._home.environment(),
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": str(region),
            "AWS_DEFAULT_REGION": str(region),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "NO_PROXY": ",".join(sorted(direct)),
            "no_proxy": ",".join(sorted(direct)),
            RECORDED_ONLY: str(self.recorded_only_file),
        }

    def pulumi(
        self, *arguments: str, capture: bool = False, on_line: Callable[[str], None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `pulumi ARGUMENTS` in the program directory, as the user would in `make shell`.

        `capture`: stdout and stderr are in the answer instead of on the terminal; `on_line`: each line of both
        together goes there. Look at the answer's `returncode`: 130 after a Ctrl-C.
        """
        return self.run(["pulumi", *arguments], capture=capture, on_line=on_line)

    def run(
        self,
        command: Sequence[str],
        *,
        capture: bool = False,
        on_line: Callable[[str], None] | None = None,
        hang_up: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run any command with `environment` in the program directory; it ends when we do.

        The argument has variables that are to be otherwise: somebody's own keys, for one.
        """
        at_our_end = signal.SIGHUP if hang_up else signal.SIGINT
        guarded = [sys.executable, "-SE", str(ROOT / "local" / "guard.py"), str(os.getpid())]
        pipe = subprocess.PIPE if capture or on_line else None
        with _left_to_the_child():
            process = subprocess.Popen(
                [*guarded, str(int(at_our_end)), *command],
                cwd=self.program,
                env={**self.environment, **(environment or {})},
                stdout=pipe,
                stderr=subprocess.STDOUT if on_line else pipe,
                text=True,
            )
            try:
                if on_line:
                    for line in process.stdout or ():
                        on_line(line.rstrip("\n"))
                output, errors = process.communicate()
            finally:
                _end_softly(process, at_our_end)
        return subprocess.CompletedProcess(list(command), process.returncode, output or "", errors or "")

    @property
    def under_policies(self) -> tuple[str, ...]:
        """Arguments that put a `pulumi preview` or `up` under the policy pack, where the program has one."""
        return ("--policy-pack", POLICIES) if (self.program / POLICIES).exists() else ()

    def recorded_only(self) -> list[str]:
        """What of the stack the emulator does not have, or has only on paper: a line for each kind."""
        try:
            lines = [json.loads(line) for line in self.recorded_only_file.read_text().splitlines()]
            deployment = json.loads(self._state_file.read_text())["checkpoint"]["latest"]
        except FileNotFoundError:
            return []
        there = {(one["type"], one["urn"].rpartition("::")[2]) for one in deployment.get("resources") or ()}
        names: dict[tuple[str, str], set[str]] = {}
        for line in lines:
            if (line["type"], line["name"]) in there:
                names.setdefault((line["type"], line["what"]), set()).add(line["name"])
        return [f"{kind} ({', '.join(sorted(which))}): {what}" for (kind, what), which in sorted(names.items())]

    def exists(self) -> bool:
        """Was the stack made?"""
        return self._state_file.exists()

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; empty before the first `up`."""
        answer = self.pulumi("stack", "output", "--json", "--stack", self.stack, capture=True)
        if answer.returncode:
            raise LocalError(f"The stack's outputs cannot be read: {answer.stderr.strip()}")
        outputs: dict[str, Any] = json.loads(answer.stdout)
        return outputs

    def config(self) -> dict[str, Any]:
        """The stack's config as it is here, keys as in the file."""
        return dict(_read(self.program / f"Pulumi.{self.stack}.yaml").get("config") or {})

    def client(self, service: str) -> Any:
        """A boto3 client of the stack's account and region."""
        import boto3
        from botocore.config import Config

        own = self.own_environment
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=own["AWS_REGION"],
            aws_access_key_id=own["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=own["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}),
        )

    # --- parts

    @property
    def _run_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def _state_file(self) -> Path:
        return self.folder / "state" / ".pulumi" / "stacks" / PROJECT / f"{self.stack}.json"

    def _take_lock(self) -> bool:
        """Are we the one process that runs the services? The kernel frees the lock however we end."""
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _clear_what_a_killed_run_left(self) -> None:
        """We hold the lock, so no other `python -m local` runs here. A `pulumi` that was killed has left its own lock,
        which would refuse every further command; one whose process is gone protects nothing."""
        self._run_file.unlink(missing_ok=True)
        for lock in (self.folder / "state" / ".pulumi" / "locks").rglob("*.json"):
            with contextlib.suppress(ValueError, AttributeError):
                holder = json.loads(lock.read_text()).get("pid")
                if not (isinstance(holder, int) and "pulumi" in command_of(holder)):
                    lock.unlink()

    def _start_services(self) -> None:
        collector_port = kept_port(self.folder / "traces" / "port")
        emulator = Emulator(
            self.folder / "aws",
            collector=collector_port,
            scheduler_speed=self._scheduler_speed,
            postgres=self.folder / "postgres",
            code=self.root,
        )
        gateway = self._gateway() if self._with_gateway else None
        if gateway:
            self._children.append(gateway)
            gateway.launch()
        collector = Child(
            "local.collector",
            ["--port", str(collector_port), "--folder", str(self.folder / "traces")],
            environment={k: v for k, v in os.environ.items() if not is_foreign(k)},
            folder=self.folder / "traces",
            health_url=f"http://{HOST}:{collector_port}/_health",
        )
        self._children.append(collector)
        collector.launch()
        require_port(self.folder / "postgres")
        self._children.append(emulator)  # it ends before the gateway does: its tasks have calls under way
        emulator.start()
        if emulator.lost_state and any((self.folder / "state").rglob("*.json")):
            self._say(
                "The local AWS was killed before it could save its state: what `pulumi` takes for there may be gone. "
                "Run `pulumi refresh` in `make shell`, or start anew with `make clean`."
            )
        if gateway:
            gateway.await_health()
        collector.await_health()
        self.endpoint_url = emulator.endpoint_url
        services = {"owner": os.getpid(), "endpoint": self.endpoint_url, "gateway": self.gateway_url}
        self._run_file.write_text(json.dumps(services))

    def _gateway(self) -> Child:
        folder = self.folder / "gateway"
        port = kept_port(folder / "port")
        self.gateway_url = f"http://{HOST}:{port}"
        return Child(
            "gateway_simulator",
            ["--port", str(port), "--ledger", str(folder / "ledger.jsonl"), *self._gateway_arguments],
            environment={k: v for k, v in os.environ.items() if not is_foreign(k)},
            folder=folder,
            health_url=f"{self.gateway_url}/_health",
        )

    def _borrow_services(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ValueError):
                services = json.loads(self._run_file.read_text())
                self.endpoint_url, self.gateway_url = services["endpoint"], services["gateway"]
                return
            time.sleep(0.1)
        raise LocalError(
            f"Another process of this folder is starting the local AWS and does not get on (see {self.folder}/aws): "
            "end it, or run `make clean`."
        )

    def _make_program(self) -> None:
        self.program.mkdir(parents=True, exist_ok=True)
        for name in LINKED:
            link, target = self.program / name, self.root / name
            if link.is_symlink() and (not target.exists() or link.readlink() != target):
                link.unlink()
            if target.exists() and not link.exists():
                link.symlink_to(target)
        copy_config(self.root, self.program, self.stack, self._overrides())

    def _overrides(self) -> dict[str, Value]:
        chosen = overrides(self._alternative())
        own: dict[str, Value] = {f"{PROJECT}:{key}": value for key, value in chosen.items()}
        return own | ({f"{PROJECT}:gatewayUrl": self.gateway_url} if self.gateway_url else {})

    def _alternative(self) -> str:
        """What the stack's config says, here first."""
        key = f"{PROJECT}:alternative"
        tracked = (_read(tracked_config(self.root, self.stack)).get("config") or {}).get(key, "serverless")
        return str(self.config().get(key, tracked))

    def _make_stack(self) -> None:
        """`pulumi stack select --create`, spared when it has been done: it costs half a second."""
        selected = self.folder / "selected"
        if self.exists() and selected.exists() and selected.read_text() == self.stack:
            return
        answer = self.pulumi("stack", "select", "--create", "--stack", self.stack, capture=True)
        if answer.returncode:
            raise LocalError(f"The stack {self.stack} cannot be made: {answer.stderr.strip()}")
        selected.write_text(self.stack)


def overrides(alternative: str) -> dict[str, Value]:
    """Config of a stack of that alternative that differs on the local AWS."""
    return {**OVERRIDES, "leaseSeconds": LEASES.get(alternative, LEASES["serverless"])}


def is_foreign(name: str) -> bool:
    """Is this environment variable of the user's own AWS or Pulumi, which the local AWS must not touch or obey?"""
    return name.startswith(("AWS_", "PULUMI_")) or name in ("BOTO_CONFIG", "TRACEPARENT")


# --- config


def tracked_config(root: Path, stack: str) -> Path:
    """The tracked config file of a stack. Raises LocalError, naming those that there are."""
    file = root / f"Pulumi.{stack}.yaml"
    if file.is_file():
        return file
    names = sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
    raise LocalError(
        f"There is no stack {stack!r}: its config file {file.name} is missing. "
        f"Stacks here: {', '.join(names) or 'none'}; a new one needs only such a file."
    )


def copy_config(root: Path, program: Path, stack: str, overrides: Mapping[str, Value]) -> None:
    """Bring the program directory's own config up to date.

    The rule: it is the tracked file, then the overrides, then what you changed with `pulumi config set` or `rm` in the
    program directory. A change of the tracked file arrives with the next command, and your changes outlive it. To know
    them, what was generated last is kept beside it.
    """
    copy, kept = program / f"Pulumi.{stack}.yaml", program / f".generated.{stack}.yaml"
    tracked = _read(tracked_config(root, stack))
    fresh = {**tracked, "config": {**(tracked.get("config") or {}), **overrides}}
    before, mine = (_read(kept), _read(copy)) if copy.exists() and kept.exists() else ({}, {})
    merged = merge(before, fresh, mine)
    merged["config"] = merge(before.get("config") or {}, fresh["config"], mine.get("config") or {})
    _write(copy, merged)
    _write(kept, fresh)


def merge(before: Mapping[str, Any], fresh: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    """`fresh`, with the changes that lead from `before` to `mine` made again."""
    merged = dict(fresh)
    if mine:
        for key in before.keys() - mine.keys():
            merged.pop(key, None)
        merged |= {key: v for key, v in mine.items() if key not in before or _plain(before[key]) != _plain(v)}
    return merged


def _plain(value: Any) -> Any:
    """As `pulumi config set` writes it: it turns every scalar of the file into text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
    except yaml.YAMLError as error:
        raise LocalError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(content or {}, dict):
        raise LocalError(f"{file} must hold a mapping with the key `config`.")
    return content or {}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False)
    if file.exists() and file.read_text() == text:
        return
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text)
    temporary.replace(file)


# --- signals


@contextlib.contextmanager
def _left_to_the_child() -> Iterator[None]:
    """While a command runs in our terminal, a Ctrl-C is its own affair: `pulumi` finishes its step and ends.

    Not SIG_IGN, which the child would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_signal: int, _frame: FrameType | None) -> None:
        """The terminal has sent it to the child as well."""

    former = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _end_softly(process: subprocess.Popen[str], first: signal.Signals) -> None:
    """When we are to end while it runs. `first` is what it takes best: `pulumi` writes its state on SIGINT."""
    for number in (first, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(8)


# --- clean


def clean(folder: Path) -> None:
    """End what runs on this folder's local AWS, whoever started it, and remove the folder."""
    try:
        owner = json.loads((folder / "run.json").read_text()).get("owner")
    except (OSError, ValueError):
        owner = None
    if isinstance(owner, int) and owner != os.getpid() and _locked(folder):
        end(owner, seconds=30)
    for name, module in (
        ("aws", "local.overlay"),
        ("gateway", "gateway_simulator"),
        ("traces", "local.collector"),
        ("postgres", "local.postgres"),
    ):
        Child(module, [], environment={}, folder=folder / name).end_former()
    if (folder / "postgres").exists():
        Postgres(folder / "postgres").remove()
    shutil.rmtree(folder, ignore_errors=True)


def in_use(folder: Path) -> bool:
    """Does a process run the local AWS of that folder?"""
    return (folder / "run.json").exists() and _locked(folder)


def _locked(folder: Path) -> bool:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
