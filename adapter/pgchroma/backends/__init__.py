"""The seam between clients and what executes their operations."""
