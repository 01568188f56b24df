"""AWS Identity and Access Management."""

from __future__ import annotations

from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

ROLE = {"RoleName": "{name}"}
POLICY = {"PolicyArn": "{id}"}
PROVIDER = {"OpenIDConnectProviderArn": "{id}"}


def _clear_role(client: Any, scope: Scope) -> None:
    """AWS refuses to delete a role that still has policies; `forceDetachPolicies` or its own inline ones go first."""
    role = scope["name"]
    if scope.get("forceDetachPolicies") or scope.get("managedPolicyArns"):
        for item in client.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            client.detach_role_policy(RoleName=role, PolicyArn=item["PolicyArn"])
    if scope.get("forceDetachPolicies") or scope.get("inlinePolicies"):
        for name in client.list_role_policies(RoleName=role)["PolicyNames"]:
            client.delete_role_policy(RoleName=role, PolicyName=name)


def _set_policies(client: Any, scope: Scope) -> None:
    """Where the program lists a role's policies, those are all it has."""
    role = scope["name"]
    if scope.get("managedPolicyArns") is not None:
        now = {item["PolicyArn"] for item in client.list_attached_role_policies(RoleName=role)["AttachedPolicies"]}
        for arn in sorted(now - set(scope["managedPolicyArns"])):
            client.detach_role_policy(RoleName=role, PolicyArn=arn)
        for arn in sorted(set(scope["managedPolicyArns"]) - now):
            client.attach_role_policy(RoleName=role, PolicyArn=arn)
    if scope.get("inlinePolicies") is not None:
        wanted = {item["name"]: item["policy"] for item in scope["inlinePolicies"]}
        for name in client.list_role_policies(RoleName=role)["PolicyNames"]:
            if name not in wanted:
                client.delete_role_policy(RoleName=role, PolicyName=name)
        for name, policy in wanted.items():
            client.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy)


def _clear_policy(client: Any, scope: Scope) -> None:
    """AWS refuses to delete a policy that has more than its default version."""
    for item in client.list_policy_versions(PolicyArn=scope["id"])["Versions"]:
        if not item["IsDefaultVersion"]:
            client.delete_policy_version(PolicyArn=scope["id"], VersionId=item["VersionId"])


RESOURCES = (
    Resource(
        "aws:iam/role:Role",
        "iam",
        create=Call("create_role", rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
        id="{name}",
        updates=(
            Call(
                "update_assume_role_policy",
                takes=("assumeRolePolicy",),
                rename={"assumeRolePolicy": "PolicyDocument"},
                where=ROLE,
                update_only=True,
            ),
            Call("update_role", takes=("description", "maxSessionDuration"), where=ROLE, update_only=True),
            Call(
                "put_role_permissions_boundary",
                takes=("permissionsBoundary",),
                where=ROLE,
                remove="delete_role_permissions_boundary",
                update_only=True,
            ),
        ),
        read=Read("get_role", ROLE, "Role"),
        delete=Call("delete_role", where=ROLE),
        name=Name(limit=64),
        tagging=Tagging(ROLE, add="tag_role", remove="untag_role"),
        outputs={"arn": "Arn", "uniqueId": "RoleId", "createDate": lambda role, _: role["CreateDate"].isoformat()},
        handled=("forceDetachPolicies",),
        configure=_set_policies,
        configures=("managedPolicyArns", "inlinePolicies"),
        before_delete=_clear_role,
    ),
    Resource(
        "aws:iam/rolePolicy:RolePolicy",
        "iam",
        create=Call("put_role_policy", rename={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"}),
        upsert=True,
        replaces=("role",),
        id="{role}:{name}",
        read=Read("get_role_policy", {"RoleName": "{role}", "PolicyName": "{name}"}),
        delete=Call("delete_role_policy", where={"RoleName": "{role}", "PolicyName": "{name}"}),
        name=Name(limit=128),
    ),
    Resource(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "iam",
        create=Call("attach_role_policy", rename={"role": "RoleName"}),
        id="{role}/{policyArn}",
        read=Read(
            "list_attached_role_policies",
            {"RoleName": "{role}"},
            "AttachedPolicies",
            exists=lambda found, scope: any(item["PolicyArn"] == scope["policyArn"] for item in found),
        ),
        delete=Call("detach_role_policy", where={"RoleName": "{role}", "PolicyArn": "{policyArn}"}),
        drift=False,
    ),
    Resource(
        "aws:iam/policy:Policy",
        "iam",
        create=Call("create_policy", rename={"name": "PolicyName", "policy": "PolicyDocument"}),
        id="Policy.Arn",
        updates=(
            Call(
                "create_policy_version",
                takes=("policy",),
                rename={"policy": "PolicyDocument"},
                where={**POLICY, "SetAsDefault": True},
                update_only=True,
            ),
        ),
        read=Read("get_policy", POLICY, "Policy"),
        delete=Call("delete_policy", where=POLICY),
        name=Name(limit=128),
        tagging=Tagging(POLICY, add="tag_policy", remove="untag_policy"),
        outputs={"arn": "Arn", "policyId": "PolicyId"},
        handled=("delayAfterPolicyCreationInMs",),
        before_delete=_clear_policy,
    ),
    Resource(
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        "iam",
        create=Call(
            "create_open_id_connect_provider",
            rename={"clientIdLists": "ClientIDList", "thumbprintLists": "ThumbprintList"},
            takes=("url", "clientIdLists", "thumbprintLists"),
        ),
        id="OpenIDConnectProviderArn",
        read=Read("get_open_id_connect_provider", PROVIDER, "@"),
        delete=Call("delete_open_id_connect_provider", where=PROVIDER),
        replaces=("url", "clientIdLists", "thumbprintLists"),
        tagging=Tagging(PROVIDER, add="tag_open_id_connect_provider", remove="untag_open_id_connect_provider"),
        outputs={"arn": "{id}"},
        note="the emulator keeps it, and takes no tokens",
        drift=False,
    ),
)
