"""Determine the author whose posts `twin up` and `twin import` process, and the posts' location.

Scope: the author's name and slug from arguments, home or sample, and the author's file.
Out of scope: reading posts (`twin_assets/corpus`).
"""
# pyright: strict

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twin_resources.authors import (
    OPT_INS,
    SAMPLES_DIR,
    Author,
    list_author_slugs,
    list_readable_authors,
    read_author,
    write_author,
)
from twin_resources.errors import TwinError
from twin_resources.processes.stack import read_record
from twin_resources.settings import Settings
from twin_resources.slugs import make_slug

AUTHOR_FILE_NAME = "author.toml"
_ADDRESS_SCHEMES = frozenset({"s3", "http", "https"})


@dataclass(frozen=True)
class SelectedAuthor:
    """The author whose posts a command processes, and the posts' location.

    Attributes:
        author: the author as in the existing or future `authors/<slug>.toml`, with the sources.
        location: the folder, file or address from the command line, or the author's first source.
        is_new: whether this home has no file for the author yet.
    """

    author: Author
    location: Path
    is_new: bool

    @property
    def slug(self) -> str:
        return self.author.slug


def choose_subject(
    settings: Settings, path: Path | None, *, name: str = "", allow_unnamed: bool = False
) -> SelectedAuthor:
    """Determine the author without writing anything.

    With a folder, the name comes from `name`, from the folder's `author.toml`, or from this home's
    author with this source. Without a folder, the author is `name`, the last-served author or the
    bundled sample.

    Args:
        path: a folder, file, export, or address (`s3://…`, a feed's `https://…`).
        allow_unnamed: whether the author may be unnamed, to be inspected but not stored.

    Raises:
        TwinError: the folder is missing, or the posts' author is unknown.
    """
    slugs = list_author_slugs(settings)
    if path is None:
        slug = make_slug(name) if name else _last_author_slug(settings, slugs)
        if slug in slugs:
            return _known_subject(read_author(settings, slug))
        location = find_sample_folder(slug)
    else:
        location = resolve_location(path)
    source = resolve_source(location)
    author_file = _read_author_file(location)
    authors, _ = list_readable_authors(settings)
    owners = [author for author in authors if source in author.sources]
    display_name = name or author_file.get("name", "") or (owners[0].name if owners else "")
    if not display_name and allow_unnamed:
        return SelectedAuthor(
            Author(slug="", name="", sources=(source,)), location=location, is_new=True
        )
    if not display_name:
        raise TwinError(
            f"read the posts in {location}",
            found="their author is unknown",
            next_step='add --author "First Last"',
        )
    slug = make_slug(display_name)
    if slug in slugs:
        author = read_author(settings, slug)
    else:
        author = _new_author(slug, display_name, author_file)
    if source not in author.sources:
        author = replace(author, sources=(*author.sources, source))
    return SelectedAuthor(author=author, location=location, is_new=slug not in slugs)


def add_opt_ins(
    subject: SelectedAuthor, include: Sequence[str], exclude: Sequence[str] = ()
) -> SelectedAuthor:
    """Return the subject with the new opt-ins and exclusions added to the earlier ones.

    Args:
        include: some of `OPT_INS`.
        exclude: globs, as in `Author.exclude`.

    Raises:
        TwinError: an opt-in does not exist.
    """
    if unknown_names := set(include) - OPT_INS:
        raise TwinError(
            "import posts that are excluded by default",
            found=f"--include {' '.join(sorted(unknown_names))}",
            next_step=f"choose from {', '.join(sorted(OPT_INS))}",
        )
    if not include and not exclude:
        return subject
    opt_ins = tuple(sorted({*subject.author.include, *include}))
    globs = tuple(sorted({*subject.author.exclude, *exclude}))
    return replace(subject, author=replace(subject.author, include=opt_ins, exclude=globs))


def save_subject(settings: Settings, subject: SelectedAuthor) -> None:
    """Write the author's file if it is new or has changed."""
    if subject.is_new or read_author(settings, subject.slug) != subject.author:
        write_author(settings, subject.author)


def choose_author(settings: Settings, name: str = "") -> Author:
    """Return the author that a command applies to.

    Args:
        name: the display name or slug, or empty for the last-served or only author.

    Raises:
        TwinError: the author does not exist, or there are several and none was named.
    """
    slugs = list_author_slugs(settings)
    if name:
        slug = name if name in slugs else make_slug(name)
        if slug in slugs:
            return read_author(settings, slug)
        raise TwinError(
            f"find the author {name!r}",
            found=f"this home has {', '.join(slugs) or 'no author'}",
            next_step="name one of them, or run `twin up PATH --author NAME`",
        )
    if last_slug := _last_author_slug(settings, slugs):
        return read_author(settings, last_slug)
    raise TwinError(
        "choose an author",
        found=f"{settings.home} has {', '.join(slugs) or 'no author'}",
        next_step="name one with --author" if slugs else "run `twin up`",
    )


def find_sample_folder(slug: str = "") -> Path:
    """Return the posts folder of the bundled sample author `slug`, or of the first sample.

    Raises:
        TwinError: the sample does not exist.
    """
    folders = sorted(folder.parent for folder in SAMPLES_DIR.glob(f"*/{AUTHOR_FILE_NAME}"))
    matches = [folder for folder in folders if not slug or folder.name == slug]
    if not matches:
        names = ", ".join(folder.name for folder in folders) or "none"
        raise TwinError(
            f"find the author {slug!r}" if slug else "find the bundled sample author",
            found=f"this home has no such author; the bundled samples are: {names}",
            next_step="name a folder: `twin up PATH --author NAME`",
        )
    return matches[0]


def parse_address(path: Path) -> str:
    """Return the address that a path represents, or "" (`Path` collapses `s3://b` to `s3:/b`)."""
    scheme, colon, remainder = str(path).partition(":/")
    return f"{scheme}://{remainder.lstrip('/')}" if colon and scheme in _ADDRESS_SCHEMES else ""


def resolve_source(path: Path) -> str:
    """Return a path or an address as `Author.sources` stores it.

    Raises:
        TwinError: see `resolve_location`.
    """
    return parse_address(path) or str(resolve_location(path))


def resolve_location(path: Path) -> Path:
    """Return a path as an absolute path, and an address unchanged.

    Raises:
        TwinError: the path does not exist; the error names the nearest existing folder.
    """
    if parse_address(path):
        return path
    folder = path.expanduser().absolute()
    if folder.exists():
        return folder.resolve()
    nearest_folder = next(parent for parent in folder.parents if parent.exists())
    raise TwinError(
        f"read the posts in {path}",
        found=f"there is no such file or folder ({nearest_folder} exists)",
        next_step="name the folder that contains the posts",
    )


def _known_subject(author: Author) -> SelectedAuthor:
    if not author.sources:
        raise TwinError(
            f"find the posts of {author.name}",
            found=f"no sources in authors/{author.slug}.toml",
            next_step=f'name the folder: `twin up PATH --author "{author.name}"`',
        )
    location = resolve_location(Path(author.sources[0]))
    return SelectedAuthor(author=author, location=location, is_new=False)


def _last_author_slug(settings: Settings, slugs: Sequence[str]) -> str:
    record = read_record(settings)
    if record is not None and record.author in slugs:
        return record.author
    return slugs[0] if len(slugs) == 1 else ""


def read_folder_consent(folder: Path) -> str:
    """Return the consent line of the folder's own `author.toml`, or "" without a file or line."""
    return str(_read_author_file(folder).get("consent") or "")


def _read_author_file(folder: Path) -> dict[str, Any]:
    """Return the content of the folder's own `author.toml`, or an empty dict without a file."""
    path = folder / AUTHOR_FILE_NAME
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TwinError(
            f"read the author of the posts in {folder}",
            found=f"{path}: {error}",
            next_step="correct the TOML, or remove the file and add --author NAME",
        ) from error


def _new_author(slug: str, name: str, author_file: dict[str, Any]) -> Author:
    fields = set(Author.__dataclass_fields__) - {"slug", "name", "sources", "extra"}
    values = {key: value for key, value in author_file.items() if key in fields}
    for list_field in {"include", "exclude", "aliases"} & values.keys():
        values[list_field] = tuple(values[list_field])
    return Author(slug=slug, name=name, **values)
