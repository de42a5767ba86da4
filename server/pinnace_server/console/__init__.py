"""The operators' console, rendered on the server."""
