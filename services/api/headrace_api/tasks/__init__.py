"""From a request to a task: checked, queued, or run inside the request. Knows no route."""
