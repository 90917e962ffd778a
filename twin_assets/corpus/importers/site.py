"""Define the site of a folder of posts: the settings that all its posts share.

Scope: the value `Site`, which is stored with a post's row.
Out of scope: reading it from a configuration (`site_configuration`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LATER_FIELDS = ("within", "data")


@dataclass(frozen=True)
class Site:
    """A folder's own configuration for every post (`site_configuration`).

    Attributes:
        url: its address, or "".
        timezone: IANA name of the zone of dates that name none, or "".
        generator: `jekyll`, `hugo` or "": the generator whose templates the posts contain.
        language: BCP 47 language of posts that name none, or "".
        shows_future, shows_expired: whether posts are published outside their dates.
        languages: languages that a file's name may contain (`post.fr.md`).
        permalink: Jekyll's style or template of addresses; for Hugo only whether it has its own
            rules.
        folders: folders of posts beside `_posts` (Jekyll's printed collections), or of content
            (Hugo).
        below: the named folder's path in the site, with a trailing `/`; "" for the site's own.
        within: the site's path in the named folder, likewise.
        data: folder (`posts/`), post without suffix (`posts/a`) or pattern (`^…`) in the site, each
            with the fields for its posts as JSON, or "" if they cannot be read
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
        """The zone of dates that name none; None (UTC) if the site names no known zone."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (ZoneInfoNotFoundError, ValueError):
            return None

    def path_of(self, source_id: str) -> str:
        """Return a post's path in the site."""
        return self.below + source_id.removeprefix(self.within)

    def as_json(self) -> str:
        """Return all fields; `_LATER_FIELDS` only where set, or each post would be read again."""
        fields = asdict(self)
        return json.dumps(
            {name: value for name, value in fields.items() if value or name not in _LATER_FIELDS}
        )

    @classmethod
    def from_json(cls, text: str) -> Site:
        fields: dict[str, Any] = json.loads(text)
        for name in ("languages", "folders"):
            fields[name] = tuple(fields[name])
        fields["data"] = tuple(
            (scope, fields_json) for scope, fields_json in fields.get("data", ())
        )
        return cls(**fields)

    def language_of(self, source_id: str) -> str:
        """Return the language in a path (`post.fr.md`, `content/fr/post.md`), or the site's."""
        *folders, name = source_id.lower().split("/")
        marks = [*name.split(".")[1:-1], *folders[1:2]]
        return next((mark for mark in marks if mark in self.languages), self.language)

    def path_without_language(self, source_id: str) -> str:
        """Return the post's path in the site's first language: `a/post.fr.md` → `a/post.md`."""
        folder, _, name = source_id.rpartition("/")
        stem, *marks = name.split(".")
        if len(marks) > 1 and marks[-2].lower() in self.languages:
            name = ".".join([stem, *marks[:-2], marks[-1]])
        return f"{folder}/{name}" if folder else name
