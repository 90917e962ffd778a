"""Run a rank that reads a model in shards and reports its peak memory.

Scope: the script that `test_sharded_loading.py` starts twice. Out of scope: the tests.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from twin_assets.training.ranks import disable_unused_modules, join_process_group

ZERO3 = {"stage": 3, "overlap_comm": False, "contiguous_gradients": False}


def read_memory_mb(name: str) -> float:
    """Return `VmRSS` or `VmHWM` (the peak) of this process, in MB."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024 / 1e6


def main(folders: list[Path], output: Path) -> None:
    """Read each folder; write peak and remaining memory of the last one to `output`.

    The result is a file because libraries may write anything to standard output.

    The first folder's figures include the imports and memory that libraries keep for all models.
    """
    disable_unused_modules(with_deepspeed=True)
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs
    from transformers import AutoConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from twin_assets.training.sharded_loading import find_zero3_config, load_sharded

    join_process_group(int(os.environ["RANK"]))
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    zero3_config = find_zero3_config(accelerator)
    assert zero3_config is not None
    unset_hf_deepspeed_config()  # as `load_training_model` does
    memory_increase: dict[str, float] = {}
    for folder in folders:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current value
        rss_before = read_memory_mb("VmRSS")
        config: Any = AutoConfig.from_pretrained(folder)
        model = load_sharded(
            folder,
            config=config,
            dtype=torch.bfloat16,
            attention="sdpa",
            zero=zero3_config,
            hashes=folder / "weight_hashes.json",
            report=lambda line: None,
        )
        assert model is not None
        status_fields = {"peak_mb": "VmHWM", "kept_mb": "VmRSS"}
        memory_increase = {
            kind: round(read_memory_mb(name) - rss_before, 1)
            for kind, name in status_fields.items()
        }
    output.write_text(json.dumps(memory_increase), encoding="utf-8")
    accelerator.wait_for_everyone()  # the first rank to exit closes the connections of the others
    accelerator.end_training()


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[2:]], Path(sys.argv[1]))
