"""Read from git when each file of a folder was added to its repository.

Hooks, monitors and fetching are turned off, because a repository's configuration can start
programs through each of them.
Format: https://git-scm.com/docs/git-log#_diff_formatting.
"""
# pyright: strict

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.processes.program_progress import run_for_output

_SAFE_OPTIONS = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "protocol.allow=never", "-c", "core.pager=cat", "-c", "core.quotePath=false"),
)
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
# These variables point git to a different repository or program; git sets them for its hooks.
_UNSAFE_VARIABLES = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}
    | {"GIT_COMMON_DIR", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_PREFIX"}
)


class GitError(TwinError):
    """A failed git command; the message quotes git's output."""


@dataclass(frozen=True)
class Addition:
    """The time when a file was added to its repository, and the number of files in that commit.

    Attributes:
        is_root_commit: whether the commit is the repository's first, which often adds older files.
    """

    added_at: datetime
    file_count: int
    is_root_commit: bool


def find_repository(folder: Path) -> Path | None:
    """Return the work tree that contains the folder or is the folder itself, or None."""
    return next(
        (parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None
    )


def read_additions(folder: Path) -> dict[str, Addition]:
    """Return when each path below `folder` was added, under any name; empty for a shallow clone.

    Raises:
        GitError: git fails, or takes more than two minutes.
    """
    if _run_git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return {}
    arguments = (
        *("log", "-z", "--relative", "--no-merges", "--format=tformat:%at %P", "--name-status"),
    )
    try:
        output = _run_git(folder, *arguments, "-M", "--diff-filter=AR", "HEAD", "--", ".")
    except GitError:  # a clone without old contents (`--filter`) supports only exact renames
        output = _run_git(folder, *arguments, "-M100%", "--diff-filter=AR", "HEAD", "--", ".")
    commits: list[tuple[str, list[list[str]]]] = []
    fields = iter(output.decode("utf-8", "surrogateescape").split("\0"))
    for field in fields:
        status = field.lstrip("\n")
        if status == "A":
            commits[-1][1].append([next(fields)])
        elif re.fullmatch(r"R\d+", status):
            commits[-1][1].append([next(fields), next(fields)])
        elif status:
            commits.append((status, []))
    additions: dict[str, Addition] = {}
    for commit, paths in reversed(commits):
        seconds, _, parents = commit.partition(" ")
        try:
            committed_at = datetime.fromtimestamp(int(seconds), UTC)
        except (ValueError, OverflowError, OSError):  # a forged commit may contain any year
            committed_at = datetime(1970, 1, 1, tzinfo=UTC)
        for *old_path, path in paths:
            is_known = bool(old_path) and old_path[0] in additions
            count = sum(len(other) == len(old_path) + 1 for other in paths)
            addition = Addition(committed_at, count, is_root_commit=not parents)
            if old_path or path not in additions:
                additions[path] = additions[old_path[0]] if is_known else addition
    return additions


def _run_git(folder: Path, *arguments: str) -> bytes:
    environment = {
        name: value for name, value in os.environ.items() if name not in _UNSAFE_VARIABLES
    }
    try:
        process = run_for_output(
            ["git", *_SAFE_OPTIONS, "-C", str(folder), *arguments],
            environment=environment | _ENVIRONMENT,
        )
    except FileNotFoundError as error:
        raise GitError(
            f"read {folder}", found="git is not installed", next_step="install git"
        ) from error
    except TwinError as error:
        raise GitError(
            f"run git {arguments[0]} in {folder}",
            found=error.found,
            next_step="run `git gc` in that folder",
        ) from error
    if process.returncode:
        error_text = " ".join(process.stderr.decode("utf-8", "replace").split())
        raise GitError(
            f"run git {arguments[0]} in {folder}",
            found=error_text or f"exit status {process.returncode}",
            next_step="run the command there yourself and fix what it reports",
        )
    return process.stdout
