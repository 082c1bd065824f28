"""`python -m controller`: run the operator."""

from controller.main import main

main()
