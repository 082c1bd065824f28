"""The simulation behind `python benchmarks/autoscaling.py`: loads, a cluster, scalers, figures."""
