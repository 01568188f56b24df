"""`make shell`: the user's own shell, on the local AWS."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from local.stack import LocalAws, is_foreign

WELCOME = """\
You are on the local AWS, stack {stack}. What you type here is what you will type on AWS:

  pulumi preview                                   what would change
  pulumi up                                        make it so
  pulumi config set leaseSeconds 60                change a setting, then `pulumi up`
  pulumi preview --save-plan p.json                ... and `pulumi up --plan p.json`
  pulumi stack output                              names and addresses
  confirm status                                   what is pending, confirmed, in review
  python -m demo.trace TRANSACTION                 its trace as a waterfall (on AWS: X-Ray)
  aws dynamodb list-tables                         the AWS CLI, if you have it

Config changes stay in {program} (git sees nothing of them).
The local AWS ends when you type exit; its state stays for the next time, until `make clean`.
"""


def run(aws: LocalAws) -> int:
    """Open the shell and return its exit code. Without a terminal the shell reads its commands from stdin."""
    shell = os.environ.get("SHELL") or "bash"
    if not sys.stdin.isatty():
        return aws.run(["bash"], hang_up=True).returncode
    print(WELCOME.format(stack=aws.stack, program=aws.program / f"Pulumi.{aws.stack}.yaml"))
    return aws.run(command(aws, shell), hang_up=True).returncode


def command(aws: LocalAws, shell: str) -> list[str]:
    """How to start this shell with our environment, whatever the user's own start-up files do to it."""
    folder = aws.folder / "shell"
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(shell).name
    prompt, setup = f"(local AWS: {aws.stack}) ", setup_lines(aws, "set -e" if name == "fish" else "unset")
    if name == "zsh":
        source = '[ -f "$HOME/.zshrc" ] && . "$HOME/.zshrc"'
        (folder / ".zshrc").write_text("\n".join([source, *setup, f'PROMPT="{prompt}$PROMPT"', ""]))
        return ["env", f"ZDOTDIR={folder}", shell, "-i"]
    if name == "fish":
        keep = "functions -q fish_prompt; and functions -c fish_prompt _own_prompt"
        show = f"function fish_prompt; echo -n {shlex.quote(prompt)}; functions -q _own_prompt; and _own_prompt; end"
        return [shell, "--interactive", "--init-command", "; ".join([*setup, keep, show])]
    source = '[ -f "$HOME/.bashrc" ] && . "$HOME/.bashrc"'
    (folder / "bashrc").write_text("\n".join([source, *setup, f'PS1="{prompt}$PS1"', ""]))
    return [shell if name == "bash" else "bash", "--rcfile", str(folder / "bashrc"), "-i"]


def setup_lines(aws: LocalAws, unset: str = "unset") -> list[str]:
    """Our variables, set again after the user's start-up files: those may name a profile or another pulumi."""
    own = aws.own_environment
    named = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "PULUMI_ACCESS_TOKEN"}
    foreign = named | {name for name in os.environ if is_foreign(name)}
    first = os.pathsep.join([str(aws.folder / "bin"), str(Path(sys.executable).parent)])
    return [
        *(f"{unset} {name}" for name in sorted(foreign - own.keys())),
        *(f"export {name}={shlex.quote(value)}" for name, value in own.items()),
        f"export PATH={shlex.quote(first)}:$PATH",
    ]
