"""Azure DevOps' REST API as far as our steps ask it: a project that was set up as docs/pipeline.md says.

What it answers is plain data, so a test can take a check away and see the pipeline refuse to begin.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from delivery.pipeline.gates import APPROVAL, BRANCH, BRANCH_CONTROL, LOCK, gates
from local.processes import HOST

PROJECT, TOKEN = "payments", "the-build-services"
TASK_CHECK = "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7"

Check = dict[str, Any]


def branch_control() -> Check:
    """Only main, while it is protected."""
    inputs = {"allowedBranches": BRANCH, "ensureProtectionOfBranch": "true", "allowUnknownStatusBranch": "false"}
    definition = {"id": BRANCH_CONTROL, "name": "evaluatebranchProtection", "version": "0.0.1"}
    settings = {"displayName": "Branch control", "definitionRef": definition, "inputs": inputs}
    return {"type": {"id": TASK_CHECK, "name": "Task Check"}, "settings": settings, "isDisabled": False}


def approval() -> Check:
    """By a group, and not by whoever started the run."""
    settings = {"approvers": [{"id": "a-group"}], "minRequiredApprovers": 1, "requesterCannotBeApprover": True}
    return {"type": {"id": APPROVAL, "name": "Approval"}, "settings": settings, "isDisabled": False}


def lock() -> Check:
    """One run at a time."""
    return {"type": {"id": LOCK, "name": "ExclusiveLock"}, "isDisabled": False}


DEFINITION = 7
"""The pipeline that runs."""


@dataclass
class Azure:
    """A project with every gate shut, served on this machine."""

    settings: dict[str, Any] = field(default_factory=lambda: {"enforceSettableVar": True})
    checks: dict[str, list[Check]] = field(
        default_factory=lambda: {
            gate.name: [
                *([branch_control()] if gate.branch else []),
                *([approval()] if gate.approval else []),
                *([lock()] if gate.lock else []),
            ]
            for gate in gates()
        }
    )
    """By service connection or environment; what has no entry does not exist."""
    open_to_all: set[str] = field(default_factory=set)
    """What every pipeline may use."""
    named: dict[str, list[int]] = field(default_factory=dict)
    """What other pipelines than the own may use, by name."""
    posted: list[tuple[str, Any]] = field(default_factory=list)
    """Where, and what."""

    def __post_init__(self) -> None:
        azure = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                allowed = self.headers["Authorization"] == f"Bearer {TOKEN}" and "api-version" in query
                found = azure.answer(url.path, query, body) if allowed else None
                self.send_response(200 if found is not None else 404 if allowed else 401)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(found if found is not None else {"message": "no"}).encode())

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def variables(self) -> dict[str, str]:
        """What the agent of a run on main knows of it."""
        return {
            "System.CollectionUri": f"http://{HOST}:{self._server.server_port}/contoso/",
            "System.TeamProjectId": PROJECT,
            "System.AccessToken": TOKEN,
            "System.DefinitionId": str(DEFINITION),
            "Build.SourceBranch": BRANCH,
            "Build.Reason": "Manual",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, query: dict[str, str], body: Any) -> Any:
        """None for what there is not."""
        asked = path.removeprefix(f"/contoso/{PROJECT}/_apis/")
        kinds = {"endpoint": ("serviceendpoint/endpoints", "endpointNames"), "environment": (ENVIRONMENTS, "name")}
        if body is not None:
            self.posted.append((asked, body))
            return {"id": len(self.posted)}
        if asked == "build/generalsettings":
            return self.settings
        for kind, (where, by) in kinds.items():
            named = {gate.name for gate in gates() if gate.kind == kind and gate.name in self.checks}
            if asked == where:
                return _list([{"id": name, "name": name} for name in sorted(named) if name.startswith(query[by])])
            if asked.startswith(f"pipelines/pipelinepermissions/{kind}/"):
                everybody = (
                    {"allPipelines": {"authorized": True}} if asked.rpartition("/")[2] in self.open_to_all else {}
                )
                permitted = [DEFINITION, *self.named.get(asked.rpartition("/")[2], [])]
                return {"pipelines": [{"id": one, "authorized": True} for one in permitted], **everybody}
            if asked == "pipelines/checks/configurations" and query["resourceType"] == kind:
                checks = self.checks.get(query["resourceId"], [])
                whole = query.get("$expand") == "settings"
                return _list([one if whole else {**one, "settings": {}} for one in checks])
        return None


ENVIRONMENTS = "distributedtask/environments"


def _list(values: list[Any]) -> dict[str, Any]:
    return {"count": len(values), "value": values}
