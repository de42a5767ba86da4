"""The addresses of the API, one module for each part. They translate; services decide."""
