"""What stands between a program and the queue: how it is opened, and what is published there."""
