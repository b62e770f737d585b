"""Find what is wrong with a database, say what it costs and how to mend it."""
