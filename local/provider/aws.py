"""The plugin that stands in for `pulumi-resource-aws`: `python -m local.provider.aws ENGINE_ADDRESS`.

It serves the provider protocol itself instead of the SDK's experimental `Provider`, which knows neither values
that are unknown in a preview nor the old inputs that a diff needs, and reports errors with a stack trace.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, TypeVar

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from local.provider import catalogue, functions
from local.provider.lifecycle import Lifecycle
from local.provider.sdk import declared
from local.provider.session import CONNECTIONS, AwsError, Session
from local.provider.shapes import RefusedError
from local.provider.values import from_struct, to_struct

MAX_MESSAGE = 400 * 1024 * 1024  # bytes, the engine's own limit
KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}
F = TypeVar("F", bound=Callable[..., Any])


def one_line(method: F) -> F:
    """Errors as one line for the user; the engine shows the text of the status and nothing else."""

    @functools.wraps(method)
    def wrapped(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except (AwsError, RefusedError, RuntimeError, OSError, ValueError) as error:
            text = " ".join(str(error).split())
        except Exception as error:  # a fault of ours; still one line, with the place
            frame = error.__traceback__
            while frame and frame.tb_next:
                frame = frame.tb_next
            place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
            text = f"fault in the local AWS ({place}): {type(error).__name__}: {' '.join(str(error).split())}"
        return context.abort(grpc.StatusCode.UNKNOWN, text)

    return wrapped  # type: ignore[return-value]


class Aws(provider_pb2_grpc.ResourceProviderServicer):
    """The provider protocol over the catalogue. Calls come in parallel, each in its own thread."""

    def __init__(self, release: str) -> None:
        self.release = release
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            raise RuntimeError("the provider was used before it was configured")
        return self._session

    def _lifecycle(self, urn: str) -> tuple[str, Lifecycle]:
        token, name = urn.split("::")[2].split("$")[-1], urn.split("::", 3)[3]
        resource = catalogue.find(token)
        if resource is None:
            what = "unknown to the Python SDK" if declared(token) is None else "not supported by the local AWS yet"
            raise RuntimeError(f"the type {token} is {what}; local/provider/catalogue lists what is")
        return name, Lifecycle(resource, self.session)

    # -- the plugin -----------------------------------------------------------------------------------------

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return plugin_pb2.PluginInfo(version=self.release)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.GetSchemaResponse(schema=json.dumps({"name": "aws", "version": self.release}))

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.CheckResponse(inputs=request.news)

    @one_line
    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        olds, news = from_struct(request.olds), from_struct(request.news)
        diffs = [key for key in {*olds, *news} if key != "version" and olds.get(key) != news.get(key)]
        moved = [key for key in diffs if key == "region"]
        some = provider_pb2.DiffResponse.DIFF_SOME if diffs else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some, diffs=diffs, replaces=moved)

    @one_line
    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        variables = {key.rpartition(":")[2]: value for key, value in request.variables.items()}
        self._session = Session.from_config({**variables, **from_struct(request.args)})
        return provider_pb2.ConfigureResponse(
            acceptSecrets=False, acceptResources=False, acceptOutputs=False, supportsPreview=True
        )

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()

    # -- functions ------------------------------------------------------------------------------------------

    @one_line
    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        result = functions.invoke(request.tok, from_struct(request.args), self.session)
        return provider_pb2.InvokeResponse(**{"return": to_struct(result)})

    # -- resources ------------------------------------------------------------------------------------------

    @one_line
    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        name, lifecycle = self._lifecycle(request.urn)
        news, olds = from_struct(request.news), from_struct(request.olds)
        inputs, failures = lifecycle.check(name, news, olds, request.randomSeed)
        return provider_pb2.CheckResponse(
            inputs=to_struct(inputs),
            failures=[provider_pb2.CheckFailure(property=key, reason=reason) for key, reason in failures],
        )

    @one_line
    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        _, lifecycle = self._lifecycle(request.urn)
        changes = lifecycle.diff(
            from_struct(request.old_inputs), from_struct(request.news), list(request.ignoreChanges)
        )
        top = sorted({change.path.split(".")[0].split("[")[0] for change in changes})
        replaces = sorted({change.path for change in changes if change.replace})
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=top,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces)
            and _must_delete_first(lifecycle, from_struct(request.old_inputs), from_struct(request.news)),
            detailedDiff={
                change.path: provider_pb2.PropertyDiff(kind=KINDS[change.kind, change.replace], inputDiff=True)
                for change in changes
            },
            hasDetailedDiff=True,
        )

    @one_line
    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        name, lifecycle = self._lifecycle(request.urn)
        inputs = from_struct(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(lifecycle.preview(inputs)))
        identity, state = lifecycle.create(name, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=to_struct(state))

    @one_line
    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        _, lifecycle = self._lifecycle(request.urn)
        found = lifecycle.read(request.id, from_struct(request.properties), from_struct(request.inputs))
        if found is None:
            return provider_pb2.ReadResponse()
        state, inputs = found
        return provider_pb2.ReadResponse(id=request.id, properties=to_struct(state), inputs=to_struct(inputs))

    @one_line
    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        name, lifecycle = self._lifecycle(request.urn)
        olds, news = from_struct(request.olds), from_struct(request.news)
        if request.preview:
            state = lifecycle.preview(news, olds, from_struct(request.old_inputs))
        else:
            state = lifecycle.update(name, request.id, olds, from_struct(request.old_inputs), news)
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    @one_line
    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        _, lifecycle = self._lifecycle(request.urn)
        lifecycle.delete(request.id, from_struct(request.properties))
        return empty_pb2.Empty()


def _must_delete_first(lifecycle: Lifecycle, olds: dict[str, Any], news: dict[str, Any]) -> bool:
    """Two cannot stand at once where the name stays, or where the type is a setting of another resource."""
    rule = lifecycle.resource.name
    return lifecycle.resource.delete_first or bool(rule and olds.get(rule.property) == news.get(rule.property))


def serve(servicer: Any) -> None:
    """Serves until the engine ends the process. The first line of the output is the port: that is the protocol."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches the whole group: end without a word
        signal.signal(number, lambda *_: os._exit(0))
    options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.server(ThreadPoolExecutor(CONNECTIONS), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(Aws(version("pulumi-aws")))
