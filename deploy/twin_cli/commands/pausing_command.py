"""`twin pause`: stop an author's answers within seconds, and let them go on.

Belongs here: the command. Does not belong here: the file it writes (`pausing.py`), the refusal of
a question (`gateway/routing/model_names.py`).
"""
# pyright: strict

from __future__ import annotations

from rich.console import Console

from twin_resources.authors import author_slugs
from twin_resources.authors.pausing import pause, pause_file, paused_because, resume
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.slugs import slug_of


def run_pause(
    settings: Settings, author: str, *, reason: str, again: bool, console: Console
) -> int:
    """Pause or resume; returns the exit code.

    Args:
        author: name or slug. Its file is not read: a broken one shall not stand in the way.
        again: let the author answer again.

    Raises:
        TwinError: there is no such author, or one that answers shall go on.
    """
    slugs = author_slugs(settings)
    slug = author if author in slugs else slug_of(author)
    if slug not in slugs:
        raise TwinError(
            f"pause {author!r}",
            found=f"no such author; this home has {', '.join(slugs) or 'none'}",
            next_step="name one of them",
        )
    if again:
        if not resume(settings, slug):
            raise TwinError(
                f"let {slug} answer again",
                found="that nothing is paused",
                next_step="`twin status` says why there are no answers",
            )
        console.print(f"{slug} answers again, within a second", markup=False)
        return 0
    pause(settings, slug, reason=reason)
    console.print(
        f"{slug} is paused {paused_because(pause_file(settings, slug))}; the gateway answers 503 "
        f"within a second. Again: twin pause {slug} --resume",
        markup=False,
    )
    return 0
