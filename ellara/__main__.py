"""`python -m ellara`."""

from ellara.cli import main

main()
