"""`python -m twin_resources.cli` is `twin`."""

from twin_resources.cli import main

main()
