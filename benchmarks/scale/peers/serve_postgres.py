"""A private PostgreSQL for a peer whose environment lacks one.

Run as ``python -m scale.peers.serve_postgres DIRECTORY`` in pgchroma's environment. Prints how to
connect, as JSON, and stays until its standard input ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pgchroma.embedded import EmbeddedPostgres


def main() -> None:
    """Serve."""
    with EmbeddedPostgres.open(Path(sys.argv[1])) as postgres:
        print(json.dumps(conninfo_to_dict(postgres.conninfo)), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
