"""`python -m headrace`: the `headrace` command without installing it."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file is where an older Python is told
    sys.exit("Headrace needs Python 3.11 or newer; this is " + sys.version.split()[0])

from headrace.cli import app

if __name__ == "__main__":  # a handler's child process imports this file under another name
    app(prog_name="headrace")
