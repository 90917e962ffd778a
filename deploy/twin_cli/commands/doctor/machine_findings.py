"""Check the machine and the installation for `twin doctor`; no check needs a stack.

Scope: system, packages, GPU, disk, and the home's files and keys.
Out of scope: the needs of a model (`preflight.py` reports them before installation).
"""
# pyright: strict

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import twin_resources
from twin_cli import preflight
from twin_cli.commands.doctor.findings import DoctorFinding, fail, ok, warn
from twin_resources.access.configured_model import classify_cost
from twin_resources.access.spending_limits import format_dollars
from twin_resources.authors import list_author_slugs, list_readable_authors
from twin_resources.home_marker import read_marker
from twin_resources.processes.child_environment import list_external_models, list_provider_prefixes
from twin_resources.processes.gpus import describe_gpus, list_usable_gpus
from twin_resources.settings import Settings, load_secrets, secrets_path

PACKAGE_NAME = "llm-twin"
PRIVATE_FILES = ("secrets.json", "endpoints.json", "env", "host/servers.json")


def check_system(_settings: Settings) -> Iterator[DoctorFinding]:
    """Check the system, Python and the compiler, as the preflight check does."""
    checks = (preflight.check_system, preflight.check_python, preflight.check_compiler)
    yield from _convert_preflight_findings(finding for check in checks for finding in check())


def check_reranker(settings: Settings) -> Iterator[DoctorFinding]:
    """Check whether the reranker is valid; if none is configured, yield nothing."""
    yield from _convert_preflight_findings(preflight.check_reranker(settings.reranker))


def _convert_preflight_findings(findings: Iterable[preflight.Finding]) -> Iterator[DoctorFinding]:
    for finding in findings:
        if finding["verdict"] == "ok":
            yield ok(finding["name"], finding["found"])
        else:
            yield fail(finding["name"], finding["found"], finding["next_step"])


def check_packages(_settings: Settings) -> Iterator[DoctorFinding]:
    """Check that the project's requirements are installed in compatible versions."""
    problems: list[str] = []
    checked_count = 0
    for line in read_project_requirements():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # for an extra or another system
        checked_count += 1
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version} instead of {requirement.specifier}")
    if problems:
        yield fail(
            "packages",
            "; ".join(problems),
            "reinstall: `bash deploy/up.sh`, or `pip install -e . -c deploy/constraints.txt`",
        )
    else:
        version = metadata.version(PACKAGE_NAME)
        yield ok("packages", f"{PACKAGE_NAME} {version}, all {checked_count} requirements are met")


def read_project_requirements(root: Path = Path(twin_resources.__file__).parents[1]) -> list[str]:
    """Return the requirements from `pyproject.toml` in a checkout, else from the package metadata.

    The metadata of an editable installation is not updated, so it lacks dependencies that a
    `git pull` added.
    """
    project_file = root / "pyproject.toml"
    if project_file.is_file():
        project = tomllib.loads(project_file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == PACKAGE_NAME:
            return list(project["dependencies"])
    return metadata.requires(PACKAGE_NAME) or []


def check_gpu(_settings: Settings) -> Iterator[DoctorFinding]:
    """List the GPUs, and check whether the installed torch can use them."""
    gpus = list_usable_gpus()  # the error about a torch without CUDA is a finding too
    torch_version = metadata.version("torch")
    if gpus:
        yield ok("GPU", f"{describe_gpus(gpus)}, torch {torch_version}")
    else:
        cores = preflight.count_usable_cores()
        yield ok("GPU", f"none: {cores} cores train and answer (torch {torch_version})")


def check_disk(settings: Settings) -> Iterator[DoctorFinding]:
    """Check free space and permissions of the home folder, as the preflight check does."""
    home = settings.home
    yield from _convert_preflight_findings(
        preflight.check_disk(home, home, project_gb=0.0, home_gb=preflight.HOME_GB)
    )


def check_keys(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Iterator[DoctorFinding]:
    """Check the files that contain keys, and the provider keys that configured models need."""
    if not secrets_path(settings).exists() and read_marker(settings.home).has_secrets:
        load_secrets(settings)  # its error says what is missing
    private_files = [
        settings.home / name for name in PRIVATE_FILES if (settings.home / name).exists()
    ]
    exposed_files = [path for path in private_files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if exposed_files:
        file_list = " ".join(str(path) for path in exposed_files)
        yield fail("keys", f"other users can read {file_list}", f"chmod 600 {file_list}")
    elif private_files:
        names = ", ".join(path.name for path in private_files)
        yield ok("keys", f"{names}: readable by their owner only")
    else:
        yield ok("keys", "none yet; the first start creates them")
    for model in list_external_models(settings):
        prefixes = list_provider_prefixes([model])
        if prefixes and not any(
            value and re.match("|".join(map(re.escape, prefixes)), name)
            for name, value in environ.items()
        ):
            yield warn(
                "keys",
                f"{model} is configured, but no environment variable begins with "
                f"{' or '.join(prefixes)}",
                f"export {prefixes[0].rstrip('_')}_API_KEY=… before `twin up`, if it needs a key",
            )


def check_judge(
    settings: Settings, *, environ: Mapping[str, str] = os.environ
) -> Iterator[DoctorFinding]:
    """Check whether the judge has a price and a budget; if none is configured, yield nothing."""
    model = settings.judge_model
    if not model:
        return
    cost_class, monthly_budget = classify_cost(model, environ), settings.judge_budget_per_month
    if cost_class == "free":
        yield ok("judge", f"{model} costs nothing")
    elif cost_class == "unknown":
        yield warn(
            "judge",
            f"no price for {model} in LiteLLM's price map, so it is not used",
            "set TWIN_JUDGE_MODEL to a model with a known price, or to one on your own server",
        )
    elif monthly_budget is None:
        yield warn(
            "judge",
            f"{model} costs money and has no budget, so it is not used",
            "set TWIN_JUDGE_BUDGET_PER_MONTH (US dollars), or unset TWIN_JUDGE_MODEL",
        )
    else:
        yield ok("judge", f"{model} may cost {format_dollars(monthly_budget)} a month")


def check_authors(settings: Settings) -> Iterator[DoctorFinding]:
    """Check the authors' files, and whether the folders of their posts exist."""
    slugs = list_author_slugs(settings)
    if not slugs:
        yield warn("authors", f"none in {settings.home}", "run `twin up PATH --author NAME`")
        return
    authors, problems = list_readable_authors(settings)
    for problem in problems:
        yield fail("authors", problem, f"correct the file in {settings.authors_dir}")
    unknown_settings = [
        sentence for author in authors for sentence in author.describe_unknown_settings()
    ]
    for sentence in unknown_settings:
        yield warn("authors", sentence, f"correct or delete it in {settings.authors_dir}")
    missing_sources = [
        f"{source} ({author.slug})"
        for author in authors
        for source in author.sources
        if "://" not in source and not Path(source).expanduser().exists()
    ]
    if missing_sources:
        yield warn(
            "authors",
            f"missing: {', '.join(missing_sources)}",
            "restore it, or remove it from `sources` in the author's file; an import with an empty "
            "source is refused",
        )
    if not problems and not missing_sources and not unknown_settings:
        yield ok("authors", ", ".join(slugs))
