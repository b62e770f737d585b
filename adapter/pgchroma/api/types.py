"""Chroma's import path for the types of arguments and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pgchroma.api.checks import (
    convert_list_embeddings_to_np,
    convert_np_embeddings_to_list,
    is_document,
    is_image,
    maybe_cast_one_to_many,
    validate_batch,
    validate_documents,
    validate_embedding_function,
    validate_ids,
    validate_images,
    validate_include,
    validate_metadata,
    validate_metadatas,
    validate_n_results,
    validate_sparse_embedding_function,
    validate_update_metadata,
    validate_where,
    validate_where_document,
)
from pgchroma.base_types import (
    SPARSE_VECTOR_TYPE_VALUE,
    TYPE_KEY,
    LiteralValue,
    LogicalOperator,
    OperatorExpression,
    PyVector,
    Vector,
    WhereDocumentOperator,
    WhereOperator,
)
from pgchroma.client.schema.indexes import (
    DOCUMENT_KEY,
    EMBEDDING_KEY,
    BoolInvertedIndexConfig,
    BoolValueType,
    Cmek,
    CmekProvider,
    FloatInvertedIndexConfig,
    FloatListValueType,
    FloatValueType,
    FtsIndexConfig,
    HnswIndexConfig,
    Index,
    IntInvertedIndexConfig,
    IntValueType,
    SpannIndexConfig,
    SparseVectorIndexConfig,
    SparseVectorValueType,
    StringInvertedIndexConfig,
    StringValueType,
    ValueTypes,
    VectorIndexConfig,
)
from pgchroma.client.schema.schema import Schema
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.protocol import (
    DataLoader,
    Embeddable,
    EmbeddingFunction,
    Loadable,
    normalize_embeddings,
    validate_embeddings,
)
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction, validate_sparse_vectors
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall, SegmentUse
from pgchroma.model.search.result import SearchResult, SearchResultRow
from pgchroma.model.sparse import SparseVector, SparseVectors
from pgchroma.model.types import (
    ID,
    URI,
    CollectionMetadata,
    DeleteResult,
    Document,
    Documents,
    Embedding,
    Embeddings,
    GetResult,
    IDs,
    Image,
    Images,
    Include,
    Metadata,
    Metadatas,
    OneOrMany,
    QueryResult,
    ReadLevel,
    Space,
    UpdateMetadata,
    URIs,
    Where,
    WhereDocument,
)

__all__ = (
    "BOOL_INVERTED_INDEX_NAME",
    "BOOL_VALUE_NAME",
    "DOCUMENT_KEY",
    "EMBEDDING_KEY",
    "FLOAT_INVERTED_INDEX_NAME",
    "FLOAT_LIST_VALUE_NAME",
    "FLOAT_VALUE_NAME",
    "FTS_INDEX_NAME",
    "HNSW_INDEX_NAME",
    "ID",
    "INT_INVERTED_INDEX_NAME",
    "INT_VALUE_NAME",
    "META_KEY_CHROMA_DOCUMENT",
    "SPANN_INDEX_NAME",
    "SPARSE_VECTOR_INDEX_NAME",
    "SPARSE_VECTOR_TYPE_VALUE",
    "SPARSE_VECTOR_VALUE_NAME",
    "STRING_INVERTED_INDEX_NAME",
    "STRING_VALUE_NAME",
    "TYPE_KEY",
    "URI",
    "VECTOR_INDEX_NAME",
    "BoolInvertedIndexConfig",
    "BoolInvertedIndexType",
    "BoolValueType",
    "Cmek",
    "CmekProvider",
    "CollectionMetadata",
    "DataLoader",
    "DefaultEmbeddingFunction",
    "DeleteResult",
    "Document",
    "Documents",
    "Embeddable",
    "Embedding",
    "EmbeddingFunction",
    "Embeddings",
    "FloatInvertedIndexConfig",
    "FloatInvertedIndexType",
    "FloatListValueType",
    "FloatValueType",
    "FtsIndexConfig",
    "FtsIndexType",
    "GetResult",
    "HnswIndexConfig",
    "IDs",
    "Image",
    "Images",
    "Include",
    "IncludeMetadataDocuments",
    "IncludeMetadataDocumentsDistances",
    "IncludeMetadataDocumentsEmbeddings",
    "IncludeMetadataDocumentsEmbeddingsDistances",
    "IndexingStatus",
    "IntInvertedIndexConfig",
    "IntInvertedIndexType",
    "IntValueType",
    "LiteralValue",
    "Loadable",
    "LogicalOperator",
    "Metadata",
    "Metadatas",
    "OneOrMany",
    "OperatorExpression",
    "PyEmbedding",
    "PyEmbeddings",
    "PyVector",
    "QueryPlan",
    "QueryResult",
    "ReadLevel",
    "Recall",
    "Schema",
    "SearchResult",
    "SearchResultRow",
    "SegmentUse",
    "Space",
    "SpannIndexConfig",
    "SparseEmbeddingFunction",
    "SparseVector",
    "SparseVectorIndexConfig",
    "SparseVectorIndexType",
    "SparseVectorValueType",
    "SparseVectors",
    "StringInvertedIndexConfig",
    "StringInvertedIndexType",
    "StringValueType",
    "URIs",
    "UpdateCollectionMetadata",
    "UpdateMetadata",
    "ValueTypes",
    "Vector",
    "VectorIndexConfig",
    "VectorIndexType",
    "Where",
    "WhereDocument",
    "WhereDocumentOperator",
    "WhereOperator",
    "convert_list_embeddings_to_np",
    "convert_np_embeddings_to_list",
    "is_document",
    "is_image",
    "maybe_cast_one_to_many",
    "normalize_embeddings",
    "validate_batch",
    "validate_documents",
    "validate_embedding_function",
    "validate_embeddings",
    "validate_ids",
    "validate_images",
    "validate_include",
    "validate_metadata",
    "validate_metadatas",
    "validate_n_results",
    "validate_sparse_embedding_function",
    "validate_sparse_vectors",
    "validate_update_metadata",
    "validate_where",
    "validate_where_document",
)

T = TypeVar("T")

PyEmbedding = PyVector
PyEmbeddings: TypeAlias = list[PyVector]
UpdateCollectionMetadata = UpdateMetadata

META_KEY_CHROMA_DOCUMENT: Final = "chroma:document"

STRING_VALUE_NAME: Final = "string"
INT_VALUE_NAME: Final = "int"
FLOAT_VALUE_NAME: Final = "float"
BOOL_VALUE_NAME: Final = "bool"
FLOAT_LIST_VALUE_NAME: Final = "float_list"
SPARSE_VECTOR_VALUE_NAME: Final = "sparse_vector"

FTS_INDEX_NAME: Final = "fts_index"
VECTOR_INDEX_NAME: Final = "vector_index"
SPARSE_VECTOR_INDEX_NAME: Final = "sparse_vector_index"
STRING_INVERTED_INDEX_NAME: Final = "string_inverted_index"
INT_INVERTED_INDEX_NAME: Final = "int_inverted_index"
FLOAT_INVERTED_INDEX_NAME: Final = "float_inverted_index"
BOOL_INVERTED_INDEX_NAME: Final = "bool_inverted_index"
HNSW_INDEX_NAME: Final = "hnsw_index"
SPANN_INDEX_NAME: Final = "spann_index"

if TYPE_CHECKING:
    FtsIndexType: TypeAlias = Index[FtsIndexConfig]
    VectorIndexType: TypeAlias = Index[VectorIndexConfig]
    SparseVectorIndexType: TypeAlias = Index[SparseVectorIndexConfig]
    StringInvertedIndexType: TypeAlias = Index[StringInvertedIndexConfig]
    IntInvertedIndexType: TypeAlias = Index[IntInvertedIndexConfig]
    FloatInvertedIndexType: TypeAlias = Index[FloatInvertedIndexConfig]
    BoolInvertedIndexType: TypeAlias = Index[BoolInvertedIndexConfig]
else:  # isinstance takes a class, not a class with parameters
    FtsIndexType = Index
    VectorIndexType = Index
    SparseVectorIndexType = Index
    StringInvertedIndexType = Index
    IntInvertedIndexType = Index
    FloatInvertedIndexType = Index
    BoolInvertedIndexType = Index

IncludeMetadataDocuments: Include = ["metadatas", "documents"]
IncludeMetadataDocumentsDistances: Include = ["metadatas", "documents", "distances"]
IncludeMetadataDocumentsEmbeddings: Include = ["metadatas", "documents", "embeddings"]
IncludeMetadataDocumentsEmbeddingsDistances: Include = [
    "metadatas",
    "documents",
    "embeddings",
    "distances",
]
