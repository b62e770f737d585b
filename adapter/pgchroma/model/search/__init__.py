"""Search expressions: what `Search` is built from, and the JSON that each of them is sent as."""
