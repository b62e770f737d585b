"""The seam between the client and what answers it."""
