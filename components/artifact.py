"""The Lambdas' code as one zip that is the same, byte for byte, wherever and whenever it is built; and the image's.

A zip that moves makes every preview show changes and breaks saved plans, so: sorted names, a fixed time, fixed
modes, nothing that Python leaves behind, and stored rather than deflated (zlib's output differs by version).
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ROOT / "workers"
TARGET = ROOT / ".build" / "workers.zip"
IMAGE_FILES = ("Dockerfile", "requirements.lock", "**/*.py", "**/*.sql")
"""All that goes into the image, as workers/.dockerignore has it too."""
MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
REGULAR_FILE = 0o100644 << 16
LIMIT = 5 * 1024 * 1024  # bytes; AWS takes 50 MB directly, ours is the smaller goal: cold starts read all of it


def build(workers: Path = WORKERS, target: Path = TARGET) -> Path:
    """Write the zip and return its path.

    Raises:
        OSError: the folder is missing, or the disk is full.
        ValueError: larger than LIMIT.
    """
    files = sorted(workers.rglob("*.py"), key=lambda path: path.relative_to(workers.parent).as_posix())
    if not files:
        raise FileNotFoundError(f"no Python files in {workers}")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")  # its own: a preview and a test may build at the same time
    try:
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as archive:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(workers.parent).as_posix(), MOMENT)
                entry.create_system = 3  # Unix, whatever built it
                entry.external_attr = REGULAR_FILE
                archive.writestr(entry, path.read_bytes())
        size = fresh.stat().st_size
        if size > LIMIT:
            raise ValueError(
                f"the Lambda zip has {size:,} bytes; allowed: {LIMIT:,}. Look for large files in {workers}"
            )
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def build_context(target: Path, workers: Path = WORKERS) -> Path:
    """Write all that the workers' image is built from as a tar, for `docker buildx build - < TAR`, and return its path.

    Raises:
        FileNotFoundError: a pattern of IMAGE_FILES matches nothing.
        OSError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted({path for pattern in IMAGE_FILES for path in _matching(pattern, workers)}):
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(workers).as_posix())  # by root, at the epoch's first second
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target


def digest(*patterns: str, workers: Path = WORKERS) -> str:
    """A digest of the files of the workers that match: their names and what is in them.

    Raises:
        FileNotFoundError: a pattern matches nothing.
    """
    total = hashlib.sha256()
    for pattern in patterns:
        for path in _matching(pattern, workers):
            content = path.read_bytes()
            total.update(f"{path.relative_to(workers).as_posix()} {len(content)}\n".encode() + content)
    return total.hexdigest()


def _matching(pattern: str, workers: Path) -> list[Path]:
    files = sorted((p for p in workers.glob(pattern) if p.is_file()), key=lambda p: p.relative_to(workers).as_posix())
    if not files:
        raise FileNotFoundError(f"nothing matches {pattern} in {workers}")
    return files


def image_tag() -> str:
    """The tag of the workers' image: the same for the same content, whoever builds it."""
    return digest(*IMAGE_FILES)[:16]
