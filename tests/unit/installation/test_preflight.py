"""Test the preflight check: findings, reasons to stop and options."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twin_cli import preflight

from twin_resources.models import model_fit
from twin_resources.processes import gpus

ROOT = Path(__file__).resolve().parents[3]
LAPTOP: dict[str, Any] = {"cores": 2, "memory_gb": 16.0, "bf16": True, "gpus": []}


def run(*arguments: str, home: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Run the check as up.sh does: as an isolated file, from a folder outside the project."""
    base_env = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
    script = str(ROOT / "deploy" / "twin_cli" / "preflight.py")
    completed = subprocess.run(
        [sys.executable, "-I", script, "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=home,
        env=base_env | {"TWIN_HOME": str(home)} | variables,
        timeout=120,
        check=False,
    )
    assert completed.stderr == ""
    return completed.returncode, json.loads(completed.stdout)


def test_preflight_reports_this_machine(tmp_path: Path) -> None:
    code, report = run("some/posts", "--author", "Ada", "--dry-run", home=tmp_path)
    assert report["seconds"] > 0
    assert code == (0 if report["go_on"] else 1)
    assert report["machine"]["cores"] >= 1
    assert {finding["name"] for finding in report["findings"]} >= {"python", "disk", "compiler"}


def test_preflight_uses_only_the_standard_library_and_python_3_9_syntax() -> None:
    paths = (
        "deploy/twin_cli/preflight.py",
        *("twin_resources/errors.py", "twin_resources/slugs.py"),
        *("twin_resources/models/model_fit.py", "twin_resources/processes/processor.py"),
        "twin_resources/processes/gpus.py",
        "twin_resources/storage/weights/answer_model.py",
        "twin_resources/storage/weights/chat_model.py",
    )
    for name in paths:
        source = (ROOT / name).read_text(encoding="utf-8")
        tree = ast.parse(source, feature_version=(3, 9))
        modules = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        packages = {module.split(".")[0] for module in modules} - {"twin_resources", "twin_cli"}
        assert packages <= set(sys.stdlib_module_names)


def test_an_unsupported_python_version_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.sys, "version_info", (3, 13, 0))
    findings = preflight.check_python()
    assert [(finding["verdict"], finding["name"]) for finding in findings] == [("stop", "python")]
    assert "3.11 or 3.12" in findings[0]["next_step"]


def test_a_missing_compiler_stops_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "which", lambda _name: None)
    finding = preflight.check_compiler()[0]
    assert (finding["verdict"], "g++" in finding["found"]) == ("stop", True)
    assert "install" in finding["next_step"]


def test_space_needed_on_one_disk_is_added_up_and_too_little_stops(tmp_path: Path) -> None:
    free_gb = shutil.disk_usage(tmp_path).free / 1e9
    home = tmp_path / "a" / "b"
    findings = preflight.check_disk(tmp_path, home, project_gb=free_gb * 0.6, home_gb=free_gb)
    assert [finding["verdict"] for finding in findings] == ["stop"]
    assert "TWIN_HOME" in findings[0]["next_step"]
    findings = preflight.check_disk(tmp_path, home, project_gb=0.001, home_gb=0.001)
    assert [finding["verdict"] for finding in findings] == ["ok"]


def test_the_project_folder_may_be_read_only_if_it_needs_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != str(project))
    for project_gb, expected in ((0.0, []), (0.001, [f"{project} is not writable"])):
        findings = preflight.check_disk(project, home, project_gb=project_gb, home_gb=0.001)
        assert [row["found"] for row in findings if row["verdict"] == "stop"] == expected


def test_fit_and_recipe_depend_on_memory_and_gpus_and_no_duration_is_promised() -> None:
    two_cards = LAPTOP | {"gpus": [("a GPU", 80.0)] * 2}
    small, large = (model_fit.estimate_training(size, LAPTOP) for size in (0.135, 8.0))
    assert (small["fits"], large["fits"]) == (True, False)
    gpu = model_fit.estimate_training(8.0, LAPTOP | {"gpus": [("a GPU", 48.0)]})
    assert (gpu["fits"], gpu["on"], gpu["recipe"]) == (True, "GPU", "8b-gpu")
    assert model_fit.estimate_training(8.0, two_cards)["recipe"] == "8b-gpus"
    # a recipe for the processor trains on the processor, even beside a GPU
    by_name = model_fit.estimate_training(0.135, two_cards, recipe="smollm2-135m-cpu")
    assert by_name["on"] == "CPU"
    [finding] = preflight.check_base_model("owner/model-0.3B", LAPTOP)
    recipe = "it trains on the CPU with recipe smollm2-135m-cpu (base model of 300M, a pro"
    assert recipe in finding["found"]
    assert not re.search(r"minutes|\d:\d\d", finding["found"])
    [finding] = preflight.check_base_model("owner/model-8B", LAPTOP, recipe="8b-gpu")
    assert (finding["verdict"], finding["name"]) == ("stop", "recipe")
    assert preflight.parse_arguments(["--recipe", "auto"]).recipe == ""


def test_memory_and_license_of_another_model_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "Some-1B"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.truncate(300_000_000)  # 0.15 billion parameters of two bytes
    card = (
        "---\nlicense: other\nlicense_name: gemma\nlicense_link: https://example.org/terms\n---\n"
    )
    (folder / "README.md").write_text(card + "license: not this one\n")

    [local] = preflight.check_base_model(str(folder), LAPTOP)

    assert "150M, fits: " in local["found"]
    assert " GB of memory with 2 training processes; it trains on the CPU" in local["found"]
    assert local["found"].endswith("license: gemma (https://example.org/terms)")
    [remote] = preflight.check_base_model("owner/small-150M", LAPTOP)
    assert remote["found"].endswith("read its license at https://huggingface.co/owner/small-150M")
    (folder / "README.md").unlink()
    assert model_fit.describe_license(str(folder)) == ""


def test_a_folder_of_posts_is_told_from_an_options_value(tmp_path: Path) -> None:
    assert preflight.parse_arguments([str(tmp_path), "--author", "Ada"]).posts == tmp_path
    assert preflight.parse_arguments(["--author", str(tmp_path)]).posts is None
    assert preflight.parse_arguments(["--detach"]).posts is None


def test_a_card_that_torch_cannot_use_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "list_gpus", lambda: [("NVIDIA A10G", 24.1)])
    monkeypatch.setattr(gpus.metadata, "version", lambda _name: "2.13.0+cpu")
    options = preflight.parse_arguments(["--home", str(tmp_path / "home")])
    report = preflight.build_report(options, tmp_path, is_installed=True)
    assert not report["go_on"]
    assert "NVIDIA A10G (24 GB), which torch 2.13.0+cpu cannot use" in preflight.format_report(
        report
    )


def test_an_answer_model_must_fit_in_memory(tmp_path: Path) -> None:
    def check(name: str, machine: dict[str, Any] = LAPTOP) -> list[tuple[str, str]]:
        findings = preflight.check_answer_model(name, "smollm2-135m-instruct", machine)
        return [(finding["verdict"], finding["found"]) for finding in findings]

    assert check("") == check("none") == check("https://models.example/v1#m-70B") == []
    [(verdict, text)] = check("org/model-70B")
    assert (verdict, "needs 162 GB of memory" in text) == ("stop", True)
    [(verdict, text)] = check("org/model")
    assert (verdict, "nor a size in its name" in text) == ("note", True)
    small = LAPTOP | {"memory_gb": 10.0}
    [(verdict, text)] = check("org/model-1.7B", small)
    assert (verdict, "and a simultaneous training run need 12 GB" in text) == ("note", True)
    assert check("org/model-1.7B", LAPTOP | {"memory_gb": 16.0})[0][0] == "ok"
    (tmp_path / "m-70B.gguf").write_bytes(b"GGUF")  # the size of the file counts, not its name
    assert check(str(tmp_path / "m-70B.gguf"))[0][0] == "ok"


def test_the_size_of_a_model_is_read_from_its_name_or_its_files(tmp_path: Path) -> None:
    sizes = {
        "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1.7,
        "smollm2-135m-instruct": 0.135,
        "meta-llama/Llama-3.1-8B": 8.0,
        "gpt2": None,
    }
    for name, billions in sizes.items():
        assert model_fit.billions_of_parameters(name) == (
            None if billions is None else pytest.approx(billions)
        )
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 2000)
    assert model_fit.billions_of_parameters(str(tmp_path)) == pytest.approx(1e-6)


def test_a_gguf_file_is_a_base_model_of_its_real_size(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    file = tmp_path / "q-70B.gguf"  # the tensors count, not the name
    writer = GGUFWriter(file, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    for name, rows in (("token_embd.weight", 300_000), ("output.weight", 100_000)):
        writer.add_tensor(name, np.zeros((rows, 16), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert model_fit.billions_of_parameters(str(file)) == pytest.approx(0.0064)
    finding = preflight.check_base_model(str(file), LAPTOP)[0]
    assert finding["verdict"] == "ok"
    assert ", 6M, fits: " in finding["found"]
    code, report = run("--base-model", str(file), home=tmp_path)
    assert (code, report["go_on"]) == (0, True)
    assert not any("size" in row["next_step"] for row in report["findings"])

    file.write_bytes(b"GGUF")
    assert preflight.check_base_model(str(file), LAPTOP)[0]["verdict"] == "note"
    file.unlink()
    assert preflight.check_base_model(str(file), LAPTOP)[0]["verdict"] == "stop"


def test_the_forecast_holds_for_measured_trainings_and_one_rank_takes_less() -> None:
    # two ranks of a model of .63 billion in fp32 took 8.1 and 8.9 GB, 2 of them logits
    half_billion = model_fit.required_rank_memory_gb(0.63, bf16=False)
    assert 6.1 <= half_billion <= 6.9 + 0.5
    # the whole first run of the default in bf16 took 6.7 GB
    first_run = model_fit.required_training_memory_gb(0.135, bf16=True, memory_gb=24.0)
    assert 6.7 <= first_run <= 1.34 * 6.7
    ranks = {
        (billions, bf16, memory_gb): model_fit.choose_cpu_ranks(
            billions, bf16=bf16, memory_gb=memory_gb
        )
        for billions in (0.135, 0.63)
        for bf16 in (True, False)
        for memory_gb in (0.0, 16.0, 32.0)
    }
    assert [key for key, count in ranks.items() if count == 1] == [
        (0.63, True, 16.0),
        (0.63, False, 16.0),
    ]
    machine = LAPTOP | {"bf16": False, "memory_gb": 24.0}
    estimate = model_fit.estimate_training(0.63, machine)
    assert (estimate["fits"], estimate["needs"]) == (
        True,
        "13 GB of memory with 1 training process",
    )


def test_a_model_that_is_too_large_stops(tmp_path: Path) -> None:
    finding = preflight.check_base_model("org/model-70B", LAPTOP)[0]
    assert (finding["verdict"], "--base-model" in finding["next_step"]) == ("stop", True)
    assert preflight.check_base_model("org/model-1.7B", LAPTOP)[0]["verdict"] == "note"
    assert preflight.check_base_model("org/model", LAPTOP)[0]["verdict"] == "note"
    code, report = run("--base-model", "org/model-900B", home=tmp_path)
    assert code == 1
    assert report["download_gb"] > 1000


def test_the_report_ends_with_the_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--home", str(tmp_path), "--base-model", "x-900B", "--check"]
    assert preflight.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("Cannot continue. ")
    assert len(lines) <= 8, "the short report has at most eight lines, four of them errors"
    assert not any(line.startswith("  ok") for line in lines)
    code = preflight.main([*arguments, "--verbose"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[-1].startswith("Cannot continue. ")
