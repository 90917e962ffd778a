"""`python -m twin_cli` is `twin`."""

from twin_cli import main

main()
