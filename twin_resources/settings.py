"""The one settings object, which the environment fills, and the secrets of a home.

Scope: every value that a person may set for a home, its default, and the paths that follow
from it. The comments at a value are its description in `deploy/docs/settings.md`
(`settings_document.py`).
Out of scope: what is set for one author (`author_file.py`), hyper-parameters (recipes,
YAML) and anything that is measured. The secrets are in a file of their own (`secrets.json`, mode
600, see `load_secrets`).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets as random_source
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from twin_resources.errors import TwinError

EMBEDDED_BASE_MODEL = "smollm2-135m-instruct"
EMBEDDED_EMBEDDER = "all-minilm-l6-v2"
MULTILINGUAL_EMBEDDER = "multilingual-e5-small"  # installed with the front desk

_SETTINGS_MADE_CONSTANT = (
    "ALARM_HORIZON ALARM_RATE BASELINE_VALUES EVALUATION_QUESTIONS "
    "EVALUATION_TOKENS GENERAL_SHARE MARGIN PROMPT_CACHE_MIB READER_DAYS "
    "ROUTING_LABELS SERVING_THREADS TRAIN_FORKS TRIAL_PROMPTS"
)
# Name → what to do instead. One that stays in the environment would be read by nobody in silence.
REMOVED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "TWIN_ALARM_CONTROL": "unset it: the trial of a new version decides whether it is better; "
        "no judge is asked before a training",
        **dict.fromkeys(
            ("TWIN_BASELINE_VALUES_LATER", "TWIN_KEPT_ANSWERS"),
            "unset it: what answers are held to follows the last weeks by itself",
        ),
        "TWIN_ANCHOR_SHARE": "unset it: no reader is answered by an earlier version to compare; "
        "the trial of a new version compares",
        "TWIN_ROUTING_EXPLORED": "unset it: no question goes to the other model by lot any more; "
        "`twin routing` shows what the labels say of both",
        "TWIN_SIMULATED_PROVIDER_PORT": "unset it: `twin demo-loop` has no paid model",
        "TWIN_STYLE_MODEL": "unset it: the gate's report has the voice score and its plot",
        **dict.fromkeys(
            (f"TWIN_{name}" for name in _SETTINGS_MADE_CONSTANT.split()),
            "unset it: it is a constant now, with its reason (`Constants` in settings.py)",
        ),
        "TWIN_RETRAIN_HOURS_A_MONTH": "unset it: TWIN_RETRAIN_RUNS_A_MONTH limits an author's "
        "trainings, and 40 hours a month are the most",
        "TWIN_RETRAIN_COOLDOWN_DAYS": "unset it: a day lies between two trainings of an author",
        "TWIN_RETRAIN_NEW_PAIRS": "unset it: 200 pairs are worth a training; "
        "TWIN_RETRAIN_NEW_POSTS says how many posts are",
        "TWIN_TRAIN_MEETING": "unset it: several machines train as a Ray cluster; start one with "
        "`ray start`, and set TWIN_TRAIN_BACKEND=ray and TWIN_RAY_ADDRESS",
    }
)


class Constants(BaseSettings):
    """What no author or operator has had a reason to change; tests and the demo do.

    They have no variable: a value for every home is a change of the code, and its measurement.
    """

    model_config = SettingsConfigDict(env_prefix="TWIN_", extra="ignore", frozen=True)

    baseline_values: int = Field(default=100, ge=1)  # settled values before a fall can be seen
    alarm_horizon: int = 5_000  # H: the values within which a false alarm of the fleet is counted
    alarm_rate: float = 0.05  # α: the share of quiet homes that raise one
    reader_days: Literal["daily", "at_once"] = "daily"  # at_once: one score a reader (demo, tests)
    # Recorded questions that a shadow trial needs; with fewer the gate decides, and asks more.
    trial_prompts: int = 300
    margin: float = 0.1  # ε: by how much a new version may be worse than the best one
    # Of held-out passages that a gate reads for each model, 30 passages at least: perplexity.
    evaluation_tokens: int = Field(default=30_000, ge=0)
    # Held-out questions that a gate asks, or as many as there are: the voice score is known to .11
    # with a hundred of them and to .17 with thirty, for five minutes more at the first gate.
    evaluation_questions: int = Field(default=100, ge=30)
    # Memory in which a server of ours keeps prompts that it has read, each: the next one with the
    # same question answers without reading its passages again (135M: 23 KB a token).
    prompt_cache_mib: int = Field(default=64, ge=0)
    # Threads of the server that answers readers; 0: half of the cores. More answer sooner while
    # nothing else computes, and wait in a busy loop beside a training.
    serving_threads: int = Field(default=0, ge=0)
    routing_labels: int = Field(default=1_500, ge=0)  # bought at most, for a version of an author
    retrain_cooldown_days: float = 1.0  # between two trainings of an author
    retrain_hours_a_month: float | None = 40.0  # at most, of an author; none: no limit
    retrain_new_pairs: int = 200  # preference pairs since then, worth another one
    # On Linux a machine's ranks without GPUs are forked from one process that has imported; false:
    # accelerate's launcher starts them, and each imports for itself
    train_forks: bool = True
    # Processes that answer behind the one address; `twin up --gateways` says how many. One answers
    # some 80 quotations a second of CPU; each takes 350 MB.
    gateways: int = Field(default=1, ge=1, le=64)
    general_share: float = Field(default=0.1, ge=0, le=0.5)  # of the training samples, of that set


CONSTANTS = frozenset(Constants.model_fields)
# Of `TWIN_PACE`, which the demo sets for the programs of its home: what takes months with a reader
# or two has to happen in minutes there.
_DEMO = {
    "baseline_values": 150,
    "alarm_horizon": 1_000,
    "retrain_cooldown_days": 0.0,
    "reader_days": "at_once",
}
_HURRIED = {
    "margin": 0.2,
    "trial_prompts": 60,
    "evaluation_tokens": 12_000,  # 30 passages of one model instead of 54
    "evaluation_questions": 30,
    "serving_threads": 2,  # nothing trains while the reader asks
    "prompt_cache_mib": 768,  # the reader's questions come again, and are read once
}
PACES: Mapping[str, Mapping[str, Any]] = {"": {}, "demo": _DEMO, "hurried": _DEMO | _HURRIED}


class Settings(Constants):
    """Everything that the environment (`TWIN_<NAME>`) can set; the defaults run on one machine.

    Paths that are not set follow from `home`. `load_settings()` is the way to get one.
    """

    home: Path = Path(".twin")  # everything that is written lies in this folder
    tables_uri: str = ""  # folder or s3://bucket/prefix; default <home>/tables
    state_url: str = ""  # SQLAlchemy URL; default sqlite in <home>/state.sqlite
    store_uri: str = ""  # folder or s3://… of checkpoints and weights that hosts share
    base_model: str = EMBEDDED_BASE_MODEL  # or a Hugging Face id, or a path
    embedder: str = EMBEDDED_EMBEDDER  # or multilingual-e5-small, an id, a path
    # Empty: OpenVINO where it reproduces the model, and a graphics card, where there is one, for
    # what is worth loading it (an import of thousands of passages).
    embedder_engine: Literal["", "openvino", "sentence-transformers"] = ""
    # A cross-encoder (a hub id or a folder) that ranks the found passages again, before the prompt
    # shows the best; empty: none. It costs a pass for each of some 40 passages a question.
    reranker: str = ""
    host: str = "127.0.0.1"  # address that all servers listen at
    gateway_port: int = 4000  # of the OpenAI-compatible endpoint
    dagster_port: int = 3000  # of Dagster's pages
    traces_port: int = 4318  # of the embedded trace store
    chat_port: int = 7860  # of the chat page, while it is open
    # Web pages that may ask the gateway from a browser, as https://example.org, separated by
    # spaces; empty: none. No *.
    allowed_origins: str = ""
    # Requests of one key that may be under way at once; the next one gets 429.
    requests_per_key: int = Field(default=32, ge=1)
    # Requests to one model server that may be under way, answered or waiting; the next gets 429.
    requests_per_server: int = Field(default=64, ge=1)
    model_server_url: str = ""  # an OpenAI-compatible server (vLLM …) instead; ends in /v1
    model_server_key: str = ""  # of that server
    # Path under which that server sees this home's folder, so that vLLM loads adapters from it by
    # itself; empty: the same path.
    model_server_home: str = ""
    # What that server computes in (vLLM: --dtype), which says how far its answers may differ in the
    # gate. Empty: bf16 where the base model's configuration names it, else fp16.
    model_server_precision: Literal["", "fp16", "bf16"] = ""
    answer_model_key: str = ""  # of an answer model at an address (`twin up --answer-model`)
    # What the weights of our servers are stored in. q8_0 takes half of the room and answers a
    # little otherwise, which each answer's `twin.precision` says; by name only, never by itself.
    served_precision: Literal["f16", "q8_0"] = "f16"
    # Of an author's documents, the share that may break a claim (a platform's menu, a foreign
    # byline, personal data left …): they are put aside; above it an import stops.
    most_quarantined: float = Field(default=0.2, ge=0, le=1)
    teacher_model: str = ""  # a LiteLLM model name; empty: instruction templates
    # US dollars for the questions of all authors; a teacher with a price is not asked without.
    teacher_budget_per_month: float | None = Field(default=None, ge=0)
    # Chat samples that are mixed into the training: a file, a folder, or a data set of the model
    # hub (owner/name, owner/name@revision); empty: none.
    general_set: str = ""
    # A LiteLLM model name: rates answers in trials, where it is certified.
    judge_model: str = ""
    # US dollars for the ratings of all authors; a judge with a price is not asked without.
    judge_budget_per_month: float | None = Field(default=None, ge=0)
    # An entailment model (a hub id or a folder) that judges whether generated sentences say what
    # their passages say; empty: the support score does, with rules for numbers and negations.
    nli_model: str = ""
    # The adapter of other authors, which later versions must beat on the author's passages: `auto`,
    # trained on the bundled authors hours after a first release; `off`; or a PEFT adapter's folder.
    reference_adapter: str = "auto"
    paid_model: str = ""  # the paid route exists only with a model and a budget
    # US dollars for the paid model's answers; all limits are held before a request is sent.
    paid_budget_per_day: float | None = Field(default=None, ge=0)
    # US dollars for all that is paid: answers, teacher, judge and labels; none: no such limit.
    budget_per_day: float | None = Field(default=None, ge=0)
    budget_per_month: float | None = Field(default=None, ge=0)  # the same; months are UTC
    author_budget_per_day: float | None = Field(default=None, ge=0)  # the same, for each author
    author_budget_per_month: float | None = Field(default=None, ge=0)  # the same, for each author
    # US dollars a month for labels, by which questions are routed; none: none are bought.
    label_budget_per_month: float | None = Field(default=None, ge=0)
    # What routed questions may lose against the paid model, of a score from 0 to 1.
    quality_margin: float = Field(default=0.03, gt=0, lt=1)
    # What this machine costs an hour; the cost of an answer rests on it (60 W at 0.30 $/kWh).
    self_hosted_usd_per_hour: float = 0.02
    # auto: on processors that are faster in it (`processor.py` reads it).
    bf16: Literal["auto", "on", "off"] = "auto"
    # Processes that train together; where it is not set and a recipe is for GPUs, as many of this
    # machine's as can share a step
    train_ranks: int = Field(default=2, ge=1)
    train_backend: Literal["local", "ray"] = "local"  # where a training runs
    train_machines: int = Field(default=1, ge=1)  # Ray's workers; each runs ranks / machines
    ray_address: str = "http://127.0.0.1:8265"  # the dashboard of a Ray cluster (backend ray)
    # How the steps of a retraining run, and those of Materialize in Dagster: empty, in one process;
    # `processes`, one each; else a YAML file that names Dagster's executor and each step's size
    # (deploy/steps.prod.yaml: ECS).
    steps_apart: str = ""
    # Environments of the trace store, comma-separated, whose scores are read; `default` is where a
    # score is whose writer names none (`LANGFUSE_TRACING_ENVIRONMENT`).
    score_environments: str = "default"
    # Whether alarms and growth start a training by themselves; a fall is told either way.
    auto_retrain: bool = False
    retrain_runs_a_month: int | None = 8  # at most, of an author; none: no limit
    retrain_new_posts: int = 25  # since the stable version's training, worth another one
    # By how much quality may fall before it matters: the loop is told of no less.
    fall_tolerance: float = Field(default=0.03, ge=0, lt=1)
    notify: str = ""  # addresses in Apprise's grammar, separated by spaces; empty: none
    # A real Langfuse in place of the embedded trace store, with all three.
    langfuse_host: str = Field(default="", validation_alias="LANGFUSE_HOST")
    # Its public key (pk-lf-…).
    langfuse_public_key: str = Field(default="", validation_alias="LANGFUSE_PUBLIC_KEY")
    # Its secret key (sk-lf-…).
    langfuse_secret_key: str = Field(default="", validation_alias="LANGFUSE_SECRET_KEY")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A constant comes from the pace, and from no variable of its own."""
        del settings_cls, dotenv_settings, file_secret_settings

        def environment() -> dict[str, Any]:
            named = {name: at for name, at in env_settings().items() if name not in CONSTANTS}
            return named | dict(PACES[os.environ.get("TWIN_PACE", "")])

        return init_settings, cast("PydanticBaseSettingsSource", environment)

    @property
    def tables_base(self) -> str:
        """Base URI of the Lance tables: `<base>/<author>/<asset>.lance`."""
        return self.tables_uri or str(self.home / "tables")

    @property
    def state_address(self) -> str:
        """SQLAlchemy URL of the state store."""
        return self.state_url or f"sqlite:///{self.home / 'state.sqlite'}"

    @property
    def authors_dir(self) -> Path:
        return self.home / "authors"

    @property
    def checkpoints_dir(self) -> Path:
        """`<checkpoints_dir>/<author>/<checkpoint hash>/manifest.json`."""
        return self.home / "checkpoints"

    @property
    def reference_adapters_dir(self) -> Path:
        """Adapters of the bundled authors, `<hash>/`, and whose candidates each is beside."""
        return self.home / "reference_adapters"

    @property
    def weights_dir(self) -> Path:
        """Prepared base models and embedders, one folder each, by name and revision."""
        return self.home / "weights"

    @property
    def work_dir(self) -> Path:
        """Scratch of running jobs; safe to delete when nothing runs."""
        return self.home / "work"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def policy_path(self) -> Path:
        """The policy object that the gateway reads live (`registry/policy.py`)."""
        return self.home / "policy.json"

    @property
    def servers_path(self) -> Path:
        """Which model servers are up: written by the fleet, read by the gateway."""
        return self.home / "servers.json"

    @property
    def has_paid_route(self) -> bool:
        return bool(self.paid_model) and self.paid_budget_per_day is not None

    @property
    def has_hub_set(self) -> bool:
        """Whether the general set comes from the model hub."""
        is_absent = self.general_set and not Path(self.general_set).expanduser().exists()
        return bool(is_absent) and self.general_set.count("/") == 1

    @property
    def has_real_langfuse(self) -> bool:
        return bool(self.langfuse_host and self.langfuse_public_key and self.langfuse_secret_key)


def load_settings(home: str | os.PathLike[str] | None = None) -> Settings:
    """Read the environment; `home` wins over `TWIN_HOME`. The home is made absolute.

    Raises:
        TwinError: the environment sets what a release before had (`REMOVED_SETTINGS`), or names no
            pace.
    """
    pace = os.environ.get("TWIN_PACE", "")
    if pace not in PACES:
        raise TwinError(
            "read the settings",
            found=f"TWIN_PACE = {pace!r}",
            next_step=f"leave it out, or set {' or '.join(filter(None, PACES))}",
        )
    for name, instruction in REMOVED_SETTINGS.items():
        if os.environ.get(name):
            raise TwinError(
                "read the settings",
                found=f"{name}, which this release does not have",
                next_step=instruction,
            )
    values: dict[str, Any] = {} if home is None else {"home": Path(home)}
    settings = Settings(**values)
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


@dataclass(frozen=True)
class Secrets:
    """The keys of one home, made at first start, mode 600, never logged."""

    gateway_master_key: str
    gateway_key: str
    traces_public_key: str
    traces_secret_key: str

    def __repr__(self) -> str:
        return "Secrets(…)"


def load_secrets(settings: Settings) -> Secrets:
    """Read `secrets.json`, or make it (mode 600) when this home has none yet."""
    path = settings.home / "secrets.json"
    if not path.exists():
        generated_keys = {
            "gateway_master_key": "sk-twin-admin-" + random_source.token_urlsafe(32),
            "gateway_key": "sk-twin-" + random_source.token_urlsafe(32),
            "traces_public_key": "pk-lf-" + random_source.token_hex(16),
            "traces_secret_key": "sk-lf-" + random_source.token_hex(24),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # mode 600, and a name that no other thread or process has
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="secrets.", suffix=".partial")
        partial = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(generated_keys, stream)
        # A link refuses an existing target: the first of two racing starts wins, and nobody
        # overwrites keys that are in use.
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return Secrets(**json.loads(path.read_text(encoding="utf-8")))
