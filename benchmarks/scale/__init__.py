"""What `at_scale.py`, the large benchmark, consists of."""
