"""List the current posts of a folder, a single file or an S3 prefix, with a hash of each."""
# pyright: strict

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from twin_assets.corpus.importers.front_matter import join_metadata
from twin_assets.corpus.importers.generators import (
    ALL_PATHS,
    HIDDEN_SIGNS,
    Site,
    build_skip_rule,
    classify_outside_file,
    find_generator,
    find_site_folder,
    is_repository_file,
    read_site,
)
from twin_assets.corpus.importers.git_history import Addition, find_repository, read_additions
from twin_assets.corpus.importers.post_dates import split_date_and_title
from twin_assets.corpus.importers.suffixes import (
    BINARY_SUFFIXES,
    get_known_suffix,
    get_markup,
    get_max_file_bytes,
)
from twin_assets.corpus.importers.text_formats import EXTRA, is_readable
from twin_resources.errors import TwinError
from twin_resources.storage.object_store import (
    StoredObject,
    list_objects,
    normalize_address,
    read_object,
    split_address,
)
from twin_resources.storage.sources.listing import display_path

GENERATED_FOLDERS = frozenset(
    {"_site", "_layouts", "_includes", "_sass", "_data", "_plugins", "layouts", "archetypes"}
    | {"themes", "node_modules", "__pycache__", "vendor", "venv", "site-packages"}
)
"""Folders of site generators and package managers, which never contain an author's posts."""

_CODE_FILE = re.compile(
    r"\.(?:c|cc|cpp|cs|cxx|dart|el|erl|ex|exs|f90|fs|go|h|hpp|hs|java|jl|js|jsx|kt|lisp|lua|m|ml"
    r"|php|pl|pm|py|r|rb|rs|scala|sh|sql|swift|ts|tsx|vue|zig)$",
    re.IGNORECASE,
)
_DOCUMENTATION_FOLDERS = frozenset({"doc", "docs", "documentation", "manual"})
_METADATA_SUFFIX = ".meta"
_LEFT_OUT = "left out by --exclude"
_MAX_SITE_DEPTH = 5
_FRONT_MATTER_START = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:---[ \t]*\r?\n|\+\+\+[ \t]*\r?\n|\{\s*\"|(?:\.\. )?(?i:title|date):)"
)


@dataclass(frozen=True)
class PostFile:
    """A file that is a post.

    Attributes:
        source_id: path in its source, in NFC, with `/` as separator; the same on every machine.
        location: its current path, or `s3://bucket/key`. A path may contain bytes that are not
            UTF-8, so it is never stored.
        file_hash: SHA-256 of the bytes, or an S3 object's ETag; "" if the file is unreadable.
        problem: why the file was not read (`unreadable`, `too_large`), or "".
        has_front_matter: whether the file begins like front matter.
        stored_object: the S3 object, or None.
        metadata: the file beside it with its fields (Nikola's `a.meta` of `a.md`), or None.
    """

    source_id: str
    location: str
    file_hash: str
    problem: str = ""
    has_front_matter: bool = False
    stored_object: StoredObject | None = None
    metadata: PostFile | None = None

    @property
    def address(self) -> str:
        """The absolute path or `s3://bucket/key`, as text that can be stored."""
        return display_path(self.location)

    def add_metadata(self, metadata: PostFile | None) -> PostFile:
        """Return the post with the file that contains its fields; unreadable if that one is."""
        if metadata is None:
            return self
        return replace(
            self,
            metadata=metadata,
            file_hash=f"{self.file_hash}+{metadata.file_hash}",
            problem=self.problem or metadata.problem,
            has_front_matter=self.has_front_matter or metadata.has_front_matter,
        )

    def read(self) -> tuple[bytes, str]:
        """Return the bytes and their `file_hash`; with its fields in front, if a file has them.

        Raises:
            OSError: the file, or the one with its fields, currently cannot be read.
        """
        if self.metadata is not None:
            own_hash = self.file_hash.partition("+")[0]
            body, body_hash = replace(self, metadata=None, file_hash=own_hash).read()
            fields, fields_hash = self.metadata.read()
            return join_metadata(body, fields), f"{body_hash}+{fields_hash}"
        if self.stored_object is None:
            body = Path(self.location).read_bytes()
            return body, hashlib.sha256(body).hexdigest()
        try:
            return read_object(self.address, self.stored_object), self.file_hash
        except TwinError as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class SourceScan:
    """The current state of a source: its posts, and counts of the other files by reason.

    Attributes:
        source: absolute path or `s3://bucket/prefix`, as text.
        layout: the name of the site's generator, `notes` or `file`.
        site: the site to which the posts belong; empty for a source without one.
        posts: posts sorted by `source_id`.
        skipped_counts: number of files that are not posts, by reason.
        unlisted_prefixes: prefixes of `source_id` under which the folder could not be listed.
        root: the folder's path, or None for an S3 prefix or a single file.
    """

    source: str
    layout: str
    site: Site
    posts: tuple[PostFile, ...]
    skipped_counts: dict[str, int]
    unlisted_prefixes: tuple[str, ...] = ()
    root: Path | None = None

    @cached_property
    def additions(self) -> Mapping[str, Addition]:
        """Git additions by `source_id`, read once and only if a post has no other date.

        Raises:
            GitError: git fails.
        """
        if self.root is None or find_repository(self.root) is None:
            return {}
        additions = read_additions(self.root)
        return {make_path_identifier(path): addition for path, addition in additions.items()}


def scan_source(source: Path, exclude: Sequence[str] = ()) -> SourceScan:
    """List the posts of a folder, or of a single file, and hash their bytes.

    Every body is read and hashed each time, because a file can change while its size and time stay
    the same (an unpacked archive, a restored backup). For 2,332 posts with 5 MB in total, this
    takes 0.1 s. Names stay strings: for 100,000 posts, creating `Path` objects took longer than
    reading.

    Args:
        source: a folder or a file.
        exclude: globs of folders and files to leave out; one without `/` names a folder or file
            anywhere, any other one a path in the source (`drafts`, `docs/**/old`, `*.html`).

    Raises:
        TwinError: the path does not exist, cannot be listed, or is neither a folder nor a post; or
            it is the git repository of a program.
    """
    source = source.expanduser().resolve()
    action = f"read the posts in {display_path(source)}"
    if not source.exists():
        raise TwinError(
            action, found="nothing at this path", next_step="specify an existing folder"
        )
    if source.is_file():
        suffix = get_known_suffix(source.name)
        if not get_markup(source.name) and not (suffix and is_readable(suffix)):
            raise TwinError(
                action,
                found=f"a file in an unsupported format ({source.suffix or 'no suffix'})",
                next_step=f"run `pip install '{EXTRA}'`"
                if suffix
                else "specify a folder of .md or .html files",
            )
        post = _hash_post_file(os.fspath(source), make_path_identifier(source.name))
        metadata = source.with_suffix(_METADATA_SUFFIX)
        if _get_metadata_id(post.source_id) and metadata.is_file():
            post = post.add_metadata(_hash_post_file(os.fspath(metadata), metadata.name))
        return SourceScan(display_path(source), "file", Site(), (post,), {})
    try:
        os.scandir(source).close()
    except OSError as error:
        raise TwinError(
            action,
            found=f"the folder cannot be listed ({error.strerror})",
            next_step="grant read permission",
        ) from error
    return _scan_folder(source, exclude)


def has_markdown(source: Path) -> bool:
    """Return whether a folder contains a Markdown post, stopping at the first one."""
    entries = _iter_files(source, skips=Counter(), unlisted_prefixes=[])
    return source.is_dir() and any(
        not is_link and get_markup(source_id) == "markdown" and not is_repository_file(source_id)
        for _, source_id, is_link in entries
    )


def scan_prefix(source: str, exclude: Sequence[str] = ()) -> SourceScan:
    """List the posts under an S3 prefix without reading them; ETags show which ones changed.

    Raises:
        TwinError: the prefix cannot be listed.
    """
    bucket, _ = split_address(source)
    objects = {make_path_identifier(item.name): item for item in list_objects(source)}
    row = find_generator(objects)
    if row is not None and not row.tags:
        row = None  # telling posts from pages would require reading the beginning of every object
    root_name = source.rstrip("/").rpartition("/")[2]
    site = read_site(
        objects, lambda name: read_object(source, objects[name]), row, root_name=root_name
    )
    find_skip_reason = build_skip_rule(objects, row, site)
    left_out = compile_globs(exclude)
    skips: Counter[str] = Counter()
    posts: list[PostFile] = []
    metadata_ids = _find_metadata_files(objects)
    for source_id, item in sorted(objects.items()):
        *folders, name = source_id.split("/")
        if name.startswith(".") or any(
            folder.startswith(".") or folder in GENERATED_FOLDERS for folder in folders
        ):
            continue
        if source_id in metadata_ids:
            continue
        if reason := _LEFT_OUT if left_out.fullmatch(source_id) else find_skip_reason(source_id):
            skips[reason] += 1
            continue
        metadata_id = _get_metadata_id(source_id)
        metadata = (
            _describe_object(bucket, metadata_id, objects[metadata_id])
            if metadata_id in metadata_ids
            else None
        )
        posts.append(_describe_object(bucket, source_id, item).add_metadata(metadata))
    return SourceScan(
        source=normalize_address(source),
        layout=row.name if row else "notes",
        site=site,
        posts=tuple(posts),
        skipped_counts=dict(sorted(skips.items())),
    )


def _describe_object(bucket: str, source_id: str, item: StoredObject) -> PostFile:
    problem = "too_large" if item.size > get_max_file_bytes(source_id) else ""
    location = f"s3://{bucket}/{item.key}"
    return PostFile(source_id, location, f"etag:{item.etag}", problem, stored_object=item)


def _get_metadata_id(source_id: str) -> str:
    """Return the `source_id` of the file that may have a post's fields, or "" for other formats."""
    suffix = get_known_suffix(source_id)
    has_own_fields = suffix in BINARY_SUFFIXES or suffix == "ipynb"
    is_text = not has_own_fields and (suffix or get_markup(source_id))
    return source_id.rpartition(".")[0] + _METADATA_SUFFIX if is_text else ""


def _find_metadata_files(source_ids: Collection[str]) -> set[str]:
    """Return the files that only contain the fields of a post beside them, as in Nikola."""
    return {_get_metadata_id(source_id) for source_id in source_ids}.intersection(source_ids)


def _scan_folder(source: Path, exclude: Sequence[str]) -> SourceScan:
    left_out = compile_globs(exclude)
    skips: Counter[str] = Counter()
    unlisted_prefixes: list[str] = []
    candidates = list(_iter_files(source, skips=skips, unlisted_prefixes=unlisted_prefixes))
    # The imported folder may be the site's root, a folder above it, or a folder below it.
    root, below = _find_enclosing_site(source)
    within = "" if below else find_site_folder([source_id for _, source_id, _ in candidates])
    root = root / within
    paths = [
        below + source_id.removeprefix(within)
        for _, source_id, _ in candidates
        if source_id.startswith(within)
    ]
    if below:
        sections = below.split("/")[:-2]
        folders = ["/".join(sections[:depth]) for depth in range(1, len(sections) + 1)]
        paths += _list_site_files(root)
        paths += [f"{up}/{path.name}" for up in folders for path in (root / up).glob("_index.*")]
    paths += [name for name in HIDDEN_SIGNS if (root / name).exists()]
    row = find_generator(paths)
    site = read_site(
        paths,
        lambda path: (root / path).read_bytes(),
        row,
        below=below,
        within=within,
        root_name=root.name,
    )
    find_skip_reason = build_skip_rule(paths, row, site)
    posts: dict[str, PostFile] = {}
    metadata_ids = _find_metadata_files([source_id for _, source_id, _ in candidates])
    metadata_files = {
        source_id: _hash_post_file(file, source_id)
        for file, source_id, is_link in candidates
        if source_id in metadata_ids and not (is_link and _is_link_outside(Path(file), source))
    }
    for file, source_id, is_link in candidates:
        if source_id in metadata_files:
            continue
        # Files that are left out still configure the site, so that no draft loses its mark.
        if left_out.fullmatch(source_id):
            reason = _LEFT_OUT
        elif source_id.startswith(within):
            reason = find_skip_reason(site.get_site_path(source_id))
        else:
            reason = classify_outside_file(source_id)
        if not reason and source_id in posts:  # two spellings of one name that are equal in NFC
            reason = "same name in another Unicode form"
        elif not reason and is_link and _is_link_outside(Path(file), source):
            reason = "link outside the folder"
        if reason:
            skips[reason] += 1
        else:
            metadata = metadata_files.get(_get_metadata_id(source_id))
            posts[source_id] = _hash_post_file(file, source_id).add_metadata(metadata)
    if row is None or row.is_framework:
        _reject_code_repository(source, paths, posts)
    layout = row.name if row else "notes"
    if row is not None and not row.tags:
        # 11ty's posts inherit front matter from their folder. If at most half of the files have
        # any, they are notes beside a program.
        scopes = [pattern for pattern, _ in site.data if pattern != ALL_PATHS]
        post_like = {
            name
            for name, post in posts.items()
            if post.has_front_matter
            or split_date_and_title(name)[0]
            or get_known_suffix(name)  # each of these formats has its own syntax for fields
            or any(re.fullmatch(pattern, site.get_site_path(name), re.DOTALL) for pattern in scopes)
        }
        texts = [name for name in posts if get_markup(name) != "html"]
        if 2 * len(post_like.intersection(texts)) <= len(texts):
            layout = "notes"
        else:
            pages = [n for n, post in posts.items() if n not in post_like and not post.problem]
            skips.update({"page without front matter": len(pages)} if pages else {})
            posts = {name: post for name, post in posts.items() if name not in set(pages)}
    return SourceScan(
        source=display_path(source),
        layout=layout,
        site=site,
        posts=tuple(posts[source_id] for source_id in sorted(posts)),
        skipped_counts=dict(sorted(skips.items())),
        unlisted_prefixes=tuple(unlisted_prefixes),
        root=source,
    )


def _reject_code_repository(source: Path, paths: list[str], posts: Mapping[str, PostFile]) -> None:
    """Reject a program's git repository, whose documents usually have several authors.

    Such a repository has more code files than texts, and most of its texts are not posts. A text in
    a documentation folder is a post only if its name contains a date.
    """
    code_count = sum(bool(_CODE_FILE.search(path)) for path in paths)
    if not posts or code_count <= len(posts) or not (source / ".git").exists():
        return
    post_count = sum(
        bool(split_date_and_title(name)[0])
        or (
            text.has_front_matter
            and _DOCUMENTATION_FOLDERS.isdisjoint(name.lower().split("/")[:-1])
        )
        for name, text in posts.items()
    )
    if post_count * 2 <= len(posts):
        raise TwinError(
            f"import posts from {display_path(source)}",
            found=f"a git repository of a program ({code_count} code files and {len(posts)} texts,"
            " most of them without front matter or a date)",
            next_step="specify the folder in it that contains the author's own posts, or copy the "
            "author's texts into a folder and import that folder",
        )


def compile_globs(globs: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for the paths that globs name, and for everything below them."""
    patterns = [
        ("" if "/" in glob.strip("/") else r"(?:.*/)?") + fnmatch.translate(glob.strip("/"))[:-2]
        for glob in globs
    ]
    return re.compile(rf"(?:{'|'.join(patterns)})(?:/.*)?" if patterns else r"(?!)", re.DOTALL)


def _find_enclosing_site(source: Path) -> tuple[Path, str]:
    """Find the site whose `_posts` or `content` contains a folder.

    Return the site and the folder's path in it, or the folder itself and "". The search considers
    only such folders and reads only the site's own files.
    """
    parts = [source.name, *(parent.name for parent in source.parents)][:_MAX_SITE_DEPTH]
    for depth, (name, root) in enumerate(zip(parts, source.parents, strict=False)):
        is_posts = name in {"_posts", "_drafts"}
        if name == "content" and not is_posts:
            row = find_generator([*_list_site_files(root), "content/a.md"])
            is_posts = row is not None and row.name == "hugo"
        if is_posts:
            below = "/".join(map(make_path_identifier, reversed(parts[: depth + 1])))
            return root, f"{below}/"
    return source, ""


def _list_site_files(root: Path) -> list[str]:
    """List the files at the top of a site and in its configuration folder."""
    names: list[str] = []
    for prefix in ("", "config/_default/"):
        try:
            with os.scandir(root / prefix) as iterator:
                names += [prefix + entry.name for entry in iterator if not _is_folder(entry)]
        except OSError:
            continue  # a missing or unreadable folder configures nothing
    return names


def make_path_identifier(relative: str) -> str:
    """Return a relative path in NFC (macOS writes NFD), with invalid bytes as `\\xNN`."""
    if relative.isascii():
        return relative
    return unicodedata.normalize("NFC", os.fsencode(relative).decode("utf-8", "backslashreplace"))


def _iter_files(
    source: Path, *, skips: Counter[str], unlisted_prefixes: list[str]
) -> Iterator[tuple[str, str, bool]]:
    """Yield the path, `source_id` and link status of every file that is not hidden."""
    pending_folders = [(os.fspath(source), "")]
    while pending_folders:
        folder, prefix = pending_folders.pop()
        try:
            with os.scandir(folder) as iterator:
                entries = sorted(iterator, key=lambda entry: entry.name)
        except OSError:
            unlisted_prefixes.append(make_path_identifier(prefix))
            skips["folder that cannot be listed"] += 1
            continue
        subfolders: list[tuple[str, str]] = []
        for entry in entries:
            name, is_link = entry.name, entry.is_symlink()
            if name.startswith("."):
                continue
            if not _is_folder(entry):
                yield entry.path, make_path_identifier(f"{prefix}{name}"), is_link
            elif name in GENERATED_FOLDERS:
                continue
            elif is_link:
                skips["linked folder"] += 1
            else:
                subfolders.append((entry.path, f"{prefix}{name}/"))
        pending_folders += reversed(subfolders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_link_outside(file: Path, source: Path) -> bool:
    """Return whether a link points outside the source, such as `posts/x.md → ~/.ssh/id_rsa`."""
    try:
        return not file.resolve(strict=True).is_relative_to(source)
    except (OSError, RuntimeError):  # a dangling link, or a link to itself
        return True


def _hash_post_file(file: str, source_id: str) -> PostFile:
    path = Path(file)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return PostFile(source_id, file, "", "unreadable")
        if status.st_size > get_max_file_bytes(source_id):
            digest = hashlib.sha256(f"{status.st_size}:{status.st_mtime_ns}".encode())
            return PostFile(source_id, file, digest.hexdigest(), "too_large")
        body = path.read_bytes()
    except OSError:
        return PostFile(source_id, file, "", "unreadable")
    digest, has_front_matter = hashlib.sha256(body), bool(_FRONT_MATTER_START.match(body))
    return PostFile(source_id, file, digest.hexdigest(), has_front_matter=has_front_matter)
