"""Prepare, test, register and remove the answer model of an author's file, in `twin up`.

The answer model is a version like any other, so the same code compares, traces and rolls it back.
A person's choice makes it stable, and only a version that wins a trial against it replaces it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from twin_cli.commands.outcome import find_answer_model, open_registry
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import launch_or_join
from twin_cli.commands.subprocesses import prepare_model
from twin_cli.commands.versions import current_actor
from twin_resources.authors import Author, write_author
from twin_resources.authors.answer_forms import NOT_MEASURED_REASON, PROSE_QUESTION_COUNT
from twin_resources.authors.consent import external_use_instructions, find_external_use_refusal
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import ANSWER_S_PER_BILLION, billions_of_parameters
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.time_left import estimate_range
from twin_resources.processes.wording import format_time_left
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import is_remote, parse_name, split_stored_name

if TYPE_CHECKING:
    from twin_resources.processes.stack import Stack
    from twin_resources.registry.moves import VersionState
    from twin_resources.registry.registry import ModelVersion, Registry

MEASURE_JOB = "measure_answer_model"


def resolve_name(settings: Settings, text: str) -> str:
    """Return a model's stored name; an address is completed with its model.

    Raises:
        TwinError: see `parse_name` and `find_external_server`.
    """
    from twin_resources.models.serving.model_server import find_external_server

    name = parse_name(text)
    if not split_stored_name(name)[0]:
        return name
    server = find_external_server(settings, name)
    return f"{server.url}#{server.alias}"


def sync_answer_model(
    settings: Settings,
    author: Author,
    *,
    previous_model: str,
    instance: str,
    display: ProgressDisplay,
) -> ModelVersion | None:
    """Make the registry match the author's file; the gateway follows within seconds.

    Args:
        previous_model: the file's answer model before this call. Naming the same model again does
            not undo a tuned version's win over it.
        instance: the stack's instance id, with which `twin stop` finds the preparing process.

    Returns:
        The answer model if it is now the stable version, else None.

    Raises:
        TwinError: the newly named model cannot be prepared or does not answer. The author's
            file gets its previous answer model back, and the registry is unchanged. If the model
            was named before, the error is only printed.
    """
    registry = open_registry(settings)
    try:
        if author.answer_model:
            return _register_answer_model(
                registry, settings, author, previous_model, instance=instance, display=display
            )
        version = find_answer_model(registry, author.slug)
        if version is not None:
            _move(registry, version, "retired", "the author no longer names an answer model")
            display.log(
                f"v{version.version}, {version.base}, no longer answers; the base model with "
                "retrieval answers instead"
            )
        return None
    except TwinError as error:
        if previous_model != author.answer_model:
            # Without this, every later start would try the failed model again.
            write_author(settings, replace(author, answer_model=previous_model))
            raise
        display.log(f"{error} `twin up --answer-model none` removes it.", style="yellow")
        return find_answer_model(registry, author.slug)
    finally:
        registry.state.close()


def require_consent(author: Author, name: str) -> None:
    """Require the author's consent before questions and posts are sent to another machine.

    Raises:
        TwinError: the author's file forbids it or records no consent.
    """
    if refusal := find_external_use_refusal(author):
        raise TwinError(
            f"answer for {author.name} with {name}",
            found=refusal,
            next_step=external_use_instructions(author),
        )


def start_prose_measurement(
    stack: Stack, version: ModelVersion, *, display: ProgressDisplay
) -> None:
    """Start the run that decides whether an answer model's prose is shown, if none has decided it.

    Quotations answer meanwhile. A training that starts now waits for the run's end.
    """
    registry = open_registry(stack.settings)
    try:
        release = registry.prose_release(version)
    finally:
        registry.state.close()
    name = f"v{version.version}, {version.base}"
    if release.why_not != NOT_MEASURED_REASON:
        display.log_detail(f"{name}: {release.description}")
        return
    dagster = DagsterHTTP.for_home(stack.settings)
    run_id, _ = launch_or_join(dagster, MEASURE_JOB, version.author)
    billions = billions_of_parameters(version.base_gguf) if version.base_gguf else None
    forecast = "; "
    if billions:
        seconds = estimate_range(PROSE_QUESTION_COUNT * ANSWER_S_PER_BILLION * billions)
        forecast = f", {format_time_left(*seconds)}; "
    display.log(
        f"{PROSE_QUESTION_COUNT} questions measure now whether the prose of {name} says what the "
        f"posts say{forecast}`twin status` says how long it takes. Quotations answer alone until "
        f"then, and if it does, prose stands below them: {dagster.url}/runs/{run_id}"
    )


def _prepare_weights(
    settings: Settings, name: str, *, instance: str, display: ProgressDisplay
) -> tuple[str, str]:
    """Return a hash that identifies the weights, and their GGUF file, or "" for an address.

    Raises:
        TwinError: this home uses a different model server, or the weights cannot be fetched or
            converted.
    """
    identity, gguf = name, ""
    if not split_stored_name(name)[0]:
        if settings.model_server_url:
            raise TwinError(
                f"use {name!r} as the answer model",
                found=f"this home uses the model server at {settings.model_server_url}",
                next_step="serve it there or elsewhere, and name its address: https://…/v1#model",
            )
        if Path(name).is_file():
            status = Path(name).stat()  # hashing 16 GB would take half a minute
            identity, gguf = f"{name} {status.st_size} {status.st_mtime_ns}", name
        else:  # a folder or a hub id; a prepared one is found at once
            output = prepare_model(
                settings,
                *("twin_resources.models.base_model", "prepare", "--base-model", name),
                title=f"the answer model {name!r}",
                instance=instance,
                log=lambda line: display.log(f"answer model: {line}"),
            )
            model = json.loads(output.strip().rpartition("\n")[2])
            identity, gguf = str(model["revision"]), str(model["gguf"])
    return hashlib.sha256(f"answer model {identity}".encode()).hexdigest(), gguf


def _register_answer_model(
    registry: Registry,
    settings: Settings,
    author: Author,
    previous_model: str,
    *,
    instance: str,
    display: ProgressDisplay,
) -> ModelVersion | None:
    """Make the author's answer model the stable version, once it has answered with one token."""
    from twin_resources.models.serving.model_server import (
        ModelServers,
        find_external_server,
        warm_up,
    )

    name = resolve_name(settings, author.answer_model)
    url, _ = split_stored_name(name)
    is_elsewhere = bool(url) and is_remote(url)
    if is_elsewhere:
        require_consent(author, name)
    checkpoint, gguf = _prepare_weights(settings, name, instance=instance, display=display)
    stable = registry.stable_version(author.slug)
    version = registry.find_by_checkpoint(checkpoint, author=author.slug)
    if version is not None and version.state == "stable":
        return version
    if stable and version and previous_model == author.answer_model:
        display.log(
            f"v{version.version}, {name}, was replaced by v{stable.version}; "
            f"`twin rollback v{version.version} --reason TEXT` restores it"
        )
        return None
    display.log(f"requesting one token from {name}")
    if url:
        warm_up(find_external_server(settings, name))
    else:
        with ModelServers(settings).serve(gguf, alias="answer-model") as server:
            warm_up(server)
    version = registry.register(
        author=author.slug,
        checkpoint=checkpoint,
        folder="",
        adapter_gguf=None,
        base=name,
        base_gguf=gguf,
        template=ANSWER_MODEL_TEMPLATE.hash,
        dataset_version="",
        actor=current_actor(),
        kind="answer_model",
    )
    _move(registry, version, "stable", "the author's choice, until a tuned version has beaten it")
    display.log(f"v{version.version} answers until a tuned version has beaten it: {name}")
    if is_elsewhere:
        message = "questions, posts and trials are sent there; no budget here counts its charges"
        display.log(message, style="yellow")
    return registry.get(author.slug, version.version)


def _move(registry: Registry, version: ModelVersion, state: VersionState, reason: str) -> None:
    force = version.state != "retired"  # a retired version needs no force
    registry.move(
        version.author, version.version, state, actor=current_actor(), reason=reason, force=force
    )
