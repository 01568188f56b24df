"""AWS's errors in plain words."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

from cli.desk import Target
from cli.exits import Exit, Trouble

_NO_ACCESS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)


def explained(error: BaseException, target: Target) -> Trouble:
    """An error of boto3 as one line that says what to do; any other error is raised as it is."""
    match error:
        case EndpointConnectionError() if target.endpoint:
            return Trouble(
                f"the local AWS at {target.endpoint} does not answer",
                "start it with `make up` or `make shell`, and run this inside `make shell`",
                Exit.NO_ACCESS,
            )
        case EndpointConnectionError():
            return Trouble(f"AWS in {target.region} does not answer", "see whether the network works", Exit.NO_ACCESS)
        case NoCredentialsError():
            return Trouble(
                "there are no AWS credentials",
                "sign in (`aws sso login`, AWS_PROFILE); for the local AWS run this inside `make shell`",
                Exit.NO_ACCESS,
            )
        case ClientError():
            code = str(error.response.get("Error", {}).get("Code", "?"))
            if code in _NO_ACCESS:
                return Trouble(
                    f"AWS refused {error.operation_name} on {target} ({code})",
                    "sign in again, or ask for a role that may do this",
                    Exit.NO_ACCESS,
                )
            if code in ("ResourceNotFoundException", "StateMachineDoesNotExist"):
                return Trouble(
                    f"{target} names a table or state machine that is not there",
                    f"bring it up again with `pulumi up --stack {target.stack}`",
                    Exit.NO_ACCESS,
                )
            return Trouble(f"AWS failed {error.operation_name} ({code})", "try again in a minute")
        case BotoCoreError():
            return Trouble(
                f"AWS cannot be reached ({type(error).__name__})",
                "see the network, the profile and the region, then try again",
                Exit.NO_ACCESS,
            )
    raise error
