"""Where the agent touches the world, one file for each thing touched."""
