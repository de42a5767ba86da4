"""The operators' console, rendered on the server: pages, a small set of first-party modules, one stream of changes."""
