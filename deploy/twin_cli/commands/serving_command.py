"""Run `twin serve`: one program of the stack, for a separate host or container.

Scope: choosing the program, and replacing this process with it.
Out of scope: the programs' command lines (`twin_resources/processes/programs.py`).
"""
# pyright: strict

from __future__ import annotations

import os
from typing import NoReturn

from twin_resources.errors import TwinError
from twin_resources.processes.programs import prepare_programs
from twin_resources.settings import Settings


def run_serve(settings: Settings, program: str) -> NoReturn:
    """Replace this process with the program, which keeps the pid and receives signals directly.

    Raises:
        TwinError: the stack has no program of this name.
    """
    needs_dagster_home = program.startswith("dagster-")
    programs = {
        stack_program.name: stack_program
        for stack_program in prepare_programs(settings, writes_dagster_home=needs_dagster_home)
    }
    if program not in programs:
        raise TwinError(
            f"serve {program!r}",
            found=f"the programs are {', '.join(sorted(programs))}",
            next_step="name one of them",
        )
    chosen_program = programs[program]
    environment = os.environ | dict.fromkeys(chosen_program.withheld_variables, "")
    # `python -m` would search the working folder first, which may contain other modules.
    environment |= {"TWIN_HOME": str(settings.home), "PYTHONSAFEPATH": "1"}
    environment.setdefault("DAGSTER_HOME", str(settings.home / "dagster"))
    os.execve(chosen_program.command[0], chosen_program.command, environment)
