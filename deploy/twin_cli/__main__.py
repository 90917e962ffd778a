"""`python -m twin_cli` is `twin`."""

from twin_cli.running import main

main()
