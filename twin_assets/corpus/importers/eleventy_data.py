"""The data files of 11ty: fields of front matter that hold for a folder of posts, or for one.

Belongs here: finding and reading them, and a post's fields with theirs. Does not belong here: front
matter itself (`front_matter`), what a field means.

Cascade: https://www.11ty.dev/docs/data-template-dir/. `posts/posts.json` and
`posts/posts.11tydata.json` hold for all below `posts`, `posts/a.json` for `posts/a.md` alone; what
is nearer to the post counts more, and lists of tags are joined. `.11tydata.js` is a program, which
is not run.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.site import Site

_CONFIGURES = re.compile(r"eleventy\.config\.\w+|\.eleventy\.c?js")
_DATA = re.compile(r"(?P<of>(?:.*/)?[^/]+?)(?P<own>\.11tydata)?\.json", re.DOTALL)
_JOINED = ("tags", "categories", "keywords")
# 11ty runs a permalink as a template; an address with its marks is none.
_TEMPLATE = re.compile(r"\{[{%]")


def data_files(
    source_ids: Collection[str], read: Callable[[str], bytes], *, root_name: str = ""
) -> tuple[tuple[str, str], ...]:
    """What `Site.data` holds of a folder: of 11ty's sites, and of a folder that lies in one.

    Args:
        source_ids: paths of the files in the site.
        read: the bytes of one of them; may raise `OSError`.
        root_name: the folder's own name, whose data file may lie in it.
    """
    is_site = any(_CONFIGURES.fullmatch(path) for path in source_ids)
    posts = {path.rsplit(".", 1)[0] for path in source_ids if not path.endswith(".json")}
    found: list[tuple[str, str]] = []
    for path in sorted(source_ids):
        match = _DATA.fullmatch(path) if path.endswith(".json") else None
        if match is None or not (is_site or match["own"]):
            continue
        folder, _, name = match["of"].rpartition("/")
        above = folder.rpartition("/")[2] if folder else root_name
        if match["of"] in posts:
            found.append((match["of"], _fields_of(path, read)))
        elif name == above:
            found.append((f"{folder}/" if folder else "", _fields_of(path, read)))
    return tuple(sorted(found, key=lambda one: (len(one[0]), one[0])))


def with_data(fields: Mapping[str, Any], path: str, site: Site) -> dict[str, Any]:
    """A post's fields with those that its folder's data files give it.

    Args:
        fields: of its front matter, keys in lower case.
        path: the post's, in the site.

    Raises:
        ValueError: a data file that cannot be read may hold the post back.
    """
    own = dict(fields)
    stem = path.rsplit(".", 1)[0]
    given: dict[str, Any] = {}
    for scope, said in site.data:
        if stem == scope or (path.startswith(scope) and scope[-1:] in {"", "/"}):
            if not said:
                raise ValueError(f"the data file of {scope or 'the folder'} cannot be read")
            given = _joined(given, json.loads(said))
    return _joined(given, own) if given else own


def _joined(far: Mapping[str, Any], near: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of which the nearer count, but for lists of tags, which are added up."""
    both = {name: front_matter.list_field(far, name) for name in _JOINED if name in far}
    lists = {
        name: list(dict.fromkeys([*said, *front_matter.list_field(near, name)]))
        for name, said in both.items()
    }
    return {**far, **near, **lists}


def _fields_of(path: str, read: Callable[[str], bytes]) -> str:
    try:
        parsed: object = json.loads(read(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(parsed, dict):
        return ""
    named = {key.strip().lower(): one for key, one in cast("dict[str, Any]", parsed).items()}
    address = named.get("permalink")
    if isinstance(address, str) and _TEMPLATE.search(address):
        del named["permalink"]
    return json.dumps(named)
