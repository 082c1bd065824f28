"""Runs a workflow: the interpreter, what it needs, what is saved of a run."""
