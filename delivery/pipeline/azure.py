"""Azure DevOps, asked through its REST API as the build service that runs the pipeline."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from delivery.pipeline.errors import Refused

COLLECTION, PROJECT, TOKEN = "SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECTID", "SYSTEM_ACCESSTOKEN"
VERSION = "7.1"
PREVIEW = "7.1-preview.1"
"""Of what has no other version yet."""
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Project:
    """One project of an organization."""

    url: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Project:
        """That of the running pipeline. Raises Refused where the step was not given what it needs."""
        if missing := [name for name in (COLLECTION, PROJECT, TOKEN) if not environment.get(name)]:
            raise Refused(
                f"Azure DevOps cannot be asked without {', '.join(missing)}: the step needs "
                "`env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`."
            )
        return cls(f"{environment[COLLECTION].rstrip('/')}/{environment[PROJECT]}", environment[TOKEN])

    def get(self, path: str, version: str = VERSION, **query: str) -> Any:
        """What is at `path` below `_apis`."""
        asked = urllib.parse.urlencode({**query, "api-version": version})
        return self._ask(urllib.request.Request(f"{self.url}/_apis/{path}?{asked}"))  # noqa: S310 - Azure's own variable

    def listed(self, path: str, version: str = VERSION, **query: str) -> list[dict[str, Any]]:
        """The entries of a list."""
        found = self.get(path, version, **query)
        if not isinstance(found, dict) or not isinstance(found.get("value"), list):
            raise Refused(f"Azure DevOps answered for {path} with what is no list.")
        return list(found["value"])

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What is answered to `body`."""
        url = f"{self.url}/_apis/{path}?api-version={VERSION}"
        return self._ask(urllib.request.Request(url, json.dumps(body).encode(), method="POST"))  # noqa: S310 - as above

    def _ask(self, request: urllib.request.Request) -> Any:
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:  # ValueError: a page to log in, in place of JSON
            asked = urllib.parse.urlsplit(request.full_url).path.partition("/_apis/")[2]
            raise Refused(
                f"Azure DevOps did not answer for {asked}: {error}. Has this project's build service the right to it?"
            ) from None
