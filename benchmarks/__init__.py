"""What the queue achieves, beside bare floors: `python benchmarks/queue.py`."""
