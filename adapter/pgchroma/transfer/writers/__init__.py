"""Where records are written to, one module for each kind."""
