"""`twin`: the command line.

Belongs here: names, arguments and help of the commands. Does not belong here: what a command does
(`twin_cli/commands/`, imported when it is called, so that `twin --help` answers at once).
"""

from twin_cli.running import main, run

__all__ = ["main", "run"]
