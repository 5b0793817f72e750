"""Programs that a test puts in the place of others."""

import os
from pathlib import Path

import pytest


class Programs:
    """A folder of shell scripts that are found before the programs of this machine."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(self, name: str, does: str) -> None:
        """Write a program. does : what it does, in the language of sh."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)
