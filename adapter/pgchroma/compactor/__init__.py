"""The compactor: builds indexes after writes, and cleans up after deletions."""
