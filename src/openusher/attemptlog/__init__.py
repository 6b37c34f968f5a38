"""The columnar store in which shipped attempts are counted and searched."""
