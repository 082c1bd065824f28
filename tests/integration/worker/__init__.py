"""Tests of services.worker on a real Redis."""
