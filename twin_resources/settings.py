"""Define a home's settings, which are read from the environment, and its secrets.

Scope: every value that can be set for a home, its default, and the paths derived from it.
The comment at a value is its description in `deploy/docs/settings.md` (`settings_document.py`).
Out of scope: settings of one author (`author_file.py`), hyper-parameters (YAML recipes) and
measured values. The secrets are in a separate file (`secrets.json`, mode 600; see `load_secrets`).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from twin_resources.errors import TwinError
from twin_resources.home_marker import MARKER_NAME, change_marker, read_marker

EMBEDDED_BASE_MODEL = "smollm2-135m-instruct"
EMBEDDED_EMBEDDER = "all-minilm-l6-v2"
MULTILINGUAL_EMBEDDER = "multilingual-e5-small"  # installed with the front desk


class Constants(BaseSettings):
    """Values that no author or operator has needed to change. Only tests and the demo change them.

    They have no environment variable. A new value requires a code change and a measurement.
    """

    model_config = SettingsConfigDict(env_prefix="TWIN_", extra="ignore", frozen=True)

    baseline_values: int = Field(default=100, ge=1)  # settled values needed before a fall
    alarm_horizon: int = 5_000  # H: number of values over which the fleet's false alarms count
    alarm_rate: float = 0.05  # α: scales the threshold; `detector.py` has the measured share
    # at_once: one score per reader (demo, tests)
    reader_days: Literal["daily", "at_once"] = "daily"
    # Recorded questions that a shadow trial needs. With fewer, the gate decides and asks more.
    trial_prompts: int = 300
    margin: float = 0.1  # ε: how much worse a new version may be than the best one
    # Tokens of held-out passages read for a model's perplexity in a gate; at least 30 passages.
    evaluation_tokens: int = Field(default=30_000, ge=0)
    # Held-out questions that a gate asks, or all if there are fewer. A hundred questions determine
    # the voice score to within .11, thirty to within .17; a hundred take five minutes longer at the
    # first gate.
    evaluation_questions: int = Field(default=100, ge=30)
    # Memory of each of our servers for prompts that it has read, in MiB. The next prompt with the
    # same question is answered without reading its passages again (135M: 23 KB per token).
    prompt_cache_mib: int = Field(default=64, ge=0)
    # Threads of the server that answers readers; 0: half of the cores. More threads answer sooner
    # on an idle machine, but wait in a busy loop beside a training run.
    serving_threads: int = Field(default=0, ge=0)
    routing_labels: int = Field(default=1_500, ge=0)  # maximum bought per version of an author
    retrain_cooldown_days: float = 1.0  # minimum time between two training runs of an author
    retrain_hours_a_month: float | None = 40.0  # maximum per author; None: no limit
    retrain_new_posts: int = 25  # posts since the stable version's training that justify a new run
    retrain_new_pairs: int = 200  # preference pairs since the last run that justify a new run
    # On Linux, ranks without GPUs are forked from one process that has done the imports. If False,
    # accelerate's launcher starts them, and each does its own imports.
    train_forks: bool = True
    # Processes that answer at one address (`twin up --gateways`). Each answers about 80 quotations
    # per CPU second and takes 350 MB.
    gateways: int = Field(default=1, ge=1, le=64)


CONSTANTS = frozenset(Constants.model_fields)
# Values of `TWIN_PACE`, which the demo sets for the programs of its home. The demo must show within
# minutes what takes months with one or two readers.
_DEMO = {
    "baseline_values": 150,
    "alarm_horizon": 1_000,
    "retrain_cooldown_days": 0.0,
    "retrain_new_posts": 1_000,  # the arriving posts must not start training
    "reader_days": "at_once",
    "margin": 0.2,
    "trial_prompts": 60,
    "evaluation_tokens": 12_000,  # 30 passages per model instead of 54
    "evaluation_questions": 30,
    "serving_threads": 2,  # no training runs while a reader asks
    "prompt_cache_mib": 768,  # repeated questions are read only once
}
PACES: Mapping[str, Mapping[str, Any]] = {"": {}, "demo": _DEMO}


class Settings(Constants):
    """All settings that the environment (`TWIN_<NAME>`) provides. The defaults suit one machine.

    Paths that are not set are derived from `home`. Use `load_settings()` to create an instance.
    """

    home: Path = Path(".twin")  # the folder for everything that is written
    tables_uri: str = ""  # folder or s3://bucket/prefix; default <home>/tables
    state_url: str = ""  # SQLAlchemy URL; default: SQLite in <home>/state.sqlite
    base_model: str = EMBEDDED_BASE_MODEL  # the bundled model, a Hugging Face id, or a path
    embedder: str = EMBEDDED_EMBEDDER  # the bundled model, multilingual-e5-small, an id, or a path
    host: str = "127.0.0.1"  # address on which all servers listen
    gateway_port: int = 4000  # port of the OpenAI-compatible endpoint
    # Address of the endpoint for `twin` on a host that runs no gateway; ends in /v1.
    gateway_url: str = ""
    dagster_port: int = 3000  # port of Dagster's web pages
    traces_port: int = 4318  # port of the embedded trace store
    chat_port: int = 7860  # port of the chat page while it is open
    # Maximum number of concurrent requests with one key; the next one gets 429.
    requests_per_key: int = Field(default=32, ge=1)
    # Maximum number of requests in progress or waiting at one model server; the next one gets 429.
    requests_per_server: int = Field(default=64, ge=1)
    model_server_url: str = ""  # OpenAI-compatible server (vLLM …) that replaces ours; ends in /v1
    model_server_key: str = ""  # API key of that server
    # Path under which that server sees this home's folder, so that vLLM can load adapters from it;
    # empty: the same path.
    model_server_home: str = ""
    # Precision in which that server computes (vLLM: --dtype). It determines how far its answers may
    # differ in the gate. Empty: bf16 if the base model's configuration names it, else fp16.
    model_server_precision: Literal["", "fp32", "fp16", "bf16"] = ""
    # API key of an answer model at an address (`twin up --answer-model`).
    answer_model_key: str = ""
    # Precision of the weights of our servers. q8_0 takes half the space and answers slightly
    # differently, as each answer's `twin.precision` states. It is never chosen automatically.
    served_precision: Literal["f16", "q8_0"] = "f16"
    # Maximum share of an author's documents that may break a claim (for example, that no document
    # has another person's byline). Such documents are set aside; above this share, an import stops.
    most_quarantined: float = Field(default=0.2, ge=0, le=1)
    teacher_model: str = ""  # a LiteLLM model name; empty: instruction templates
    # US dollars per month for the questions of all authors; a teacher with a price needs a budget.
    teacher_budget_per_month: float | None = Field(default=None, ge=0)
    # LiteLLM name of a model that rates answers in the trials for which it is certified.
    judge_model: str = ""
    # US dollars per month for the ratings of all authors; a judge with a price needs a budget.
    judge_budget_per_month: float | None = Field(default=None, ge=0)
    # An entailment model (a hub id or a folder) that judges whether passages support generated
    # sentences. Empty: the support score judges this, with rules for numbers and negations.
    nli_model: str = ""
    paid_model: str = ""  # model of the paid route, which also requires a budget
    # US dollars per day for the paid model's answers. All limits are enforced before a request is
    # sent.
    paid_budget_per_day: float | None = Field(default=None, ge=0)
    # US dollars per day for all paid services: answers, teacher, judge and labels; none: no such
    # limit.
    budget_per_day: float | None = Field(default=None, ge=0)
    # US dollars per month (UTC) for all paid services; none: no such limit.
    budget_per_month: float | None = Field(default=None, ge=0)
    # US dollars per month for labels, which determine the routing; none: no labels are bought.
    label_budget_per_month: float | None = Field(default=None, ge=0)
    # Maximum quality loss of routed questions against the paid model, on a score from 0 to 1.
    quality_margin: float = Field(default=0.03, gt=0, lt=1)
    # Hourly cost of this machine, from which the cost of an answer follows (60 W at 0.30 $/kWh).
    self_hosted_usd_per_hour: float = 0.02
    # Number of processes that train together. If it is not set, a recipe for CPUs uses as many of
    # these as fit into half of the memory, and a recipe for GPUs the number of this machine's GPUs
    # that can share a step.
    train_ranks: int = Field(default=2, ge=1)
    # Execution of the steps of a retraining, and of Materialize in Dagster. Empty: in one process;
    # `processes`: one process each; otherwise a YAML file that names Dagster's executor and each
    # step's size (deploy/steps.prod.yaml: ECS).
    steps_apart: str = ""
    # Environment of the answers in the trace store; empty: `default`. Its scores are read, and
    # those of `default`, where they go if their writer names no environment.
    langfuse_environment: str = Field(default="", validation_alias="LANGFUSE_TRACING_ENVIRONMENT")
    # Whether alarms and growth start a training run automatically; a fall is reported either way.
    auto_retrain: bool = False
    notify: str = ""  # addresses in Apprise's syntax, separated by spaces; empty: none
    # A real Langfuse that replaces the embedded trace store; all three variables must be set.
    langfuse_host: str = Field(default="", validation_alias="LANGFUSE_HOST")
    # Public key of that Langfuse (pk-lf-…).
    langfuse_public_key: str = Field(default="", validation_alias="LANGFUSE_PUBLIC_KEY")
    # Secret key of that Langfuse (sk-lf-…).
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
        """Return the sources. Constants come from the pace, never from environment variables."""
        del settings_cls, dotenv_settings, file_secret_settings

        def read_environment() -> dict[str, Any]:
            settings_by_name = {
                name: value for name, value in env_settings().items() if name not in CONSTANTS
            }
            return settings_by_name | dict(PACES[os.environ.get("TWIN_PACE", "")])

        return init_settings, cast("PydanticBaseSettingsSource", read_environment)

    @property
    def tables_base(self) -> str:
        """Base URI of the Lance tables: `<base>/<author>/<asset>.lance`."""
        return self.tables_uri or str(self.home / "tables")

    @property
    def state_address(self) -> str:
        """SQLAlchemy URL of the state store."""
        return self.state_url or f"sqlite:///{self.home / 'state.sqlite'}"

    @property
    def score_environments(self) -> str:
        """Environments of the trace store whose scores are read, comma-separated."""
        return ",".join(dict.fromkeys(("default", self.langfuse_environment or "default")))

    @property
    def authors_dir(self) -> Path:
        return self.home / "authors"

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of the checkpoints: `<author>/<checkpoint hash>/manifest.json`."""
        return self.home / "checkpoints"

    @property
    def weights_dir(self) -> Path:
        """Prepared base models and embedders, one folder each, by name and revision."""
        return self.home / "weights"

    @property
    def work_dir(self) -> Path:
        """Scratch folder of running jobs; safe to delete when nothing runs."""
        return self.home / "work"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def policy_path(self) -> Path:
        """The policy file, which the gateway reads after each change (`registry/policy.py`)."""
        return self.home / "policy.json"

    @property
    def host_dir(self) -> Path:
        """Folder of what one host alone uses; where hosts share the home, a local disk."""
        return self.home / "host"

    @property
    def has_shared_state(self) -> bool:
        """Whether other hosts may use this home's state store."""
        return bool(self.state_url) and not self.state_url.startswith("sqlite")

    @property
    def servers_path(self) -> Path:
        """File that lists the running model servers; the fleet writes it, the gateway reads it."""
        return self.host_dir / "servers.json"

    @property
    def has_paid_route(self) -> bool:
        return bool(self.paid_model) and self.paid_budget_per_day is not None

    @property
    def has_real_langfuse(self) -> bool:
        return bool(self.langfuse_host and self.langfuse_public_key and self.langfuse_secret_key)


def load_settings(home: str | os.PathLike[str] | None = None) -> Settings:
    """Read the environment; `home` overrides `TWIN_HOME`. The home's path becomes absolute.

    Raises:
        TwinError: the environment sets an unknown pace.
    """
    pace = os.environ.get("TWIN_PACE", "")
    if pace not in PACES:
        raise TwinError(
            "read the settings",
            found=f"TWIN_PACE = {pace!r}",
            next_step=f"unset it, or set it to {' or '.join(filter(None, PACES))}",
        )
    values: dict[str, Any] = {} if home is None else {"home": Path(home)}
    settings = Settings(**values)
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


@dataclass(frozen=True)
class Secrets:
    """The keys of one home, which are never logged."""

    gateway_master_key: str
    gateway_key: str
    traces_public_key: str
    traces_secret_key: str

    def __repr__(self) -> str:
        return "Secrets(…)"


def secrets_path(settings: Settings) -> Path:
    """Return the path of the file with this home's keys."""
    return settings.home / "secrets.json"


def load_secrets(settings: Settings) -> Secrets:
    """Read `secrets.json`, which the first call in a new home creates with mode 600.

    Raises:
        TwinError: the file is damaged, or it is missing in a home that had one.
    """
    path = secrets_path(settings)
    # Read first: another process creates the file before the home remembers it.
    had_secrets = read_marker(settings.home).has_secrets
    if not path.exists():
        if had_secrets:
            raise TwinError(
                "read this home's keys",
                found=f"{path} is missing, although this home had one",
                next_step="take it from a backup with `--secrets` (`twin restore FILE --home "
                f"NEW`); for new keys, delete {settings.home / MARKER_NAME}, which is written "
                "again, and give them to the owner's programs",
            )
        generated_keys = {
            "gateway_master_key": "sk-twin-admin-" + secrets.token_urlsafe(32),
            "gateway_key": "sk-twin-" + secrets.token_urlsafe(32),
            "traces_public_key": "pk-lf-" + secrets.token_hex(16),
            "traces_secret_key": "sk-lf-" + secrets.token_hex(24),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # `mkstemp` sets mode 600 and chooses a name that no other thread or process uses.
        descriptor, partial_name = tempfile.mkstemp(
            dir=path.parent, prefix="secrets.", suffix=".partial"
        )
        partial_path = Path(partial_name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(generated_keys, stream)
        # `link` fails if the target exists. The first of two concurrent starts therefore wins, and
        # keys in use are never overwritten.
        with contextlib.suppress(FileExistsError):
            os.link(partial_path, path)
        partial_path.unlink()
        change_marker(settings.home, lambda marker: replace(marker, has_secrets=True))
    try:
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise TwinError(
            "read this home's keys",
            found=f"{path} is empty or damaged",
            next_step="take it from a backup with `--secrets` (`twin restore FILE --home NEW`); "
            f"for new keys, delete it and {settings.home / MARKER_NAME}, which are written again, "
            "and give them to the owner's programs",
        ) from error
