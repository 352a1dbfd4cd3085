"""Writes what is ours alone: whole or not at all, and readable only by its owner."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> Path:
    """Put content at path in one step, mode 0600: a reader sees the old file or the new one, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
