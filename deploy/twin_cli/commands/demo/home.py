"""Set up the demo's own home: its settings, its author, and the posts that arrive later.

Scope: the settings that shorten the demo (`SETTINGS`), and its initial files.
Out of scope: the steps (`loop.py`), the reader (`reader.py`).
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from twin_cli.commands.stopping import DEMO
from twin_cli.commands.subject import choose_subject
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings, load_settings

RECIPE = "smollm2-135m-demo"
ANSWER_TOKENS = 40  # the reader gives full marks from twelve further words
CONTEXT_TOKENS = 256  # two full chunks: reading 400 tokens takes two thirds of an answer's time

# With one or two readers, the loop takes months; here it must take minutes. The demo prints each
# of these; the environment's value takes precedence.
SETTINGS: Mapping[str, str] = {
    "TWIN_PACE": "demo",
    "TWIN_AUTO_RETRAIN": "true",
    "TWIN_RETRAIN_NEW_POSTS": "1000",  # the posts that arrive must not start the training
}
# Faster training, gate and trial; `--unhurried` omits this.
HURRIED: Mapping[str, str] = {"TWIN_PACE": "hurried"}
WITHHELD = 3
# The demo spends no money, whatever the environment names.
NOT_ASKED = ("TWIN_PAID_MODEL", "TWIN_TEACHER_MODEL", "TWIN_JUDGE_MODEL")


def quicker_by(*, unhurried: bool) -> Mapping[str, str]:
    """Return the settings that make the demo faster than a real loop."""
    return SETTINGS if unhurried else {**SETTINGS, **HURRIED}


def demo_settings(home: Path | None, *, unhurried: bool = False) -> Settings:
    """Return the settings of the demo's home, a folder in the other home.

    Child processes get the same settings from the environment.

    Args:
        unhurried: whether to train and judge as outside the demo.
    """
    for name, value in quicker_by(unhurried=unhurried).items():
        os.environ.setdefault(name, value)
    for name in NOT_ASKED:
        os.environ.pop(name, None)
    outer = load_settings(home)
    inner = load_settings(outer.home / DEMO)
    inner.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    weights = outer.home / "weights"
    if weights.is_dir() and not inner.weights_dir.exists():
        inner.weights_dir.symlink_to(weights, target_is_directory=True)  # prepared only once
    return inner


def lay_out(settings: Settings, *, unhurried: bool = False) -> Author:
    """Copy the sample author's posts without the oldest few, and write the author's file.

    The oldest are held back because a document's split is drawn at the first import and favours the
    newest.

    Args:
        unhurried: whether to use an author's default recipe and passages, and release by the gate.
    """
    sample = choose_subject(settings.model_copy(update={"home": settings.home / "none"}), None)
    posts = posts_folder(settings)
    if not posts.exists():
        partial = posts.with_name(f"{posts.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(sample.folder, partial)
        later = later_folder(settings)
        later.mkdir(exist_ok=True)
        for post in _posts(partial)[:WITHHELD]:
            shutil.move(post, later / post.name)
        partial.rename(posts)
    author = replace(
        sample.author,
        sources=(str(posts),),
        max_tokens=ANSWER_TOKENS,
        auto_retrain=None,
        answer="voice",  # the reader rates prose; quotations say nothing about a version
    )
    if unhurried:
        # Scores every other second would make it a canary, which takes 234 of them.
        author = replace(author, release_mode="gate")
    else:
        author = replace(
            author, recipe=RECIPE, release_mode="shadow", context_tokens=CONTEXT_TOKENS
        )
    write_author(settings, author)
    return author


def let_posts_arrive(settings: Settings) -> list[str]:
    """Move the withheld posts to the others; return their names, empty if already moved."""
    names: list[str] = []
    folder = _posts(posts_folder(settings))[0].parent
    for post in _posts(later_folder(settings)):
        shutil.move(post, folder / post.name)
        names.append(post.name)
    return names


def posts_folder(settings: Settings) -> Path:
    """Return the folder of the demo author's posts."""
    return settings.home / "posts"


def later_folder(settings: Settings) -> Path:
    """Return the folder of the posts that arrive during the demo."""
    return settings.home / "posts-later"


def _posts(folder: Path) -> list[Path]:
    """Return the posts whose names begin with a date, oldest first."""
    posts = [path for path in folder.rglob("*.md") if path.name[:4].isdigit()]
    return sorted(posts, key=lambda path: path.name)
