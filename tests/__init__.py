"""Usher's tests. What stands in `oracles` and `golden` knows nothing of openusher."""
