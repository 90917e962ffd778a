"""Which files of a folder are posts: Jekyll, Hugo or plain notes.

Belongs here: walking a source, telling posts from pages, licences and build output, hashing bodies.
Does not belong here: reading a post (`posts`), other platforms' exports (`exports`).

Layouts: https://jekyllrb.com/docs/structure/, https://gohugo.io/getting-started/directory-structure/
"""
# pyright: strict

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from twin_assets.corpus.importers.posts import MAX_POST_BYTES, Site, markup_of
from twin_resources.errors import TwinError

MACHINERY = frozenset(
    {"_site", "_layouts", "_includes", "_sass", "_data", "_plugins", "layouts", "archetypes"}
    | {"themes", "node_modules", "__pycache__", "vendor", "venv", "site-packages"}
)
"""Folders that hold what a site generator or a package manager wrote, never a person's posts."""

# Files about the repository. A post called security.md stays one: the words beyond the first four
# count only in the UPPER CASE in which repositories write them.
_ABOUT_THE_FOLDER = re.compile(
    r"(?i:readme|(?:un)?licen[cs]e|copying|contributing)(?:[-_.][A-Z][\w.-]*)?"
    r"|(?:CODE_OF_CONDUCT|CHANGELOG|CHANGES|SECURITY|AUTHORS|NOTICE|SUPPORT|AGENTS|CLAUDE|TODO)"
)

_HUGO_CONFIGURATION = re.compile(r"(?:hugo|config)\.(?:toml|ya?ml)")


@dataclass(frozen=True)
class PostFile:
    """One file that is a post.

    Attributes:
        source_id: path in its source, `/` between parts, NFC: the same on every machine.
        path: where it is now; may hold bytes that are not UTF-8, so it is read and never stored.
        file_hash: SHA-256 of the bytes; "" when the file could not be read now.
        problem: why it was not read (`unreadable`, `too_large`), else "".
    """

    source_id: str
    path: Path
    file_hash: str
    problem: str = ""


@dataclass(frozen=True)
class Folder:
    """A source as it stands now: its posts, and what else was there by reason.

    Attributes:
        source: absolute path, as text.
        layout: `jekyll`, `hugo`, `notes` or `file`.
        posts: in order of `source_id`.
        skipped: reason → number of files that are no posts.
        unlisted: prefixes of `source_id` under which the folder could not be listed.
    """

    source: str
    layout: str
    site: Site
    posts: tuple[PostFile, ...]
    skipped: dict[str, int]
    unlisted: tuple[str, ...] = ()


def scan(source: Path) -> Folder:
    """List the posts of a folder, or of a single file, and hash their bytes.

    Every body is read and hashed each time: a file can change without its size or time (an unpacked
    archive, a restored backup), and 2,332 posts of 5 MB take 0.1 s.

    Raises:
        TwinError: the path does not exist, cannot be listed, or is no folder or post.
    """
    source = source.expanduser().resolve()
    tried = f"read the posts in {display(source)}"
    if not source.exists():
        raise TwinError(tried, found="nothing at this path", next_step="name a folder that exists")
    if source.is_file():
        if not markup_of(source.name):
            raise TwinError(
                tried,
                found=f"a file that is neither Markdown nor HTML ({source.suffix or 'no suffix'})",
                next_step="name a folder of .md or .html files",
            )
        post = _post_file(source, source_id=identity(source.name))
        return Folder(display(source), "file", Site(), (post,), {})
    try:
        names = sorted(entry.name for entry in source.iterdir())
    except OSError as error:
        raise TwinError(
            tried, found=f"it cannot be listed ({error.strerror})", next_step="give read permission"
        ) from error
    return _scan_folder(source, names)


def _scan_folder(source: Path, names: list[str]) -> Folder:
    skipped: Counter[str] = Counter()
    unlisted: list[str] = []
    candidates = [
        (file, identity(file.relative_to(source).as_posix()))
        for file in _walk(source, skipped=skipped, unlisted=unlisted)
    ]
    layout = _layout(names, [source_id for _, source_id in candidates])
    posts: dict[str, PostFile] = {}
    for file, source_id in candidates:
        reason = _why_no_post(source_id, layout=layout)
        if reason:
            skipped[reason] += 1
        elif source_id in posts:  # two spellings of one name that NFC makes the same
            skipped["same name in another Unicode form"] += 1
        elif _escapes(file, source):
            skipped["link out of the folder"] += 1
        else:
            posts[source_id] = _post_file(file, source_id=source_id)
    return Folder(
        source=display(source),
        layout=layout,
        site=_site(source, names),
        posts=tuple(posts[source_id] for source_id in sorted(posts)),
        skipped=dict(sorted(skipped.items())),
        unlisted=tuple(unlisted),
    )


def display(path: Path) -> str:
    """A path as text that can be stored: bytes that are not UTF-8 are shown as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def identity(relative: str) -> str:
    """A relative path as an identifier: NFC (macOS writes NFD), undecodable bytes as `\\xNN`."""
    return unicodedata.normalize("NFC", os.fsencode(relative).decode("utf-8", "backslashreplace"))


def _walk(source: Path, *, skipped: Counter[str], unlisted: list[str]) -> Iterator[Path]:
    def not_listed(error: OSError) -> None:
        folder = Path(os.fsdecode(error.filename)).relative_to(source).as_posix()
        unlisted.append(identity(folder) + "/")
        skipped["folder that cannot be listed"] += 1

    for where, folders, files in os.walk(source, onerror=not_listed):
        kept = [name for name in folders if not name.startswith(".") and name not in MACHINERY]
        linked = [name for name in kept if Path(where, name).is_symlink()]
        skipped["linked folder"] += len(linked)
        folders[:] = sorted(set(kept) - set(linked))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(where, name)
    for reason in [reason for reason, count in skipped.items() if not count]:
        del skipped[reason]


def _layout(names: list[str], source_ids: list[str]) -> str:
    if any("_posts" in source_id.split("/")[:-1] for source_id in source_ids):
        return "jekyll"
    if "content" in names and any(_HUGO_CONFIGURATION.fullmatch(name) for name in names):
        return "hugo"
    return "notes"


def _why_no_post(source_id: str, *, layout: str) -> str:
    """Why a file is no post, in words that a summary shows; "" when it is one."""
    *folders, name = source_id.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if is_about_the_folder(source_id):
        return "about the folder (README, LICENSE …)"
    if not markup_of(name):
        return "other file" if stem == name else f"{name.rsplit('.', 1)[-1].lower()} file"
    if layout == "jekyll" and not {"_posts", "_drafts"} & set(folders):
        return "page outside _posts"
    if layout == "notes" and not folders and stem.lower() in {"index", "404"}:
        return "home page (index)"
    if layout == "hugo" and folders[:1] != ["content"]:
        return "page outside content"
    if layout == "hugo" and stem.split(".")[0] == "_index":
        return "section page (_index)"
    return ""


def is_about_the_folder(source_id: str) -> bool:
    """Whether a file speaks about its folder (README, LICENSE, CONTRIBUTING …) by its name."""
    return bool(_ABOUT_THE_FOLDER.fullmatch(source_id.rsplit("/", 1)[-1].split(".", maxsplit=1)[0]))


def _escapes(file: Path, source: Path) -> bool:
    """Whether a link leads out of the source: `posts/x.md → ~/.ssh/id_rsa` is not a post."""
    try:
        return file.is_symlink() and not file.resolve(strict=True).is_relative_to(source)
    except (OSError, RuntimeError):  # a dangling link, or one that leads to itself
        return True


def _post_file(file: Path, *, source_id: str) -> PostFile:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would block the read for ever
            return PostFile(source_id, file, "", "unreadable")
        if found.st_size > MAX_POST_BYTES:
            size_and_time = f"{found.st_size}:{found.st_mtime_ns}".encode()
            return PostFile(source_id, file, hashlib.sha256(size_and_time).hexdigest(), "too_large")
        return PostFile(source_id, file, hashlib.sha256(file.read_bytes()).hexdigest())
    except OSError:
        return PostFile(source_id, file, "", "unreadable")


def _site(source: Path, names: list[str]) -> Site:
    """Address and time zone from `_config.yml` (Jekyll) or `hugo.toml`/`config.*` (Hugo)."""
    for name in names:
        if not (_HUGO_CONFIGURATION.fullmatch(name) or re.fullmatch(r"_config\.ya?ml", name)):
            continue
        try:
            text = (source / name).read_text(encoding="utf-8")
            parsed: object = tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError):
            continue  # a site's broken configuration costs addresses and zones, not the posts
        if isinstance(parsed, dict):
            fields = {str(k).lower(): v for k, v in cast("dict[object, Any]", parsed).items()}
            url = fields.get("url") or fields.get("baseurl") or ""
            timezone = fields.get("timezone") or ""
            if isinstance(url, str) and isinstance(timezone, str):
                return Site(url=url if url.startswith("http") else "", timezone=timezone)
    return Site()
