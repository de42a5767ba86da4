"""Use cases of the server, written against repository ports."""
