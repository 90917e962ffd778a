"""Check the machine and the installation for `twin doctor`; nothing here needs a stack.

Scope: system, packages, graphics card, disk, the home's files and keys.
Out of scope: the needs of a model (`preflight.py` reports them before the installation).
"""
# pyright: strict

from __future__ import annotations

import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import twin_resources
from twin_cli import preflight
from twin_cli.commands.doctor.findings import Diagnostic, fail, ok, warn
from twin_resources.access.named_model import cost_of
from twin_resources.access.spending_limits import dollars
from twin_resources.authors import author_slugs, readable_authors
from twin_resources.processes.child_environment import named_models, provider_prefixes
from twin_resources.processes.graphics_cards import gpus
from twin_resources.settings import Settings

PROJECT = "llm-twin"
LITTLE_GB = 5.0  # room for a training with its checkpoints and an update's packages
PRIVATE = ("secrets.json", "endpoints.json", "env", "servers.json")


def look_at_system(_settings: Settings) -> Iterator[Diagnostic]:
    """Check system, Python and compiler, as the preflight does."""
    looks = (preflight.look_at_system, preflight.look_at_python, preflight.look_at_compiler)
    yield from _of_preflight(finding for look in looks for finding in look())


def look_at_reranker(settings: Settings) -> Iterator[Diagnostic]:
    """Check whether the named reranker can exist; without one, yield nothing."""
    yield from _of_preflight(preflight.look_at_reranker(settings.reranker))


def _of_preflight(findings: Iterable[preflight.Finding]) -> Iterator[Diagnostic]:
    for finding in findings:
        if finding["verdict"] == "ok":
            yield ok(finding["name"], finding["found"])
        else:
            yield fail(finding["name"], finding["found"], finding["next_step"])


def look_at_packages(_settings: Settings) -> Iterator[Diagnostic]:
    """Check that the project's requirements are installed in versions that work with it."""
    wrong: list[str] = []
    count = 0
    for line in requirements():
        required = Requirement(line)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue  # belongs to an extra or to another system
        count += 1
        try:
            version = metadata.version(required.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{required.name} is missing")
            continue
        if not required.specifier.contains(version, prereleases=True):
            wrong.append(f"{required.name} {version}, wanted {required.specifier}")
    if wrong:
        yield fail(
            "packages",
            "; ".join(wrong),
            "install again: `bash deploy/up.sh`, or `pip install -e . -c deploy/constraints.txt`",
        )
    else:
        version = metadata.version(PROJECT)
        yield ok("packages", f"{PROJECT} {version}, its {count} requirements are met")


def requirements(root: Path = Path(twin_resources.__file__).parents[1]) -> list[str]:
    """Return the project's requirements: in a checkout the file's, elsewhere the installed ones.

    An editable installation keeps the list from its installation: after a `git pull` it would lack
    a new dependency.
    """
    declared = root / "pyproject.toml"
    if declared.is_file():
        project = tomllib.loads(declared.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == PROJECT:
            return list(project["dependencies"])
    return metadata.requires(PROJECT) or []


def look_at_gpu(_settings: Settings) -> Iterator[Diagnostic]:
    """Check for graphics cards, and whether the installed torch can use them."""
    cards = gpus()
    torch = metadata.version("torch")
    if not cards:
        cores = preflight.cores()
        yield ok("GPU", f"none: {cores} cores train and answer (torch {torch})")
        return
    named = ", ".join(f"{name} ({memory:.0f} GB)" for name, memory in cards)
    if torch.endswith("+cpu"):
        yield warn(
            "GPU",
            f"{named}, and torch {torch} cannot use it",
            "install torch with CUDA: `pip install --force-reinstall torch` without an index of "
            "CPU wheels",
        )
    else:
        yield ok("GPU", f"{named}, torch {torch}")


def look_at_disk(settings: Settings) -> Iterator[Diagnostic]:
    """Check the free space and the permissions of the home's folder."""
    folder = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / preflight.GB
    message = f"{free:.1f} GB free at {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "disk", f"{folder} is not writable", "make it writable, or name another: TWIN_HOME"
        )
    elif free < preflight.HOME_GB:
        remedy = "free space there, or name another folder with TWIN_HOME"
        yield fail("disk", f"{message}; a training needs {preflight.HOME_GB} GB", remedy)
    elif free < LITTLE_GB:
        yield warn("disk", message, f"free space before the next training: {LITTLE_GB:.0f} GB last")
    else:
        yield ok("disk", message)


def look_at_keys(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Iterator[Diagnostic]:
    """Check the files that hold keys, and the provider keys that a named model needs."""
    private = [settings.home / name for name in PRIVATE if (settings.home / name).exists()]
    open_to_others = [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_to_others:
        named = " ".join(str(path) for path in open_to_others)
        yield fail("keys", f"others can read {named}", f"chmod 600 {named}")
    elif private:
        names = ", ".join(path.name for path in private)
        yield ok("keys", f"{names}: readable by their owner only")
    else:
        yield ok("keys", "none yet; the first start makes them")
    for model in named_models(settings):
        prefixes = provider_prefixes([model])
        if prefixes and not any(
            value and re.match("|".join(map(re.escape, prefixes)), name)
            for name, value in environ.items()
        ):
            yield warn(
                "keys",
                f"{model} is named, and no variable begins with {' or '.join(prefixes)}",
                f"export {prefixes[0].rstrip('_')}_API_KEY=… before `twin up`, if it needs a key",
            )


def look_at_judge(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Iterator[Diagnostic]:
    """Check whether the named judge can be paid; without one, yield nothing."""
    model = settings.judge_model
    if not model:
        return
    cost, limit = cost_of(model, environ), settings.judge_budget_per_month
    if cost == "free":
        yield ok("judge", f"{model} costs nothing")
    elif cost == "unknown":
        yield warn(
            "judge",
            f"no price for {model} in LiteLLM's price map: it is not asked",
            "name a model with a known price in TWIN_JUDGE_MODEL, or a server of your own",
        )
    elif limit is None:
        yield warn(
            "judge",
            f"{model} costs money, and there is no budget for it: it is not asked",
            "set TWIN_JUDGE_BUDGET_PER_MONTH (US dollars), or unset TWIN_JUDGE_MODEL",
        )
    else:
        yield ok("judge", f"{model} may cost {dollars(limit)} a month")


def look_at_authors(settings: Settings) -> Iterator[Diagnostic]:
    """Check the authors' files, and whether their folders exist."""
    slugs = author_slugs(settings)
    if not slugs:
        yield warn("authors", f"none in {settings.home}", "`twin up PATH --author NAME`")
        return
    authors, wrong = readable_authors(settings)
    for line in wrong:
        yield fail("authors", line, f"mend the file in {settings.authors_dir}")
    gone = [
        f"{source} (of {author.slug})"
        for author in authors
        for source in author.sources
        if "://" not in source and not Path(source).expanduser().exists()
    ]
    if gone:
        yield warn(
            "authors",
            f"no longer there: {', '.join(gone)}",
            "put it back, or take it out of `sources` in the author's file: an import that finds "
            "nothing there is refused",
        )
    if not wrong and not gone:
        yield ok("authors", ", ".join(slugs))
