"""How a program opens the queue, and how it publishes its task types."""
