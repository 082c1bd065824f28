"""The OpenAPI document, made from what the routes say about themselves, and its page."""
