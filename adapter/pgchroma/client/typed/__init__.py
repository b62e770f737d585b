"""Records of pydantic models: tables, and their fields, rows, values, frames and schema."""
