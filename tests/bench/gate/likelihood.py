"""Measure the effect of training on likelihoods, without serving or judging the candidate.

Scope: the training, the likelihoods under candidate and base model, the rows. Out of scope: the
gate (`judged_candidate.py`), which stops reading once its claims are decided.

The candidate reads every held-out passage that the gate may read, so that long and short trainings
are compared on the same passages.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from tests.bench.gate.judged_candidate import CACHE_DIR, JUDGED_CODE, prepare_home, run_assets
from tests.bench.gate.sizes import GateBenchmarkSize
from tests.bench.rows import Row, bounded_row
from tests.bench.training.processes import Cost
from tests.code_hash import code_hash
from twin_assets.checkpoints.manifest import Manifest, read_manifest, read_pointer
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
from twin_assets.evaluation.judging.judge_material import DATASET
from twin_assets.evaluation.likelihood import held_out, perplexity, sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodSamples, RowTokenizer
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import author_control
from twin_assets.evaluation.progress import Clock
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.templates import find_template
from twin_resources.quality.judges.texts import (
    bundled_writers,
    exclude_copies_of_author,
    merge_by_writer,
    split_for_probes,
)
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


def likelihood_rows(size: GateBenchmarkSize) -> list[Row]:
    """Return rows for the training's cost, and for perplexity with and without passages."""
    home = CACHE_DIR / f"read-{size.name}-{size.author}-{code_hash(JUDGED_CODE)}"
    if not (home / "cost.json").is_file():
        shutil.rmtree(home, ignore_errors=True)
        cost = run_assets(prepare_home(size, home), with_gate=False)
        (home / "cost.json").write_text(json.dumps(asdict(cost)), "utf-8")
    settings = load_settings(home)
    cost = Cost(**json.loads((home / "cost.json").read_text("utf-8")))
    folder = Path(read_pointer(settings.checkpoints_dir / size.author, "candidate")["folder"])
    manifest = read_manifest(folder)
    metrics = {"tokens/s": manifest.metrics["tokens_per_second"], "steps": manifest.steps}
    peers = {"wall": cost.wall_s, "trained": manifest.metrics["seconds"], **metrics}
    name = f"training of {manifest.tokens:,} tokens, CPU"
    cost_row = bounded_row(name, cost.cpu_s, "seconds", peers=peers)
    return [cost_row, *_likelihood_rows(settings, size, folder, manifest)]


def _likelihood_rows(
    settings: Settings, size: GateBenchmarkSize, folder: Path, manifest: Manifest
) -> list[Row]:
    tables = Tables(settings.tables_base, state=open_home_state(settings))
    dataset = tables.read(DATASET, size.author)
    weights = find_weights(folder, base=manifest.base["folder"], base_gguf=manifest.base["gguf"])
    base = EvaluatedModel("base model", manifest.base["revision"], Path(manifest.base["folder"]))
    candidate = EvaluatedModel("candidate", manifest.checkpoint, weights.model, weights.adapter)
    trained_ids = dataset.filter(dataset["split"] == "train")["document_id"].unique().to_list()
    passages = held_out.select_held_out_samples(dataset, trained_on=trained_ids)
    others = split_for_probes(
        exclude_copies_of_author(
            bundled_writers(exclude=[size.author]), dataset["answer"].to_list()
        )
    )
    writers = merge_by_writer([*others.training, *others.for_probes])
    tokenizer, template = RowTokenizer(base.base_folder), find_template(manifest.template)
    selected = held_out.select_within_budget(
        tokenizer.tokenize(passages.to_dicts()), token_budget=settings.evaluation_tokens
    )
    likelihoods = sample_likelihoods.compute_likelihoods(
        LikelihoodSamples(
            held_out=tuple(selected),
            own=tuple(tokenizer.tokenize(author_control.build_own_rows(passages, template))),
            other=tuple(
                tokenizer.tokenize(author_control.build_other_rows(passages, writers, template))
            ),
            held_out_count=len(selected),
            other_writers=tuple(writer.name for writer in writers),
        ),
        EvaluationSpec(
            checkpoint=manifest.checkpoint,
            candidate=candidate,
            base=base,
            incumbent=None,
            template=manifest.template,
            dataset=dataset,
            dataset_version="",
            trained_on=frozenset(trained_ids),
            token_budget=settings.evaluation_tokens,
            max_questions=0,
        ),
        cache=LikelihoodCache(
            MeasurementCache(tables, size.author), perplexity.choose_evaluation_precision()
        ),
        clock=Clock(),
        progress=ProgressLines(lambda line: sys.stderr.write(f"  {line}\n")),
    )
    if not likelihoods.samples.own or not likelihoods.samples.other:
        raise SystemExit(f"{len(selected)} held-out passages are too few; use more posts")
    samples, document_ids = likelihoods.samples, sample_likelihoods.document_ids
    models = (candidate.name, base.name)
    tuned, untuned = (likelihoods.get_held_out(model) for model in models)
    own, others = (
        (likelihoods.get_part(models[0], part), likelihoods.get_part(models[1], part))
        for part in ("own", "other")
    )
    ratio = perplexity.perplexity_ratio(tuned, untuned, documents=document_ids(samples.held_out))
    gain = perplexity.independent_ratio(
        own, others, documents=(document_ids(samples.own), document_ids(samples.other))
    )
    peers = {"low": ratio.low, "high": ratio.high, "base": untuned.perplexity}
    name = f"held-out perplexity, tuned / base, {len(selected)} passages in their prompts"
    control_peers = {
        "low": gain.low, "high": gain.high, "others'": perplexity.perplexity_ratio(*others).value,
    }  # fmt: skip
    own_ratio, count = perplexity.perplexity_ratio(*own).value, len(samples.own)
    return [
        bounded_row(name, ratio.value, "ratio", peers=peers | {"tuned": tuned.perplexity}),
        bounded_row(f"the same, questions alone, {count} passages", own_ratio, "ratio"),
        bounded_row("the author's alone", gain.value, "ratio", peers=control_peers),
    ]
