"""Rows that were put off, sent to the provider's batch endpoint, waited for, and brought back.

Belongs here: price beforehand, reserving, submitting once, polling, settling, and what is said when
the provider cannot.
Does not belong here: which rows (the gateway: `gateway/putting_off.py`), the files' lines
(`provider_lines.py`), the answers' way to the reader (the gateway again).

The order makes a death at any moment cost nothing twice: a batch is written down under a name of
ours, its money is reserved under that name, then it is submitted with that name among its
metadata. Whoever comes after a death finds it written down; where the provider's name for it is
missing, the provider's list says whether it got it.

Calls: https://docs.litellm.ai/docs/batches
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_resources.access.account import Reservation, SpendingAccount, account_of
from twin_resources.access.keys import Key, keyring_of
from twin_resources.access.paid_budget import price_of
from twin_resources.access.provider_batch_rows import BatchRow, BatchRows, ProviderBatch
from twin_resources.access.spending_limits import OverLimit, SpendingLimit, dollars
from twin_resources.errors import TwinError
from twin_resources.gateway.batches.provider_lines import (
    ENDPOINT,
    BatchFile,
    batch_files,
    read_ends,
)
from twin_resources.longest_waits import MOST_WORKING_S
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

# Those of LiteLLM's providers that take OpenAI's file as it is with their key alone, and list their
# batches, by which one is found whose submission was cut off. Vertex AI and Bedrock want a bucket.
PROVIDERS = ("openai", "azure", "litellm_proxy")
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
WINDOW = "24h"
_HELD_S = 3 * 86_400.0  # the window, and time to come back for it
_SLOWEST_S = 60.0
_GIVE_UP_S = 900.0  # a provider that does not answer that long
_TIMEOUT_S = 300.0
_LISTED = 100
_NAME = "twin_batch"


def batch_provider(model: str) -> str:
    """LiteLLM's name of the provider at which batches of this model are submitted.

    Raises:
        TwinError: no model, none with a price, or none with a batch endpoint.
    """
    tried = "send rows to the provider's batch endpoint"
    again = "leave --provider-batch out: the same rows are answered at once"
    if not model:
        raise TwinError(
            tried,
            found="no paid model (TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY)",
            next_step=again,
        )
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm import get_llm_provider

    price_of(model, prompt_tokens=1, answer_tokens=1)
    provider = str(get_llm_provider(model)[1])
    if provider not in PROVIDERS:
        raise TwinError(
            tried,
            found=f"none for {provider} ({model}) that takes chat requests by LiteLLM as they are; "
            f"{', '.join(PROVIDERS)} have one",
            next_step=again,
        )
    return provider


@dataclass
class ProviderBatches:
    """The batches of one key at the provider of the paid model.

    Attributes:
        model: LiteLLM name; its key and address come from the environment, as LiteLLM says.
        key: who asks, and whose limit counts.
        say: told what is submitted, its price, and how far it is.
        poll_s: the first pause between two looks; each is longer, to a minute.
    """

    state: State
    account: SpendingAccount
    key: Key
    model: str
    provider: str
    say: Callable[[str], object] = lambda _: None
    poll_s: float = 5.0

    @classmethod
    def of(
        cls, settings: Settings, key: str, log: Callable[[str], object] = lambda _: None
    ) -> ProviderBatches:
        """Those of a home.

        Args:
            key: of the gateway.

        Raises:
            TwinError: see `batch_provider`; the key is none.
        """
        provider = batch_provider(settings.paid_model if settings.has_paid_route else "")
        state = State.open(settings.state_address)
        key_found = keyring_of(settings).find(f"Bearer {key}")
        return cls(
            state, account_of(settings, state), key_found, settings.paid_model, provider, log
        )

    def __post_init__(self) -> None:
        self._rows = BatchRows(self.state)

    async def answer(self, fingerprints: Collection[str]) -> None:
        """Submit the rows that wait, and stay until each has its answer or its error; but those
        whose submission was cut off before wait to be asked anew.

        Raises:
            TwinError: a limit leaves no money for them, the provider refuses, or does not answer:
                what is submitted stays so, and the same batch goes on where it was.
        """
        mine = self._rows.of(self.key.id, fingerprints)
        with self.state.lease(f"provider batches of {self.key.id}", wait_s=MOST_WORKING_S):
            names = {row.batch for row in mine if row.status == "submitted"}
            begun = self._rows.batches(self.key.id, names=names)
            for batch in begun:
                if not batch.provider_batch:
                    await self._resume(batch)
            waiting = [row for row in mine if row.status == "waiting"]
            for file in batch_files(waiting, self.model) if waiting else ():
                names.add(await self._submit_new(file))
        for batch in self._rows.batches(self.key.id, names=names):
            await self._bring(batch)

    async def _submit_new(self, file: BatchFile) -> str:
        author = file.rows[0].author
        price = (
            "the price of batches"
            if file.discounted
            else ("the price of single answers: LiteLLM's map has none of batches")
        )
        self.say(
            f"{counted(len(file.rows), 'row')} for {self.model}, by {self.provider}'s batch "
            f"endpoint: at most {dollars(file.most_usd)}, by {price}; within 24 hours"
        )
        batch = ProviderBatch(
            uuid.uuid4().hex, self.key.id, author, self.model, most_usd=file.most_usd
        )
        self._rows.make(batch, file.rows)
        await self._submit(self._reserved(batch), file)
        return batch.batch

    async def _resume(self, batch: ProviderBatch) -> None:
        """One whose submission was cut off: the provider has it, or its rows are asked anew. They
        are not sent as they are: it may be days later, and their author against it."""
        state = await self._at_provider(batch)
        reserved = self._reserved(batch)
        if state:
            self._rows.submitted(reserved, state)
            self.say(f"batch {state} had been submitted: it is not submitted again")
        else:
            self.account.release(_reservation(reserved))
            self._rows.unmake(reserved)

    def _reserved(self, batch: ProviderBatch) -> ProviderBatch:
        """With its money set aside, once."""
        if batch.reservation:
            return batch
        try:
            held = self.account.reserve(
                purpose="answer",
                author=batch.author,
                key=batch.key,
                most_usd=batch.most_usd,
                idempotency_key=f"provider batch {batch.batch}",
                key_limit=SpendingLimit(usd_per_day=self.key.limits.usd_per_day),
                within_s=_HELD_S,
            )
        except OverLimit:
            self._rows.unmake(batch)
            raise
        self._rows.reserved(batch, number=held.number)
        return replace(batch, reservation=held.number)

    async def _submit(self, batch: ProviderBatch, file: BatchFile) -> None:
        lite = _litellm()
        is_sent = False
        try:
            uploaded = await lite.acreate_file(
                file=(f"{batch.batch}.jsonl", file.content, "application/jsonl"),
                purpose="batch",
                **self._called(),
            )
            is_sent = True
            made = await lite.acreate_batch(
                completion_window=WINDOW,
                endpoint=ENDPOINT,
                input_file_id=uploaded.id,
                metadata={_NAME: batch.batch},
                **self._called(),
            )
        except Exception as error:
            # after a 500 or a time-out it may be there: who comes next looks for it
            if not is_sent or is_refused(error):
                self.account.release(_reservation(batch))
                self._rows.unmake(batch)
            raise self._failed("submit a batch", error) from error
        self._rows.submitted(batch, str(made.id))

    async def _at_provider(self, batch: ProviderBatch) -> str:
        """The provider's name of a batch of ours, by its list; empty: it has none."""
        lite = _litellm()
        after: str | None = None
        try:
            while True:
                page = await lite.alist_batches(after=after, limit=_LISTED, **self._called())
                for one in page.data:
                    named: Mapping[str, str] = one.metadata or {}
                    if named.get(_NAME) == batch.batch:
                        return str(one.id)
                if not getattr(page, "has_more", False) or not page.data:
                    return ""
                after = str(page.data[-1].id)
        except Exception as error:
            raise self._failed("look for a batch whose submission was cut off", error) from error

    async def _bring(self, batch: ProviderBatch) -> None:
        """Wait until it has ended; then its answers are in the state store, and it is settled."""
        state = await self._ended(batch)
        rows = self._of(batch)
        if state is None:
            # nothing says what it has cost
            ends, usd = read_ends(
                "unknown there", output=b"", errors=b"", rows=rows, model=self.model
            )
            usd = batch.most_usd
        else:
            output, errors = [
                await self._content(str(getattr(state, name, None) or ""))
                for name in ("output_file_id", "error_file_id")
            ]
            ends, usd = read_ends(
                state.status,
                output=output,
                errors=errors,
                rows=rows,
                model=self.model,
                text=_said(state),
            )
        try:
            self.account.settle(_reservation(batch), usd)
        except TwinError as error:
            self.say(f"batch {batch.provider_batch} counts in full: {error.found}")
        self._rows.ended(batch, ends)
        answered = sum(end.answer is not None for end in ends.values())
        self.say(f"{answered} of {counted(len(ends), 'answer')} came, for {dollars(usd)}")
        if state is not None:
            await self._delete(state)

    async def _ended(self, batch: ProviderBatch) -> Any:
        """The batch as the provider tells it at its end; None: it knows no such batch."""
        from openai import NotFoundError

        lite = _litellm()
        pause, last_status, last = self.poll_s, "", time.monotonic()
        while True:
            try:
                status = await lite.aretrieve_batch(batch_id=batch.provider_batch, **self._called())
                last = time.monotonic()
            except NotFoundError:
                return None
            except Exception as error:
                if is_refused(error) or time.monotonic() - last > _GIVE_UP_S:
                    raise self._failed(f"look at batch {batch.provider_batch}", error) from error
                status = None
            if status is not None and status.status in ENDED:
                return status
            if status is not None and (now := _progress(status)) != last_status:
                last_status = now
                self.say(
                    f"batch {batch.provider_batch}: {last_status}; it may be left and come back to"
                )
            await asyncio.sleep(pause)
            pause = min(_SLOWEST_S, 1.3 * pause)

    async def _content(self, file: str) -> bytes:
        if not file:
            return b""
        lite = _litellm()
        try:
            content = await lite.afile_content(file_id=file, **self._called())
        except Exception as error:
            raise self._failed(f"fetch the file {file}", error) from error
        return bytes(content.content)

    async def _delete(self, reply: Any) -> None:
        """Questions and answers need not lie at the provider any longer."""
        lite = _litellm()
        names = ("input_file_id", "output_file_id", "error_file_id")
        for file in (str(getattr(reply, name, None) or "") for name in names):
            if not file:
                continue
            try:
                await lite.afile_delete(file_id=file, **self._called())
            except Exception as error:  # noqa: BLE001 - the answers are here; it is told
                why = type(error).__name__
                self.say(f"the file {file} stays at the provider ({why}): delete it there")

    def _of(self, batch: ProviderBatch) -> list[BatchRow]:
        return self._rows.of_batch(batch.batch)

    def _called(self) -> Mapping[str, Any]:
        # a second attempt by the client below could submit a second batch
        return {
            "custom_llm_provider": self.provider,
            "max_retries": 0,
            "timeout": _TIMEOUT_S,
        }

    def _failed(self, what: str, error: Exception) -> TwinError:
        return TwinError(
            f"{what} at {self.provider}",
            found=f"{type(error).__name__}: {str(error)[:300]}",
            next_step="look whether the provider's key is in this process's environment and the "
            "provider answers, then run the same batch again: what is submitted is not submitted "
            "again",
        )


def _litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks up GitHub
    import litellm

    module: Any = litellm
    module.telemetry = False
    return module


def is_refused(error: Exception) -> bool:
    """Whether the provider has said no, and would say it again: a key, a right, a limit."""
    return 400 <= int(getattr(error, "status_code", 0) or 0) < 500 and not is_passing(error)


def is_passing(error: Exception) -> bool:
    """Whether it may be otherwise in some seconds: too many requests, no answer in time."""
    return int(getattr(error, "status_code", 0) or 0) in {408, 429}


def _reservation(batch: ProviderBatch) -> Reservation:
    return Reservation(batch.reservation, "answer", batch.author, batch.key, "", batch.most_usd)


def _progress(status: Any) -> str:
    counts = getattr(status, "request_counts", None)
    if counts is None or not counts.total:
        return str(status.status)
    return f"{status.status}, {counts.completed + counts.failed} of {counts.total}"


def _said(error: Any) -> str:
    errors: Sequence[Any] = getattr(getattr(error, "errors", None), "data", None) or ()
    return "; ".join(str(one.message) for one in errors[:3] if one.message)
