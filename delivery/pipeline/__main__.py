"""`python -m delivery.pipeline COMMAND`: one step. Ends with 1, and a reason, where the run must not go on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from delivery.pipeline import binding, build, cli, comment, drift, gates, image, plan, stacks, supply_chain, verify
from delivery.pipeline.errors import Refused
from delivery.pipeline.shell import commit

Arguments = argparse.Namespace


def _gates(given: Arguments) -> None:
    rollback = given.rollback.lower() == "true"
    needed = gates.used(given.alternative, stacks.environments(given.to, rollback), rollback)
    print("\n".join(f"shut  {gate}" for gate in gates.check(needed, os.environ)))


def _stacks(given: Arguments) -> None:
    names = stacks.deployed(given.alternative, given.to, given.rollback.lower() == "true")
    stacks.check(names)
    print(f"The configuration is in order: {', '.join(names)}.")


def _build(given: Arguments) -> None:
    manifest = build.build(given.build)
    print("\n".join(f"{digest}  {name}" for name, digest in manifest["files"].items()))


def _image(given: Arguments) -> None:
    print(image.push(given.build, os.environ.get("IMAGE_REPOSITORY", ""), given.run, given.image))


def _use_image(given: Arguments) -> None:
    print(f"{given.stack} will run {image.use(given.stack, given.of, given.image)}")


def _supply_chain(given: Arguments) -> None:
    findings = supply_chain.check(given.out, supply_chain.tool(given.tools))
    for finding in findings:
        print(f"{'FAILED' if finding.problem else 'passed'}  {finding.name}  {finding.seconds:.1f} s")
    if wrong := [f"{finding.name}:\n{finding.problem}" for finding in findings if finding.problem]:
        raise Refused("\n".join(wrong))


def _rollback(given: Arguments) -> None:
    here = commit()
    when = binding.applied_before(given.stack, here)
    print(f"Going back to {here[:12]}, which was last applied to {given.stack} at {when}.")


def _plan(given: Arguments) -> None:
    file = given.plan / binding.PLAN
    planned = plan.read(file)
    if loosened := plan.fit(planned):
        file.write_text(plan.text(planned))
        print(f"Outputs of components that only an apply can know: {', '.join(loosened)}")
    bound = binding.of(given.stack, given.build, given.plan)
    binding.write(bound, given.plan)
    text = plan.summary(
        given.stack, bound.commit, plan.changes(planned, plan.before(given.stack)), image.of(given.stack)
    )
    (given.plan / binding.SUMMARY).write_text(text)
    print(f"\n{text}")
    print(f"##vso[task.uploadsummary]{given.plan / binding.SUMMARY}")


def _check(given: Arguments) -> None:
    bound = binding.check(given.stack, given.build, given.plan)
    print(f"The plan {bound.plan[:12]} is of this stack, commit ({bound.commit[:12]}), configuration and artifact.")


def _drift(given: Arguments) -> None:
    print(f"No drift: {drift.check(given.stack)} resources are as the last apply left them.")


def _verify(given: Arguments) -> None:
    outputs = verify.outputs(given.stack)
    for line in verify.code(outputs, given.build, given.stack):
        print(line)
    if outputs.get("mode") == "shadow":
        print("No canary: in shadow mode nothing is confirmed by us.")
        return
    print(verify.canary(given.stack, given.run, os.environ.get("CANARY_ACCOUNT", "")))


def _cli(given: Arguments) -> None:
    print(f"##vso[task.prependpath]{cli.install(given.version).parent}")


def _comment(given: Arguments) -> None:
    print(comment.post(given.file))


COMMANDS: dict[str, tuple[Callable[[Arguments], None], str, tuple[str, ...]]] = {
    "gates": (_gates, "refuse to begin while AWS is open to a branch", ("--alternative", "--to", "--rollback")),
    "stacks": (_stacks, "check the configuration of stacks", ("--alternative", "--to", "--rollback")),
    "build": (_build, "build the zip and the image's context", ("--build",)),
    "image": (_image, "build and push the image", ("--build", "--image", "--run")),
    "use-image": (_use_image, "let a stack run an image", ("--stack", "--of", "--image")),
    "supply-chain": (_supply_chain, "check what the program is made of", ("--out", "--tools")),
    "rollback": (_rollback, "is this commit one to go back to?", ("--stack",)),
    "plan": (_plan, "bind a plan, and say what it does", ("--stack", "--build", "--plan")),
    "check": (_check, "refuse a plan that is not of what is there", ("--stack", "--build", "--plan")),
    "drift": (_drift, "refuse what AWS has come to differ in", ("stack",)),
    "verify": (_verify, "is what runs what was built?", ("--stack", "--build", "--run")),
    "cli": (_cli, "install the Pulumi CLI", ("version",)),
    "comment": (_comment, "comment on the pull request", ("file",)),
}
PATHS = ("--build", "--image", "--plan", "--out", "--tools", "file")


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    parser = argparse.ArgumentParser(prog="python -m delivery.pipeline", description="The steps of the pipeline.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text, wanted) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        for argument in wanted:
            kind = Path if argument in PATHS else str
            if argument.startswith("--"):
                command.add_argument(argument, type=kind, required=True)
            else:
                command.add_argument(argument, type=kind)
    return parser


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    given = parser().parse_args(arguments)
    try:
        COMMANDS[given.command][0](given)
    except (Refused, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if os.environ.get("TF_BUILD"):  # on an agent of Azure: the run's page shows it too
            print(f"##vso[task.logissue type=error]{str(error).splitlines()[0]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
