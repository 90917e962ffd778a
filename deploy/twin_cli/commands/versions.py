"""Run `twin versions`, `twin rollback`, `twin release` and `twin export`.

Scope: the tables, manual moves, choosing the version, and reporting an export.
Out of scope: the moves (`twin_resources/registry/`), writing an export (`twin_assets`).
"""
# pyright: strict

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twin_cli.commands.outcome import open_registry
from twin_cli.commands.presentation import build_versions_table
from twin_cli.commands.subject import choose_author
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import VOICE
from twin_resources.authors.consent import (
    consent_instructions,
    find_consent_date,
    missing_consent_reason,
)
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.stack import find_stack
from twin_resources.registry.policy import SHARE
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_assets.serving.export import Dtype, Format
    from twin_resources.registry.moves import VersionState
    from twin_resources.registry.registry import ModelVersion, Move, Registry, Verdict

_VERSION_FIELDS = (
    *("kind", "state", "forced", "tainted", "checkpoint", "folder", "base", "dataset_version"),
    "created_at",
)


def run_versions(
    settings: Settings, *, author: str, console: Console, as_json: bool = False
) -> int:
    """Print an author's versions, oldest first; return the exit code."""
    chosen_author = choose_author(settings, author)
    registry = open_registry(settings)
    if as_json:
        console.print_json(data=build_versions_document(registry, chosen_author))
        return 0
    versions = registry.versions(chosen_author.slug)
    if not versions:
        console.print(
            f"{chosen_author.name} has no model version yet; the base model with retrieval answers"
        )
        return 0
    verdicts = read_newest_verdicts(registry, [version.checkpoint for version in versions])
    console.print(build_versions_table(versions, verdicts, registry.moves(chosen_author.slug)))
    return 0


def build_versions_document(registry: Registry, author: Author) -> dict[str, Any]:
    """Return the `twin versions --json` object; its keys are stable (deploy/docs/json.md)."""
    versions = registry.versions(author.slug)
    verdicts = read_newest_verdicts(registry, [version.checkpoint for version in versions])
    moves = registry.moves(author.slug)
    return {
        "author": author.slug,
        "name": author.name,
        "gate_version": registry.gate_version(),
        "versions": [
            {
                "version": f"v{version.version}",
                **{name: getattr(version, name) for name in _VERSION_FIELDS},
                "verdict": _verdict_document(verdicts.get(version.checkpoint)),
                "moves": [
                    _move_document(move) for move in moves if move.version == version.version
                ],
            }
            for version in versions
        ],
    }


def _verdict_document(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    has_passed = verdict.outcome == "passed"
    return {
        "outcome": verdict.outcome,
        "gate_version": verdict.gate_version,
        "created_at": verdict.created_at,
        "released_for": list(verdict.prose_release.forms) if has_passed else [],
        "release": verdict.prose_release.description if has_passed else "",
        "claims": [asdict(claim) for claim in verdict.claims],
    }


def _move_document(move: Move) -> dict[str, Any]:
    return {
        "from": move.from_state,
        "to": move.to_state,
        "actor": move.actor,
        "reason": move.reason,
        "forced": move.forced,
        "moved_at": move.moved_at,
    }


def run_rollback(
    settings: Settings, version: str, *, author: str, reason: str, console: Console
) -> int:
    """Restore a retired version; return the exit code.

    Args:
        version: `v2`, `2`, or empty for the last stable version.

    Raises:
        TwinError: the version does not exist or is not retired.
    """
    chosen_author = choose_author(settings, author)
    registry = open_registry(settings)
    number = parse_version_number(version) if version else None
    move = registry.rollback(chosen_author.slug, number, actor=current_actor(), reason=reason)
    return _report_move(settings, move, console)


def run_release(
    settings: Settings,
    version: str,
    *,
    author: str,
    reason: str,
    console: Console,
    share: str = "",
    is_withdrawn: bool = False,
) -> int:
    """Release a version manually, for all readers or a share of them; return the exit code.

    The release is marked `forced` and ends a shadow trial. For the stable version, only the prose
    is released. A release needs consent; a rollback does not, as its version was released before.

    Args:
        share: a share such as `10%`; empty for all readers.
        is_withdrawn: whether to take back a release of the stable version's prose instead.

    Raises:
        TwinError: the version does not exist or is not in one of these states, the author has not
            consented, or there is no release to take back.
    """
    chosen_author, number = choose_author(settings, author), parse_version_number(version)
    if is_withdrawn:
        return _withdraw_prose(settings, chosen_author, number, reason=reason, console=console)
    if find_consent_date(chosen_author) is None:
        raise TwinError(
            f"release a version of {chosen_author.name}",
            found=missing_consent_reason(chosen_author),
            next_step=consent_instructions(chosen_author),
        )
    registry = open_registry(settings)
    state = registry.get(chosen_author.slug, number).state
    if state == "stable":
        return _release_stable_prose(
            settings, chosen_author, registry, number, reason=reason, console=console
        )
    if share:
        percent = float(share.removesuffix("%")) if re.fullmatch(r"\d+(\.\d+)?%", share) else 0.0
        if not 0.0 < percent < 100.0:
            found, advice = f"the share {share!r}", "pass one such as `--share 10%`"
            raise TwinError(f"release v{number}", found=found, next_step=advice)
        routing = registry.routing().get(chosen_author.slug, {})
        registry.set_routing(chosen_author.slug, routing | {SHARE: percent / 100.0})
        if state == "canary":
            console.print(f"v{number} answers {share} of the readers within seconds")
            return 0
    if state == "shadow":
        trial_reason = f"an operator ended its trial: {reason}"
        registry.move(
            chosen_author.slug, number, "parked", actor=current_actor(), reason=trial_reason
        )
    target: VersionState = "canary" if share else "stable"
    move = registry.move(
        chosen_author.slug, number, target, actor=current_actor(), reason=reason, force=True
    )
    return _report_move(settings, move, console)


def _release_stable_prose(
    settings: Settings,
    author: Author,
    registry: Registry,
    number: int,
    *,
    reason: str,
    console: Console,
) -> int:
    """Release the prose of the version that answers, and say what that changes for readers."""
    model, version = f"twin/{author.slug}", f"v{number}"
    release = registry.prose_release(registry.get(author.slug, number))
    if release.forced or not release.why_not:
        by = "by hand" if release.forced else "by the gate"
        console.print(f"nothing changes: {version} answers, and its prose is released {by}")
    else:
        move = registry.force_prose(author.slug, number, actor=current_actor(), reason=reason)
        _report_move(settings, move, console)
    if release.why_not and author.answer == VOICE:
        console.print(f"{model} answers in prose, of which the gate says: {release.why_not}")
    elif release.why_not:
        console.print(
            f"readers of {model} see no difference: it quotes, because the author's `answer` is "
            f'{author.answer}; for prose, write answer = "{VOICE}" in authors/{author.slug}.toml'
        )
    if release.why_not:
        console.print(f"to take it back: twin release {version} --withdraw --reason TEXT")
    return 0


def _withdraw_prose(
    settings: Settings, author: Author, number: int, *, reason: str, console: Console
) -> int:
    """Take back a release of the stable version's prose; return the exit code."""
    registry = open_registry(settings)
    move = registry.hold_prose(author.slug, number, actor=current_actor(), reason=reason)
    _report_move(settings, move, console)
    console.print(
        f"the gate alone decides about the prose of v{number} again: "
        + registry.prose_release(registry.get(author.slug, number)).description
    )
    return 0


def release_consented_version(settings: Settings, author: str) -> list[Move]:
    """Release a version that passed the gate and only lacked consent; return the moves.

    This covers only the author's first model. If there is a stable version, the next run of
    `released_model` puts the new version on trial instead.
    """
    from twin_resources.registry.registry import reconcile

    registry = open_registry(settings)
    gate_version = registry.gate_version()
    if not gate_version or registry.stable_version(author) is not None:
        return []
    return reconcile(
        registry, author, gate_version=gate_version, mode="gate", actor=current_actor()
    )


def _report_move(settings: Settings, move: Move, console: Console) -> int:
    """Print the move and record it in the running Dagster, which stores the release history."""
    console.print(
        f"{move.author} v{move.version}: {move.from_state} → {move.to_state} "
        f"(by {move.actor}: {move.reason})"
    )
    stack = find_stack(settings)
    if stack is None:
        effect = (
            "every host of the deployment follows this within seconds"
            if settings.has_shared_state
            else "no stack is running; this applies at the next start"
        )
        console.print(effect)
        return 0
    console.print("the gateway applies this within seconds")
    DagsterHTTP.for_home(stack.settings).report_materialization(
        "released_model",
        move.author,
        description=f"v{move.version} {move.from_state} → {move.to_state}: {move.reason}",
        metadata={
            "version": move.version,
            "actor": move.actor,
            "reason": move.reason,
            "move": move.number,  # identifies reported moves for the sensor `canary_verdict`
        },
    )
    return 0


def read_newest_verdicts(registry: Registry, checkpoints: list[str]) -> Mapping[str, Verdict]:
    """Return the newest verdict of each checkpoint that has a verdict."""
    gate_version = registry.gate_version()
    return {
        checkpoint: verdict
        for checkpoint in checkpoints
        if (verdict := registry.verdict(checkpoint, gate_version)) is not None
    }


def parse_version_number(version: str) -> int:
    """Parse a version such as `v2` or `2`.

    Raises:
        TwinError: the text has neither format.
    """
    try:
        return int(version.removeprefix("v"))
    except ValueError as error:
        raise TwinError(
            f"find the version {version!r}",
            found="not a version number",
            next_step="write it like v2; `twin versions` lists the versions",
        ) from error


def current_actor() -> str:
    """Return the user who runs the command, which is stored with every move and request."""
    return f"command:{getpass.getuser()}"


def run_export(
    settings: Settings,
    version: str,
    *,
    author: str,
    export_format: Format,
    output_folder: Path | None,
    dtype: Dtype,
    skill: Path | None = None,
    as_json: bool,
    console: Console,
) -> int:
    """Export one version or the posts; return the exit code.

    Args:
        version: `v2`, `2`, or empty for the stable version.
        export_format: `adapter`, `merged`, `gguf-adapter` or `gguf`.
        output_folder: a folder that does not exist yet, or None for `<author>-v2-<format>` in the
            current folder.
        skill: folder for the posts as an Agent Skill; the other options are not used then.

    Raises:
        TwinError: the version does not exist or must not be exported (tainted), or the export
            failed.
    """
    if skill is not None:
        return _export_skill(
            settings, choose_author(settings, author or version), skill, console, as_json=as_json
        )
    from twin_assets.serving.export import export, write_card

    chosen_author = choose_author(settings, author)
    registry = open_registry(settings)
    model = choose_version_to_export(registry, chosen_author.slug, version)
    name = f"{chosen_author.slug}-v{model.version}-{export_format}"
    folder = (output_folder or Path(name)).expanduser().resolve()
    record = export(Path(model.folder), folder, export_format=export_format, dtype=dtype)
    verdict = read_newest_verdicts(registry, [model.checkpoint]).get(model.checkpoint)
    record = write_card(folder, chosen_author, model, verdict)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if as_json:
        document = {"version": model.version, "folder": str(folder), "bytes": size}
        console.print_json(data=document | record)
        return 0
    console.print(
        f"{chosen_author.name} v{model.version} ({model.state}) as {export_format}, "
        f"{size / 1e6:,.1f} MB: {folder}"
    )
    if model.state != "stable":
        console.print("this is not the version that answers readers")
    return 0


def _export_skill(
    settings: Settings, author: Author, folder: Path, console: Console, *, as_json: bool
) -> int:
    from twin_resources.authors.agent_skill import remember_skill, write_skill
    from twin_resources.erasure.data_store import Installation
    from twin_resources.erasure.skill_folders import read_public_posts

    folder = folder.expanduser().resolve()
    posts = read_public_posts(Installation.for_settings(settings).tables, author.slug)
    write_skill(posts, author, folder)
    remember_skill(settings, author.slug, folder)
    if as_json:
        console.print_json(data={"folder": str(folder), "posts": len(posts)})
    else:
        console.print(
            f"{len(posts)} public posts of {author.name} as a skill: {folder}; "
            "`twin forget` makes it anew"
        )
    return 0


def choose_version_to_export(registry: Registry, author: str, version: str) -> ModelVersion:
    """Return the requested version, or the stable version if `version` is empty.

    Raises:
        TwinError: there is no such version, or it must not be exported because some of its
            training data has been forgotten.
    """
    model = (
        registry.get(author, parse_version_number(version))
        if version
        else registry.stable_version(author)
    )
    if model is None or model.is_answer_model:
        raise TwinError(
            f"export {version or 'the stable version'} of {author}",
            found="there is none, so the base model with retrieval answers"
            if model is None
            else f"it is an answer model, which was not trained here: {model.base}",
            next_step="name a tuned version (`twin versions` lists them)",
        )
    if model.tainted:
        raise TwinError(
            f"export {author} v{model.version}",
            found="it was trained on data that has since been forgotten",
            next_step="export a later version; the next retraining creates one",
        )
    return model
