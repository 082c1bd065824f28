"""The operator: sets the size of worker pools by their queues, and never ends a busy worker.

Imports nothing of `headrace` and `services`: it speaks HTTP with the API and with Kubernetes.

Pure, a call in and a value out: `decide.py` on the types of `model.py` and the rates of `rates.py`;
`resource.py`, `observe.py`, `status.py` and `events.py` from and to Kubernetes' objects. What asks
and writes stands around it, thin: `reconcile.py` puts them together for one resource, and `loop.py`
does so for all, once a second.
"""
