"""AWS Lambda. The emulator runs a function as a process of its own Python, on this machine's architecture."""

from __future__ import annotations

from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

FUNCTION = {"FunctionName": "{name}"}
CODE = {
    "code": "Code.ZipFile",
    "s3Bucket": "Code.S3Bucket",
    "s3Key": "Code.S3Key",
    "s3ObjectVersion": "Code.S3ObjectVersion",
    "imageUri": "Code.ImageUri",
    "sourceKmsKeyArn": "Code.SourceKMSKeyArn",
}


def _invoke_arn(_: Any, scope: Scope) -> str:
    arn = f"arn:aws:lambda:{scope['region']}:{scope['account']}:function:{scope['name']}"
    return f"arn:aws:apigateway:{scope['region']}:lambda:path/2015-03-31/functions/{arn}/invocations"


RESOURCES = (
    Resource(
        "aws:lambda/function:Function",
        "lambda",
        create=Call(
            "create_function",
            rename={"name": "FunctionName", "loggingConfig.logGroup": "LogGroup", **CODE},
        ),
        id="{name}",
        updates=(
            Call(
                "update_function_code",
                takes=(*CODE, "architectures"),
                rename={name: target.removeprefix("Code.") for name, target in CODE.items()},
                where=FUNCTION,
                update_only=True,
            ),
            Call(
                "update_function_configuration",
                where=FUNCTION,
                update_only=True,
                unset={
                    "environment": {"Environment": {"Variables": {}}},
                    "vpcConfig": {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}},
                    "deadLetterConfig": {"DeadLetterConfig": {"TargetArn": ""}},
                    "tracingConfig": {"TracingConfig": {"Mode": "PassThrough"}},
                    "description": {"Description": ""},
                    "timeout": {"Timeout": 3},
                    "memorySize": {"MemorySize": 128},
                },
            ),
            Call(
                "put_function_concurrency",
                takes=("reservedConcurrentExecutions",),
                where=FUNCTION,
                remove="delete_function_concurrency",
            ),
        ),
        read=Read("get_function", FUNCTION, "Configuration"),
        delete=Call("delete_function", where=FUNCTION),
        name=Name(prefix="", limit=64),
        tagging=Tagging({"Resource": "{arn}"}),
        outputs={
            "arn": "FunctionArn",
            "invokeArn": _invoke_arn,
            "qualifiedArn": "{arn}:{version}",
            "sourceCodeHash": "CodeSha256",
            "version": "Version",
            "sourceCodeSize": "CodeSize",
        },
        volatile=dict.fromkeys(
            ("codeSha256", "sourceCodeHash", "sourceCodeSize", "lastModified"),
            ("code", "s3Bucket", "s3Key", "s3ObjectVersion", "imageUri", "sourceCodeHash"),
        ),
        handled=(
            "sourceCodeHash",
            "skipDestroy",
            "replaceSecurityGroupsOnDestroy",
            "replacementSecurityGroupIds",
            "useResourceTimeoutForPropagation",
        ),
        recorded={
            "layers": "the emulator runs no extensions: our collector stands for the one of the layer",
            "architectures": "the emulator runs every function on this machine's own architecture",
            "tracingConfig": "the emulator has no X-Ray",
        },
    ),
    Resource(
        "aws:lambda/permission:Permission",
        "lambda",
        create=Call("add_permission", rename={"function": "FunctionName", "principalOrgId": "PrincipalOrgID"}),
        id="{statementId}",
        read=Read(
            "get_policy",
            {"FunctionName": "{function}"},
            "Policy",
            exists=lambda policy, scope: scope["statementId"] in policy,
        ),
        delete=Call("remove_permission", where={"FunctionName": "{function}", "StatementId": "{statementId}"}),
        name=Name("statementId", "statementIdPrefix", limit=100),
        drift=False,
    ),
)
