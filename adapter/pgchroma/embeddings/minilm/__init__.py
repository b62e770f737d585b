"""all-MiniLM-L6-v2, the default embedding function, on onnxruntime."""
