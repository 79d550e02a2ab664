"""`python -m fdbench`."""

from fdbench.commands import main

main(prog_name="fdbench")
