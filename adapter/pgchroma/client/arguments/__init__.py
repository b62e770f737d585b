"""Arguments of methods: their checks, and the operations made from them. No I/O."""
