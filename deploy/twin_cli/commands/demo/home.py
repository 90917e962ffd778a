"""Set up the demo's home: its settings, its author, and the posts that arrive later.

Scope: the settings that shorten the demo (`DEMO_SETTINGS`), and its initial files.
Out of scope: the steps (`loop.py`), and the reader (`reader.py`).
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from twin_cli.commands.stopping import DEMO_FOLDER
from twin_cli.commands.subject import choose_subject
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings, load_settings

RECIPE = "smollm2-135m-demo"
ANSWER_TOKENS = 40  # enough for the twelve new words that the full score requires
CONTEXT_TOKENS = 256  # two full chunks; reading 400 tokens takes two thirds of an answer's time
# With one or two readers, the loop takes months, but the demo must take minutes. The demo prints
# each setting. Values from the environment take precedence.
DEMO_SETTINGS: Mapping[str, str] = {
    "TWIN_PACE": "demo",
    "TWIN_AUTO_RETRAIN": "true",
    "TWIN_RETRAIN_NEW_POSTS": "1000",  # the arriving posts must not start training
}
WITHHELD_POST_COUNT = 3
# The demo spends no money, regardless of the environment.
REMOVED_VARIABLES = ("TWIN_PAID_MODEL", "TWIN_TEACHER_MODEL", "TWIN_JUDGE_MODEL")


def load_demo_settings(home: Path) -> Settings:
    """Return the settings of the demo's home, a folder inside the regular home.

    Child processes get the same settings from the environment.
    """
    for name, value in DEMO_SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in REMOVED_VARIABLES:
        os.environ.pop(name, None)
    parent_settings = load_settings(home)
    demo_home_settings = load_settings(parent_settings.home / DEMO_FOLDER)
    demo_home_settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    weights = parent_settings.home / "weights"
    if weights.is_dir() and not demo_home_settings.weights_dir.exists():
        # Shared, so that the weights are prepared only once.
        demo_home_settings.weights_dir.symlink_to(weights, target_is_directory=True)
    return demo_home_settings


def create_demo_author(settings: Settings) -> Author:
    """Copy the sample author's posts except the oldest few, and write the author's file.

    The oldest posts are withheld because a document's split is drawn at the first import and
    favors the newest posts.
    """
    sample = choose_subject(settings.model_copy(update={"home": settings.home / "none"}), None)
    posts_path = posts_folder(settings)
    if not posts_path.exists():
        partial_folder = posts_path.with_name(f"{posts_path.name}.partial")
        shutil.rmtree(partial_folder, ignore_errors=True)
        shutil.copytree(sample.location, partial_folder)
        withheld_folder = withheld_posts_folder(settings)
        withheld_folder.mkdir(exist_ok=True)
        for post in _list_dated_posts(partial_folder)[:WITHHELD_POST_COUNT]:
            shutil.move(post, withheld_folder / post.name)
        partial_folder.rename(posts_path)
    author = replace(
        sample.author,
        sources=(str(posts_path),),
        max_tokens=ANSWER_TOKENS,
        auto_retrain=None,
        answer="voice",  # the reader rates prose; quotes are the same for all versions
        recipe=RECIPE,
        release_mode="shadow",
        context_tokens=CONTEXT_TOKENS,
    )
    write_author(settings, author)
    return author


def release_withheld_posts(settings: Settings) -> list[str]:
    """Move the withheld posts to the other posts and return their names (none if already moved)."""
    names: list[str] = []
    folder = _list_dated_posts(posts_folder(settings))[0].parent
    for post in _list_dated_posts(withheld_posts_folder(settings)):
        shutil.move(post, folder / post.name)
        names.append(post.name)
    return names


def posts_folder(settings: Settings) -> Path:
    """Return the folder of the demo author's posts."""
    return settings.home / "posts"


def withheld_posts_folder(settings: Settings) -> Path:
    """Return the folder of the posts that arrive during the demo."""
    return settings.home / "posts-later"


def _list_dated_posts(folder: Path) -> list[Path]:
    """Return the posts whose names begin with a date, oldest first."""
    posts = [path for path in folder.rglob("*.md") if path.name[:4].isdigit()]
    return sorted(posts, key=lambda path: path.name)
