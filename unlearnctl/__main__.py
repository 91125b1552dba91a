"""`python -m unlearnctl`: without the working directory, which Python puts before all other places of modules."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]

from unlearnctl.cli import main

if __name__ == "__main__":
    main()
