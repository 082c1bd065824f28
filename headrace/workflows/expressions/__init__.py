"""Runtime expressions: jq programs, and the process that evaluates them."""
