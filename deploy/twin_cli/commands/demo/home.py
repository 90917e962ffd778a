"""The demo's own home: its settings, its author, and the posts that come later.

Scope: what makes the demo quick, said in `SETTINGS`, and the files it starts from.
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
ANSWER_TOKENS = 40  # the reader gives full marks from twelve further words on
CONTEXT_TOKENS = 256  # two full chunks: reading 400 tokens takes two thirds of an answer's time

# What the loop takes months for with a reader or two has to happen in minutes here. Every one of
# these is printed by the demo; one that the environment names is taken as it is there.
SETTINGS: Mapping[str, str] = {
    "TWIN_PACE": "demo",
    "TWIN_AUTO_RETRAIN": "true",
    "TWIN_RETRAIN_NEW_POSTS": "1000",  # the posts that arrive must not start the training
}
# Training, gate and trial in a hurry; left out by `--unhurried`.
HURRIED: Mapping[str, str] = {"TWIN_PACE": "hurried"}
WITHHELD = 3
# Nobody's money is spent, whatever the environment names.
NOT_ASKED = ("TWIN_PAID_MODEL", "TWIN_TEACHER_MODEL", "TWIN_JUDGE_MODEL")


def quicker_by(*, unhurried: bool) -> Mapping[str, str]:
    """The settings by which the demo is quicker than a real loop."""
    return SETTINGS if unhurried else {**SETTINGS, **HURRIED}


def demo_settings(home: Path | None, *, unhurried: bool = False) -> Settings:
    """Settings of the demo's home, which lies in the other one; children of this process get the
    same from the environment.

    Args:
        unhurried: train and judge as outside the demo.
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
        inner.weights_dir.symlink_to(weights, target_is_directory=True)  # prepared once
    return inner


def lay_out(settings: Settings, *, unhurried: bool = False) -> Author:
    """Copy the sample author's posts without the oldest few, and write the author's file.

    The oldest, because a document's split is drawn at the first import and favours the newest.

    Args:
        unhurried: with the recipe and passages that an author has by default, released by the gate.
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
        answer="voice",  # the reader rates prose; quotations say nothing of a version
    )
    if unhurried:
        # Readers who score every other second would make it a canary, which takes 234 of them.
        author = replace(author, release_mode="gate")
    else:
        author = replace(
            author, recipe=RECIPE, release_mode="shadow", context_tokens=CONTEXT_TOKENS
        )
    write_author(settings, author)
    return author


def let_posts_arrive(settings: Settings) -> list[str]:
    """Move the withheld posts to the others; returns their names, empty when they are there."""
    names: list[str] = []
    folder = _posts(posts_folder(settings))[0].parent
    for post in _posts(later_folder(settings)):
        shutil.move(post, folder / post.name)
        names.append(post.name)
    return names


def posts_folder(settings: Settings) -> Path:
    """Where the demo's author has the posts."""
    return settings.home / "posts"


def later_folder(settings: Settings) -> Path:
    """Where the posts wait that arrive during the demo."""
    return settings.home / "posts-later"


def _posts(folder: Path) -> list[Path]:
    """Posts whose names begin with a date, oldest first."""
    posts = [path for path in folder.rglob("*.md") if path.name[:4].isdigit()]
    return sorted(posts, key=lambda path: path.name)
