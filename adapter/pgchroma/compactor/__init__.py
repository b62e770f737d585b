"""The compactor builds the indexes of collections behind writes and cleans up after deletions."""
