"""Usher: a ticket authority for video streams. It decides who may watch, and counts every attempt."""

__version__ = "0.1.0"
