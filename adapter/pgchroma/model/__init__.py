"""Pure values: what requests and answers consist of. Standard library and numpy only."""
