"""`python -m openusher` is the `usher` command."""

from openusher.cli.main import main

main()
