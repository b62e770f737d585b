"""Run by an interpreter with the published chromadb: prints its embeddings as JSON lines."""

import json
import sys

stemmer_path, *_ = sys.argv[1:]
# At the end of the path: only the stemmer must come from there.
sys.path.append(stemmer_path)

from chromadb.utils.embedding_functions import ChromaBm25EmbeddingFunction  # noqa: E402
from chromadb.utils.embedding_functions.schemas.bm25_tokenizer import (  # noqa: E402
    DEFAULT_CHROMA_BM25_STOPWORDS,
)

print(json.dumps(DEFAULT_CHROMA_BM25_STOPWORDS))
for line in sys.stdin:
    given = json.loads(line)
    function = ChromaBm25EmbeddingFunction(**given["settings"])
    print(json.dumps(function.get_config()))
    for vector in function(given["texts"]):
        print(json.dumps([vector.indices, [value.hex() for value in vector.values], vector.labels]))
