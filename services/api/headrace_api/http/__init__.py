"""HTTP itself: the server and its connections, keys, bodies, problems. Knows no route."""
