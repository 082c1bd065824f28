"""Speaking to Redis: where the server is, and the connections to it."""
