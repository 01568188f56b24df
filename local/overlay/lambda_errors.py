"""Lambda errors carry the name of their exception's class.

Gap: ministack reports every error of a handler as `Runtime.HandlerError`; AWS reports the class name, and that is what
`Retry` and `Catch` of a state machine match. The name is in the worker's stack trace, which is kept in the log.
"""

from __future__ import annotations

import re
from typing import Any

_LAST_LINE = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)


def apply() -> None:
    """Wrap the call of the warm worker."""
    from ministack.services import lambda_svc

    original = lambda_svc._execute_function_warm

    def execute(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        result: dict[str, Any] = original(func, event, request_id)
        body = result.get("body")
        if result.get("error") and isinstance(body, dict) and body.get("errorType") == "Runtime.HandlerError":
            name = exception_name(str(result.get("log", "")))
            if name:
                body["errorType"] = name
        return result

    lambda_svc._execute_function_warm = execute


def exception_name(log: str) -> str | None:
    """The class, without its module, of the exception whose stack trace ends the log."""
    _, found, trace = log.rpartition("Traceback (most recent call last):")
    names = [match["name"] for match in _LAST_LINE.finditer(trace)] if found else []
    return names[-1].rpartition(".")[2] if names else None
