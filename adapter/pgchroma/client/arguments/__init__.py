"""Arguments of methods, checked and made operations; no I/O."""
