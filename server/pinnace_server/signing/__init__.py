"""The signed repositories: image, director and message keys."""
