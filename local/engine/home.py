"""A private home for the engine: the CLI with our language host beside it, and the local providers as its plugins.

With this home the plain `pulumi` command deploys to the local AWS; with the user's own home, the same command with the
same program uses the real providers and deploys to AWS. Nothing in the program or in `Pulumi.yaml` tells them apart.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shlex import quote

from local.errors import LocalError
from local.processes import ROOT, explain

Providers = Mapping[str, "str | Path"]
"""Package of the engine → the module that serves it, or the plugin's own program."""

PROVIDERS: Providers = {"aws": "local.provider.aws", "awsx": "local.provider.awsx"}
"""The stand-ins."""

PASSPHRASE = "local"  # noqa: S105 - of secrets in the state of the local AWS, which hold nothing real


@dataclass(frozen=True)
class EngineHome:
    """The folders of one clone's engine, below `.local`."""

    folder: Path
    providers: Providers

    @property
    def bin(self) -> Path:
        """Holds `pulumi` and the language host."""
        return self.folder / "bin"

    @property
    def state(self) -> Path:
        """The backend: the stacks' state."""
        return self.folder / "state"

    def environment(self) -> dict[str, str]:
        """What makes a `pulumi` command use this home."""
        return {
            "PULUMI_HOME": str(self.folder / "pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",  # never to the internet for a plugin
            "PULUMI_DIY_BACKEND_NO_LEGACY_WARNING": "true",
        }


def real_providers(environment: Mapping[str, str] = os.environ) -> Providers:
    """The plugins that `pulumi plugin install` has put into the user's own Pulumi home, in the versions of the SDK.

    With them the engine needs no stand-ins: AWS's provider goes where AWS_ENDPOINT_URL says, as every SDK does.

    Raises:
        LocalError: one is missing; how to get it.
    """
    home = Path(environment.get("PULUMI_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".pulumi")
    pins = {name: version(f"pulumi_{name}") for name in PROVIDERS}
    found = {
        name: home / "plugins" / f"resource-{name}-v{pin}" / f"pulumi-resource-{name}" for name, pin in pins.items()
    }
    if missing := [name for name, plugin in found.items() if not os.access(plugin, os.X_OK)]:
        commands = " && ".join(f"pulumi plugin install resource {name} {pins[name]}" for name in missing)
        raise LocalError(
            f"PROVIDERS=real wants the real providers' plugins in {home / 'plugins'}; {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there. Where the internet can be reached: {commands} "
            "(about 1 GB). Without PROVIDERS=real the stand-ins do the same, and need no plugin."
        )
    return found


def prepare(folder: Path, pulumi: Path, providers: Providers = PROVIDERS) -> EngineHome:
    """Make the home in `folder` for this `pulumi`, or bring it up to date. Cheap when nothing changed."""
    home = EngineHome(folder.resolve(), providers)
    try:
        home.bin.mkdir(parents=True, exist_ok=True)
        home.state.mkdir(parents=True, exist_ok=True)
        _place(pulumi, home.bin / "pulumi")
        _launcher(home.bin / "pulumi-language-python", "local.engine.language_host")
        # where the engine looks for the provider of `pulumi.dynamic` resources; the SDK brings the server
        _launcher(home.bin / "pulumi-resource-pulumi-python", "local.engine.plugin pulumi.dynamic")
        plugins = home.folder / "pulumi" / "plugins"
        wanted = {name: plugins / f"resource-{name}-v{version(f'pulumi_{name}')}" for name in providers}
        for left in set(plugins.glob("resource-*")) - set(wanted.values()):  # of a former pin
            if left.is_dir():
                shutil.rmtree(left)
        for name, place in wanted.items():
            place.mkdir(parents=True, exist_ok=True)
            program, served = place / f"pulumi-resource-{name}", providers[name]
            if isinstance(served, Path):
                _script(program, f"exec {quote(str(served))}")
            else:
                _launcher(program, f"local.engine.plugin {served}")
    except OSError as error:
        raise LocalError(explain(error, f"make the engine's home in {folder}")) from error
    return home


def _place(source: Path, target: Path) -> None:
    """A hard link, else a copy. A symbolic one would not do: the engine looks beside the file that it resolves to."""
    if target.exists():
        here, there = target.stat(), source.stat()
        same_file = (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)
        if same_file or (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
            return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            temporary.hardlink_to(source)
        except OSError:  # another file system, or a file that is not ours
            shutil.copy2(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _launcher(file: Path, module: str) -> None:
    """A script that runs our module with this very Python, wherever the engine starts it."""
    path = f"PYTHONPATH={quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"
    _script(file, f"{path} exec {quote(sys.executable)} -m {module}")


def _script(file: Path, command: str) -> None:
    text = f'#!/bin/sh\n{command} "$@"\n'
    if file.exists() and file.read_text() == text:
        return
    file.write_text(text)
    file.chmod(0o755)
