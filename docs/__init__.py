"""The documentation; pages that say what the code says are made from it by `python -m docs.generate`."""
