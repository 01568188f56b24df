"""The local AWS as a whole, with a small program in a repository of its own: no provider is needed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from local import shell, stack
from local.emulator import Emulator
from local.errors import LocalError
from local.processes import ROOT, command_of
from local.stack import LocalAws, copy_config, merge

pytestmark = pytest.mark.usefixtures("pulumi_cli")

PROGRAM = """
import os
import pulumi
import workers.kept
lease = pulumi.Config().require("leaseSeconds")
if lease == "7":
    raise pulumi.RunError("leaseSeconds: found 7; allowed: 10 to 3600")
if lease == "8":
    {}["missing"]
if lease == "9":
    import time
    print("working", flush=True)
    time.sleep(60)
pulumi.export("lease", lease)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path)


def repository(folder: Path) -> Path:
    """A repository with a program that exports a setting."""
    root = folder / "repo"
    (root / "workers").mkdir(parents=True)
    (root / "workers" / "__init__.py").touch()
    (root / "workers" / "kept.py").touch()
    (root / "__main__.py").write_text(PROGRAM)
    (root / "Pulumi.yaml").write_text("name: confirm-transactions\nruntime: python\n")
    (root / "Pulumi.serverless.yaml").write_text(
        "config:\n  aws:region: eu-west-1\n  confirm-transactions:batchSize: 100\n"
    )
    return root


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    root = repository(tmp_path_factory.mktemp("shared"))
    with LocalAws("serverless", root=root, gateway=False, providers={}) as aws:
        yield aws


@pytest.fixture
def running(shared: LocalAws) -> Iterator[LocalAws]:
    """One for all tests that leave it running; each finds the config as it was."""
    config = shared.program / "Pulumi.serverless.yaml"
    before = config.read_bytes()
    yield shared
    config.write_bytes(before)


def gone(pid: int | None, seconds: float = 60) -> bool:
    """Has the process ended within `seconds`?"""
    assert pid is not None
    end = time.monotonic() + seconds
    while command_of(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_the_plain_command_up_config_and_a_plan(running: LocalAws) -> None:
    before = {file: file.read_bytes() for file in running.root.glob("Pulumi*")}
    assert running.pulumi("up", "--yes", "--skip-preview", capture=True).returncode == 0
    assert running.outputs() == {"lease": "30"}
    assert running.pulumi("config", "set", "leaseSeconds", "60").returncode == 0
    plan = running.pulumi("preview", "--save-plan", "plan.json", capture=True)
    assert plan.returncode == 0, plan.stderr
    assert running.pulumi("up", "--yes", "--plan", "plan.json", capture=True).returncode == 0
    assert running.outputs()["lease"] == "60"
    answer = running.pulumi("about", capture=True)
    assert "warning: using pulumi-language-python from $PATH" not in answer.stdout + answer.stderr
    assert {file: file.read_bytes() for file in running.root.glob("Pulumi*")} == before


def test_an_error_for_the_user_has_no_stack_trace(running: LocalAws) -> None:
    running.pulumi("config", "set", "leaseSeconds", "7")
    answer = running.pulumi("preview", capture=True)
    assert answer.returncode != 0
    text = answer.stdout + answer.stderr
    assert "leaseSeconds: found 7; allowed: 10 to 3600" in text
    assert "Traceback" not in text
    assert ".py" not in text

    running.pulumi("config", "set", "leaseSeconds", "8")
    text = running.pulumi("preview", capture=True).stdout
    assert "KeyError: 'missing'" in text
    assert '__main__.py", line 9' in text
    assert "runpy" not in text
    assert "local/engine" not in text


PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, StackValidationPolicy
def never(args, report):
    report("no")
PolicyPack(
    name="rules",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[StackValidationPolicy(name="never", description="nothing is good enough", validate=never)],
)
"""


def test_a_policy_pack_is_run(running: LocalAws) -> None:
    pack = running.root / "policies"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("description: rules\nruntime: python\n")
    (pack / "__main__.py").write_text(PACK)
    assert running.pulumi("preview", capture=True).returncode == 0
    answer = running.pulumi("preview", "--policy-pack", str(pack), capture=True)
    assert answer.returncode != 0
    assert "nothing is good enough" in answer.stdout + answer.stderr


CTRL_C = """
import sys
from pathlib import Path
from local.stack import LocalAws
with LocalAws("serverless", root=Path(sys.argv[1]), gateway=False, providers={}) as aws:
    aws.pulumi("config", "set", "leaseSeconds", "9")
    print("code", aws.pulumi("preview").returncode, flush=True)
"""


def test_ctrl_c_in_the_middle_of_a_program_ends_quietly(repo: Path) -> None:
    """As on a terminal: SIGINT to the whole group. The engine cancels, and its plugins and the program end with it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, str(repo)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout
    seen = ""
    while "working" not in seen:
        seen += holder.stdout.readline()
    started = subprocess.run(["pgrep", "-f", "local.engine"], capture_output=True, text=True, check=False).stdout
    mine = [int(pid) for pid in started.split() if str(repo) in folder_of(int(pid))]
    assert len(mine) >= 2  # the host and the program; an earlier host may be about to end
    os.killpg(holder.pid, signal.SIGINT)
    began = time.monotonic()
    seen += holder.stdout.read()
    assert holder.wait(60) == 0
    assert time.monotonic() - began < 40, "the program would sleep for a minute"
    assert "code 0" not in seen
    assert "Traceback" not in seen
    assert all(gone(pid) for pid in mine)


def folder_of(pid: int) -> str:
    """The folder that a process works in."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        lines = subprocess.run(["lsof", "-a", "-p", str(pid), "-d", "cwd", "-Fn"], capture_output=True, text=True)
        return lines.stdout


def test_commands_see_the_local_aws_and_nothing_of_the_users(
    running: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "intranet")
    lines = running.run(["env"], capture=True).stdout.splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "PULUMI_ACCESS_TOKEN"} & seen.keys()
    assert seen["AWS_ENDPOINT_URL"] == running.endpoint_url
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert seen["AWS_REGION"] == seen["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert {"127.0.0.1", "intranet"} <= set(seen["NO_PROXY"].split(","))
    assert seen["PATH"].split(os.pathsep)[0] == str(running.folder / "bin")


def test_a_second_process_uses_the_first_ones_services(running: LocalAws) -> None:
    running.client("sqs").create_queue(QueueName="shared")
    with LocalAws("serverless", root=running.root, gateway=False, providers={}) as second:
        assert not second.owner
        assert second.endpoint_url == running.endpoint_url
    assert running.client("sqs").list_queues()["QueueUrls"]  # the second has left the services alone


HOLD = """
import json, sys
from pathlib import Path
from local.console import leave
from local.stack import LocalAws
import signal
signal.signal(signal.SIGTERM, leave)
with LocalAws("serverless", root=Path(sys.argv[1]), gateway=False, providers={}) as aws:
    aws.client("sqs").create_queue(QueueName="kept")
    print(json.dumps([child.pid for child in reversed(aws._children)]), flush=True)
    aws.run(["sh", "-c", "echo $$; exec sleep 60"])
"""


@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_however_it_ends_nothing_runs_on_and_the_state_is_there(
    repo: Path, number: signal.Signals, whole_group: bool
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repo)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout
    emulator = json.loads(holder.stdout.readline())[0]
    command = int(holder.stdout.readline())
    (os.killpg if whole_group else os.kill)(holder.pid, number)  # a Ctrl-C reaches the terminal's whole group
    holder.wait(60)
    assert gone(emulator)
    if sys.platform == "linux":
        assert gone(command)
    with LocalAws("serverless", root=repo, gateway=False, providers={}) as again:
        assert again.owner
        assert again.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"]


def test_a_killed_emulator_is_reported(repo: Path) -> None:
    said: list[str] = []
    with LocalAws("serverless", root=repo, gateway=False, providers={}, say=said.append) as aws:
        assert aws.pulumi("up", "--yes", "--skip-preview", capture=True).returncode == 0
        pid = next(child.pid for child in aws._children if isinstance(child, Emulator))
        assert pid
        os.kill(pid, signal.SIGKILL)
    assert not said
    with LocalAws("serverless", root=repo, gateway=False, providers={}, say=said.append):
        assert "killed before it could save its state" in said[0]


def test_the_lock_of_a_killed_pulumi_is_cleared_and_a_living_ones_kept(repo: Path) -> None:
    locks = repo / ".local" / "state" / ".pulumi" / "locks" / "organization" / "p" / "s"
    locks.mkdir(parents=True)
    dead = subprocess.Popen(["true"])
    dead.wait()
    living = subprocess.Popen(["sh", "-c", "sleep 30; : pulumi"])
    try:
        for process in (dead, living):
            (locks / f"{process.pid}.json").write_text(json.dumps({"pid": process.pid}))
        LocalAws(root=repo)._clear_what_a_killed_run_left()
        assert [file.stem for file in locks.iterdir()] == [str(living.pid)]
    finally:
        living.kill()
        living.wait()


def test_a_gateway_that_knows_nothing_of_lifelines_ends_all_the_same(tmp_path: Path) -> None:
    """Any module that `Child` starts ends with its parent."""
    (tmp_path / "server.py").write_text(
        "import http.server, sys\n"
        "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')\n"
    )
    script = (
        "import sys, time; from pathlib import Path; from local.processes import Child, free_port\n"
        "port = free_port()\n"
        "child = Child('server', [str(port)], environment={'PYTHONPATH': sys.argv[1]}, folder=Path(sys.argv[1]), "
        "health_url=f'http://127.0.0.1:{port}/')\n"
        "child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    server = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert gone(server)


def test_clean_ends_what_runs_and_removes_all(repo: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repo)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout
    emulator = json.loads(holder.stdout.readline())[0]
    stack.clean(repo / ".local")
    holder.wait(60)
    assert gone(emulator, 0)
    assert not (repo / ".local").exists()


def test_an_unknown_stack_is_named_with_those_there_are(repo: Path) -> None:
    with pytest.raises(LocalError, match=r"no stack 'prod'.*Pulumi\.prod\.yaml is missing.*Stacks here: serverless"):
        LocalAws("prod", root=repo).start()
    assert not (repo / ".local").exists()


def test_the_shell_takes_commands_from_stdin(repo: Path) -> None:
    script = (
        "from pathlib import Path; import sys; from local import shell; from local.stack import LocalAws\n"
        "with LocalAws(root=Path(sys.argv[1]), gateway=False, providers={}) as aws: sys.exit(shell.run(aws))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(repo)],
        cwd=ROOT,
        input="basename $PWD\npulumi config get leaseSeconds\nexit 3\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.split() == ["program", "30"]
    assert answer.returncode == 3


def test_the_shell_on_a_terminal(repo: Path, tmp_path: Path) -> None:
    """Prompt, PATH and variables are ours, whatever the user's start-up file does."""
    (tmp_path / ".bashrc").write_text("export AWS_PROFILE=production AWS_REGION=mars PATH=/usr/bin:/bin PS1='mine> '\n")
    script = (
        "from pathlib import Path; import sys; from local import shell; from local.stack import LocalAws\n"
        "with LocalAws(root=Path(sys.argv[1]), gateway=False, providers={}) as aws: sys.exit(shell.run(aws))"
    )
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the other process
        os.chdir(ROOT)
        environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash", "TERM": "dumb"}
        environment["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        os.execve(sys.executable, [sys.executable, "-c", script, str(repo)], environment)  # noqa: S606
    try:
        prompt = "(local AWS: serverless) mine> "
        assert "pulumi up" in read_until(terminal, prompt)
        os.write(terminal, b'echo "<$AWS_PROFILE|$AWS_REGION|$(command -v pulumi)>"\n')
        assert f"<|eu-west-1|{repo}/.local/bin/pulumi>" in read_until(terminal, prompt)
        for patience in (0.5, 5, 60):  # what prints the prompt reads the keyboard a moment later
            os.write(terminal, b"\x03")  # a Ctrl-C at the prompt ends nothing
            with contextlib.suppress(AssertionError):
                read_until(terminal, prompt, patience)
                break
        os.write(terminal, b"exit 5\n")
        assert gone(child)
    finally:
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(terminal)
    assert code == 5


def read_until(terminal: int, end_of_text: str, seconds: float = 60) -> str:
    """What the terminal shows, up to a text."""
    text, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 1).decode(errors="replace")
            if text.endswith(end_of_text):
                return text
    raise AssertionError(text)


# --- the config's copy


def test_merge_makes_the_users_changes_again() -> None:
    before = {"a": 1, "b": 2, "c": True, "gone": 1}
    mine = {"a": "1", "b": "5", "c": "true", "added": "x"}
    fresh = {"a": 9, "b": 2, "c": False, "gone": 1, "new": 3}
    assert merge(before, fresh, mine) == {"a": 9, "b": "5", "c": False, "new": 3, "added": "x"}


def test_the_copy_follows_the_tracked_file_and_keeps_what_the_user_set(repo: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.mkdir()
    tracked, copy = repo / "Pulumi.serverless.yaml", program / "Pulumi.serverless.yaml"
    overrides: dict[str, stack.Value] = {"confirm-transactions:leaseSeconds": 30}

    def config() -> dict[str, object]:
        return dict(yaml.safe_load(copy.read_text())["config"])

    copy_config(repo, program, "serverless", overrides)
    assert config()["confirm-transactions:leaseSeconds"] == 30
    text = copy.read_text().replace(": 100", ': "50"').replace(": 30", ': "30"')  # as `pulumi config set` writes
    copy.write_text(text + "encryptionsalt: v1:abc\n")
    tracked.write_text(tracked.read_text().replace("eu-west-1", "eu-north-1"))
    overrides["confirm-transactions:leaseSeconds"] = 40
    copy_config(repo, program, "serverless", overrides)
    assert config() == {
        "aws:region": "eu-north-1",
        "confirm-transactions:batchSize": "50",
        "confirm-transactions:leaseSeconds": 40,
    }
    assert yaml.safe_load(copy.read_text())["encryptionsalt"] == "v1:abc"
    stamp = copy.stat().st_mtime_ns
    copy_config(repo, program, "serverless", overrides)
    assert copy.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("alternative", "lease"), [("serverless", 30), ("fargate", 15)])
def test_the_overrides_satisfy_the_settings(alternative: str, lease: int) -> None:
    from alternatives.settings import parse

    config = yaml.safe_load((ROOT / f"Pulumi.{alternative}.yaml").read_text())["config"]
    own = {key.rpartition(":")[2]: value for key, value in config.items() if key.startswith(stack.PROJECT)}
    gateway = {"gatewayUrl": "http://127.0.0.1:4000"}
    assert parse({**own, **stack.overrides(alternative), **gateway}).work.lease_seconds == lease
    switched = {**stack.overrides(alternative), **gateway, "alternative": "fargate"}  # `pulumi config set` in the shell
    assert parse({**own, **switched}).alternative == "fargate"


def test_what_is_only_recorded_is_told_for_what_is_there(repo: Path) -> None:
    aws = LocalAws(root=repo)
    assert aws.recorded_only() == []
    aws.folder.mkdir()
    lines = [{"type": "aws:a:A", "name": name, "what": "no X-Ray"} for name in ("one", "one", "two", "destroyed")]
    aws.recorded_only_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    resources = [{"type": "aws:a:A", "urn": f"urn:pulumi:s::p::aws:a:A::{name}"} for name in ("one", "two")]
    aws._state_file.parent.mkdir(parents=True)
    aws._state_file.write_text(json.dumps({"checkpoint": {"latest": {"resources": resources}}}))
    assert aws.recorded_only() == ["aws:a:A (one, two): no X-Ray"]


def test_other_shells_get_the_same_setup(running: LocalAws) -> None:
    zsh = shell.command(running, "/bin/zsh")
    assert zsh[-2:] == ["/bin/zsh", "-i"]
    assert f"export AWS_ENDPOINT_URL={running.endpoint_url}" in (running.folder / "shell" / ".zshrc").read_text()
    assert "set -e AWS_PROFILE" in shell.command(running, "/usr/bin/fish")[-1]
    assert shell.command(running, "/bin/ksh")[0] == "bash"
