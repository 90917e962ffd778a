"""Read a repository's files at HEAD from git, with each line's author and each file's addition.

Scope: calls to the git binary and the interpretation of their output.
Out of scope: finding prose files and using them (`git_prose`).

Everything is read from HEAD's tree, so the work tree and its filters are not touched. Hooks,
monitors, text conversions and fetching are turned off, because a repository's configuration can
start programs through each of them. `.mailmap` is honoured.
Formats: https://git-scm.com/docs/git-blame#_the_porcelain_format,
https://git-scm.com/docs/git-ls-tree#_output_format.
"""
# pyright: strict

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
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
_HEADER = re.compile(rb"([0-9a-f]{40,64}) \d+ \d+(?: \d+)?")


class GitError(TwinError):
    """A failed git command; the message quotes git."""


@dataclass(frozen=True)
class TreeFile:
    """An entry of HEAD's tree; `mode` is git's (`100644`, link `120000`, submodule `160000`)."""

    path: str
    mode: str
    size: int


@dataclass(frozen=True)
class BlamedLine:
    """One line: its text with its line end, its author (address in lower case) and its time."""

    text: bytes
    email: str
    author: str
    written_at: datetime


def is_repository(folder: Path) -> bool:
    """Return whether the folder's file names show a git work tree or a bare repository."""
    has_bare_files = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    return (folder / ".git").exists() or (has_bare_files and (folder / "refs").is_dir())


@dataclass(frozen=True)
class Addition:
    """The time when a file entered its repository, and the number of files in that commit.

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
    if _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return {}
    arguments = (
        *("log", "-z", "--relative", "--no-merges", "--format=tformat:%at %P", "--name-status"),
    )
    try:
        output = _git(folder, *arguments, "-M", "--diff-filter=AR", "HEAD", "--", ".")
    except GitError:  # a clone without old contents (`--filter`) supports only exact renames
        output = _git(folder, *arguments, "-M100%", "--diff-filter=AR", "HEAD", "--", ".")
    additions: dict[str, Addition] = {}
    for committed_at, is_root, added_paths, renamed_paths in reversed(list(_parse_commits(output))):
        for path in added_paths:
            additions.setdefault(path, Addition(committed_at, len(added_paths), is_root))
        for old_path, new_path in renamed_paths:
            additions[new_path] = additions.get(
                old_path, Addition(committed_at, len(renamed_paths), is_root)
            )
    return additions


def _parse_commits(log: bytes) -> Iterator[tuple[datetime, bool, list[str], list[tuple[str, str]]]]:
    """Yield each commit, newest first: time, whether it is the root, added paths, renamed paths."""
    fields = iter(log.decode("utf-8", "surrogateescape").split("\0"))
    committed_at, is_root = _parse_timestamp(""), False
    added_paths: list[str] = []
    renamed_paths: list[tuple[str, str]] = []
    for field in fields:
        status = field.lstrip("\n")
        if status == "A":
            added_paths.append(next(fields))
        elif re.fullmatch(r"R\d+", status):
            renamed_paths.append((next(fields), next(fields)))
        elif status:
            if added_paths or renamed_paths:
                yield committed_at, is_root, added_paths, renamed_paths
            added_paths, renamed_paths = [], []
            seconds, _, parents = status.partition(" ")
            committed_at, is_root = _parse_timestamp(seconds), not parents
    if added_paths or renamed_paths:
        yield committed_at, is_root, added_paths, renamed_paths


def read_heads(folder: Path, files: Sequence[TreeFile], *, size: int) -> dict[str, bytes]:
    """Return the first `size` bytes at HEAD by path, for the files that exist there.

    Raises:
        GitError: git fails.
    """
    regular_files = [
        file for file in files if file.mode.startswith("100") and "\n" not in file.path
    ]
    request = "".join(f"HEAD:{file.path}\n" for file in regular_files)
    output = _git(folder, "cat-file", "--batch", stdin=request.encode())
    blobs: dict[str, bytes] = {}
    position = 0
    for file in regular_files:
        end = output.find(b"\n", position)
        header = output[position:end].split()
        position = end + 1
        if len(header) == 3 and header[1] == b"blob":
            length = int(header[2])
            blobs[file.path] = output[position : position + min(length, size)]
            position += length + 1
    return blobs


def find_root_commit(folder: Path) -> str:
    """Return the oldest commit without a parent, which is the same in every clone."""
    return _git(folder, "rev-list", "--max-parents=0", "HEAD").decode().split()[-1]


def read_config_values(folder: Path, name: str) -> list[str]:
    """Return all values of a git setting from every configuration level, or []."""
    output = _run(folder, "config", "--get-all", name)
    return [line.strip() for line in output.stdout.decode("utf-8", "replace").splitlines() if line]


def require_history(folder: Path) -> None:
    """Reject a shallow clone, in which the oldest commit seems to have written everything.

    Raises:
        GitError: the history is incomplete.
    """
    if _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise GitError(
            f"read who wrote {folder}",
            found="a shallow clone, which does not show who wrote each line",
            next_step="run `git fetch --unshallow` in it",
        )


def list_tree(folder: Path, *, max_files: int) -> tuple[TreeFile, ...]:
    """Return the files of HEAD, sorted by path.

    Raises:
        GitError: HEAD has more than `max_files` files.
    """
    output = _git(folder, "ls-tree", "-r", "-z", "-l", "HEAD")
    entries = [entry for entry in output.split(b"\0") if entry]
    if len(entries) > max_files:
        raise GitError(
            f"read {folder}",
            found=f"more than {max_files:,} files",
            next_step="specify a smaller repository",
        )
    files: list[TreeFile] = []
    for entry in entries:
        fields, _, path = entry.partition(b"\t")
        mode, _, _, size = fields.split()
        files.append(
            TreeFile(
                path.decode("utf-8", "backslashreplace"),
                mode.decode(),
                int(size) if size.isdigit() else 0,
            )
        )
    return tuple(sorted(files, key=lambda file: file.path))


def read_linguist_attributes(folder: Path, paths: list[str]) -> dict[str, str]:
    """Return `linguist-vendored` or `linguist-generated` by path, from `.gitattributes`."""
    if not paths:
        return {}
    names = ("linguist-vendored", "linguist-generated")
    output = _git(
        folder, "check-attr", "-z", "--stdin", *names, stdin="\0".join(paths).encode() + b"\0"
    )
    fields = output.decode("utf-8", "backslashreplace").split("\0")
    triples = zip(fields[0::3], fields[1::3], fields[2::3], strict=False)
    return {path: name for path, name, value in triples if value in {"set", "true"}}


def blame(folder: Path, path: str) -> tuple[BlamedLine, ...]:
    """Return each line of a file at HEAD with its author.

    A line that was only moved, or changed only in white space, keeps its first author.

    Raises:
        GitError: git fails, or takes more than two minutes.
    """
    output = _git(folder, "blame", "--porcelain", "-w", "-M", "--no-textconv", "HEAD", "--", path)
    return tuple(_parse_blame(output))


def _parse_blame(porcelain: bytes) -> Iterator[BlamedLine]:
    commits: dict[bytes, dict[str, str]] = {}
    commit_fields: dict[str, str] = {}
    # Split only at \n, because `splitlines` would also split a line at a form feed.
    for row in porcelain.split(b"\n"):
        if row.startswith(b"\t"):
            yield BlamedLine(
                row[1:] + b"\n",
                commit_fields.get("author-mail", "").strip("<>").casefold(),
                commit_fields.get("author", ""),
                _parse_timestamp(commit_fields.get("author-time", "")),
            )
        elif header := _HEADER.fullmatch(row):
            commit_fields = commits.setdefault(header[1], {})
        else:
            name, _, value = row.decode("utf-8", "replace").partition(" ")
            commit_fields.setdefault(name, value)


def _parse_timestamp(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):  # a forged commit may contain any year
        return datetime(1970, 1, 1, tzinfo=UTC)


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    process = _run(folder, *arguments, stdin=stdin)
    if process.returncode:
        error_text = " ".join(process.stderr.decode("utf-8", "replace").split())
        raise GitError(
            f"run git {arguments[0]} in {folder}",
            found=error_text or f"exit status {process.returncode}",
            next_step="run the command there yourself and fix what it reports",
        )
    return process.stdout


def _run(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if name not in _UNSAFE_VARIABLES
    }
    try:
        return run_for_output(
            ["git", *_SAFE_OPTIONS, "-C", str(folder), *arguments],
            input_bytes=stdin,
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
            next_step="run `git gc` in it, or specify a smaller repository",
        ) from error
