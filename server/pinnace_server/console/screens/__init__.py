"""One module per screen: it reads the address, asks the services, and names a template."""
