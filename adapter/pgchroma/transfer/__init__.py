"""Move records between pgchroma, Chroma, files and other programs' tables."""
