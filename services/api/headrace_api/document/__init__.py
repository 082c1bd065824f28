"""The OpenAPI document, made of what the routes say about themselves, and its page."""
