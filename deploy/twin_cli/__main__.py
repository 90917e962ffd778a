"""Run `twin` as `python -m twin_cli`."""

from twin_cli.running import main

main()
