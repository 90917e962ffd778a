"""The arguments of up.sh: those of `twin up`, answered or refused before anything is installed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from checkout.up_arguments import parser_of
from twin_cli.running import app

ROOT = Path(__file__).resolve().parents[3]
# What runs before anything is installed.
FILES = (
    *("errors.py", "slugs.py", "models/model_fit.py", "processes/processor.py"),
    "processes/graphics_cards.py",
    *("storage/weights/answer_model.py", "storage/weights/chat_model.py"),
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone as it is before the first start, in a folder with a space; without an environment."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    for name in FILES:
        (folder / "twin_resources" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "twin_resources" / name, folder / "twin_resources" / name)
    return folder


def up_sh(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
    return subprocess.run(
        ["bash", str(checkout / "deploy" / "up.sh"), *arguments],
        capture_output=True,
        text=True,
        cwd=checkout.parent,
        env=kept | {"TWIN_HOME": str(checkout.parent / "home")},
        timeout=60,
        check=False,
    )


def parser() -> argparse.ArgumentParser:
    return parser_of("up", ROOT / "deploy" / "twin_cli")


def test_the_options_are_those_of_twin_up() -> None:
    """Read from the source without importing it, they are what typer makes of it."""
    command = typer.main.get_command(app)
    declared = {
        (*parameter.opts, *parameter.secondary_opts): (not parameter.is_flag, parameter.help or "")
        for parameter in command.commands["up"].params  # type: ignore[attr-defined]
        if parameter.param_type_name == "option"
    }
    found = {
        tuple(action.option_strings): (action.nargs != 0, action.help)
        for action in parser()._actions
        if action.option_strings
    }
    assert found.pop(("--help",)) == (False, "Say this and end.")
    assert found == declared


def test_help_answers_and_ends(checkout: Path) -> None:
    ran = up_sh(checkout, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "usage: bash deploy/up.sh [PATH]" in ran.stdout
    assert all(name in ran.stdout for name in parser()._option_string_actions)
    assert "memory" not in ran.stdout  # the preflight has not been asked
    assert not (checkout / ".venv").exists()


def test_help_of_the_check_answers_and_ends(checkout: Path) -> None:
    ran = subprocess.run(
        ["bash", str(checkout / "deploy" / "check.sh"), "--help"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "--no-live" in ran.stdout
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no/such/folder"], 1, "there is no such file or folder"),
        (["posts"], 1, 'add --author "First Last"'),
        (["posts", "--author", "Ada", "more"], 2, "unrecognized arguments: more"),
        (["--autor", "Ada"], 2, "unrecognized arguments: --autor"),
        (["posts", "--author"], 2, "--author: expected one argument"),
        (["--dry-run=yes"], 2, "--dry-run: ignored explicit argument"),
        (["--author", "Nobody"], 1, "the samples are: mara-lindqvist"),
        (["--answer-model", "no/such.gguf"], 1, "no such folder or file"),
        (["--answer-model", "posts"], 1, "no config.json in"),
        (["--answer-model", "http://127.0.0.1:9/v1"], 1, "Connection refused"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_looked_at(
    checkout: Path, arguments: list[str], code: int, said: str
) -> None:
    (checkout.parent / "posts").mkdir()
    ran = up_sh(checkout, *arguments)
    assert ran.returncode == code
    assert said in ran.stderr
    assert ran.stdout == ""
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["posts", "--author", "Ada"],
        ["--author=Ada Lovelace", "posts"],
        ["described"],
        ["owned"],
        ["https://ada.example/feed.xml", "--author", "Ada"],
        ["--author", "Mara Lindqvist", "--answer-model", "owner/model"],
        ["nowhere", "--demo-loop"],
    ],
)
def test_what_can_work_comes_to_the_preflight(checkout: Path, arguments: list[str]) -> None:
    for name in ("posts", "described", "owned", "home/authors"):
        (checkout.parent / name).mkdir(parents=True)
    (checkout.parent / "described" / "author.toml").write_text('name = "Ada"\n')
    owned = f'name = "Ada"\nsources = ["{checkout.parent / "owned"}"]\n'
    (checkout.parent / "home" / "authors" / "ada.toml").write_text(owned)
    ran = up_sh(checkout, *arguments, "--base-model", "a/giant-900B")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1].startswith("Cannot go on. ")
    assert "choose a smaller one with --base-model" in ran.stdout
    assert not (checkout / ".venv").exists()


def test_values_are_read_as_the_command_reads_them() -> None:
    given = parser().parse_args(["--author=Ada", "--no-train", "--home", "h", "--", "-odd-folder"])
    assert (given.path, given.author, given.train, given.home) == ("-odd-folder", "Ada", False, "h")
    assert given.answer_model == ""
