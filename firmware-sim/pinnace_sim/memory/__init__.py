"""The repositories of the server in memory: what SQL answers, fifty times as fast, for the simulator."""
