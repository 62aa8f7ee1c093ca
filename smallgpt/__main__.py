"""`python -m smallgpt` is the program `smallgpt` too, wherever the package can be imported."""

import sys

from smallgpt.launch.main import main

if __name__ == "__main__":
    sys.exit(main())
