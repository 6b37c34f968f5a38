"""Backups of a node's data folder: made ready by the node, copied by the command that asked, and restored."""
