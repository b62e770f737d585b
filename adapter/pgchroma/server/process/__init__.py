"""The processes of a server: the supervisor, its workers, and the port for health checks."""
