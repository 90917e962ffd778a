"""Import the modules that every rank needs, in the process from which ranks are forked.

Scope: the libraries, and the modules of the model's architecture. Out of scope: forking
(`training_launcher/forked_ranks.py`), and code that computes, reads weights or starts a thread.
Every rank would copy that code's memory, and a thread would not survive the fork.

If a module is missing here, each rank imports it, which costs only CPU time.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from twin_assets.checkpoints.job import read_job
from twin_assets.training.ranks import disable_unused_modules


def import_ahead(job_path: Path) -> None:
    """Import the modules that the ranks of a job will import, except unused modules.

    Args:
        job_path: path of the job's `job.json`.

    Raises:
        TwinError: the job has a different schema.
    """
    job = read_job(job_path)
    with_deepspeed = bool(job.effective_launch.deepspeed)
    disable_unused_modules(with_deepspeed=with_deepspeed)
    import torch.distributed  # noqa: F401 - before accelerate, as in `train.py`
    from accelerate import Accelerator  # noqa: F401
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = AutoConfig.from_pretrained(job.base_folder)
    # an unknown or remote architecture is skipped; it fails in the rank, which reports the reason
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        import_module(model_class.__module__)
    import peft  # noqa: F401

    if with_deepspeed:
        import accelerate.utils.deepspeed  # noqa: F401
        import deepspeed  # noqa: F401
