"""Define the settings that all posts of a site share.

Scope: the class `Site`, which is stored with a post's row.
Out of scope: reading it from a configuration (`site_configuration`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True)
class Site:
    """The settings of a site that apply to all its posts (`site_configuration`).

    Attributes:
        url: the site's address, or "".
        timezone: IANA name of the zone for dates without one, or "".
        generator: the generator whose templates the posts contain: `jekyll`, `hugo` or "".
        language: BCP 47 language of posts that do not name one, or "".
        shows_future, shows_expired: whether future and expired posts are published.
        languages: languages that a file's name may contain (`post.fr.md`).
        permalink: Jekyll's address style or template; for Hugo, not empty if the site has its own
            rules.
        folders: post folders besides `_posts` (Jekyll's output collections), or Hugo's content
            folders.
        below: the imported folder's path in the site, with a trailing `/`; "" for the site's root.
        within: the site's path in the imported folder, in the same format.
        data: pairs of a scope and the JSON of its posts' fields, or "" if they cannot be read
            (`inherited_fields`). A scope is a folder (`posts/`), a post without its suffix
            (`posts/a`) or a pattern (`^…`).
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
        """The zone for dates without one, or None (UTC) if the site does not name a known zone."""
        try:
            return ZoneInfo(self.timezone) if self.timezone else None
        except (ZoneInfoNotFoundError, ValueError):
            return None

    def get_site_path(self, source_id: str) -> str:
        """Return a post's path in the site."""
        return self.below + source_id.removeprefix(self.within)

    def as_json(self) -> str:
        """Return all fields as JSON; if it changes, every post is read again."""
        return json.dumps(asdict(self))

    def find_language(self, source_id: str) -> str:
        """Return the language in a path (`post.fr.md`, `content/fr/post.md`), or the site's."""
        *folders, name = source_id.lower().split("/")
        candidates = [*name.split(".")[1:-1], *folders[1:2]]
        return next(
            (candidate for candidate in candidates if candidate in self.languages), self.language
        )

    def path_without_language(self, source_id: str) -> str:
        """Return the path without the language in the file's name: `a/post.fr.md` → `a/post.md`."""
        folder, _, name = source_id.rpartition("/")
        stem, *suffixes = name.split(".")
        if len(suffixes) > 1 and suffixes[-2].lower() in self.languages:
            name = ".".join([stem, *suffixes[:-2], suffixes[-1]])
        return f"{folder}/{name}" if folder else name
