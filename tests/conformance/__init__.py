"""Holds the workflow language to its conformance kit and schema."""
