"""Test that the Ray cluster's manifests match each other and the code.

They were validated once against KubeRay's own schema (RayCluster, v1):
https://ray-project.github.io/kuberay/reference/api/
"""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from twin_resources.settings import Settings

FOLDER = ROOT / "deploy" / "kubernetes"
Documents = dict[str, dict[str, Any]]


def read() -> Documents:
    text = (FOLDER / "ray-cluster.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def find_problems(documents: Documents) -> list[str]:
    """Describe everything that would prevent the cluster from training."""
    cluster = documents["RayCluster"]
    wrong: list[str] = []
    spec = cluster["spec"]
    if spec["rayVersion"] != version("ray"):
        wrong.append(f"rayVersion {spec['rayVersion']}, installed {version('ray')}")
    if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        wrong.append("the head takes ranks")
    claim = documents["PersistentVolumeClaim"]
    if claim["spec"]["accessModes"] != ["ReadWriteMany"]:
        wrong.append("one node alone can write to the home")
    groups = {"head": spec["headGroupSpec"]}
    groups |= {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    images = set[str]()
    for name, group in groups.items():
        pod = group["template"]["spec"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        known = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            images.add(container["image"])
            environment = {each["name"]: each["value"] for each in container["env"]}
            mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            wrong += [f"{name}: no volume {mount}" for mount in set(mounts.values()) - known]
            if (
                claims.get(mounts.get(environment.get("TWIN_HOME", ""), ""))
                != (claim["metadata"]["name"])
            ):
                wrong.append(f"{name}: the home is not the claim's volume")
            if environment.get("RAY_USAGE_STATS_ENABLED") != "0":
                wrong.append(f"{name}: Ray sends usage statistics")
            limits = container["resources"]["limits"]
            asked = container["resources"]["requests"]
            if limits.get("nvidia.com/gpu") != asked.get("nvidia.com/gpu"):
                wrong.append(f"{name}: GPUs asked for are not the GPUs given")
        if name != "head" and not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            wrong.append(f"{name}: replicas out of bounds")
    if len(images) != 1:
        wrong.append(f"several images: {sorted(images)}")
    policy = documents["NetworkPolicy"]["spec"]
    label = {"ray.io/cluster": cluster["metadata"]["name"]}
    if policy["podSelector"]["matchLabels"] != label:
        wrong.append("the network policy guards other pods")
    if any("from" not in rule for rule in policy["ingress"]):
        wrong.append("everybody reaches the dashboard")
    return wrong


def head(documents: Documents) -> dict[str, Any]:
    return documents["RayCluster"]["spec"]["headGroupSpec"]


def container(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]["containers"][0]


def test_the_manifests_match_each_other() -> None:
    assert find_problems(read()) == []


def test_the_manifests_instructions_name_existing_settings() -> None:
    text = (FOLDER / "ray-cluster.yaml").read_text(encoding="utf-8")
    told = {
        word.partition("=")[0]
        for line in text.splitlines()
        if line.startswith("#")
        for word in line.split()
        if word.startswith("TWIN_") and "=" in word
    }
    assert told == {
        f"TWIN_{name.upper()}"
        for name in ("home", "train_backend", "ray_address", "train_machines", "train_ranks")
        if name in Settings.model_fields
    }
    cluster = read()["RayCluster"]
    assert f"http://{cluster['metadata']['name']}-head-svc:8265" in text


def test_the_image_has_the_same_version_of_ray() -> None:
    text = (FOLDER / "ray.Dockerfile").read_text(encoding="utf-8")
    spec = read()["RayCluster"]["spec"]
    assert f"FROM rayproject/ray:{spec['rayVersion']}-py311" in text
    assert f"-t {container(head(read()))['image']} ." in text


def is_copied(path: str) -> bool:
    """Whether `docker build` gets to see a path: the last rule that names it or a parent decides,
    https://docs.docker.com/build/concepts/context/#dockerignore-files."""
    seen = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.partition("#")[0].strip()
        pattern = rule.removeprefix("!").rstrip("/").removeprefix("**/")
        parts = Path(path).parts
        named = (
            {*parts} if "**/" in rule else {"/".join(parts[:end]) for end in range(len(parts) + 1)}
        )
        if rule and (pattern == "*" or pattern in named):
            seen = rule.startswith("!")
    return seen


def test_the_image_contains_the_package_but_no_home() -> None:
    dockerfile = (FOLDER / "ray.Dockerfile").read_text(encoding="utf-8")
    assert "COPY --chown=ray . " in dockerfile  # all that `.dockerignore` leaves
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = [name.removesuffix("*") for name in found]
    needed = [
        f"{name}/any/file.py" if (ROOT / name).is_dir() else f"deploy/{name}/any/file.py"
        for name in packages
    ]
    needed += ["pyproject.toml", project["project"]["readme"]]
    needed += [*project["project"]["license-files"], "deploy/constraints.txt"]
    assert [path for path in needed if not is_copied(path)] == []
    private = [
        ".twin/state.db",
        ".env",
        "my-home/authors/ann.toml",
        ".git/config",
        ".venv/bin/python",
    ]
    private += ["posts/2024.md", "deploy/docs/twin.gif", "twin_assets/__pycache__/a.pyc"]
    assert [path for path in private if is_copied(path)] == []
