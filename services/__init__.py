"""The processes: the API and the worker. They ship as images, not in the wheel."""
