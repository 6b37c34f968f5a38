"""Real media servers, the media that they serve and a player, for tests."""
