"""`python -m freeda` does what the command `freeda` does."""

from .cli import main

if __name__ == "__main__":
    main()
