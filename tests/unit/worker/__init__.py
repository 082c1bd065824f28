"""Tests of services.worker without Redis: what is pure, and the loop against a stand-in."""
