"""HTTP itself: the server, its connections, bodies, keys, problems."""
