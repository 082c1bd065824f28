"""The HTTP API: workflows and tasks go into the queue, or run inside the request without it."""
