"""`python run.py` in a checkout is the program `smallgpt` of an installed package."""

import sys

from smallgpt.launch.main import main

if __name__ == "__main__":
    sys.exit(main())
