"""The one settings object: the environment, and one TOML file an author.

Belongs here: every value that a person may set, its default, and the paths that follow from it.
Does not belong here: hyper-parameters (recipes, YAML) and anything that is measured. The secrets
are in a file of their own (`secrets.json`, mode 600, see `load_secrets`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets as random_source
import tempfile
import tomllib
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from twin_resources.errors import TwinError

EMBEDDED_BASE_MODEL = "smollm2-135m-instruct"
EMBEDDED_EMBEDDER = "all-minilm-l6-v2"
OPT_INS = frozenset({"drafts", "private", "followers", "paid", "replies"})
"""What an import leaves out unless the author's settings ask for it (`Author.include`)."""


class Settings(BaseSettings):
    """Everything that the environment (`TWIN_<NAME>`) can set; the defaults run on one machine.

    Paths that are not set follow from `home`. `load_settings()` is the way to get one.
    """

    model_config = SettingsConfigDict(env_prefix="TWIN_", extra="ignore", frozen=True)

    home: Path = Path(".twin")
    tables_uri: str = ""  # folder or s3://bucket/prefix; default <home>/tables
    state_url: str = ""  # SQLAlchemy URL; default sqlite in <home>/state.sqlite
    base_model: str = EMBEDDED_BASE_MODEL  # or a Hugging Face id, or a path
    embedder: str = EMBEDDED_EMBEDDER  # or a sentence-transformers id, or a path
    # Empty: OpenVINO where it reproduces the model; sentence-transformers uses a graphics card.
    embedder_engine: Literal["", "openvino", "sentence-transformers"] = ""
    host: str = "127.0.0.1"
    gateway_port: int = 4000
    dagster_port: int = 3000
    traces_port: int = 4318
    chat_port: int = 7860  # of the chat page, while it is open
    model_server_url: str = ""  # an OpenAI-compatible server (vLLM …) instead; ends in /v1
    model_server_key: str = ""
    # Memory in which a server of ours keeps prompts that it has read, each: the next one with the
    # same question answers without reading its passages again (135M: 23 KB a token).
    prompt_cache_mib: int = Field(default=64, ge=0)
    # Threads of the server that answers readers; 0: half of the cores. More answer sooner while
    # nothing else computes, and wait in a busy loop beside a training.
    serving_threads: int = Field(default=0, ge=0)
    teacher_model: str = ""  # a LiteLLM model name; empty: instruction templates
    # US dollars for the questions of all authors; a teacher with a price is not asked without.
    teacher_budget_per_month: float | None = Field(default=None, ge=0)
    # Chat samples that are mixed into the training: a file, a folder, or a data set of the model
    # hub (owner/name, owner/name@revision); and what share of the training samples they are.
    general_set: str = ""
    general_share: float = Field(default=0.1, ge=0, le=0.5)
    judge_model: str = ""
    paid_model: str = ""  # the paid route exists only with a model and a budget
    paid_budget_per_day: float | None = None  # US dollars
    # What this machine costs an hour; the cost of an answer rests on it (60 W at 0.30 $/kWh).
    self_hosted_usd_per_hour: float = 0.02
    train_ranks: int = 2
    train_backend: Literal["local", "ray"] = "local"
    train_machines: int = Field(default=1, ge=1)  # Ray: workers; each runs ranks / machines
    # host:port at which this machine is reached by those that follow it (backend local).
    train_meeting: str = ""
    ray_address: str = "http://127.0.0.1:8265"  # the dashboard of a Ray cluster (backend ray)
    auto_retrain: bool = False  # whether alarms and growth start a training by themselves
    retrain_cooldown_days: float = 1.0  # between two trainings of an author
    retrain_runs_a_month: int | None = 8
    retrain_hours_a_month: float | None = 40.0
    retrain_new_posts: int = 25  # since the stable version's training, worth another one
    retrain_new_pairs: int = 200
    baseline_values: int = 500  # settled values that certify a baseline, and raise it once
    baseline_values_later: int = 2_000
    alarm_horizon: int = 5_000  # H and α: a false alarm of the fleet within H values
    alarm_rate: float = 0.05
    margin: float = 0.1  # ε: by how much a new version may be worse than the best one
    # Recorded questions that a shadow trial needs; with fewer a candidate is released by the gate.
    trial_prompts: int = 300
    # Of held-out passages that a gate reads for each model, 30 passages at least: perplexity.
    evaluation_tokens: int = Field(default=30_000, ge=0)
    # Held-out questions that a gate asks, or as many as there are: the voice score is known to .11
    # with a hundred of them and to .17 with thirty, for five minutes more at the first gate.
    evaluation_questions: int = Field(default=100, ge=30)
    reader_days: Literal["daily", "at_once"] = "daily"  # at_once: one score a reader (demo, tests)
    # Where trainings are written to as MLflow runs, with the extra mlflow; empty: nowhere.
    mlflow_tracking_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    notify: str = ""  # addresses in Apprise's grammar, separated by spaces; empty: none
    langfuse_host: str = Field(default="", validation_alias="LANGFUSE_HOST")
    langfuse_public_key: str = Field(default="", validation_alias="LANGFUSE_PUBLIC_KEY")
    langfuse_secret_key: str = Field(default="", validation_alias="LANGFUSE_SECRET_KEY")

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
        """The policy object that the gateway reads live (`gateway/policy.py`)."""
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
        found = self.general_set and not Path(self.general_set).expanduser().exists()
        return bool(found) and self.general_set.count("/") == 1

    @property
    def has_real_langfuse(self) -> bool:
        return bool(self.langfuse_host and self.langfuse_public_key and self.langfuse_secret_key)


def load_settings(home: str | os.PathLike[str] | None = None) -> Settings:
    """Read the environment; `home` wins over `TWIN_HOME`. The home is made absolute."""
    values: dict[str, Any] = {} if home is None else {"home": Path(home)}
    settings = Settings(**values)
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


# Of the passages of a prompt, in tokens of the embedder: two of the usual size. With 700 a training
# sample of 770 tokens held 100 of the answer, and a reply waited for twice as many to be read.
CONTEXT_TOKENS = 400


@dataclass(frozen=True)
class Author:
    """`authors/<slug>.toml`: who is speaking and how. Data: a change needs no retraining.

    Attributes:
        slug: partition key and alias (`twin/<slug>`), ASCII.
        name: the name as people write it.
        aliases: other names and handles that the author signs with; a post with another byline is
            somebody else's.
        sources: absolute folders or files that `raw_posts` imports.
        include: some of `OPT_INS`.
        language: ISO 639-1 code, or empty when the corpus decides.
        persona: one line about the author for the system prompt; empty: made from the name.
        refused_topics: topics that the twin declines to speak about.
        temperature, frequency_penalty, max_tokens: sampling of an answer.
        context_tokens: most tokens of the passages in a prompt, in training and in serving; under
            256 a full chunk does not fit. A larger model makes use of more; a change is a new
            dataset.
        disclosure: the sentence that tells a reader that a model wrote this.
        recipe: name of the training recipe; empty: the one that fits the base model.
        base_model: empty: `Settings.base_model`.
        release_mode: `gate`, `shadow` or `canary`; `auto`: by what is measured (architecture.md).
        canary_share: share of the requests that a canary answers; in force with the next
            `routing_policy`.
        auto_retrain: None: `Settings.auto_retrain`.
        consent: how the author agreed; free text, shown in reports.
        presidio_model: a pipeline of spaCy (package or folder) by which Presidio looks for people's
            names and places in posts of its language; empty: they stay.
    """

    slug: str
    name: str
    sources: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    language: str = ""
    persona: str = ""
    refused_topics: tuple[str, ...] = ()
    temperature: float = 0.3
    frequency_penalty: float = 0.4  # without one a small model repeats a sentence to the end
    max_tokens: int = 200
    context_tokens: int = CONTEXT_TOKENS
    disclosure: str = ""
    recipe: str = ""
    base_model: str = ""
    release_mode: str = "auto"
    canary_share: float = 0.1
    auto_retrain: bool | None = None
    consent: str = ""
    presidio_model: str = ""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def disclosure_line(self) -> str:
        return self.disclosure or (
            f"Written by a language model trained on {self.name}'s posts, not by {self.name}."
        )


def slug_of(name: str) -> str:
    """ASCII slug of a display name: `José Núñez` → `jose-nunez`, `李` → `author-674e`.

    A name without ASCII letters gets a stable slug from its code points, so that two runs agree.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")
    if slug:
        return slug[:48].strip("-")
    digits = "-".join(f"{ord(character):x}" for character in name.strip()[:8])
    if not digits:
        raise TwinError("name the author", found="an empty name", next_step="pass --author NAME")
    return f"author-{digits}"


def read_author(settings: Settings, slug: str) -> Author:
    """Read one author's file.

    Raises:
        TwinError: the file is missing, is not valid TOML, or a value is of another kind.
    """
    path = settings.authors_dir / f"{slug}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"no file {path}",
            next_step="run `twin up PATH --author NAME` or write the file",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"{path}: {error}",
            next_step="mend the TOML, which is UTF-8",
        ) from error
    known = {name for name in Author.__dataclass_fields__ if name not in {"slug", "extra"}}
    values = {name: document[name] for name in known if name in document}
    for name in ("aliases", "sources", "refused_topics", "include"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    values.setdefault("name", slug)
    extra = {name: value for name, value in document.items() if name not in known}
    wrong: list[str] = []
    for name, value in values.items():
        try:
            values[name] = _kinds_of_author()[name].validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (name, *first["loc"])))
            wrong.append(f"{place} is {first['input']!r} ({first['msg']})")
    if wrong:
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"{path}: {'; '.join(wrong)}",
            next_step='give it another value; of several, as in sources = ["one", "two"]',
        )
    return Author(slug=slug, **values, extra=extra)


@cache  # building them costs more than reading a file, and a tick may read 200
def _kinds_of_author() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(kind) for name, kind in get_type_hints(Author).items()}


def author_slugs(settings: Settings) -> list[str]:
    """Slug of every author of this home, whatever their files say."""
    return sorted(path.stem for path in settings.authors_dir.glob("*.toml"))


def list_authors(settings: Settings) -> list[Author]:
    """Every author of this home, by slug.

    Raises:
        TwinError: see `read_author`; whoever must not stop at one author's mistake asks
            `readable_authors`.
    """
    return [read_author(settings, slug) for slug in author_slugs(settings)]


def readable_authors(settings: Settings) -> tuple[list[Author], list[str]]:
    """The authors of this home, and a line for each whose file has a mistake in it."""
    found: list[Author] = []
    wrong: list[str] = []
    for slug in author_slugs(settings):
        try:
            found.append(read_author(settings, slug))
        except TwinError as error:
            wrong.append(f"{slug}: {error}")
    return found, wrong


def write_author(settings: Settings, author: Author) -> Path:
    """Write one author's file; defaults are left out, so that they can move on."""
    import tomli_w

    document: dict[str, Any] = {"name": author.name, "sources": list(author.sources)}
    for name, spec in Author.__dataclass_fields__.items():
        if name in {"slug", "name", "sources", "extra"}:
            continue
        value = getattr(author, name)
        if value != spec.default:
            document[name] = list(value) if isinstance(value, tuple) else value
    document |= author.extra
    path = settings.authors_dir / f"{author.slug}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".toml.partial")
    partial.write_text(tomli_w.dumps(document), encoding="utf-8")
    partial.replace(path)
    return path


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
        made = {
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
            json.dump(made, stream)
        # A link refuses an existing target: the first of two racing starts wins, and nobody
        # overwrites keys that are in use.
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return Secrets(**json.loads(path.read_text(encoding="utf-8")))
