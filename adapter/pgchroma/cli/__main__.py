"""``python -m pgchroma.cli`` is ``pgchroma``."""

from pgchroma.__main__ import main

if __name__ == "__main__":
    main()
