"""Provide the command line `twin`, the project's top layer, which no other module imports.

Scope: names, arguments and help of the commands; the machine check that runs before anything is
installed, for which this file imports nothing.
Out of scope: the work of a command (`commands/`, imported when it is called, so that `twin --help`
answers at once).
"""
