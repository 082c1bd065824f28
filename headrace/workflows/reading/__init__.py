"""From files to workflows: read, checked, refused with file, line and task."""
