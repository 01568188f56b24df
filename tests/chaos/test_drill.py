"""The drill's own parts: it types what the page shows, and sees what a datastore lacks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chaos.drill import _lacks, commands, frozen
from demo import chaos
from local.errors import LocalError


@pytest.mark.parametrize(
    ("heading", "block", "words"),
    [
        ("1. Send nothing", None, ["mode shadow", "restoreTime", "pulumi up"]),
        ("2. Restore, under the same name", 0, ["restore-table-to-point-in-time", "restore-table-from-backup"]),
        ("2. Restore, under the same name", 2, ["pulumi refresh && pulumi up"]),
        ("4. Ask", None, ["confirm status --all"]),
        ("5. Go on", None, ["mode confirm", "confirm reconcile"]),
    ],
)
def test_the_page_has_the_commands_that_it_types(heading: str, block: int | None, words: list[str]) -> None:
    typed = "\n".join(commands(heading, block))
    assert [word for word in words if word not in typed] == []
    assert "#" not in typed


def test_a_step_that_the_page_no_longer_has_stops_it() -> None:
    with pytest.raises(LocalError, match=r"9\. Hope"):
        commands("9. Hope")


def test_what_is_no_longer_as_it_was_is_named() -> None:
    had = {"point-in-time recovery": "ENABLED", "tags": {"Owner": "a"}, "stream": None}
    assert _lacks(had, dict(had)) == {}
    found = _lacks(had, {"point-in-time recovery": "DISABLED", "tags": {}, "stream": None})
    assert list(found) == ["point-in-time recovery", "tags"]
    assert found["point-in-time recovery"] == "'ENABLED', now 'DISABLED'"


def test_a_server_stands_still_with_all_its_processes_and_goes_on() -> None:
    code = "import subprocess as s; child = s.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        below = int(parent.stdout.readline())

        def states() -> str:
            return "".join(chaos.ps("-o", "stat=", "-p", f"{parent.pid},{below}"))

        with frozen(parent.pid):
            assert states().count("T") == 2
        assert "T" not in states()
        subprocess.run(["kill", str(below)], check=True)
