"""`python -m headrace`: the `headrace` command without installing it."""

from headrace.cli import app

app(prog_name="headrace")
