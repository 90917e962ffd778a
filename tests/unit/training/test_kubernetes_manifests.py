"""Test that the Ray cluster's manifests agree with each other and with the code.

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


def read_manifests() -> Documents:
    text = (FOLDER / "ray-cluster.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def find_problems(documents: Documents) -> list[str]:
    """Describe everything that would prevent the cluster from training."""
    cluster = documents["RayCluster"]
    problems: list[str] = []
    spec = cluster["spec"]
    if spec["rayVersion"] != version("ray"):
        problems.append(f"rayVersion {spec['rayVersion']}, installed {version('ray')}")
    if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        problems.append("the head runs ranks")
    claim = documents["PersistentVolumeClaim"]
    if claim["spec"]["accessModes"] != ["ReadWriteMany"]:
        problems.append("only one node can write to the home")
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
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            images.add(container["image"])
            environment = {item["name"]: item["value"] for item in container["env"]}
            mounts = {item["mountPath"]: item["name"] for item in container["volumeMounts"]}
            problems += [f"{name}: no volume {mount}" for mount in set(mounts.values()) - volumes]
            if (
                claims.get(mounts.get(environment.get("TWIN_HOME", ""), ""))
                != (claim["metadata"]["name"])
            ):
                problems.append(f"{name}: the home is not the claim's volume")
            if environment.get("RAY_USAGE_STATS_ENABLED") != "0":
                problems.append(f"{name}: Ray sends usage statistics")
            limits = container["resources"]["limits"]
            requests = container["resources"]["requests"]
            if limits.get("nvidia.com/gpu") != requests.get("nvidia.com/gpu"):
                problems.append(f"{name}: the GPU request differs from the limit")
        if name != "head" and not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            problems.append(f"{name}: replicas out of bounds")
    if len(images) != 1:
        problems.append(f"several images: {sorted(images)}")
    policy = documents["NetworkPolicy"]["spec"]
    label = {"ray.io/cluster": cluster["metadata"]["name"]}
    if policy["podSelector"]["matchLabels"] != label:
        problems.append("the network policy selects other pods")
    if any("from" not in rule for rule in policy["ingress"]):
        problems.append("the dashboard is open to all")
    return problems


def head_group(documents: Documents) -> dict[str, Any]:
    return documents["RayCluster"]["spec"]["headGroupSpec"]


def first_container(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]["containers"][0]


def test_the_manifests_match_each_other() -> None:
    assert find_problems(read_manifests()) == []


def test_the_manifests_comments_name_existing_settings() -> None:
    text = (FOLDER / "ray-cluster.yaml").read_text(encoding="utf-8")
    variables = {
        word.partition("=")[0]
        for line in text.splitlines()
        if line.startswith("#")
        for word in line.split()
        if word.startswith("TWIN_") and "=" in word
    }
    assert variables == {
        f"TWIN_{name.upper()}"
        for name in ("home", "train_backend", "ray_address", "train_machines", "train_ranks")
        if name in Settings.model_fields
    }
    cluster = read_manifests()["RayCluster"]
    assert f"http://{cluster['metadata']['name']}-head-svc:8265" in text


def test_the_image_has_the_same_version_of_ray() -> None:
    text = (FOLDER / "ray.Dockerfile").read_text(encoding="utf-8")
    spec = read_manifests()["RayCluster"]["spec"]
    assert f"FROM rayproject/ray:{spec['rayVersion']}-py311" in text
    assert f"-t {first_container(head_group(read_manifests()))['image']} ." in text


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
    dockerfile = (FOLDER / "ray.Dockerfile").read_text(encoding="utf-8")
    assert "COPY --chown=ray . " in dockerfile  # everything that `.dockerignore` keeps
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
