"""`twin`: the command line, on top of all floors; nobody imports it.

Scope: names, arguments and help of the commands; the look at the machine that is run before
anything is installed, for which this file imports nothing. Out of scope: what a command
does (`commands/`, imported when it is called, so that `twin --help` answers at once).
"""
