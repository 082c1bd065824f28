"""Tests of the connection to Redis, against real servers."""
