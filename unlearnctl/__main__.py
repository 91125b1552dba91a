"""`python -m unlearnctl`."""

from unlearnctl.cli import main

if __name__ == "__main__":
    main()
