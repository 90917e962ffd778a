"""Run `accelerate launch` in a process that does not import DeepSpeed.

Scope: keeping DeepSpeed out of the launcher, which starts the ranks and waits for them. Out of
scope: the launcher's arguments (`machine.py`).
Source: `deepspeed_launcher` of
https://github.com/huggingface/accelerate/blob/main/src/accelerate/commands/launch.py

accelerate imports one constant from DeepSpeed's launcher: the name of a file with variables for
other machines. It writes that file only if DeepSpeed starts the ranks over ssh. The import takes 5
of the launcher's 7.4 CPU s and delays the start of the ranks, which import DeepSpeed themselves.
"""

from __future__ import annotations

import sys
from types import ModuleType

DEEPSPEED_RUNNER_MODULE = "deepspeed.launcher.runner"


def main() -> None:
    """Run accelerate's launcher with this process's arguments.

    The arguments must disable DeepSpeed's own launcher (`--deepspeed_multinode_launcher standard`).
    """
    runner_module = ModuleType(DEEPSPEED_RUNNER_MODULE)
    vars(runner_module)["DEEPSPEED_ENVIRONMENT_NAME"] = ".deepspeed_env"
    sys.modules[DEEPSPEED_RUNNER_MODULE] = runner_module

    from accelerate.commands.launch import main as launch

    launch()


if __name__ == "__main__":
    main()
