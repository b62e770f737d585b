"""The parts of `at_scale.py`, the large benchmark."""
