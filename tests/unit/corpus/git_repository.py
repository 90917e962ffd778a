"""Create real git repositories with commits at different times."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.unit.corpus.export_files import Files, write_folder


class GitRepository:
    """A work tree; commits without a time of their own are an hour apart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commit_count = 0

    @classmethod
    def create(cls, folder: Path) -> GitRepository:
        folder.mkdir(parents=True)
        repository = cls(folder)
        repository.git("init", "-q", "-b", "main")
        return repository

    def git(self, *arguments: str, **environment: str) -> None:
        subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | environment,
            capture_output=True,
            check=True,
        )

    def clone(self, folder: Path, *options: str) -> GitRepository:
        address = f"file://{self.folder}"
        self.git("clone", "-q", *options, address, str(folder))
        return GitRepository(folder)

    def write(self, files: Files, *, time: str = "") -> None:
        """Write files and commit all changes."""
        write_folder(files, self.folder)
        self.commit(time=time)

    def commit(self, *, time: str = "") -> None:
        self.commit_count += 1
        time = time or f"2024-05-01T{self.commit_count:02}:00:00+00:00"
        self.git("add", "-A")
        self.git(
            *("commit", "-q", "-m", "A change"),
            **{"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org"},
            GIT_AUTHOR_DATE=time,
            **{"GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org"},
            GIT_COMMITTER_DATE=time,
        )
