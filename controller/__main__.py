"""`python -m controller`: run the operator."""

from .main import main

main()
