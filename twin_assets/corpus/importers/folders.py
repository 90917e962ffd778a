"""List the posts of a folder, a single file or an S3 prefix as they are now.

Scope: walking a source, hashing bodies, identifying S3 objects by their ETag.
Out of scope: which paths are posts (`site_layout`), what a site's configuration says
(`site_configuration`), reading a post (`posts`), other platforms' exports (`recognition`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from twin_assets.corpus.importers.git_blame import Addition, additions, repository_of
from twin_assets.corpus.importers.inherited_fields import inherited_fields
from twin_assets.corpus.importers.post_dates import date_and_title_in_name
from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.site_configuration import read_site
from twin_assets.corpus.importers.site_layout import (
    bundles_of,
    formats_of,
    is_about_the_folder,
    is_docusaurus,
    layout_of,
    site_within,
    why_no_post,
    why_outside,
)
from twin_assets.corpus.importers.suffixes import markup_of, most_bytes, suffix_of
from twin_assets.corpus.importers.text_formats import EXTRA, is_read
from twin_resources.errors import TwinError
from twin_resources.storage.object_store import (
    StoredObject,
    address_of,
    list_objects,
    read_object,
    split_address,
)

MACHINERY = frozenset(
    {"_site", "_layouts", "_includes", "_sass", "_data", "_plugins", "layouts", "archetypes"}
    | {"themes", "node_modules", "__pycache__", "vendor", "venv", "site-packages"}
)
"""Folders written by a site generator or a package manager; they never hold a person's posts."""

_HIDDEN_CONFIGURATIONS = (".eleventy.js", ".eleventy.cjs", ".vuepress")
_DEEPEST_BELOW = 5
_HEADED = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:---[ \t]*\r?\n|\+\+\+[ \t]*\r?\n|\{\s*\"|(?i:title|date):)"
)

# Non-blocking: opening a named pipe would otherwise wait for its writer for ever.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class PostFile:
    """A file that is a post.

    Attributes:
        source_id: path in its source, NFC, with `/` between parts; the same on every machine.
        where: its current path, or an S3 object's name under the prefix. It may hold bytes that are
            not UTF-8, so it is read and never stored.
        file_hash: SHA-256 of the bytes, or an S3 object's ETag; "" if the file cannot be read now.
        problem: why the file was not read (`unreadable`, `too_large`), or "".
        headed: whether the file begins as front matter does.
        bucket: the bucket of an S3 object, or "".
        stored: the S3 object, or None.
    """

    source_id: str
    where: str
    file_hash: str
    problem: str = ""
    headed: bool = False
    bucket: str = ""
    stored: StoredObject | None = None

    @property
    def path(self) -> Path:
        return Path(self.where)

    @property
    def address(self) -> str:
        """Absolute path or `s3://bucket/key`, as text that can be stored."""
        return f"s3://{self.bucket}/{self.stored.key}" if self.stored else display(self.where)

    def read(self) -> tuple[bytes, str]:
        """Return the bytes and their `file_hash`.

        Raises:
            OSError: the file cannot be read now.
        """
        if self.stored is None:
            body = self.path.read_bytes()
            return body, hashlib.sha256(body).hexdigest()
        try:
            return read_object(self.address, self.stored), self.file_hash
        except TwinError as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class Folder:
    """The current state of a source: its posts, and counts of the other files by reason.

    Attributes:
        source: absolute path, as text.
        layout: `jekyll`, `hugo`, `blog`, `notes` or `file`.
        posts: posts sorted by `source_id`.
        skipped: reason → number of files that are not posts.
        unlisted: prefixes of `source_id` under which the folder could not be listed.
        root: the folder's path, or None for an S3 prefix or a single file.
    """

    source: str
    layout: str
    site: Site
    posts: tuple[PostFile, ...]
    skipped: dict[str, int]
    unlisted: tuple[str, ...] = ()
    root: Path | None = None

    @cached_property
    def additions(self) -> Mapping[str, Addition]:
        """`source_id` → when it was added in git; looked up once, if a post has no other date.

        Raises:
            GitError: git fails.
        """
        if self.root is None or repository_of(self.root) is None:
            return {}
        return {identity(path): one for path, one in additions(self.root).items()}


def scan(source: Path) -> Folder:
    """List the posts of a folder, or of a single file, and hash their bytes.

    Every body is read and hashed each time: a file can change without its size or time (an unpacked
    archive, a restored backup), and 2,332 posts of 5 MB take 0.1 s. Names are not turned into
    `Path` objects: at 100,000 posts that took longer than the reading.

    Raises:
        TwinError: the path does not exist, cannot be listed, or is neither a folder nor a post.
    """
    source = source.expanduser().resolve()
    tried = f"read the posts in {display(source)}"
    if not source.exists():
        raise TwinError(tried, found="nothing at this path", next_step="name a folder that exists")
    if source.is_file():
        suffix = suffix_of(source.name)
        if not markup_of(source.name) and not (suffix and is_read(suffix)):
            raise TwinError(
                tried,
                found=f"a file in no format that is read ({source.suffix or 'no suffix'})",
                next_step=f"pip install '{EXTRA}'"
                if suffix
                else "name a folder of .md or .html files",
            )
        post = _post_file(os.fspath(source), source_id=identity(source.name))
        return Folder(display(source), "file", Site(), (post,), {})
    try:
        os.scandir(source).close()
    except OSError as error:
        raise TwinError(
            tried, found=f"it cannot be listed ({error.strerror})", next_step="give read permission"
        ) from error
    return _scan_folder(source)


def holds_markdown(source: Path) -> bool:
    """Return whether a folder holds a Markdown post; stop at the first one."""
    entries = _walk(source, skipped=Counter(), unlisted=[])
    return source.is_dir() and any(
        not linked and markup_of(source_id) == "markdown" and not is_about_the_folder(source_id)
        for _, source_id, linked in entries
    )


def scan_prefix(source: str) -> Folder:
    """List the posts under an S3 prefix. ETags show which ones changed, so no post is read.

    Raises:
        TwinError: the prefix cannot be listed.
    """
    bucket, _ = split_address(source)
    objects = {identity(one.name): one for one in list_objects(source)}
    layout = layout_of(objects)
    layout = "notes" if layout == "blog" else layout  # no object is read to see how it begins

    def read(name: str) -> bytes:
        return read_object(source, objects[name])

    site = read_site(objects, read, layout=layout)
    root_name = source.rstrip("/").rpartition("/")[2]
    given = inherited_fields(objects, read, site=site, root_name=root_name)
    site = replace(site, data=given)
    bundles, formats = bundles_of(objects), formats_of(objects, layout=layout)
    skipped: Counter[str] = Counter()
    posts: list[PostFile] = []
    for source_id, stored in sorted(objects.items()):
        *folders, name = source_id.split("/")
        if name.startswith(".") or any(
            part.startswith(".") or part in MACHINERY for part in folders
        ):
            continue
        if reason := why_no_post(
            source_id, layout=layout, site=site, bundles=bundles, formats=formats
        ):
            skipped[reason] += 1
            continue
        problem = "too_large" if stored.size > most_bytes(source_id) else ""
        etag = f"etag:{stored.etag}"
        posts.append(PostFile(source_id, stored.name, etag, problem, bucket=bucket, stored=stored))
    return Folder(
        source=address_of(source),
        layout=layout,
        site=site,
        posts=tuple(posts),
        skipped=dict(sorted(skipped.items())),
    )


@dataclass(frozen=True)
class _SitePlace:
    """The site of a named folder: the folder itself, a folder above it, or one inside it.

    Attributes:
        root: the site's folder.
        below: the named folder's path in the site, with a trailing `/`, or "".
        within: the site's path in the named folder, with a trailing `/`, or "".
    """

    root: Path
    below: str = ""
    within: str = ""

    @classmethod
    def of(cls, source: Path, source_ids: Sequence[str]) -> _SitePlace:
        root, below = _site_above(source)
        within = "" if below else site_within(source_ids)
        return cls(root / within if within else root, below, within)

    def path_of(self, source_id: str) -> str:
        """Return a file's path in the site."""
        return self.below + source_id.removeprefix(self.within)

    def read(self, path: str) -> bytes:
        """Read one of the site's files; raises `OSError`."""
        return (self.root / path).read_bytes()


def _scan_folder(source: Path) -> Folder:
    skipped: Counter[str] = Counter()
    unlisted: list[str] = []
    candidates = list(_walk(source, skipped=skipped, unlisted=unlisted))
    place = _SitePlace.of(source, [source_id for _, source_id, _ in candidates])
    # Paths relative to the site: the named folder may be `_posts`, or a folder within `content`.
    paths = [*_names_above(place.root), *_sections_above(place)] if place.below else []
    paths += [place.path_of(one) for _, one, _ in candidates if one.startswith(place.within)]
    if not place.below and any((place.root / name).exists() for name in _HIDDEN_CONFIGURATIONS):
        paths.append("eleventy.config.js")
    layout = layout_of(paths)
    bundles = bundles_of(paths) if layout == "hugo" else frozenset[str]()
    site = read_site(paths, place.read, layout=layout)
    site = replace(site, below=place.below, within=place.within)
    given = inherited_fields(paths, place.read, site=site, root_name=place.root.name)
    site = replace(site, data=given)
    if layout == "blog" and is_docusaurus(paths):
        site = replace(site, folders=("blog",))
    formats = formats_of(paths, layout=layout)
    posts: dict[str, PostFile] = {}
    for file, source_id, linked in candidates:
        if source_id.startswith(place.within):
            path = place.path_of(source_id)
            reason = why_no_post(path, layout=layout, site=site, bundles=bundles, formats=formats)
        else:
            reason = why_outside(source_id)
        if reason:
            skipped[reason] += 1
        elif source_id in posts:  # two spellings of one name that are equal in NFC
            skipped["same name in another Unicode form"] += 1
        elif linked and _escapes(Path(file), source):
            skipped["link out of the folder"] += 1
        else:
            posts[source_id] = _post_file(file, source_id=source_id)
    if layout == "blog":
        layout, posts = _of_a_blog(posts, skipped, site=site)
    return Folder(
        source=display(source),
        layout=layout,
        site=site,
        posts=tuple(posts[source_id] for source_id in sorted(posts)),
        skipped=dict(sorted(skipped.items())),
        unlisted=tuple(unlisted),
        root=source,
    )


def _of_a_blog(
    posts: dict[str, PostFile], skipped: Counter[str], *, site: Site
) -> tuple[str, dict[str, PostFile]]:
    """Keep the posts of a site: files that begin with front matter, inherit it from their folder
    (11ty), or have a date in their name.

    If at most half of the files do, they are notes beside a program and all are kept.
    """
    scopes = tuple(scope for scope, _ in site.data if scope.endswith("/"))

    def is_headed(post: PostFile) -> bool:
        return _is_headed(post) or site.path_of(post.source_id).startswith(scopes)

    written = [one for name, one in posts.items() if markup_of(name) != "html"]
    if sum(map(is_headed, written)) * 2 <= len(written):
        return "notes", posts
    headed = {name: one for name, one in posts.items() if one.problem or is_headed(one)}
    if len(headed) < len(posts):
        skipped["page without front matter"] += len(posts) - len(headed)
    return "blog", headed


def _is_headed(post: PostFile) -> bool:
    """Return whether a file counts as headed.

    Formats other than Markdown that a generator reads always do: each has its own syntax for
    fields.
    """
    dated = bool(date_and_title_in_name(post.source_id)[0])
    return post.headed or dated or bool(suffix_of(post.source_id))


def _site_above(source: Path) -> tuple[Path, str]:
    """Find the site whose `_posts` or `content` contains a folder.

    Returns the site and the folder's path in it, or the folder itself and "". Only such folders are
    searched upwards, and only the site's own files are read.
    """
    parts = [source.name, *(parent.name for parent in source.parents)][:_DEEPEST_BELOW]
    for depth, name in enumerate(parts):
        root = source.parents[depth] if depth < len(source.parents) else source
        if name in {"_posts", "_drafts"}:
            return root, _below(parts[: depth + 1])
        if name == "content" and "hugo" in layout_of([*_names_above(root), "content/a.md"]):
            return root, _below(parts[: depth + 1])
    return source, ""


def _below(parts: list[str]) -> str:
    return "".join(f"{identity(part)}/" for part in reversed(parts))


def _names_above(root: Path) -> list[str]:
    """List the files beside a site's content and in its configuration folder."""
    names: list[str] = []
    for folder, prefix in ((root, ""), (root / "config" / "_default", "config/_default/")):
        try:
            with os.scandir(folder) as listed:
                names += [prefix + entry.name for entry in listed if not _is_folder(entry)]
        except OSError:
            continue  # a folder that is missing or unreadable configures nothing
    return names


def _sections_above(place: _SitePlace) -> list[str]:
    """List Hugo's section pages in the folders between the site and the named folder."""
    parts = place.below.split("/")[:-2]
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [
        f"{folder}/{path.name}"
        for folder in folders
        for path in (place.root / folder).glob("_index.*")
    ]


def display(path: Path | str) -> str:
    """Return a path as text that can be stored; bytes that are not UTF-8 become `\\xNN`."""
    text = os.fspath(path)
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def identity(relative: str) -> str:
    """Return a relative path as an identifier: NFC (macOS writes NFD), invalid bytes as `\\xNN`."""
    if relative.isascii():
        return relative
    return unicodedata.normalize("NFC", os.fsencode(relative).decode("utf-8", "backslashreplace"))


def _walk(
    source: Path, *, skipped: Counter[str], unlisted: list[str]
) -> Iterator[tuple[str, str, bool]]:
    """Yield the path, `source_id` and link status of every file that is not hidden."""
    waiting = [(os.fspath(source), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError:
            unlisted.append(identity(prefix))
            skipped["folder that cannot be listed"] += 1
            continue
        inner: list[tuple[str, str]] = []
        for entry in entries:
            name, linked = entry.name, entry.is_symlink()
            if name.startswith("."):
                continue
            if not _is_folder(entry):
                yield entry.path, identity(f"{prefix}{name}"), linked
            elif name in MACHINERY:
                continue
            elif linked:
                skipped["linked folder"] += 1
            else:
                inner.append((entry.path, f"{prefix}{name}/"))
        waiting += reversed(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _escapes(file: Path, source: Path) -> bool:
    """Return whether a link leads out of the source: `posts/x.md → ~/.ssh/id_rsa` is not a post."""
    try:
        return not file.resolve(strict=True).is_relative_to(source)
    except (OSError, RuntimeError):  # a dangling link, or a link to itself
        return True


def _post_file(file: str, *, source_id: str) -> PostFile:
    """Hash a file with four system calls; a buffered stream makes nine."""
    try:
        opened = os.open(file, _READ)
        try:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode):
                return PostFile(source_id, file, "", "unreadable")
            if status.st_size > most_bytes(source_id):
                size_and_time = f"{status.st_size}:{status.st_mtime_ns}".encode()
                digest = hashlib.sha256(size_and_time)
                return PostFile(source_id, file, digest.hexdigest(), "too_large")
            digest, headed = hashlib.sha256(), False
            # Read to the end: the file may grow meanwhile, and a network read may return too
            # little.
            while piece := os.read(opened, status.st_size + 1):
                headed = headed or bool(_HEADED.match(piece))
                digest.update(piece)
                if len(piece) == status.st_size:
                    break
        finally:
            os.close(opened)
    except OSError:
        return PostFile(source_id, file, "", "unreadable")
    return PostFile(source_id, file, digest.hexdigest(), headed=headed)
