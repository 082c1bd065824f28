"""Tests of the chart's templates, and of the files beside it that no cluster is needed for."""
