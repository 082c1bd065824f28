"""The worker: claims tasks, runs their handlers, renews their leases, reports how they ended."""
