"""The broker that the server may start, and the gateway to the devices."""
