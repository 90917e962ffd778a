"""Find a post by its id, its address, its file or its title.

Scope: matching the name in a request with one post of one author, or refusing it and suggesting the
nearest posts. Out of scope: other data of that post (`plan.py`), making the request (`journal.py`).
"""
# pyright: strict

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.errors import TwinError

POSTS, DOCUMENTS = "raw_posts", "cleaned_documents"
MAX_SUGGESTIONS = 3  # candidates listed in a refusal


@dataclass(frozen=True)
class PostNames:
    """One imported post, with every name that a person may use for it; unknown names are empty.

    Attributes:
        document_id: the id that is shown in answers, by `twin explain` and on the page.
    """

    author: str
    source_id: str
    path: str
    url: str
    title: str
    document_id: str

    @property
    def names(self) -> tuple[str, ...]:
        """All known names, without duplicates."""
        names = (self.source_id, self.path, self.url, self.title, self.document_id)
        return tuple(dict.fromkeys(name for name in names if name))

    def __str__(self) -> str:
        return f"{self.source_id} ({self.title}, of {self.author})"


class PostForgottenError(TwinError):
    """The post with that name was forgotten earlier, and no other post has the name.

    Attributes:
        day: UTC day on which it was forgotten, ISO 8601.
    """

    def __init__(self, author: str, name: str, *, at: float) -> None:
        self.day = datetime.fromtimestamp(at, UTC).date().isoformat()
        super().__init__(
            f"forget the post {name!r} of {author}",
            found=f"it was forgotten on {self.day}",
            next_step="nothing is left to do; the certificate is in the home's folder `forgetting`",
        )


def find_post(installation: Installation, name: str, authors: Sequence[str]) -> ErasureSubject:
    """Return the post with this name among the posts of these authors.

    A source id or an address must match exactly. A document id, the end of a path or a title is
    accepted if only one post has it. The plans of interrupted requests are searched too.

    Args:
        authors: slugs.

    Raises:
        PostForgottenError: a post of that name was forgotten, and no post has it now.
        TwinError: no post has that name, or several have it; the message lists the nearest.
    """
    if (open_subject := _find_open_request(installation, name, authors)) is not None:
        return open_subject
    posts = [post for author in authors for post in list_posts(installation, author)]
    forgotten_by_author = {
        author: forgotten_at
        for author in authors
        if (forgotten_at := journal.find_forgotten_time(installation.state, author, name))
        is not None
    }
    if forgotten_by_author and not any(_has_id_or_address(post, name) for post in posts):
        author = max(forgotten_by_author, key=forgotten_by_author.__getitem__)
        raise PostForgottenError(author, name, at=forgotten_by_author[author])
    return match_post(posts, name)


def match_post(posts: Sequence[PostNames], name: str) -> ErasureSubject:
    """Return the post with this name by the rules of `find_post`.

    Raises:
        TwinError: see `find_post`.
    """
    for rule in _RULES:
        matches = [post for post in posts if rule(post, name)]
        is_exact = rule is _has_id_or_address
        if is_exact and len({post.author for post in matches}) == 1:
            return ErasureSubject("post", matches[0].author, name)  # copies may share an address
        if len(matches) == 1:
            return ErasureSubject("post", matches[0].author, matches[0].source_id)
        if matches:
            raise TwinError(
                f"forget the post {name!r}",
                found=f"{len(matches)} posts with that name: {_list_posts(matches)}",
                next_step="pass the id of one, and --author if two authors have it",
            )
    nearest_posts = _find_nearest_posts(posts, name)
    cause = f"no match among {len(posts)} posts"
    raise TwinError(
        f"forget the post {name!r}",
        found=f"{cause}; nearest: {_list_posts(nearest_posts)}" if nearest_posts else cause,
        next_step="pass the document id that `twin explain` and the page show, or the post's "
        "path, address or title",
    )


def list_posts(installation: Installation, author: str) -> list[PostNames]:
    """Return the posts of an author, or an empty list before an import."""
    tables = installation.tables
    if not tables.exists(POSTS, author):
        return []
    documents: dict[str, str] = {}
    if tables.exists(DOCUMENTS, author):
        rows = tables.read(DOCUMENTS, author, columns=["source_id", "document_id"])
        documents = dict(rows.select("source_id", "document_id").iter_rows())
    columns = ["source_id", "path", "url", "title"]
    posts = tables.read(POSTS, author, columns=columns).select(columns)
    return [
        PostNames(
            author,
            str(source_id),
            str(path or ""),
            str(url or ""),
            str(title or ""),
            documents.get(source_id, ""),
        )
        for source_id, path, url, title in posts.iter_rows()
    ]


def _find_open_request(
    installation: Installation, name: str, authors: Sequence[str]
) -> ErasureSubject | None:
    """Return the subject of an open request for that name, whose post may already be deleted."""
    for request in journal.list_unfinished_requests(installation.state):
        subject = request.subject
        if subject is None or subject.kind != "post" or subject.author not in authors:
            continue
        if name == subject.name or (request.plan and name in json.loads(request.plan)["ids"]):
            return subject
    return None


def _has_id_or_address(post: PostNames, name: str) -> bool:
    return name in (post.source_id, post.url)


def _has_document_id(post: PostNames, name: str) -> bool:
    return name == post.document_id


def _has_path(post: PostNames, name: str) -> bool:
    """Return whether one path is the end of the other, such as a full path and a file name."""
    wanted_path = f"/{name.replace(chr(92), '/').removeprefix('./').strip('/')}"
    post_paths = [f"/{path.strip('/')}" for path in (post.source_id, post.path) if path]
    return any(wanted_path.endswith(path) or path.endswith(wanted_path) for path in post_paths)


def _has_title(post: PostNames, name: str) -> bool:
    return " ".join(name.casefold().split()) == " ".join(post.title.casefold().split())


_RULES: tuple[Callable[[PostNames, str], bool], ...] = (
    _has_id_or_address,
    _has_document_id,
    _has_path,
    _has_title,
)


def _find_nearest_posts(posts: Sequence[PostNames], name: str) -> list[PostNames]:
    """Return posts with a name that contains the given name, then posts with a similar name."""
    folded_name = name.casefold().strip()
    by_name = {key.casefold(): post for post in posts for key in post.names}
    containing_posts = [post for key, post in by_name.items() if folded_name and folded_name in key]
    similar_names = difflib.get_close_matches(folded_name, by_name, n=MAX_SUGGESTIONS, cutoff=0.5)
    return list(dict.fromkeys([*containing_posts, *(by_name[key] for key in similar_names)]))[
        :MAX_SUGGESTIONS
    ]


def _list_posts(posts: Sequence[PostNames]) -> str:
    listing = "; ".join(str(post) for post in posts[:MAX_SUGGESTIONS])
    return f"{listing}; …" if len(posts) > MAX_SUGGESTIONS else listing
