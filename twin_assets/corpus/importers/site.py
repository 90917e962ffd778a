"""The site that a folder of posts makes: what is the same for each of its posts.

Scope: the value `Site`, which travels with a post's row. Out of scope: reading it
from a configuration (`site_configuration`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LATER = ("within", "data")


@dataclass(frozen=True)
class Site:
    """What a folder's own configuration says about every post (`site_configuration`).

    Attributes:
        url: its address, or "".
        timezone: of dates that name none, by its IANA name, or "".
        generator: `jekyll`, `hugo` or "": whose templates stand in the posts.
        language: of posts that name none, BCP 47, or "".
        shows_future, shows_expired: whether posts are published outside their dates.
        languages: those that a file's name may carry (`post.fr.md`).
        permalink: Jekyll's style or template of addresses; of Hugo only that it has its own rules.
        folders: beside `_posts` (Jekyll's printed collections), or where the content lies (Hugo).
        below: the named folder's path in the site, with `/` at its end; "" for the site's own.
        within: the site's path in the named folder, likewise.
        data: by folder (`posts/`), post without suffix (`posts/a`) or pattern (`^…`), in the site,
            the fields that posts there are given, as JSON; "" where they cannot be read
            (`inherited_fields`).
    """

    url: str = ""
    timezone: str = ""
    generator: str = ""
    language: str = ""
    shows_future: bool = False
    shows_expired: bool = False
    languages: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    permalink: str = ""
    below: str = ""
    within: str = ""
    data: tuple[tuple[str, str], ...] = ()

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of dates that name none; None (UTC) when the site names no zone we know."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (ZoneInfoNotFoundError, ValueError):
            return None

    def path_of(self, source_id: str) -> str:
        """A post's path in the site."""
        return self.below + source_id.removeprefix(self.within)

    def as_json(self) -> str:
        """All fields; later ones only where they are set, or each post would be read again."""
        fields = asdict(self)
        return json.dumps({name: one for name, one in fields.items() if one or name not in _LATER})

    @classmethod
    def from_json(cls, text: str) -> Site:
        fields: dict[str, Any] = json.loads(text)
        for name in ("languages", "folders"):
            fields[name] = tuple(fields[name])
        fields["data"] = tuple((scope, said) for scope, said in fields.get("data", ()))
        return cls(**fields)

    def language_of(self, source_id: str) -> str:
        """The language that a path names: `post.fr.md`, `content/fr/post.md`; else the site's."""
        *folders, name = source_id.lower().split("/")
        marks = [*name.split(".")[1:-1], *folders[1:2]]
        return next((mark for mark in marks if mark in self.languages), self.language)

    def without_language(self, source_id: str) -> str:
        """The path of the same post in the site's first language: `a/post.fr.md` → `a/post.md`."""
        folder, _, name = source_id.rpartition("/")
        stem, *marks = name.split(".")
        if len(marks) > 1 and marks[-2].lower() in self.languages:
            name = ".".join([stem, *marks[:-2], marks[-1]])
        return f"{folder}/{name}" if folder else name
