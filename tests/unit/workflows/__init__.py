"""Tests of the workflow language."""
