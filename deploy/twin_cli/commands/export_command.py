"""`twin export`: a version's weights in a format that other software loads.

Belongs here: which version is meant, and showing what the export says. Does not belong here:
writing it (`python -m twin_assets.serving.export.export_checkpoint`, which loads torch).
"""
# pyright: strict

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twin_cli.commands.outcome import open_registry
from twin_cli.commands.releases import version_number
from twin_cli.commands.subject import choose_author
from twin_cli.commands.subprocesses import Finished, running_module
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.registry.registry import ModelVersion, Registry

MODULE = "twin_assets.serving.export.export_checkpoint"


def run_export(
    settings: Settings,
    version: str,
    *,
    author: str,
    wanted: str,
    into: Path | None,
    dtype: str,
    verify: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Export one version; returns the exit code.

    Args:
        version: `v2`, `2`, or empty for the stable one.
        wanted: `adapter`, `merged`, `gguf-adapter` or `gguf`.
        into: a folder that does not exist; None: `<author>-v2-<format>` here.

    Raises:
        TwinError: there is no such version, it may not leave (tainted), or the export failed.
    """
    chosen = choose_author(settings, author)
    model = _version(open_registry(settings), chosen.slug, version)
    if model.tainted:
        raise TwinError(
            f"export {chosen.slug} v{model.version}",
            found="it was trained on something that has been forgotten since",
            next_step="export a later version; the next retraining makes one",
        )
    name = f"{chosen.slug}-v{model.version}-{wanted}"
    folder = (into or Path(name)).expanduser().resolve()
    arguments = [MODULE, model.folder, str(folder), "--format", wanted, "--dtype", dtype]
    answer = _run(settings, [*arguments, *([] if verify else ["--no-verify"])], console=console)
    if as_json:
        console.print_json(json.dumps({"version": model.version, **answer}))
        return 0
    console.print(
        f"{chosen.name} v{model.version} ({model.state}) as {wanted}, "
        f"{answer['bytes'] / 1e6:,.1f} MB: {answer['folder']}\n"
        f"log-probabilities against the checkpoint's: {answer['said']}",
        markup=False,
        soft_wrap=True,
    )
    if model.state != "stable":
        console.print("it is not the version that serves", markup=False)
    return 0


def _version(registry: Registry, author: str, version: str) -> ModelVersion:
    if version:
        existing = registry.get(author, version_number(version))
        if existing.is_answer_model:
            raise TwinError(
                f"export v{existing.version} of {author}",
                found=f"an answer model that was named, not trained: {existing.base}",
                next_step="copy it from there, or name a tuned version (`twin versions`)",
            )
        return existing
    stable = registry.stable(author)
    if stable is not None and stable.is_answer_model:
        raise TwinError(
            f"export the stable version of {author}",
            found=f"an answer model that was named, not trained: {stable.base}",
            next_step="name a tuned version (`twin versions` lists them)",
        )
    if stable is None:
        raise TwinError(
            f"export the stable version of {author}",
            found="there is none: base model + retrieval answer",
            next_step="name a version (`twin versions` lists them)",
        )
    return stable


def _run(settings: Settings, arguments: list[str], *, console: Console) -> dict[str, Any]:
    def log(line: str) -> None:
        if line.startswith(("writing ", "comparing ")):
            console.print(line, markup=False, style="dim")

    with running_module(settings, *arguments, report=log) as module:
        return answer_of(module.wait())


def answer_of(ended: Finished) -> dict[str, Any]:
    """The module's answer: its last line, because libraries write warnings to standard output too.

    Raises:
        TwinError: it ended without an answer, or answered with an error; in its own words.
    """
    try:
        answer: dict[str, Any] = json.loads(ended.output.strip().rpartition("\n")[2])
    except json.JSONDecodeError as error:
        raise TwinError(
            "export the version",
            found=ended.errors or f"exit code {ended.code} and no answer",
            next_step="report this with the version's manifest.json",
        ) from error
    if "error" in answer:
        facts = answer["error"]
        raise TwinError(facts["tried"], found=facts["found"], next_step=facts["next_step"])
    return answer
