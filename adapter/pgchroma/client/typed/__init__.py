"""Records of pydantic models: their fields, rows, values, frames and schema."""
