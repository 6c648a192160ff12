"""`python -m functa_core` is `functa`."""

from functa_core.cli.main import main

if __name__ == "__main__":
    main()
