"""The HTTP replies, once: the API serves them, a client reads them."""
