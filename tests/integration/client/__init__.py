"""The client, with real servers and processes."""
