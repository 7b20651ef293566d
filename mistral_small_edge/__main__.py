"""`python -m mistral_small_edge` is `mistral-small-edge`."""

from mistral_small_edge.cli.app import main

main()
