"""`python -m edge`."""

from edge.cli.main import main

main()
