"""`python -m fdbench`."""

from fdbench.cli import main

main(prog_name="fdbench")
