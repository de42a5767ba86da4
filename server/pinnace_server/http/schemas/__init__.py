"""The bodies of requests and answers, one module for each part of the API. Times are Unix seconds of this server."""
