"""The plan's summary as a comment on the pull request, through the REST API of Azure DevOps.

The build service needs the permission "Contribute to pull requests" on the repository.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import Refused

LIMIT = 100_000
"""Characters; a comment may have 150,000."""
VARIABLES = (
    "SYSTEM_COLLECTIONURI",
    "SYSTEM_TEAMPROJECTID",
    "BUILD_REPOSITORY_ID",
    "SYSTEM_PULLREQUEST_PULLREQUESTID",
    "SYSTEM_ACCESSTOKEN",
)


def post(file: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Post the file; the address of the new thread. Raises Refused."""
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        raise Refused(
            f"No comment without {', '.join(missing)}: the step needs `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)` "
            "in a run for a pull request of Azure Repos."
        )
    collection, project, repository, request_id, token = (environment[name] for name in VARIABLES)
    text = file.read_text()
    if len(text) > LIMIT:
        text = f"{text[:LIMIT]}\n\n... cut here; the whole is in the artifact."
    url = (
        f"{collection.rstrip('/')}/{project}/_apis/git/repositories/{repository}/pullRequests/{request_id}/threads"
        "?api-version=7.1"
    )
    # 4: closed, a remark that nobody must resolve; commentType 1: text
    body = {"comments": [{"parentCommentId": 0, "content": text, "commentType": 1}], "status": 4}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the address is Azure's own variable
            return f"{url.partition('?')[0]}/{json.load(answer)['id']}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Refused(
            f"The comment could not be posted: {error}. Has the build service the permission for it?"
        ) from None
