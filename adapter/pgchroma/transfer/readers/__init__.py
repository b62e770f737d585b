"""Sources of records, one module or package for each kind."""
