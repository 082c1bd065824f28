"""The operator: sizes a pool of workers by its queues, and takes none away while it works.

Imports nothing of `headrace` and `services`: it speaks HTTP with the API. What it decides is pure:
`decide.py`, on the types of `model.py` and the rates of `rates.py`.
"""
