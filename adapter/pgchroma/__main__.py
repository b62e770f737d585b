"""``python -m pgchroma`` is the command ``pgchroma``."""

from pgchroma.cli import main

if __name__ == "__main__":
    main()
