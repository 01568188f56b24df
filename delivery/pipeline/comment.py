"""The plan's summary as a comment on the pull request, through the REST API of Azure DevOps.

The build service needs the permission "Contribute to pull requests" on the repository.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from delivery.pipeline.azure import COLLECTION, PROJECT, TOKEN, Project
from delivery.pipeline.errors import Refused

LIMIT = 100_000
"""Characters; a comment may have 150,000."""
REPOSITORY, REQUEST = "BUILD_REPOSITORY_ID", "SYSTEM_PULLREQUEST_PULLREQUESTID"
VARIABLES = (COLLECTION, PROJECT, REPOSITORY, REQUEST, TOKEN)


def post(file: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Post the file; the address of the new thread. Raises Refused."""
    if missing := [name for name in VARIABLES if not environment.get(name)]:
        raise Refused(
            f"No comment without {', '.join(missing)}: the step needs `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)` "
            "in a run for a pull request of Azure Repos."
        )
    text = file.read_text()
    if len(text) > LIMIT:
        text = f"{text[:LIMIT]}\n\n... cut here; the whole is in the artifact."
    project = Project.of(environment)
    path = f"git/repositories/{environment[REPOSITORY]}/pullRequests/{environment[REQUEST]}/threads"
    # 4: closed, a remark that nobody must resolve; commentType 1: text
    made = project.post(path, {"comments": [{"parentCommentId": 0, "content": text, "commentType": 1}], "status": 4})
    return f"{project.url}/_apis/{path}/{made['id']}"
