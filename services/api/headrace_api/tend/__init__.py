"""Periodic work: one loop, in one API process at a time."""

from headrace_api.tend.bulks import BulkWork
from headrace_api.tend.loop import LEASE, Duty, Tend
from headrace_api.tend.trimming import Trimming

__all__ = ["LEASE", "BulkWork", "Duty", "Tend", "Trimming"]
