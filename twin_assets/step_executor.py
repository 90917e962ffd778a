"""Steps in processes or tasks of their own, each in its size, as `TWIN_STEPS_APART` says.

Scope: reading the setting and its file, the executor that they name, the sizes as tags of
the steps. Out of scope: which assets run together (`twin_sensors/jobs.py`), how a training
starts its ranks (`training_launcher/`).
Method: https://docs.dagster.io/deployment/execution/run-launchers, executors; a launcher reads a
step's size from its tags (`ecs/cpu`, `dagster-k8s/config`, `dagster-ray/config`).

Nothing is handed from step to step in memory: tables, registry, checkpoints and the pointer files
of the home are what the next step reads, so every machine must see the home under the same path.
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

# In one process by default: with Dagster's own default each step and each check is a process of 3
# to 5 s, and a run without anything to do took 243 s. On one machine nothing is gained: training
# is a process tree of the launcher's, servers are processes, and the rest of the memory goes with
# the run's worker.
_WITHOUT_FILE = {"": "dagster:in_process_executor", "processes": "dagster:multiprocess_executor"}
_SHOWN = "deploy/steps.prod.yaml shows how; empty runs them in one process"


class StepExecution(BaseModel):
    """What runs the steps of a run.

    Attributes:
        executor: of Dagster, as `module:name`.
        config: of this executor, as its documentation has it.
        sizes: step → tags of its launcher. A step has its asset's name, a check that runs by
            itself `<asset>_<check>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str
    config: Mapping[str, Any] = {}
    sizes: Mapping[str, Mapping[str, Any]] = {}

    def definition(self) -> dg.ExecutorDefinition:
        """The executor with its configuration, which is checked when a run begins.

        Raises:
            TwinError: nothing importable has the name, or what has it is no executor.
        """
        module, _, name = self.executor.partition(":")
        try:
            constructor: object = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise _refused(f"load the executor {self.executor}", str(error)) from error
        if not isinstance(constructor, dg.ExecutorDefinition):
            raise _refused(f"load the executor {self.executor}", f"a {type(constructor).__name__}")
        return (
            constructor.configured(dict(self.config), name=constructor.name)
            if self.config
            else constructor
        )

    def sized(self, definitions: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
        """The assets or checks with the size of each step among its tags."""
        return [
            _tagged(definition, self.sizes.get(definition.node_def.name))
            for definition in definitions
        ]

    def require_steps(self, steps: Iterable[str]) -> None:
        """Refuse a size that no step has: it would run in another one, and nobody would know.

        Raises:
            TwinError: a size is named for a step that is not there.
        """
        if unknown := sorted(set(self.sizes) - set(steps)):
            raise _refused("give each step its size", f"no step {', '.join(unknown)}")


def read_step_execution(steps_apart: str) -> StepExecution:
    """What the setting says.

    Args:
        steps_apart: empty: one process; `processes`: one each; else a YAML file.

    Raises:
        TwinError: the file is missing or is not understood.
    """
    if steps_apart in _WITHOUT_FILE:
        return StepExecution(executor=_WITHOUT_FILE[steps_apart])
    tried = f"read {steps_apart} (TWIN_STEPS_APART)"
    try:
        read = yaml.safe_load(Path(steps_apart).read_text(encoding="utf-8"))
        return StepExecution.model_validate(read)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise _refused(tried, str(error)) from error


def _tagged(steps: dg.AssetsDefinition, size: Mapping[str, Any] | None) -> dg.AssetsDefinition:
    """Dagster takes an op's tags where the asset is declared alone; so the op is made again, as its
    own `OpDefinition.with_replaced_properties` does it."""
    if not size:
        return steps
    op = steps.op
    tagged = OpDefinition(
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
    attributes: dict[str, Any] = {**steps.get_attributes_dict(), "node_def": tagged}
    return dg.AssetsDefinition.dagster_internal_init(**attributes)


def _refused(tried: str, found: str) -> TwinError:
    return TwinError(tried, found=found, next_step=_SHOWN)
