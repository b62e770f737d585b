"""``python -m pgchroma.cli`` is ``pgchroma``."""

from pgchroma.cli import main

if __name__ == "__main__":
    main(prog_name="pgchroma")
