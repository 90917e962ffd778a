"""Prepare the answer model that the author's file names, in stage 3 of `twin up`.

Scope: preparing the model, testing it with one token, registering it and removing it.
Out of scope: the permitted names (`answer_model.py`), replacing the model (`release/`) and serving
it (`serving/fleet.py`).

The answer model is a version like any other, so the same code compares, traces and rolls it back.
A person's choice makes it stable, and only a version that wins a trial against it replaces it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twin_cli.commands.outcome import find_answer_model, open_registry
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.subprocesses import prepare_model
from twin_cli.commands.versions import current_actor
from twin_resources.authors import Author, write_author
from twin_resources.authors.consent import external_use_instructions, find_external_use_refusal
from twin_resources.errors import TwinError
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import KEY_VARIABLE, NamedModel, resolve_name

if TYPE_CHECKING:
    from twin_resources.registry.registry import ModelVersion, Registry

PROMOTION_REASON = "the author's answer model, until a tuned version has beaten it"
REMOVAL_REASON = "the author no longer names an answer model"
PROBE_ALIAS = "answer-model"


@dataclass(frozen=True)
class ServedWeights:
    """The weights or the address of an answer model, ready to be served.

    Attributes:
        checkpoint: SHA-256 (hex) that identifies these weights, or this address and model.
        gguf: the file for this home's server, or empty for an address.
    """

    checkpoint: str
    gguf: str


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
        if not author.answer_model:
            _remove_answer_model(registry, author, display=display)
            return None
        return _register_answer_model(
            registry,
            settings,
            author,
            previous_model=previous_model,
            instance=instance,
            display=display,
        )
    except TwinError as error:
        if previous_model != author.answer_model:
            # Without this, every later start would try the failed model again.
            write_author(settings, replace(author, answer_model=previous_model))
            raise
        display.log(f"{error} `twin up --answer-model none` removes it.", style="yellow")
        return find_answer_model(registry, author.slug)
    finally:
        registry.state.close()


def _remove_answer_model(registry: Registry, author: Author, *, display: ProgressDisplay) -> None:
    answer_model = find_answer_model(registry, author.slug)
    if answer_model is None:
        return
    registry.move(
        author.slug,
        answer_model.version,
        "retired",
        actor=current_actor(),
        reason=REMOVAL_REASON,
        force=True,
    )
    display.log(
        f"v{answer_model.version}, {answer_model.base}, no longer answers; the base model with "
        "retrieval answers instead"
    )


def _register_answer_model(
    registry: Registry,
    settings: Settings,
    author: Author,
    *,
    previous_model: str,
    instance: str,
    display: ProgressDisplay,
) -> ModelVersion | None:
    stable_version = registry.stable_version(author.slug)
    named_model = resolve_name(author.answer_model, key=settings.answer_model_key)
    if named_model.is_remote:
        require_consent(author, named_model)
    weights = prepare_weights(settings, named_model, instance=instance, display=display)
    existing_version = registry.find_by_checkpoint(weights.checkpoint, author=author.slug)
    is_stable = existing_version is not None and existing_version.state == "stable"
    is_named_again = previous_model == author.answer_model
    if stable_version and existing_version and is_named_again and not is_stable:
        display.log(
            f"v{existing_version.version}, {named_model.name}, was replaced by "
            f"v{stable_version.version}; "
            f"`twin rollback v{existing_version.version} --reason TEXT` restores it"
        )
        return None
    if not is_stable:
        probe_answer_model(settings, named_model, weights, display=display)
    version = registry.register(
        author=author.slug,
        checkpoint=weights.checkpoint,
        folder="",
        adapter_gguf=None,
        base=named_model.name,
        base_gguf=weights.gguf,
        template=DEFAULT_TEMPLATE.hash,
        dataset_version="",
        actor=current_actor(),
        kind="answer_model",
    )
    if version.state != "stable":
        registry.move(
            author.slug,
            version.version,
            "stable",
            actor=current_actor(),
            reason=PROMOTION_REASON,
            force=version.state != "retired",  # a retired version needs no force
        )
    display.log(
        f"v{version.version} answers until a tuned version has beaten it: {named_model.name}"
    )
    if named_model.is_remote:
        display.log(
            "questions, posts and trials are sent to that address; its charges do not count "
            "towards any budget here",
            style="yellow",
        )
    return registry.get(author.slug, version.version)


def require_consent(author: Author, named_model: NamedModel) -> None:
    """Require the author's consent before questions and posts are sent to another machine.

    Raises:
        TwinError: the author's file forbids it or records no consent.
    """
    if refusal := find_external_use_refusal(author):
        raise TwinError(
            f"answer for {author.name} with {named_model.name}",
            found=refusal,
            next_step=external_use_instructions(author),
        )


def prepare_weights(
    settings: Settings, named_model: NamedModel, *, instance: str, display: ProgressDisplay
) -> ServedWeights:
    """Return a named model's weights, ready for the model server.

    Raises:
        TwinError: this home uses a different model server, or the weights cannot be fetched or
            converted.
    """
    if named_model.kind == "address":
        return ServedWeights(_checkpoint_hash(named_model.name), "")
    if settings.model_server_url:
        raise TwinError(
            f"use {named_model.name!r} as the answer model",
            found=f"this home uses the model server at {settings.model_server_url}",
            next_step="serve the model there or elsewhere, and name its address: https://…/v1#model",
        )
    if named_model.kind == "gguf":
        file_stat = Path(named_model.name).stat()  # hashing 16 GB would take half a minute
        return ServedWeights(
            _checkpoint_hash(f"{named_model.name} {file_stat.st_size} {file_stat.st_mtime_ns}"),
            named_model.name,
        )
    from twin_resources.storage.weights.weights import load_base_model

    try:
        model = load_base_model(settings, named_model.name)
        return ServedWeights(_checkpoint_hash(model.revision), str(model.gguf))
    except TwinError:
        display.log(f"preparing the answer model {named_model.name}")
    output = prepare_model(
        settings,
        *("twin_resources.models.base_model", "prepare", "--base-model", named_model.name),
        title=f"the answer model {named_model.name!r}",
        instance=instance,
        log=lambda line: display.log(f"answer model: {line}"),
    )
    model = json.loads(output.strip().rpartition("\n")[2])
    return ServedWeights(_checkpoint_hash(str(model["revision"])), str(model["gguf"]))


def probe_answer_model(
    settings: Settings, named_model: NamedModel, weights: ServedWeights, *, display: ProgressDisplay
) -> None:
    """Request one token, so that a model that cannot answer does not become the stable version.

    Raises:
        TwinError: the model cannot be loaded or refuses the question.
    """
    from twin_resources.models.serving.external_server_lookup import find_external_server
    from twin_resources.models.serving.model_server import ModelServers, warm_up

    action = f"answer with {named_model.name}"
    display.log(f"requesting one token from {named_model.name}")
    try:
        if named_model.kind == "address":
            warm_up(find_external_server(settings, named_model.name))
            return
        with ModelServers(settings).serve(weights.gguf, alias=PROBE_ALIAS) as server:
            warm_up(server)
    except TwinError as error:
        if named_model.kind != "address":
            next_step = (
                "name a model that llama.cpp supports, as safetensors or GGUF, or the address of a "
                "model server"
            )
        elif "401" in error.found or "403" in error.found:
            next_step = f"export {KEY_VARIABLE} with a key that the server accepts"
        else:
            next_step = "see the server's log, and check that the model is a chat model"
        raise TwinError(action, found=error.found, next_step=next_step) from error


def _checkpoint_hash(identity: str) -> str:
    return hashlib.sha256(f"answer model {identity}".encode()).hexdigest()
