from pathlib import Path

__all__ = ("real_bm25_path",)


def real_bm25_path() -> Path:
    """The script that runs the published chromadb."""
    return Path(__file__).with_name("real_bm25.py")
