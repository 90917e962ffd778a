"""Loss curves of ZeRO stages on two ranks against one process, in float32.

bf16's rounding is larger than what is looked for, so all run in float32; the model is the form's.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.retraining.rows import Row
from tests.bench.training.forms import Form
from tests.bench.training.material import Material, recipe
from tests.bench.training.processes import NotMeasured, bare_command, timed, write
from tests.bench.training.rows import row
from twin_assets.checkpoints.job import read_result
from twin_assets.checkpoints.recipe import load_launch

LARGEST = 1e-3


def zero(form: Form, material: Material, scratch: Path) -> list[Row]:
    alone = _curve(form, material, scratch, launch="cpu-single", ranks=1)
    found: list[Row] = []
    for launch in form.zero_launches:
        curve = _curve(form, material, scratch, launch=launch, ranks=2)
        if len(curve) != len(alone):
            raise NotMeasured(f"{launch} took {len(curve)} steps, one process {len(alone)}")
        largest = max(abs(one - other) for one, other in zip(alone, curve, strict=True))
        name = f"{launch}, 2 ranks: largest difference of loss, {len(curve)} steps, fp32"
        fall = {"fall of the loss": alone[0] - alone[-1]}
        found.append(row(f"{name}, {form.model}", largest, "nats", at_most=LARGEST, peers=fall))
    return found


def _curve(
    form: Form, material: Material, scratch: Path, *, launch: str, ranks: int
) -> list[float]:
    path = scratch / f"{launch}.json"  # JSON is YAML
    path.write_text(
        load_launch(launch).model_copy(update={"mixed_precision": "fp32"}).model_dump_json(),
        encoding="utf-8",
    )
    named = path.rename(path.with_suffix(".yaml"))
    shape = recipe(launch=str(named))
    tokens = material.tokens * form.zero_steps * shape.samples_per_step // len(material.train)
    budget = shape.model_copy(update={"token_budget": tokens})
    job = write(scratch / f"zero-{launch}", material, budget, ranks=ranks)
    command, environment = bare_command(job)
    timed(command, environment=environment, log=job.folder / "log", name=launch)
    return [step["loss"] for step in read_result(job.output / "result.json").history]
