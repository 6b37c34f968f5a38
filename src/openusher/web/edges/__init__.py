"""The doors: one module a media server, each translating its hook into an AttemptRequest and back."""
