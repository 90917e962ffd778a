"""Services for the stages of a request: live configuration, retrieval, budget, tokenizers.

Scope: the values of one gateway that outlive a request. Out of scope: the state of one request
(`exchange.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twin_resources.access.keys import Key
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import ThroughputMeter, list_measured_servers
from twin_resources.gateway.costs.home_counts import HomeCounts
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.gateway.request.prompt_length import context_length, token_counter
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks, load_home_marks
from twin_resources.storage.weights.weights import load_base_model


@dataclass
class RequestServices:
    """Services that a gateway's requests share.

    Attributes:
        live_config: the configuration files, reread when they change.
        passage_finder: retrieves passages and quotations.
        usd_per_hour: price of the machine.
        paid_problem: returns the reason that this key cannot pay for an answer of this author now,
            or an empty string if it can. May block.
        paid_supports_json: whether the paid model supports a `response_format`.
        paid_model: LiteLLM's name of the paid model, for the trace, or empty if there is none.
        trace_problem: why answers are not traced now, or empty; set in the background.
        meters: throughput by server key.
        counts: counters shared by all gateway processes.
        router: chooses between the home's model and the paid one if the author has a policy.
        control_marks: control tokens of this home's models; set in the background.
        base_folder: folder of the base model's tokenizer, or empty if it is not prepared here.
        base_context: context of the base model in tokens, or 0 if unknown. It is assumed for a
            server on another machine, which does not report its context (vLLM's default).
    """

    live_config: LiveConfig
    passage_finder: PassageFinder
    usd_per_hour: float
    paid_problem: Callable[[Key, str], str] = lambda _key, _author: ""
    paid_supports_json: bool = True
    paid_model: str = ""
    trace_problem: str = ""
    meters: dict[str, ThroughputMeter] = field(default_factory=dict[str, ThroughputMeter])
    counts: HomeCounts = field(default_factory=HomeCounts)
    router: QuestionRouter = field(default_factory=QuestionRouter)
    control_marks: ControlMarks = COMMON_MARKS
    base_folder: str = ""
    base_context: int = 0

    def reload_tokenizers(self) -> None:
        """Read the tokenizers of this home.

        This reads files, so it must not run on the event loop.
        """
        settings = self.live_config.settings
        self.control_marks = load_home_marks(settings)
        try:
            self.base_folder = str(load_base_model(settings).folder)
        except TwinError:
            self.base_folder = ""  # a remote server answers, or no model is prepared yet
        self.base_context = context_length(self.base_folder)
        token_counter(self.base_folder)  # loaded now, so that no question waits for it

    def meter(self, server_key: str) -> ThroughputMeter:
        """Return the meter of a model server, created at its first use."""
        if server_key not in self.meters:
            self.meters[server_key] = ThroughputMeter(name=server_key, counts=self.counts)
        return self.meters[server_key]

    def read_meters(self) -> None:
        """Read the measurements of the gateway's other processes."""
        for server_key in list_measured_servers(self.counts):
            self.meter(server_key).refresh()
