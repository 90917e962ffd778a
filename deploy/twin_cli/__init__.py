"""Provide the command line `twin`, the project's top layer, which no other module imports.

Scope: names, arguments and help of the commands, and the machine check that runs before
installation. For that check, this file imports nothing.
Out of scope: the work of a command (`commands/`, imported only when the command runs, so that
`twin --help` is fast).
"""
