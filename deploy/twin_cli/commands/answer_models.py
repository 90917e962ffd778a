"""Prepare the answer model that the author's file names, in stage 3 of `twin up`.

Scope: preparing it, trying it with one token, registering it, removing it.
Out of scope: the permitted names (`answer_model.py`), its replacement (`release/`), serving it
(`serving/fleet.py`).

The answer model is a version like any other, so versions are compared, traced and rolled back with
the same code. A person's choice makes it stable, and only a won trial replaces it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twin_cli.commands.clock import StageClock
from twin_cli.commands.outcome import open_registry
from twin_cli.commands.subprocesses import running_module
from twin_cli.commands.versions import actor
from twin_resources.authors import Author, write_author
from twin_resources.authors.consent import consented_on, how_to_consent, what_is_missing
from twin_resources.errors import TwinError
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.shared_files import share_file
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import KEY_VARIABLE, NamedModel, check_name

if TYPE_CHECKING:
    from twin_resources.registry.registry import ModelVersion, Registry

NAMED = "named by the author to answer until a tuned version has beaten it"
TAKEN_AWAY = "the author names no answer model any more"
TRIAL_ALIAS = "answer-model"


@dataclass(frozen=True)
class ServedWeights:
    """The weights or the address that answers, ready to be served.

    Attributes:
        checkpoint: the SHA-256 that identifies these weights, or this address and model (hex).
        gguf: the file for this home's server, or empty if the address answers.
    """

    checkpoint: str
    gguf: str


def follow_answer_model(
    settings: Settings, author: Author, *, before: str, instance: str, clock: StageClock
) -> ModelVersion | None:
    """Make the registry match the author's file; the gateway follows within seconds.

    Args:
        before: the file's answer model before this call: naming the same one again does not undo a
            tuned version's win over it.
        instance: the stack's marker, so that `twin stop` also ends a preparation.

    Returns:
        The answer model if it is the stable version now, else None.

    Raises:
        TwinError: the newly named model cannot be prepared or does not answer; registry and
            author's file are unchanged. If it was named before, the error is only printed.
    """
    registry = open_registry(settings)
    try:
        if not author.answer_model:
            _take_away(registry, author, clock=clock)
            return None
        return _enter(registry, settings, author, before=before, instance=instance, clock=clock)
    except TwinError as error:
        if before != author.answer_model:
            # a model that cannot answer must not be tried again at every later start
            share_file(settings, write_author(settings, replace(author, answer_model=before)))
            raise
        clock.say(f"{error} `twin up --answer-model none` takes it away.", style="yellow")
        stable = registry.stable(author.slug)
        return stable if stable is not None and stable.is_answer_model else None
    finally:
        registry.state.close()


def _take_away(registry: Registry, author: Author, *, clock: StageClock) -> None:
    stable = registry.stable(author.slug)
    if stable is None or not stable.is_answer_model:
        return
    registry.move(
        author.slug, stable.version, "retired", actor=actor(), reason=TAKEN_AWAY, force=True
    )
    clock.say(f"v{stable.version}, {stable.base}, answers no longer: base model + retrieval do")


def _enter(
    registry: Registry,
    settings: Settings,
    author: Author,
    *,
    before: str,
    instance: str,
    clock: StageClock,
) -> ModelVersion | None:
    stable = registry.stable(author.slug)
    named = check_name(author.answer_model, key=settings.answer_model_key)
    if named.is_far:
        require_leave(author, named)
    weights = prepared(settings, named, instance=instance, clock=clock)
    known = registry.by_checkpoint(weights.checkpoint, author=author.slug)
    goes_on = stable is not None and (known is None or known.state != "stable")
    if goes_on and known is not None and before == author.answer_model:
        assert stable is not None
        clock.say(
            f"v{known.version}, {named.name}, was replaced by v{stable.version}; "
            f"`twin rollback v{known.version} --reason TEXT` brings it back"
        )
        return None
    if known is None or known.state != "stable":
        try_out(settings, named, weights, clock=clock)
    version = registry.register(
        author=author.slug,
        checkpoint=weights.checkpoint,
        folder="",
        adapter_gguf=None,
        base=named.name,
        base_gguf=weights.gguf,
        template=DEFAULT_TEMPLATE.hash,
        dataset_version="",
        actor=actor(),
        kind="answer_model",
    )
    if version.state != "stable":
        registry.move(
            author.slug,
            version.version,
            "stable",
            actor=actor(),
            reason=NAMED,
            force=version.state != "retired",  # a retired one was stable by such a choice before
        )
    clock.say(f"v{version.version} answers until a tuned version has beaten it: {named.name}")
    if named.is_far:
        clock.say(
            "questions, posts and trials go to that address; what it charges is in no budget here",
            style="yellow",
        )
    return registry.get(author.slug, version.version)


def require_leave(author: Author, named: NamedModel) -> None:
    """Require the author's consent: questions and posts leave this machine.

    Raises:
        TwinError: the author's file forbids it, or records no consent.
    """
    tried = f"answer for {author.name} with {named.name}"
    if not author.paid:
        raise TwinError(
            tried,
            found=f"paid = false in authors/{author.slug}.toml: no question to this author goes to "
            "another provider",
            next_step="name a folder, a GGUF file or a hub id, or ask the author",
        )
    if consented_on(author) is None:
        raise TwinError(tried, found=what_is_missing(author), next_step=how_to_consent(author))


def prepared(
    settings: Settings, named: NamedModel, *, instance: str, clock: StageClock
) -> ServedWeights:
    """Return a named model's weights, ready for the model server.

    Raises:
        TwinError: another server answers for this home, or the weights cannot be fetched or
            converted.
    """
    if named.kind == "address":
        return ServedWeights(_checkpoint(named.name), "")
    if settings.model_server_url:
        raise TwinError(
            f"use {named.name!r} as the answer model",
            found=f"the models of this home answer at {settings.model_server_url}",
            next_step="serve it there, or anywhere, and name the address: https://…/v1#model",
        )
    if named.kind == "gguf":
        status = Path(named.name).stat()  # hashing 16 GB would take half a minute
        return ServedWeights(
            _checkpoint(f"{named.name} {status.st_size} {status.st_mtime_ns}"), named.name
        )
    from twin_resources.storage.weights.weights import load_base_model

    try:
        model = load_base_model(settings, named.name)
        return ServedWeights(_checkpoint(model.revision), str(model.gguf))
    except TwinError:
        clock.say(f"preparing the answer model {named.name}")
    arguments = ("twin_resources.models.base_model", "prepare", "--base-model", named.name)
    report = partial(_say, clock)
    with running_module(settings, *arguments, instance=instance, report=report) as module:
        ended = module.wait()
    if ended.code != 0:
        raise TwinError(
            f"prepare the answer model {named.name!r}",
            found=ended.errors or f"exit code {ended.code}",
            next_step="mend this and run `twin up` again; what is prepared already is kept",
        )
    model = json.loads(ended.output.strip().rpartition("\n")[2])
    return ServedWeights(_checkpoint(str(model["revision"])), str(model["gguf"]))


def try_out(
    settings: Settings, named: NamedModel, weights: ServedWeights, *, clock: StageClock
) -> None:
    """Ask for one token: a model that cannot answer must not become the stable version.

    Raises:
        TwinError: the model cannot be loaded, or refuses the question.
    """
    from twin_resources.models.serving.model_server import ModelServers, serve_warmed_up
    from twin_resources.models.serving.named_server import named_server

    tried = f"answer with {named.name}"
    clock.say(f"trying {named.name} with one token")
    try:
        if named.kind == "address":
            serve_warmed_up(named_server(settings, named.name))
            return
        with ModelServers(settings).serve(weights.gguf, alias=TRIAL_ALIAS) as server:
            serve_warmed_up(server)
    except TwinError as error:
        if named.kind != "address":
            step = (
                "name a model that llama.cpp serves, as safetensors or GGUF, or the address of a "
                "server that does"
            )
        elif "401" in error.found or "403" in error.found:
            step = f"export {KEY_VARIABLE} with a key that it takes"
        else:
            step = "see that server's log, and whether this model chats"
        raise TwinError(tried, found=error.found, next_step=step) from error


def _checkpoint(identity: str) -> str:
    return hashlib.sha256(f"answer model {identity}".encode()).hexdigest()


def _say(clock: StageClock, line: str) -> None:
    clock.say(f"answer model: {line}")
