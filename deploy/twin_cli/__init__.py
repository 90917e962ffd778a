"""Provide the command line `twin`, the project's top layer, which no other module imports.

Scope: the commands' names, arguments and help, and the machine check that runs before installation.
This file imports nothing, because that check runs before any package is installed.
Out of scope: the work of a command (`commands/`, imported only when the command runs, so that
`twin --help` is fast).
"""
