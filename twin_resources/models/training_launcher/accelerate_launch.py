"""`accelerate launch`, in a process that imports no DeepSpeed.

Scope: what is kept out of the launcher, which starts the ranks and waits for them. Out of
scope: its arguments (`machine.py`).
Source: `deepspeed_launcher` of
https://github.com/huggingface/accelerate/blob/main/src/accelerate/commands/launch.py

accelerate takes one name from DeepSpeed's own launcher: of the file with variables for other
machines, which it writes only where DeepSpeed starts the ranks over ssh. That import is 5 of the
launcher's 7.4 CPU s, and no rank is started before it is done; each rank imports DeepSpeed anyway.
"""

from __future__ import annotations

import sys
from types import ModuleType

NAMED_IN = "deepspeed.launcher.runner"


def main() -> None:
    """Run accelerate's launcher with this process's arguments, which keep DeepSpeed's own out of it
    (`--deepspeed_multinode_launcher standard`)."""
    names = ModuleType(NAMED_IN)
    vars(names)["DEEPSPEED_ENVIRONMENT_NAME"] = ".deepspeed_env"
    sys.modules[NAMED_IN] = names

    from accelerate.commands.launch import main as launch

    launch()


if __name__ == "__main__":
    main()
