"""HTTP: the SEVU endpoint, the doors of media servers, the admin socket."""
