"""Doors of media servers, asked as those servers ask."""
