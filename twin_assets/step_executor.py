"""Run steps in separate processes or tasks of suitable sizes, as `TWIN_STEPS_APART` specifies.

Scope: reading the setting and its file, building the executor, adding sizes to the steps' tags.
Out of scope: which assets run together (`twin_sensors/jobs.py`), and how a training run starts its
ranks (`training_launcher/`).
Method: https://docs.dagster.io/deployment/execution/run-launchers, executors. A launcher reads a
step's size from its tags (`ecs/cpu`, `dagster-k8s/config`, `dagster-ray/config`).

Steps share no memory. A step reads tables, the registry, checkpoints and the home's pointer files,
so all machines must mount the home at the same path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import OpDefinition
from pydantic import BaseModel, ConfigDict, ValidationError

from twin_resources.errors import TwinError

# The default is one process. With Dagster's default, each step and each check is a process that
# takes 3 to 5 s to start, and a run with nothing to do took 243 s. On one machine, separate
# processes have no advantage: the launcher starts training in its own process tree, servers are
# processes, and the run's worker frees the remaining memory when it ends.
_BUILT_IN_EXECUTORS = {
    "": "dagster:in_process_executor",
    "processes": "dagster:multiprocess_executor",
}
_NEXT_STEP = "follow deploy/steps.prod.yaml, or leave the setting empty to use one process"


class StepExecution(BaseModel):
    """The executor of a run's steps and the sizes of the steps.

    Attributes:
        executor: Dagster executor, as `module:name`.
        config: configuration of this executor, as in its documentation.
        sizes: tags for the launcher, by step. A step has its asset's name; a check that runs
            separately is named `<asset>_<check>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str
    config: Mapping[str, Any] = {}
    sizes: Mapping[str, Mapping[str, Any]] = {}

    def build_executor(self) -> dg.ExecutorDefinition:
        """Return the configured executor; Dagster checks the configuration when a run begins.

        Raises:
            TwinError: the name cannot be imported, or it is not an executor.
        """
        module, _, name = self.executor.partition(":")
        try:
            constructor: object = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise _execution_error(f"load the executor {self.executor}", str(error)) from error
        if not isinstance(constructor, dg.ExecutorDefinition):
            raise _execution_error(
                f"load the executor {self.executor}", f"it is a {type(constructor).__name__}"
            )
        return (
            constructor.configured(dict(self.config), name=constructor.name)
            if self.config
            else constructor
        )

    def add_sizes(self, definitions: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
        """Return the assets or checks with the size of each step added to its tags."""
        return [
            _add_tags(definition, self.sizes.get(definition.node_def.name))
            for definition in definitions
        ]

    def require_steps(self, steps: Iterable[str]) -> None:
        """Check that each size names a known step, because a misspelled one would have no effect.

        Raises:
            TwinError: a size is given for a step that does not exist.
        """
        if unknown_steps := sorted(set(self.sizes) - set(steps)):
            raise _execution_error(
                "set the size of each step", f"there is no step {', '.join(unknown_steps)}"
            )


def read_step_execution(steps_apart: str) -> StepExecution:
    """Read the setting and its file.

    Args:
        steps_apart: empty for one process, `processes` for one per step, or the path of a YAML
            file.

    Raises:
        TwinError: the file is missing or invalid.
    """
    if steps_apart in _BUILT_IN_EXECUTORS:
        return StepExecution(executor=_BUILT_IN_EXECUTORS[steps_apart])
    action = f"read {steps_apart} (TWIN_STEPS_APART)"
    try:
        document = yaml.safe_load(Path(steps_apart).read_text(encoding="utf-8"))
        return StepExecution.model_validate(document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise _execution_error(action, str(error)) from error


def _add_tags(
    definition: dg.AssetsDefinition, size: Mapping[str, Any] | None
) -> dg.AssetsDefinition:
    """Return the asset or check with the size added to its tags.

    Dagster accepts an op's tags only when the asset is declared, so the op is created again, as
    `OpDefinition.with_replaced_properties` does.
    """
    if not size:
        return definition
    op = definition.op
    tagged_op = OpDefinition(
        name=op.name,
        ins={input_def.name: dg.In.from_definition(input_def) for input_def in op.input_defs},
        outs={output_def.name: dg.Out.from_definition(output_def) for output_def in op.output_defs},
        compute_fn=op.compute_fn,
        config_schema=op.config_schema,
        description=op.description,
        tags={**op.tags, **size},
        required_resource_keys=set(op.required_resource_keys),
        code_version=op.version,
        retry_policy=op.retry_policy,
        pool=op.pool,
    )
    attributes: dict[str, Any] = {**definition.get_attributes_dict(), "node_def": tagged_op}
    return dg.AssetsDefinition.dagster_internal_init(**attributes)


def _execution_error(action: str, found: str) -> TwinError:
    return TwinError(action, found=found, next_step=_NEXT_STEP)
