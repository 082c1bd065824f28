"""Headrace on a real Kubernetes: `make test-cluster`, see run.sh."""
