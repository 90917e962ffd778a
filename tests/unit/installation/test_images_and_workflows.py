"""Test the image, the Compose file and the workflows with their linters and the settings."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from twin_resources.processes.stack import SERVICES
from twin_resources.settings import Settings

BIN = Path(sys.executable).parent
IMAGES, WORKFLOWS = ROOT / "deploy" / "images", ROOT / ".github" / "workflows"
DOCKERFILE, COMPOSE = IMAGES / "twin.Dockerfile", IMAGES / "compose.yaml"


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_setting_defaults() -> dict[str, Any]:
    return {name: field.default for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize(
    "command",
    [
        ("hadolint", str(DOCKERFILE)),
        ("zizmor", "--offline", "--persona", "pedantic", "--quiet", str(ROOT / ".github")),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)),
        (
            *("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
            *map(str, sorted(WORKFLOWS.glob("*.yaml"))),
        ),
    ],
    ids=lambda command: f"{command[0]} {Path(command[-1]).name}",
)
def test_the_linter_reports_nothing(command: tuple[str, ...]) -> None:
    completed = subprocess.run(
        [str(BIN / command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_variables_are_settings_and_ports_belong_to_services() -> None:
    services = load_yaml(COMPOSE)["services"]
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")
    variables = {name for name in services["twin"]["environment"] if name.startswith("TWIN_")}
    variables |= set(re.findall(r"\b(TWIN_\w+)=", dockerfile))
    assert len(variables) == 3
    assert variables <= {f"TWIN_{name.upper()}" for name in read_setting_defaults()}
    ports = {read_setting_defaults()[f"{name}_port"] for name in SERVICES}
    [exposed_ports] = re.findall(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)
    assert set(map(int, exposed_ports.split())) == ports
    mappings = [port.rpartition(":") for port in services["twin"]["ports"]]
    assert {int(container_port) for _, _, container_port in mappings} == ports
    assert all(
        host_port == f"127.0.0.1:{container_port}" for host_port, _, container_port in mappings
    )


def test_the_image_has_one_name_and_runs_without_root() -> None:
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")
    image = load_yaml(COMPOSE)["services"]["twin"]["image"]
    assert f"-t {image} ." in dockerfile
    assert re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE) == ["10001"]


def is_copied(path: str) -> bool:
    """Return whether `docker build` copies a path.

    The last rule that matches the path or one of its parents decides:
    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    is_included = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.partition("#")[0].strip()
        pattern = rule.removeprefix("!").rstrip("/").removeprefix("**/")
        parts = Path(path).parts
        matches = (
            {*parts} if "**/" in rule else {"/".join(parts[:end]) for end in range(len(parts) + 1)}
        )
        if rule and (pattern == "*" or pattern in matches):
            is_included = rule.startswith("!")
    return is_included


def test_the_image_contains_the_package_but_no_home() -> None:
    assert "COPY . " in DOCKERFILE.read_text(encoding="utf-8")  # what `.dockerignore` keeps
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = [name.removesuffix("*") for name in patterns]
    required = [
        f"{name}/any/file.py" if (ROOT / name).is_dir() else f"deploy/{name}/any/file.py"
        for name in packages
    ]
    required += ["pyproject.toml", project["project"]["readme"]]
    required += [*project["project"]["license-files"], "deploy/constraints.txt"]
    assert [path for path in required if not is_copied(path)] == []
    private = [
        ".twin/state.db",
        ".env",
        "my-home/authors/ann.toml",
        ".git/config",
        ".venv/bin/python",
    ]
    private += ["posts/2024.md", "deploy/docs/twin.gif", "twin_assets/__pycache__/a.pyc"]
    assert [path for path in private if is_copied(path)] == []


def test_production_deploys_the_digest_from_staging() -> None:
    jobs = load_yaml(WORKFLOWS / "image.yaml")["jobs"]
    digest = "${{ needs.build.outputs.digest }}"
    for name in ("staging", "production"):
        last_step = jobs[name]["steps"][-1]
        assert last_step["env"] == {"DIGEST": digest}
        assert '"$IMAGE@$DIGEST"' in last_step["run"]
        assert jobs[name]["environment"] == name
    assert set(jobs["production"]["needs"]) == {"build", "staging"}
